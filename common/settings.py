"""Settings of the services: one class each, filled from arguments or from environment variables.

`GOCOM_RECEIVER_PORT=6000` sets `ReceiverSettings.port`, and so on; tuples are JSON: `'["jpeg"]'`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gocom.common.csi import DEFAULT_OUTAGE_TARGET, CsiKind, CsiSource

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Count = Annotated[int, Field(ge=1, le=1 << 30)]


def _names(value: Any) -> Any:
    """Return the list that an environment variable holds as JSON; any other value as it is."""
    if not isinstance(value, str):
        return value
    try:
        names = json.loads(value)
    except ValueError:
        names = None
    if not isinstance(names, list):
        raise ValueError('must be a JSON list of names, such as ["jpeg"]; [] for none')
    return names


def _device(value: str) -> str:
    """Return the name of a torch device. Whether this machine has that device is known once torch is loaded."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,2})?", value):
        raise ValueError("must be auto, cpu, cuda, or cuda:INDEX")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
Device = Annotated[str, AfterValidator(_device)]


class SecuritySettings(BaseSettings):
    """Settings that a client or a service needs to connect to a service; docs/security.md shows how to use them."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True, env_prefix="GOCOM_", extra="forbid", frozen=True)

    tls_ca: Path | None = None
    """PEM file of certificate authorities. One of them must have signed the certificate of every service that is
    connected to. Without it connections are plain text."""
    tls_cert: Path | None = None
    """PEM file of this end's certificate, followed by the intermediate ones. A service shows it to every peer that
    connects; a client and a service show it to a service that asks for one."""
    tls_key: Path | None = None
    """PEM file of the private key of `tls_cert`."""
    token_file: Path | None = None
    """File of the bearer token that calls carry, and that a service asks for."""
    insecure: bool = False
    """Allow a service to listen beyond this machine without TLS and a token, and the token to be sent to another
    machine in plain text. Both are refused otherwise."""


class ClientSettings(SecuritySettings):
    """Settings of a client: `Client(security=ClientSettings(tls_ca="ca.pem", token_file="token"))`."""

    model_config = SettingsConfigDict(env_prefix="GOCOM_CLIENT_")


class ServiceSettings(SecuritySettings):
    """Settings that every service has."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 stands for every interface. An address that other machines can reach needs
    tls_cert, tls_key and token_file, or insecure."""
    port: Port = 0
    """Port to listen on; 0 takes a free one."""
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    """Longest time, in seconds, that calls in flight may go on after SIGTERM."""
    max_message_bytes: Annotated[int, Field(ge=65536, le=1 << 30)] = 16 << 20
    """Largest gRPC message that is accepted, in bytes."""
    max_streams: Count = 64
    """Largest number of streaming calls at a time; one more is refused with RESOURCE_EXHAUSTED."""
    first_item_s: Seconds = 60.0
    """Seconds after which a new stream is ended if nothing has come on it, since it takes one of `max_streams`."""
    metrics_port: Port | None = None
    """Port of the Prometheus metrics; without it there is no metrics server. Metrics are plain HTTP without a token. So
    they are served on 127.0.0.1 only where `host` can be reached from other machines, unless `insecure` is set."""
    log_json: bool = False
    """Whether logs are JSON, one object a line, instead of text for people."""
    tls_client_ca: Path | None = None
    """PEM file of certificate authorities. One of them must have signed the certificate that each peer has to show.
    Without it no certificate is asked for."""


def unknown_variables(settings: type[ServiceSettings]) -> dict[str, str | None]:
    """Return the environment variables that begin like those of a service but set none of its fields.

    Args:
        settings: class of the service's settings.

    Returns:
        By name of the variable: the variable that was probably meant; None if none is alike.
    """
    prefix = settings.model_config["env_prefix"]
    names = [name.removeprefix(prefix).lower() for name in sorted(os.environ) if name.startswith(prefix)]
    elsewhere = {"address", "publish"}  # read by clients and by docker-compose.yml
    found: dict[str, str | None] = {}
    for name in names:
        if name not in settings.model_fields and name not in elsewhere:
            alike = difflib.get_close_matches(name, settings.model_fields, 1, 0.75)
            found[f"{prefix}{name.upper()}"] = f"{prefix}{alike[0].upper()}" if alike else None
    return found


class ChannelSettings(ServiceSettings):
    """Settings of the channel emulator."""

    model_config = SettingsConfigDict(env_prefix="GOCOM_CHANNEL_")

    port: Port = 50052
    next_hop: str = "127.0.0.1:50053"
    """Address (host:port) of the receiver, or of a further emulator."""
    profile: str = "clean"
    """Impairments at the start, as a SPEC of the command line: "clean", "packet_erasure:rate=0.1"."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Seed of the channel's randomness, in both directions."""
    feedback_address: str = ""
    """Address (host:port) of the transmitter's FeedbackService, or of a further emulator; feedback is forwarded there.
    Where it is empty the emulator takes no feedback."""
    reverse_profile: str = "clean"
    """Impairments of the reverse channel, which feedback crosses, as a SPEC; needs feedback_address."""


