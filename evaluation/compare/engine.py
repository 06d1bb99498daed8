"""Sends one picture: in this process, or through running services. Both give the same bytes, losses and pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from gocom.client.client import Client
from gocom.client.results import SendResult
from gocom.common.codec_interfaces import Analysis, EncoderSession, GenerativeDecoder, SemanticEncoder
from gocom.common.csi import Csi
from gocom.common.errors import NotReady
from gocom.common.image_files import ImageArray, to_float, to_uint8
from gocom.common.types import Budget, Feedback, Goal, GoMessage, LinkSettings, ReceivedMessage, Reconstruction
from gocom.evaluation.run.codec_setup import Codec

T = TypeVar("T")
_NOT_SEGMENTS = ("header", "feedback")


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a picture.

    Attributes:
        image: float32 [3, H, W], rounded to 8 bits as a receiver delivers it; None: there is none, and `reason` why.
        rounds: transmissions.
        bytes: "total", "header", "feedback", "repair" (None: services do not say).
        by_segment: bytes of each segment, repair included.
        seconds: "encode", "channel", "decode", "total".
    """

    image: ImageArray | None
    reason: str
    rounds: int
    bytes: Mapping[str, int | None]
    by_segment: Mapping[str, int]
    packets_sent: int
    packets_lost: int
    seconds: Mapping[str, float]


class Engine(Protocol):
    """One way of sending. `settings`: keyword arguments of `gocom.evaluation.run.codec_setup.Codec.send`."""

    def send(
        self, codec: str, image: ImageArray, channel: str, seed: int, frame_index: int, settings: Mapping[str, Any]
    ) -> Sent:
        """One picture over one channel; `seed` is the channel's and the sampler's."""


class PipelineEngine:
    """common/pipeline.py. The only round of a frame is encoded once, and kept for the channels and seeds that follow.

    Args:
        codecs: both ends, by name.
        link: how packets are cut.
    """

    def __init__(self, codecs: Mapping[str, Codec], link: LinkSettings) -> None:
        self._codecs, self._link = codecs, link
        self._encoders = {name: _KeepingEncoder(codec.encoder) for name, codec in codecs.items()}

    def send(
        self, codec: str, image: ImageArray, channel: str, seed: int, frame_index: int, settings: Mapping[str, Any]
    ) -> Sent:
        """See Engine."""
        encoder, decoder = self._encoders[codec], _TimedDecoder(self._codecs[codec].decoder)
        encoder.seconds = encoder.saved = 0.0
        began = time.perf_counter()
        result = Codec(codec, encoder, decoder).send(
            image, channel, seed=seed, frame_index=frame_index, link=self._link, **settings
        )
        # What encoding took when it was done counts, also for those who found it done.
        total = time.perf_counter() - began + encoder.saved
        passing = total - encoder.seconds - decoder.seconds
        picture, account = result.reconstruction, result.bytes
        sent = sum(message.packets_sent for message in result.rounds)
        return Sent(
            None if picture is None else to_float(to_uint8(picture.image)),
            result.reason,
            len(result.rounds),
            {
                "total": account.total_bytes,
                "header": account.header_bytes,
                "feedback": account.feedback_bytes,
                "repair": sum(account.repair_by_segment.values()),
            },
            account.by_segment,
            sent,
            sent - sum(message.packets_received for message in result.rounds),
            {"encode": encoder.seconds, "channel": passing, "decode": decoder.seconds, "total": total},
        )


