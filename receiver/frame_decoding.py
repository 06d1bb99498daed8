"""From a round's packets to a picture: the steps that need no network. They run in the worker's thread."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from gocom.common.codec_interfaces import GenerativeDecoder
from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import DecodeFailed, NotReady
from gocom.common.goals import ConsumerGoal
from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.logs import get_logger
from gocom.common.packetizer import depacketize
from gocom.common.pipeline import sampler_generator
from gocom.common.systems import SYSTEMS
from gocom.common.tasks import LoadTask, TaskResult, run_task
from gocom.common.types import (
    ElementCoding,
    FrameHeader,
    LinkSettings,
    ReceivedMessage,
    ReceivedSegment,
    Reconstruction,
    SegmentHeader,
)
from gocom.common.wire.goals import task_result_to_proto
from gocom.receiver.round_assembly import ArrivedRound
from gocom.v1 import link_pb2, receiver_pb2

if TYPE_CHECKING:
    import torch

log = get_logger("receiver")

Decoders = CodecWorker[GenerativeDecoder]
OnPreview = Callable[[Reconstruction], None]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Result of decoding a frame.

    Attributes:
        picture: the final picture.
        message: message of the picture for subscribers.
        task_result: result of the goal's task on the picture; None: the goal has no task.
    """

    picture: Reconstruction
    message: receiver_pb2.Reconstruction
    task_result: TaskResult | None = None


Outcome = Decoded | Exception
"""Result of decoding a frame, or the error."""