class TransmitterSettings(ServiceSettings):
    """Settings of the transmitter."""

    model_config = SettingsConfigDict(env_prefix="GOCOM_TRANSMITTER_")

    port: Port = 50051
    link_address: str = "127.0.0.1:50052"
    """Address (host:port) of the channel emulator or of the receiver."""
    device: Device = "auto"
    """Torch device of the nets: auto, cpu, cuda. auto takes CUDA where there is a GPU."""
    queue_frames: Count = 4
    """Largest number of frames of a stream that wait for the encoder, and of rounds that wait for the link."""
    open_frames: Count = 32
    """Largest number of unfinished frames of a stream; while it is reached no further image is read from the client."""
    outcome_timeout_s: Seconds = 120.0
    """Seconds without news of a frame from the link after which the frame fails."""
    link_patience_s: Seconds = 60.0
    """Seconds for which a lost link is tried again; then its frames fail."""
    outbox: str = "auto"
    """File that keeps accepted frames until they end, so that a restarted service goes on with them. "auto" is
    gocom/transmitter-PORT.sqlite in the user's state folder; with "off" frames are lost with the process."""
    outbox_bytes: Count = 256 << 20
    """Largest size of the images in the outbox, in bytes; while it is full no image is read from clients."""
    max_sessions: Count = 128
    """Largest number of sessions that have a client or an unfinished frame; one more is refused."""
    csi_source: CsiSource = CsiSource.EMULATOR
    """Source of the channel state: emulator, or receiver, whose latest report comes with feedback. Before the first
    report nothing is known, and codecs see a perfect channel."""
    csi_kind: CsiKind = CsiKind.STATISTICAL
    """Kind of channel state. statistical: what holds in the long run. instantaneous: also the SNR of each packet, which
    is asked for before each round, and which only the emulator knows."""
    csi_age_packets: Annotated[int, Field(ge=0, le=65536)] = 0
    """Age of the instantaneous channel state, in packets."""
    csi_nmse_db: Annotated[float, Field(ge=-60, le=20)] | None = None
    """Mean squared error of the instantaneous gains relative to their mean power, in dB. Without it they are exact."""
    csi_outage_target: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_OUTAGE_TARGET
    """Outage probability at which the emulator is asked for the capacity of a round, for codecs that adapt to it."""
    csi_refresh_s: Seconds = 2.0
    """Seconds after which the statistical channel state, or an emulator that did not answer, is asked again."""
    warm_codecs: Names = ("lami_go",)
    """Codecs that are loaded, and run once, before the service says SERVING."""

    @field_validator("csi_kind")
    @classmethod
    def _check_kind_has_source(cls, value: CsiKind, info: ValidationInfo) -> CsiKind:
        if value is CsiKind.INSTANTANEOUS and info.data.get("csi_source") is not CsiSource.EMULATOR:
            raise ValueError("is for csi_source=emulator; a receiver sees only what came")
        return value

    @field_validator("csi_outage_target")
    @classmethod
    def _check_target_has_source(cls, value: float, info: ValidationInfo) -> float:
        if value != DEFAULT_OUTAGE_TARGET and info.data.get("csi_source") is not CsiSource.EMULATOR:
            raise ValueError("is for csi_source=emulator; a receiver knows no capacity")
        return value

    @field_validator("csi_age_packets", "csi_nmse_db")
    @classmethod
    def _check_instantaneous(cls, value: float | None, info: ValidationInfo) -> float | None:
        assert info.field_name is not None
        is_set = value != cls.model_fields[info.field_name].default
        if is_set and info.data.get("csi_kind") is not CsiKind.INSTANTANEOUS:
            raise ValueError("is for csi_kind=instantaneous")
        return value


class ReceiverSettings(ServiceSettings):
    """Settings of the receiver."""

    model_config = SettingsConfigDict(env_prefix="GOCOM_RECEIVER_")

    port: Port = 50053
    feedback_address: str = "127.0.0.1:50051"
    """Address (host:port) of the transmitter's FeedbackService, or of a channel emulator that forwards to it. It is
    never taken from the wire."""
    device: Device = "auto"
    """Torch device of the nets: auto, cpu, cuda. auto takes CUDA where there is a GPU."""
    queue_frames: Count = 4
    """Largest number of complete rounds, of all sessions, that wait for the decoder."""
    batch_frames: Count = 1
    """Largest number of waiting frames that are decoded in one batch, up to queue_frames; more is quicker on a GPU. A
    picture may differ in single tokens from that of a batch of one: kernels round differently by batch size."""
    feedback_timeout_s: Seconds = 10.0
    """Longest wait, in seconds, for the answer to feedback, and once more for the round that the answer promises. Then
    the frame ends with the picture that it has."""
    feedback_try_s: Annotated[float, Field(ge=0, le=86400)] = 0.0
    """Seconds without an answer after which feedback is sent again, 0.01 or more: a channel may have lost it. Each
    further wait is twice as long, within feedback_timeout_s. 0: it is sent once, where no feedback is lost."""
    open_frames: Count = 32
    """Largest number of frames of one session that wait for a further round."""
    keep_frames: Count = 64
    """Number of finished pictures of each session that are kept for subscribers."""
    keep_sessions: Count = 32
    """Number of sessions whose pictures are kept; the one that was idle longest is dropped first."""
    keep_bytes: Count = 256 << 20
    """Largest size of all pictures that are kept, in bytes."""
    max_frame_bytes: Count = 8 << 20
    """Largest payload of one round, in bytes."""
    max_frame_packets: Count = 65_536
    """Largest number of packets of one round."""
    warm_codecs: Names = ("lami_go",)
    """Codecs that are loaded, and run once, before the service says SERVING."""
    warm_tasks: Names = ()
    """Tasks that are loaded, and run once, before the service says SERVING; others are loaded when a goal names them.
    """

    @field_validator("feedback_try_s")
    @classmethod
    def _check_interval(cls, value: float) -> float:
        if 0 < value < 0.01:
            raise ValueError("must be 0 (sent once), or 0.01 to 86400 s")
        return value