class _KeepingEncoder:
    """Remembers the rounds that it made of the last picture.

    Each of them has the time of an encoder that gets the picture and these options alone, analysis included, so that
    analyses are not shared.

    Attributes:
        seconds: what encoding took; saved: how much of that was not spent again.
    """

    def __init__(self, encoder: SemanticEncoder[Any]) -> None:
        self._encoder = encoder
        self._image: ImageArray | None = None
        self._made: dict[tuple[Goal, Csi, Budget], tuple[GoMessage, float]] = {}
        self.seconds = self.saved = 0.0

    def analyse(self, image: ImageArray) -> Analysis:
        """The picture alone; what the encoder finds in it is part of what `first` does."""
        if image is not self._image:
            self._image, self._made = image, {}
        return Analysis(image)

    def open(self, analysis: Analysis, goal: Goal) -> EncoderSession:
        """As the encoder's."""
        return _Session(self, analysis.image, goal)

    def timed(self, work: Callable[[], T]) -> T:
        """Do it; its time is encoding."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            self.seconds += time.perf_counter() - began

    def first(self, image: ImageArray, goal: Goal, csi: Csi, budget: Budget) -> tuple[GoMessage, EncoderSession | None]:
        """The first round, and the session to go on with where there may be another one."""
        key, before = (goal, csi, budget), self.seconds
        if key in self._made:
            message, seconds = self._made[key]
            self.seconds, self.saved = self.seconds + seconds, self.saved + seconds
            return message, None
        session = self.timed(lambda: self._encoder.open(self._encoder.analyse(image), goal))
        message = self.timed(lambda: session.first(csi, budget))
        if goal.max_rounds > 1:  # a session changes with what it is asked for
            return message, session
        self._made[key] = message, self.seconds - before
        return message, None


class _Session:
    def __init__(self, encoder: _KeepingEncoder, image: ImageArray, goal: Goal) -> None:
        self._encoder, self._image, self._goal = encoder, image, goal
        self._inner: EncoderSession | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        message, self._inner = self._encoder.first(self._image, self._goal, csi, budget)
        return message

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        inner = self._inner
        return None if inner is None else self._encoder.timed(lambda: inner.refine(feedback, csi, budget))


class _TimedDecoder:
    """`seconds`: what decoding took."""

    def __init__(self, decoder: GenerativeDecoder) -> None:
        self._decoder = decoder
        self.seconds = 0.0

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """As the decoder's."""
        began = time.perf_counter()
        try:
            yield from list(self._decoder.reconstruct(rounds, generator=generator, previews=previews))
        finally:
            self.seconds += time.perf_counter() - began


class ServicesEngine:
    """The services behind a client, whose channel it sets.

    Args:
        client: of services that nobody else uses meanwhile.
        link: how packets are cut.
    """

    def __init__(self, client: Client, link: LinkSettings) -> None:
        self._client, self._link = client, link
        self._channel: tuple[str, int] | None = None

    def send(
        self, codec: str, image: ImageArray, channel: str, seed: int, frame_index: int, settings: Mapping[str, Any]
    ) -> Sent:
        """See Engine. Raises NotReady where a service, and not the channel, is why there is no picture."""
        if self._channel != (channel, seed):
            self._client.set_channel(channel, seed)
            self._channel = channel, seed
        (result,) = self._client.send(
            [to_uint8(image)], codec, seed=seed, first_index=frame_index, link=self._link, **_client_settings(settings)
        )
        if result.is_error:
            raise NotReady(f"{codec}: {result.reason}")
        return _of_result(result)


_CLIENT_SETTINGS = {"budget": "budget_bytes", "max_rounds": "max_rounds", "round_budget_bytes": "round_budget_bytes"}
"""Arguments of Codec.send that are not options of the codec -> the client's."""


def _client_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    named = {_CLIENT_SETTINGS[name]: value for name, value in settings.items() if name in _CLIENT_SETTINGS and value}
    return named | {"options": {name: value for name, value in settings.items() if name not in _CLIENT_SETTINGS}}


def _of_result(result: SendResult) -> Sent:
    segments = {name: size for name, size in result.bytes_by_segment.items() if name not in _NOT_SEGMENTS}
    stages = result.seconds
    decode = sum(value for name, value in stages.items() if name not in ("encode", "transport", "total"))
    return Sent(
        None if result.image is None else to_float(result.image),
        result.reason,
        result.rounds,
        {
            "total": result.bytes_total,
            "header": result.bytes_by_segment.get("header", 0),
            "feedback": result.bytes_by_segment.get("feedback", 0),
            "repair": None,
        },
        segments,
        result.packets_sent,
        result.packets_sent - result.packets_received,
        {
            "encode": stages.get("encode", 0.0), "channel": stages.get("transport", 0.0), "decode": decode,
            "total": stages.get("total", 0.0),
        },
    )  # fmt: skip
