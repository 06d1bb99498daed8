"""Sends one picture: in this process, or through running services. Both give the same bytes, losses and pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from gocom.client.client import Client
from gocom.client.results import SendResult
from gocom.common.codec_interfaces import Analysis, EncoderSession, GenerativeDecoder, SemanticEncoder
from gocom.common.csi import Csi
from gocom.common.errors import NotReady
from gocom.common.image_files import ImageArray, to_float, to_uint8
from gocom.common.types import Budget, Feedback, Goal, GoMessage, LinkSettings, ReceivedMessage, Reconstruction
from gocom.evaluation.run.codec_setup import Codec
from gocom.evaluation.run.work import Row


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a picture.

    Attributes:
        image: float32 [3, H, W], rounded to 8 bits as a receiver delivers it; None: there is none.
        row: columns of results.csv: `reason` (why there is no picture), `rounds`, `packets_sent`, `packets_lost`,
            `bytes_total`, `bytes_header`, `bytes_feedback`, `bytes_repair` (None: services do not say).
        by_segment: bytes of each segment, repair included.
        timings: columns of timings.csv: `encode_s`, `channel_s`, `decode_s`, `total_s`.
    """

    image: ImageArray | None
    row: Row
    by_segment: Mapping[str, int]
    timings: Row


class Engine(Protocol):
    """One way of sending. `settings`: those of a plan, `gocom.evaluation.compare.plan.Plan`."""

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
        self._image: ImageArray | None = None
        self._made: dict[str, _Made] = {}

    def send(
        self, codec: str, image: ImageArray, channel: str, seed: int, frame_index: int, settings: Mapping[str, Any]
    ) -> Sent:
        """See Engine."""
        if image is not self._image:
            self._image, self._made = image, {name: {} for name in self._codecs}
        ends = self._codecs[codec]
        encoder, decoder = _TimedEncoder(ends.encoder, self._made[codec]), _TimedDecoder(ends.decoder)
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
            {
                "reason": result.reason, "rounds": len(result.rounds), "packets_sent": sent,
                "packets_lost": sent - sum(message.packets_received for message in result.rounds),
                "bytes_total": account.total_bytes, "bytes_header": account.header_bytes,
                "bytes_feedback": account.feedback_bytes, "bytes_repair": sum(account.repair_by_segment.values()),
            },
            account.by_segment,
            {"encode_s": encoder.seconds, "channel_s": passing, "decode_s": decoder.seconds, "total_s": total},
        )  # fmt: skip


_Made = dict[tuple[Goal, Csi, Budget], tuple[GoMessage, float]]
"""The rounds that were made of a picture, and the seconds that each took."""


class _Timed:
    """A clock. `seconds`: what was spent while it was `at_work`."""

    seconds = 0.0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """What is done meanwhile counts, also where it fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began


class _TimedEncoder(_Timed):
    """Encodes one frame; a frame's only round is kept in `made`, and taken from there.

    Each has the time of an encoder that gets the picture and these options alone, analysis included, so that analyses
    are not shared.

    Attributes:
        saved: how many of the seconds were not spent again.
    """

    def __init__(self, encoder: SemanticEncoder[Any], made: _Made) -> None:
        self._encoder, self._made, self.saved = encoder, made, 0.0

    def analyse(self, image: ImageArray) -> Analysis:
        """The picture alone; what the encoder finds in it is part of what `first` does."""
        return Analysis(image)

    def open(self, analysis: Analysis, goal: Goal) -> EncoderSession:
        """Of the frame."""
        self._image, self._goal = analysis.image, goal
        return self

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """As the encoder's session."""
        key = self._goal, csi, budget
        if key in self._made:
            message, self.seconds = self._made[key]
            self.saved = self.seconds
            return message
        with self.at_work():
            self._session = self._encoder.open(self._encoder.analyse(self._image), self._goal)
            message = self._session.first(csi, budget)
        if self._goal.max_rounds == 1:  # a session of several changes with what it is asked for
            self._made[key] = message, self.seconds
        return message

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        """As the encoder's session."""
        with self.at_work():
            return self._session.refine(feedback, csi, budget)


class _TimedDecoder(_Timed):
    def __init__(self, decoder: GenerativeDecoder) -> None:
        self._decoder = decoder

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """As the decoder's."""
        with self.at_work():
            made = list(self._decoder.reconstruct(rounds, generator=generator, previews=previews))
        yield from made


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
        options = dict(settings)
        limits = {"budget_bytes": options.pop("budget", None), "max_rounds": options.pop("max_rounds", 1)}
        (result,) = self._client.send(
            [to_uint8(image)], codec, options=options, seed=seed, first_index=frame_index, link=self._link, **limits
        )
        if result.is_error:
            raise NotReady(f"{codec}: {result.reason}")
        return _of_result(result)


def _of_result(result: SendResult) -> Sent:
    by_name, stages = dict(result.bytes_by_segment), result.seconds
    header, feedback = by_name.pop("header", 0), by_name.pop("feedback", 0)
    decode = sum(value for name, value in stages.items() if name not in ("encode", "transport", "total"))
    return Sent(
        None if result.image is None else to_float(result.image),
        {
            "reason": result.reason, "rounds": result.rounds, "packets_sent": result.packets_sent,
            "packets_lost": result.packets_sent - result.packets_received, "bytes_total": result.bytes_total,
            "bytes_header": header, "bytes_feedback": feedback, "bytes_repair": None,
        },
        by_name,
        {
            "encode_s": stages.get("encode", 0.0), "channel_s": stages.get("transport", 0.0), "decode_s": decode,
            "total_s": stages.get("total", 0.0),
        },
    )  # fmt: skip