@runtime_checkable
class BatchDecoder(Protocol):
    """A GenerativeDecoder that can decode several frames in one batch, which is faster on a GPU."""

    def reconstruct_batch(
        self, frames: Sequence[Sequence[ReceivedMessage]], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """Return the final picture of each frame, from its rounds and with its own generator.

        The decoder itself finds out which frames fit into one batch. If it raises for any of them, the receiver decodes
        each frame alone.
        """


@dataclass(frozen=True, slots=True)
class DecodeInput:
    """A frame that is about to be decoded.

    Attributes:
        rounds: all received rounds, one or more.
        seed: seed of the session, from which the generator follows.
        unpack_s: seconds that it took to unpack the last round.
        on_preview: called with intermediate pictures in the worker's thread; None makes no previews.
        goal: the consumer's goal, whose task is run on the final picture; None: there is none.
    """

    rounds: tuple[ReceivedMessage, ...]
    seed: int
    unpack_s: float = 0.0
    on_preview: OnPreview | None = None
    goal: ConsumerGoal | None = None

    @property
    def codec(self) -> str:
        """Name of the frame's codec."""
        return self.rounds[0].frame.codec

    def generator(self) -> torch.Generator:
        """Return a new generator, seeded from the session, frame and round; it makes the same draws every time."""
        last = self.rounds[-1].frame
        return sampler_generator(self.seed, last.frame_index, last.round)


WARM_SIDE_PX = 256
"""Side in pixels of the picture of a warm-up pass."""
WARM_ELEMENTS = 64
"""Number of elements, in a warm-up pass, of a segment whose length the size of the picture does not determine."""


def unpack(arrived: ArrivedRound, link: LinkSettings) -> ReceivedMessage:
    """Return the elements and received masks of a round."""
    return depacketize(arrived.header, arrived.packets, link)


def group_frames(decoders: Decoders, frames: Sequence[DecodeInput]) -> list[list[int]]:
    """Group frames for decoding: lists of their indices, in which each index occurs once. Runs in the worker's thread.

    A group is decoded in one batch. Frames with previews, and frames whose decoder is no BatchDecoder, are decoded
    alone.
    """
    alone, batches = [], dict[str, list[int]]()
    for index, frame in enumerate(frames):
        if frame.on_preview is None and _batch_decoder(decoders, frame.codec) is not None:
            batches.setdefault(frame.codec, []).append(index)
        else:
            alone.append([index])
    return sorted([*alone, *batches.values()])


def decode(decoders: Decoders, load_task: LoadTask, frames: Sequence[DecodeInput]) -> list[Outcome]:
    """Decode a group of frames from `group_frames`, and run the tasks of their goals, in the worker's thread.

    A failure affects only its own frame. That of a task is told in its result.
    """
    batch = _batch_decoder(decoders, frames[0].codec) if len(frames) > 1 else None
    if batch is not None:
        try:
            pictures = batch.reconstruct_batch([f.rounds for f in frames], generators=[f.generator() for f in frames])
            return [_judge(f, p, load_task) for f, p in zip(frames, pictures, strict=True)]
        except Exception as error:
            # Decoding each frame alone finds out which one failed.
            log.warning("batch failed", codec=frames[0].codec, frames=len(frames), reason=str(error))
    return [_decode_one(decoders, load_task, frame) for frame in frames]


def _decode_one(decoders: Decoders, load_task: LoadTask, frame: DecodeInput) -> Outcome:
    try:
        return _judge(frame, reconstruct(decoders, frame), load_task)
    except DecodeFailed as error:
        # The traceback of the caught one refers to the frame's data, and the data's list of outcomes to it: a reference
        # cycle, which would keep each lost picture in memory until the garbage collector runs.
        return DecodeFailed(str(error))
    except Exception as error:
        return error  # with its traceback, for the log


def _judge(frame: DecodeInput, picture: Reconstruction, load_task: LoadTask) -> Decoded:
    """Run the task of a frame's goal on its picture, if the goal has one, and make the message for subscribers."""
    message = picture_to_proto(frame.rounds, picture, frame.unpack_s)
    if frame.goal is None or frame.goal.task is None:
        return Decoded(picture, message)
    start = time.perf_counter()
    result = run_task(load_task, frame.goal.task, picture.image, frame.goal.labels)
    message.stages.add(stage="task", seconds=time.perf_counter() - start)
    message.task_result.CopyFrom(task_result_to_proto(result))
    return Decoded(picture, message, result)


def _batch_decoder(decoders: Decoders, codec: str) -> BatchDecoder | None:
    try:
        decoder = decoders.codec(codec)
    except Exception:
        return None  # decoding the frame alone raises the error again
    return decoder if isinstance(decoder, BatchDecoder) else None


def reconstruct(decoders: Decoders, frame: DecodeInput) -> Reconstruction:
    """Return the final picture of one frame. Raises DecodeFailed, and NotReady if a net of the codec is missing."""
    decoder = decoders.codec(frame.codec)
    final: Reconstruction | None = None
    previews = frame.on_preview is not None
    # Without a generator torch is not imported for a decoder without nets; the import is most of a receiver's start.
    generator: Any = frame.generator() if getattr(decoder, "draws", True) else None
    for picture in decoder.reconstruct(frame.rounds, generator=generator, previews=previews):
        if picture.final:
            final = picture
        elif frame.on_preview is not None:
            frame.on_preview(picture)
    if final is None:
        raise DecodeFailed(f"{frame.codec}: the decoder ended without a picture")
    return final


def warm_up(decoders: Decoders, codec: str) -> None:
    """Load a codec. If it has nets (System.knowledge), run it once on a frame of which everything was erased.

    Raises:
        NotReady: the codec makes no picture of that frame, or a model is missing.
    """
    system = SYSTEMS.get(codec)
    decoders.codec(codec)
    if not system.knowledge:
        return
    counts = [
        spec.count(WARM_SIDE_PX, WARM_SIDE_PX) if spec.count else min(WARM_ELEMENTS, spec.max_elements or WARM_ELEMENTS)
        for spec in system.segments
    ]
    header = FrameHeader(
        codec, system.header(), WARM_SIDE_PX, WARM_SIDE_PX,
        tuple(SegmentHeader(kind, count, ElementCoding.FIXED, 1) for kind, count in enumerate(counts)),
    )  # fmt: skip
    segments = tuple(
        ReceivedSegment(kind, np.zeros(count, np.int64), np.zeros(count, bool)) for kind, count in enumerate(counts)
    )
    try:
        reconstruct(decoders, DecodeInput((ReceivedMessage(header, segments, len(counts), 0),), seed=0))
    except Exception as error:
        raise NotReady(f"{codec}: no picture in the warm-up pass ({type(error).__name__}: {error})") from error


def picture_to_proto(
    rounds: Sequence[ReceivedMessage], picture: Reconstruction, unpack_s: float
) -> receiver_pb2.Reconstruction:
    """Return a picture, final or preview, as the message for subscribers, with its image encoded as PNG."""
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


def failure_to_proto(
    frame_index: int, rounds: Sequence[ReceivedMessage], reason: str, goal_revision: int
) -> receiver_pb2.Reconstruction:
    """Return the message for subscribers that a frame has no picture.

    Args:
        frame_index: index of the frame.
        rounds: the rounds that were unpacked.
        reason: why there is no picture.
        goal_revision: revision of the goal that held.
    """
    message = _about(frame_index, rounds)
    message.final, message.status, message.reason = True, link_pb2.FRAME_STATUS_FAILED, reason
    message.goal_revision = goal_revision
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
