"""Settings of the services: one class each, from arguments or from environment variables.

`GOCOM_RECEIVER_PORT=6000` sets `ReceiverSettings.port`, and so on; tuples are JSON: `'["jpeg"]'`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gocom.common.csi import CsiKind, CsiSource

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Count = Annotated[int, Field(ge=1, le=1 << 30)]


class SecuritySettings(BaseSettings):
    """What an end needs to connect to a service; docs/security.md shows how to set it.

    Attributes:
        tls_ca: PEM file of the CAs, one of which must have signed the certificate of every service that is connected
            to; none: plain text.
        tls_cert: PEM file of this end's certificate, then of those between it and its CA. A service shows it to whoever
            connects, and both kinds of end to the services they connect to, if these ask.
        tls_key: PEM file of its private key.
        token_file: file of the bearer token that calls carry.
        insecure: allow what is refused otherwise: to listen beyond this machine without TLS and a token, and to send
            the token there in plain text.
    """

    model_config = SettingsConfigDict(env_prefix="GOCOM_", extra="forbid", frozen=True)

    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    token_file: Path | None = None
    insecure: bool = False


class ClientSettings(SecuritySettings):
    """The client: `Client(security=ClientSettings(tls_ca="ca.pem", token_file="token"))`."""

    model_config = SettingsConfigDict(env_prefix="GOCOM_CLIENT_", extra="forbid", frozen=True)


class ServiceSettings(SecuritySettings):
    """What every service needs.

    Attributes:
        host: address to listen on; 0.0.0.0 for every interface. One that other machines can reach needs tls_cert,
            tls_key and token_file, or insecure.
        port: 0 takes a free one.
        grace_s: how long calls in flight may go on after SIGTERM.
        max_message_bytes: largest gRPC message taken.
        max_streams: streaming calls at a time; one more is refused with RESOURCE_EXHAUSTED.
        first_item_s: a stream on which nothing comes within so long of being opened is ended: it holds a place.
        metrics_port: serves Prometheus metrics there; none: no metrics server. They are plain HTTP without a token, so
            they listen on 127.0.0.1 where `host` is reachable from other machines, unless `insecure`.
        log_json: one JSON object a line instead of text for people.
        tls_client_ca: PEM file of the CAs, one of which must have signed the certificate that whoever connects has to
            show; none: anybody may connect.
    """

    model_config = SettingsConfigDict(env_prefix="GOCOM_", extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Port = 0
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    max_message_bytes: Annotated[int, Field(ge=65536, le=1 << 30)] = 16 << 20
    max_streams: Count = 64
    first_item_s: Seconds = 60.0
    metrics_port: Port | None = None
    log_json: bool = False
    tls_client_ca: Path | None = None


class ChannelSettings(ServiceSettings):
    """The channel emulator.

    Attributes:
        next_hop: host:port of the receiver, or of a further emulator.
        profile: impairments as the command line writes them: "clean", "packet_erasure:rate=0.1".
        seed: of all randomness of the channel, both ways.
        feedback_address: host:port of the transmitter's FeedbackService, or of a further emulator: feedback to this one
            goes there. Empty: none is taken.
        reverse_profile: impairments that feedback meets; needs feedback_address.
    """

    model_config = SettingsConfigDict(env_prefix="GOCOM_CHANNEL_", extra="forbid", frozen=True)

    port: Port = 50052
    next_hop: str = "127.0.0.1:50053"
    profile: str = "clean"
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    feedback_address: str = ""
    reverse_profile: str = "clean"


class TransmitterSettings(ServiceSettings):
    """The transmitter.

    Attributes:
        link_address: host:port of the emulator or the receiver.
        device: torch device of the nets; auto: CUDA where there is one.
        queue_frames: frames of a stream that wait for the encoder, and rounds that wait for the link.
        open_frames: frames of a stream that are not finished yet; more are not read from the client.
        outcome_timeout_s: silence of the link after which a frame fails.
        link_patience_s: how long the link may be cut before its frames fail; until then it is tried again and again.
        outbox: file that keeps frames from being accepted to their end, so that a restart goes on with them; "auto":
            gocom/transmitter-PORT.sqlite in the user's state folder; "off": they are lost with the process.
        outbox_bytes: size of the images kept there; while it is full no more are read from clients.
        max_sessions: sessions that have a client or an unfinished frame; one more is refused.
        csi_source: who says what the channel is like: the emulator, or the receiver by its latest report, which comes
            with feedback; before the first one nothing is known, and codecs see a perfect channel.
        csi_kind: statistical: what holds in the long run. instantaneous: also the SNR of each packet, asked for anew
            before each round; only the emulator knows it.
        csi_age_packets: instantaneous: it is so many packets old.
        csi_nmse_db: instantaneous: mean squared error of the estimated gains over their mean power; none: no error.
        csi_refresh_s: age at which the statistical channel state is asked for again, and an emulator that did not
            answer is.
        warm_codecs: made, and run once, before the service says SERVING.
    """

    model_config = SettingsConfigDict(env_prefix="GOCOM_TRANSMITTER_", extra="forbid", frozen=True)

    port: Port = 50051
    link_address: str = "127.0.0.1:50052"
    device: str = "auto"
    queue_frames: Count = 4
    open_frames: Count = 32
    outcome_timeout_s: Seconds = 120.0
    link_patience_s: Seconds = 60.0
    outbox: str = "auto"
    outbox_bytes: Count = 256 << 20
    max_sessions: Count = 128
    csi_source: CsiSource = CsiSource.EMULATOR
    csi_kind: CsiKind = CsiKind.STATISTICAL
    csi_age_packets: Annotated[int, Field(ge=0, le=65536)] = 0
    csi_nmse_db: Annotated[float, Field(ge=-60, le=20)] | None = None
    csi_refresh_s: Seconds = 2.0
    warm_codecs: tuple[str, ...] = ("lami_go",)

    @field_validator("csi_kind")
    @classmethod
    def _kind_fits(cls, value: CsiKind, info: ValidationInfo) -> CsiKind:
        if value is CsiKind.INSTANTANEOUS and info.data.get("csi_source") is not CsiSource.EMULATOR:
            raise ValueError("is for csi_source=emulator; a receiver sees only what came")
        return value

    @field_validator("csi_age_packets", "csi_nmse_db")
    @classmethod
    def _needs_instantaneous(cls, value: float | None, info: ValidationInfo) -> float | None:
        assert info.field_name is not None
        as_given = value != cls.model_fields[info.field_name].default
        if as_given and info.data.get("csi_kind") is not CsiKind.INSTANTANEOUS:
            raise ValueError("is for csi_kind=instantaneous")
        return value


class ReceiverSettings(ServiceSettings):
    """The receiver.

    Attributes:
        feedback_address: host:port of the transmitter's FeedbackService, or of a channel emulator that leads there;
            never taken from the wire.
        device: torch device of the nets; auto: CUDA where there is one.
        queue_frames: finished rounds of all sessions that wait for the decoder.
        batch_frames: frames decoded together where that many wait and they fit one another; more is quicker on a GPU,
            up to queue_frames. On its own a frame's picture may differ in single tokens: kernels round differently by
            batch size.
        feedback_timeout_s: longest wait for the answer to feedback, and once more for the round that was promised; then
            the frame ends with what it has.
        feedback_try_s: silence after which feedback is sent again, since a channel may have lost it; then after twice
            as long, and so on within feedback_timeout_s; 0.01 or more. 0: never, for a way back that loses nothing.
        open_frames: frames of one session that wait for a further round.
        keep_frames: finished pictures kept a session, for subscribers.
        keep_sessions: sessions kept; the one that is idle longest goes first.
        keep_bytes: size of all pictures kept.
        max_frame_bytes: payload bytes of one round.
        max_frame_packets: packets of one round.
        warm_codecs: made, and run once, before the service says SERVING.
    """

    model_config = SettingsConfigDict(env_prefix="GOCOM_RECEIVER_", extra="forbid", frozen=True)

    port: Port = 50053
    feedback_address: str = "127.0.0.1:50051"
    device: str = "auto"
    queue_frames: Count = 4
    batch_frames: Count = 1
    feedback_timeout_s: Seconds = 10.0
    feedback_try_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    open_frames: Count = 32
    keep_frames: Count = 64
    keep_sessions: Count = 32
    keep_bytes: Count = 256 << 20
    max_frame_bytes: Count = 8 << 20
    max_frame_packets: Count = 65_536
    warm_codecs: tuple[str, ...] = ("lami_go",)

    @field_validator("feedback_try_s")
    @classmethod
    def _not_at_once(cls, value: float) -> float:
        if 0 < value < 0.01:
            raise ValueError("must be 0 (sent once), or 0.01 to 86400 s")
        return value
