"""From a client's request to the items that go over the link: everything that needs no network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from common.account import ByteAccount, account, frame_items
from common.errors import BudgetTooSmall
from common.images import ImageArray, decode_image, to_float
from common.interfaces import EncoderSession, SemanticEncoder
from common.packetizer import packetize
from common.systems import SYSTEMS
from common.types import MAX_SIDE_PX, Budget, Csi, FrameHeader, Goal, GoMessage, LinkSettings
from common.wire import check_side, codec_from_proto, get_rounds
from common.workers import CodecWorker
from gocom.v1 import link_pb2, transmitter_pb2

Encoders = CodecWorker[SemanticEncoder]


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """A request that was checked: image float32 [3, H, W] in [0, 1], codec and what is wanted of it."""

    image: ImageArray
    codec: str
    goal: Goal
    budget: Budget


@dataclass(frozen=True, slots=True)
class EncodedRound:
    """A round that is ready for the link.

    Attributes:
        header: frame header.
        items: header, batches and end, in order.
        packets: how many packets they hold.
        bytes: what they cost.
        seconds: time the encoder took.
        csi: the channel as it was known.
    """

    header: FrameHeader
    items: list[link_pb2.SendRequest]
    packets: int
    bytes: ByteAccount
    seconds: float
    csi: Csi


def read_request(request: transmitter_pb2.TransmitRequest, link: LinkSettings) -> FrameRequest:
    """Check a request and decode its image. Raises InvalidInput naming the field, and UnknownName."""
    codec, options = codec_from_proto(request, options=True)
    rounds = get_rounds(request)
    pixels = decode_image(request.image, max_side_px=MAX_SIDE_PX)
    check_side(pixels.shape[1], "image width")
    check_side(pixels.shape[0], "image height")
    goal = Goal(
        options, request.frame_index, rounds.max_rounds, rounds.round_budget_bytes, link, rounds.feedback_policy,
        rounds.quality_target,
    )  # fmt: skip
    return FrameRequest(to_float(pixels), codec, goal, Budget(request.budget_bytes or None))


def encode_first(encoders: Encoders, frame: FrameRequest, csi: Csi) -> tuple[EncoderSession, EncodedRound]:
    """The first round; runs in the worker's thread. Raises BudgetTooSmall, and what the codec raises."""
    encoder = encoders.codec(frame.codec)
    start = time.perf_counter()
    session = encoder.open(frame.image, frame.goal)
    message = session.first(csi, frame.budget)
    return session, _pack(message, frame.goal.link, frame.budget.max_bytes, csi, start)


def encode_next(
    refine: Callable[[], GoMessage | None], link: LinkSettings, max_bytes: int, csi: Csi
) -> EncodedRound | None:
    """A further round, or None when the codec has no more to say. Raises BudgetTooSmall when it costs too much."""
    start = time.perf_counter()
    message = refine()
    return None if message is None else _pack(message, link, max_bytes, csi, start)


def mark_repeated(encoded: EncodedRound) -> EncodedRound:
    """The same round, its header saying that the receiver may have had the frame before; the bytes it costs counted."""
    item = link_pb2.SendRequest()
    item.CopyFrom(encoded.items[0])
    item.header.repeated = True
    more = item.ByteSize() - encoded.items[0].ByteSize()
    cost = replace(encoded.bytes, header_bytes=encoded.bytes.header_bytes + more)
    return replace(encoded, items=[item, *encoded.items[1:]], bytes=cost)


def warm_up(encoders: Encoders, codec: str) -> None:
    """Load a codec and run it once on a grey picture."""
    goal = Goal(SYSTEMS.get(codec).options())
    grey = np.full((3, 256, 256), 0.5, np.float32)
    encode_first(encoders, FrameRequest(grey, codec, goal, Budget()), Csi())


def _pack(message: GoMessage, link: LinkSettings, max_bytes: int | None, csi: Csi, start: float) -> EncodedRound:
    header, batch = packetize(message, link)
    items = frame_items(header, batch, link.batch_packets)
    cost = account(header, batch, items)
    # Codecs keep to their budget themselves; a plug-in that does not must not get away with it.
    if max_bytes and cost.total_bytes > max_bytes:
        raise BudgetTooSmall(message.codec, max_bytes, cost.total_bytes)
    return EncodedRound(header, items, len(batch), cost, time.perf_counter() - start, csi)
