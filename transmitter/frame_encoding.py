"""From a client's request to the encoded round: the steps that need no network."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gocom.common.byte_account import ByteAccount, count_bytes, frame_items
from gocom.common.codec_interfaces import SemanticEncoder
from gocom.common.codec_worker import CodecWorker
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import ImageArray, to_float
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS, first_position
from gocom.common.types import (
    MAX_SIDE_PX,
    Budget,
    Feedback,
    FrameHeader,
    Goal,
    GoMessage,
    LinkSettings,
    StreamPosition,
)
from gocom.common.wire.frame_headers import header_to_proto
from gocom.common.wire.frame_messages import check_side, codec_from_proto, rounds_from_proto
from gocom.transmitter.resources.repair_and_power import (
    PLAIN,
    Delivery,
    DeliveryEncoder,
    DeliverySession,
    delivery_from_proto,
)
from gocom.transmitter.resources.unequal_protection import SegmentProtection
from gocom.v1 import link_pb2, transmitter_pb2

Encoders = CodecWorker[SemanticEncoder[Any]]


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """A checked request.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        codec: name of the codec.
        goal: codec options and limits.
        budget: bytes that the first round may cost.
        delivery: power allocation and protection of the packets.
    """

    image: ImageArray
    codec: str
    goal: Goal
    budget: Budget
    delivery: Delivery = PLAIN


@dataclass(frozen=True, slots=True)
class EncodedRound:
    """A round that is ready for the link.

    Attributes:
        header: frame header.
        items: header, packet batches and end mark, in order.
        packets: number of packets in the items.
        bytes: all serialized bytes of the round, by segment.
        seconds: encoding time.
        csi: channel state that the encoding was based on.
        protection: protection of each segment; empty without unequal protection.
        power: lowest and highest power of a packet; None if all packets have the same.
    """

    header: FrameHeader
    items: list[link_pb2.SendRequest]
    packets: int
    bytes: ByteAccount
    seconds: float
    csi: Csi
    protection: tuple[SegmentProtection, ...] = ()
    power: tuple[float, float] | None = None


def read_request(request: transmitter_pb2.TransmitRequest, link: LinkSettings) -> FrameRequest:
    """Check a request and decode its image. Raises InvalidInput, which names the field, and UnknownName."""
    codec, options = codec_from_proto(request.codec)
    rounds = rounds_from_proto(request.rounds)
    pixels = decode_image(request.image, max_side_px=MAX_SIDE_PX)
    check_side(pixels.shape[1], "image width")
    check_side(pixels.shape[0], "image height")
    goal = Goal(
        options, request.frame_index, rounds.max_rounds, rounds.round_budget_bytes, link, rounds.feedback_policy,
        rounds.quality_target,
    )  # fmt: skip
    budget = Budget(request.budget_bytes or None)
    return FrameRequest(to_float(pixels), codec, goal, budget, delivery_from_proto(request))


async def adapts_to_channel(encoders: Encoders, frame: FrameRequest) -> bool:
    """Return whether the rounds of a frame follow from the channel state. Raises NotReady if a model is missing."""
    return DeliveryEncoder(await encoders.loaded(frame.codec), frame.delivery).adapts_to_channel


def encode_first(encoders: Encoders, frame: FrameRequest, csi: Csi) -> tuple[DeliverySession, EncodedRound]:
    """Encode the first round, in the worker's thread. Raises BudgetTooSmall, and any error of the codec."""
    encoder = DeliveryEncoder(encoders.codec(frame.codec), frame.delivery)
    start = time.perf_counter()
    session = encoder.open(encoder.analyse(frame.image), frame.goal)
    message = session.first(csi, frame.budget)
    message = replace(message, position=first_position(frame.goal, message))
    return session, _pack(session, message, frame.goal.link, frame.budget.max_bytes, start)


def encode_next(
    session: DeliverySession, feedback: Feedback, link: LinkSettings, csi: Csi, budget: Budget,
    position: StreamPosition | None,
) -> EncodedRound | None:  # fmt: skip
    """Encode a further round; None if the codec has nothing to add. Raises BudgetTooSmall if it costs too much.

    The position is that of the frame's first round.
    """
    start = time.perf_counter()
    message = session.refine(feedback, csi, budget)
    if message is None:
        return None
    return _pack(session, replace(message, position=position), link, budget.max_bytes, start)


def for_stream(encoded: EncodedRound, position: StreamPosition, *, repeated: bool) -> EncodedRound:
    """Return a round as it goes over a stream: its header says what does not follow from the stream's position.

    Args:
        encoded: the round. An encoder may have ignored the position that its goal gave.
        position: what the stream's opening says, and the frame whose first round was sent last on the stream.
        repeated: the receiver may have seen the frame before.

    Raises:
        InvalidInput: the round has no segments, but the session's frames have.
    """
    header = replace(encoded.header, position=position)
    item = link_pb2.SendRequest(header=header_to_proto(header))
    item.header.repeated = repeated
    more = item.ByteSize() - encoded.items[0].ByteSize()
    cost = replace(encoded.bytes, header_bytes=encoded.bytes.header_bytes + more)
    return replace(encoded, header=header, items=[item, *encoded.items[1:]], bytes=cost)


def warm_up(encoders: Encoders, codec: str) -> None:
    """Load a codec and run it once on a grey image of 256x256."""
    goal = Goal(SYSTEMS.get(codec).options())
    grey = np.full((3, 256, 256), 0.5, np.float32)
    encode_first(encoders, FrameRequest(grey, codec, goal, Budget()), Csi())


def _pack(
    session: DeliverySession, message: GoMessage, link: LinkSettings, max_bytes: int | None, start: float
) -> EncodedRound:
    header, batch = packetize(message, link)
    items = frame_items(header, batch, link.batch_packets)
    cost = count_bytes(header, batch, items)
    # The bundled codecs keep to the budget; a plug-in codec may not, so it is checked here.
    if max_bytes and cost.total_bytes > max_bytes:
        raise BudgetTooSmall(message.codec, max_bytes, cost.total_bytes)
    power = None if message.power is None else (float(batch.power.min(initial=1)), float(batch.power.max(initial=1)))
    seconds = time.perf_counter() - start
    return EncodedRound(header, items, len(batch), cost, seconds, session.csi, session.protection, power)
