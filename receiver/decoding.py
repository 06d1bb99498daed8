"""From a round's packets to a picture: everything that needs no network. Runs in the worker's thread."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from common.errors import DecodeFailed
from common.images import png_bytes, to_uint8
from common.interfaces import GenerativeDecoder
from common.logs import get_logger
from common.packetizer import depacketize
from common.pipeline import sampler_generator
from common.systems import SYSTEMS
from common.types import (
    ElementCoding,
    FrameHeader,
    LinkSettings,
    ReceivedMessage,
    ReceivedSegment,
    Reconstruction,
    SegmentFrame,
)
from common.workers import CodecWorker
from gocom.v1 import link_pb2, receiver_pb2
from receiver.assembly import ArrivedRound

log = get_logger("receiver")

Decoders = CodecWorker[GenerativeDecoder]
OnPreview = Callable[[Reconstruction], None]

WARM_SIDE_PX, WARM_ELEMENTS = 256, 1024


def unpack(arrived: ArrivedRound, link: LinkSettings) -> ReceivedMessage:
    """Elements and received masks of a round."""
    return depacketize(arrived.header, arrived.packets, arrived.packets_sent, link)


def reconstruct(
    decoders: Decoders, rounds: Sequence[ReceivedMessage], seed: int, on_preview: OnPreview | None
) -> Reconstruction:
    """The final picture of all rounds so far. Raises DecodeFailed, and NotReady where the codec's nets are missing.

    Args:
        decoders: their worker; this runs in its thread.
        rounds: one or more.
        seed: of the session; same seed, same picture.
        on_preview: called with pictures on the way; None: none are made.
    """
    last = rounds[-1].frame
    decoder = decoders.codec(rounds[0].frame.codec)
    generator = sampler_generator(seed, last.frame_index, last.round)
    final: Reconstruction | None = None
    for picture in decoder.reconstruct(rounds, generator=generator, previews=on_preview is not None):
        if picture.final:
            final = picture
        elif on_preview is not None:
            on_preview(picture)
    if final is None:
        raise DecodeFailed(f"{last.codec}: the decoder ended without a picture")
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
        reconstruct(decoders, [ReceivedMessage(header, segments, len(kinds), 0)], 0, None)
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
