"""From a round's packets to a picture: everything that needs no network. Runs in the worker's thread."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import DecodeFailed
from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.interfaces import GenerativeDecoder
from gocom.common.logs import get_logger
from gocom.common.packetizer import depacketize
from gocom.common.pipeline import sampler_generator
from gocom.common.systems import SYSTEMS
from gocom.common.types import (
    ElementCoding,
    FrameHeader,
    LinkSettings,
    ReceivedMessage,
    ReceivedSegment,
    Reconstruction,
    SegmentFrame,
)
from gocom.receiver.round_assembly import ArrivedRound
from gocom.v1 import link_pb2, receiver_pb2

if TYPE_CHECKING:
    import torch

log = get_logger("receiver")

Decoders = CodecWorker[GenerativeDecoder]
OnPreview = Callable[[Reconstruction], None]
Outcome = tuple[Reconstruction, receiver_pb2.Reconstruction] | Exception
"""A frame's final picture, as it is and for subscribers, or why there is none."""


@runtime_checkable
class BatchDecoder(Protocol):
    """A GenerativeDecoder that can decode several frames together, which is quicker on a GPU."""

    def reconstruct_batch(
        self, frames: Sequence[Sequence[ReceivedMessage]], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """The final picture of each frame, from its rounds and with its own generator.

        The decoder finds out itself which of them fit one another. It may raise for any of them: then each is decoded
        alone.
        """


@dataclass(frozen=True, slots=True)
class Undecoded:
    """A frame that is to be decoded now.

    Attributes:
        rounds: all so far, one or more.
        seed: of the session; same seed, same picture.
        unpack_s: seconds it took to unpack the last round.
        on_preview: called with pictures on the way, in the worker's thread; None: none are made.
    """

    rounds: tuple[ReceivedMessage, ...]
    seed: int
    unpack_s: float = 0.0
    on_preview: OnPreview | None = None

    @property
    def codec(self) -> str:
        """The frame's codec."""
        return self.rounds[0].frame.codec

    def generator(self) -> torch.Generator:
        """A new one, which gives the same draws every time."""
        last = self.rounds[-1].frame
        return sampler_generator(self.seed, last.frame_index, last.round)


WARM_SIDE_PX, WARM_ELEMENTS = 256, 1024


def unpack(arrived: ArrivedRound, link: LinkSettings) -> ReceivedMessage:
    """Elements and received masks of a round."""
    return depacketize(arrived.header, arrived.packets, arrived.packets_sent, link)


def together(decoders: Decoders, frames: Sequence[Undecoded]) -> list[list[int]]:
    """Which frames to decode in one go: their indices in order, each once. Runs in the worker's thread.

    Frames that someone wants previews of are decoded one by one, and so are those of a decoder that is no BatchDecoder.
    """
    alone, batches = [], dict[str, list[int]]()
    for index, frame in enumerate(frames):
        if frame.on_preview is None and _batch_decoder(decoders, frame.codec) is not None:
            batches.setdefault(frame.codec, []).append(index)
        else:
            alone.append([index])
    return sorted([*alone, *batches.values()])


def decode(decoders: Decoders, frames: Sequence[Undecoded]) -> list[Outcome]:
    """Decode frames that `together` put together, in the worker's thread. One that fails leaves the others alone."""
    batch = _batch_decoder(decoders, frames[0].codec) if len(frames) > 1 else None
    if batch is not None:
        try:
            pictures = batch.reconstruct_batch([f.rounds for f in frames], generators=[f.generator() for f in frames])
            return [(p, picture_to_proto(f.rounds, p, f.unpack_s)) for f, p in zip(frames, pictures, strict=True)]
        except Exception as error:
            # Which of them it was shows when each is decoded alone.
            log.warning("batch failed", codec=frames[0].codec, frames=len(frames), reason=str(error))
    return [_decode_one(decoders, frame) for frame in frames]


def _decode_one(decoders: Decoders, frame: Undecoded) -> Outcome:
    try:
        picture = reconstruct(decoders, frame)
        return picture, picture_to_proto(frame.rounds, picture, frame.unpack_s)
    except Exception as error:
        return error


def _batch_decoder(decoders: Decoders, codec: str) -> BatchDecoder | None:
    try:
        decoder = decoders.codec(codec)
    except Exception:
        return None  # decoding the frame alone will say why
    return decoder if isinstance(decoder, BatchDecoder) else None


def reconstruct(decoders: Decoders, frame: Undecoded) -> Reconstruction:
    """The final picture of one frame. Raises DecodeFailed, and NotReady where the codec's nets are missing."""
    decoder = decoders.codec(frame.codec)
    final: Reconstruction | None = None
    previews = frame.on_preview is not None
    # For a decoder without nets torch is not imported: that would take most of the seconds until a receiver serves.
    generator = frame.generator() if getattr(decoder, "draws", True) else None
    for picture in decoder.reconstruct(frame.rounds, generator=generator, previews=previews):
        if picture.final:
            final = picture
        elif frame.on_preview is not None:
            frame.on_preview(picture)
    if final is None:
        raise DecodeFailed(f"{frame.codec}: the decoder ended without a picture")
    return final


def warm_up(decoders: Decoders, codec: str) -> None:
    """Load a codec and run it once on a frame of which nothing arrived (one element a patch of 8x8)."""
    system = SYSTEMS.get(codec)
    nothing, erased = np.zeros(WARM_ELEMENTS, np.int64), np.zeros(WARM_ELEMENTS, bool)
    kinds = range(len(system.segments))
    header = FrameHeader(
        codec, system.header(), WARM_SIDE_PX, WARM_SIDE_PX,
        tuple(SegmentFrame(kind, WARM_ELEMENTS, ElementCoding.FIXED, 1) for kind in kinds),
    )  # fmt: skip
    segments = tuple(ReceivedSegment(kind, nothing, erased) for kind in kinds)
    decoders.codec(codec)
    try:
        reconstruct(decoders, Undecoded((ReceivedMessage(header, segments, len(kinds), 0),), seed=0))
    except Exception as error:
        # The frame is made up without knowing the codec: one that makes no picture of it is loaded all the same.
        log.warning("no warm-up pass", codec=codec, reason=str(error))


def picture_to_proto(
    rounds: Sequence[ReceivedMessage], picture: Reconstruction, unpack_s: float
) -> receiver_pb2.Reconstruction:
    """A picture, final or not, for subscribers; pictures become PNGs here."""
    start = time.perf_counter()
    message = _about(rounds[0].frame.frame_index, rounds)
    message.step, message.final = picture.step, picture.final
    if picture.final:
        message.status = link_pb2.FRAME_STATUS_RECONSTRUCTED
    message.image_png = png_bytes(to_uint8(picture.image))
    message.provenance_png = _grey_png(picture.provenance)
    message.caption = picture.caption or ""
    if picture.quality_estimate is not None:
        message.quality_estimate = picture.quality_estimate
    seconds = {"unpack": unpack_s, **picture.seconds, "png": time.perf_counter() - start}
    for stage, value in seconds.items():
        message.stages.add(stage=stage, seconds=value)
    return message


def failure_to_proto(frame_index: int, rounds: Sequence[ReceivedMessage], reason: str) -> receiver_pb2.Reconstruction:
    """The news that there is no picture."""
    message = _about(frame_index, rounds)
    message.final, message.status, message.reason = True, link_pb2.FRAME_STATUS_FAILED, reason
    return message


def _about(frame_index: int, rounds: Sequence[ReceivedMessage]) -> receiver_pb2.Reconstruction:
    return receiver_pb2.Reconstruction(
        frame_index=frame_index,
        rounds=len(rounds),
        packets_received=sum(r.packets_received for r in rounds),
        packets_sent=sum(r.packets_sent for r in rounds),
    )


def _grey_png(values: npt.NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG", compress_level=1)
    return out.getvalue()
