"""The whole loop in one process, in a page. Read this first.

    image -> encoder -> GoMessage -> packets -> wire -> channel -> wire -> received mask -> generative decoder -> image
                ^                                                                                  |
                +------------------------- feedback: elements still wanted -----------------------+

The three services do the same with a network in between, and give the same bytes, masks and pictures
(tests/integration/test_parity.py holds them together). No part asks which codec it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gocom.common.byte_account import ByteAccount, account, frame_items
from gocom.common.counter_rng import CounterRng
from gocom.common.csi import Csi
from gocom.common.errors import DecodeFailed
from gocom.common.image_files import ImageArray
from gocom.common.interfaces import GenerativeDecoder, SemanticEncoder
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packetizer import MAX_PACKETS, depacketize, packetize
from gocom.common.rounds import with_requested
from gocom.common.types import (
    Budget,
    Feedback,
    FrameHeader,
    Goal,
    GoMessage,
    Ints,
    LinkSettings,
    ReceivedMessage,
    Reconstruction,
)
from gocom.common.wire.feedback import answer_bytes, bare_message, feedback_to_proto
from gocom.common.wire.messages import header_from_proto
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import feedback_pb2, link_pb2

if TYPE_CHECKING:
    import torch

Channel = Callable[[FrameHeader, PacketBatch], PacketBatch]
"""All packets of a round to what becomes of them: with `erased` set, payloads changed, in another order, some more than
once."""
AskForMore = Callable[[Sequence[ReceivedMessage], Reconstruction | None], Feedback | None]
"""The receiver's feedback policy: None ends the frame."""
WayBack = Callable[[feedback_pb2.SendFeedbackRequest], bool]
"""Whether an attempt at a feedback message arrives."""


def clean_channel(header: FrameHeader, batch: PacketBatch) -> PacketBatch:
    """Everything arrives."""
    return batch


def clean_way_back(request: feedback_pb2.SendFeedbackRequest) -> bool:
    """So does feedback."""
    return True


@dataclass(slots=True)
class PipelineResult:
    """One frame, from end to end.

    Attributes:
        reconstruction: the final picture; None when none could be made.
        reason: why not.
        rounds: what arrived, round by round.
        bytes: every byte of all rounds.
        items: what went over the link, as serialized.
    """

    reconstruction: Reconstruction | None
    reason: str
    rounds: list[ReceivedMessage]
    bytes: ByteAccount
    items: list[link_pb2.SendRequest] = field(default_factory=list)


def sampler_generator(seed: int, frame_index: int, round_: int) -> torch.Generator:
    """The receiver's randomness for one round: same seed, same picture."""
    import torch  # noqa: PLC0415 - the channel emulator shares this package and has no torch

    return torch.Generator().manual_seed(CounterRng(seed, "sampler", frame_index, round_).integer())


def transmit(
    message: GoMessage, channel: Channel, link: LinkSettings, asked: Mapping[int, Ints] | None = None
) -> tuple[ReceivedMessage, ByteAccount, list[link_pb2.SendRequest]]:
    """One round over the channel, through its wire form on both sides of it; `asked`: the feedback it answers."""
    header, packets = packetize(message, link)
    items = frame_items(header, packets, link.batch_packets)
    arrived_header = with_requested(header_from_proto(items[0].header), asked or {})
    left = channel(arrived_header, join_batches([batch_from_proto(item.batch) for item in items[1:-1]]))
    arrived = [batch_from_proto(batch_to_proto(part)) for part in left.slices(MAX_PACKETS)]
    received = depacketize(arrived_header, join_batches(arrived), items[-1].end.packet_count, link)
    return received, account(header, packets, items), items


def run(
    image: ImageArray,
    goal: Goal,
    *,
    encoder: SemanticEncoder,
    decoder: GenerativeDecoder,
    channel: Channel = clean_channel,
    ask: AskForMore | None = None,
    way_back: WayBack = clean_way_back,
    attempts: int = 1,
    csi: Csi = Csi(),
    budget: Budget = Budget(),
    seed: int = 0,
) -> PipelineResult:
    """Send one image, in as many rounds as the goal allows and the receiver asks for.

    Args:
        image: float32 [3, H, W] in [0, 1].
        goal: codec options, rounds, link.
        encoder, decoder: the two ends of one codec.
        channel: what happens to packets.
        ask: feedback policy; None: one round.
        way_back: what becomes of feedback messages. When none arrives the frame ends with what it has.
        attempts: how often one is sent at most (`gocom.common.wire.feedback.answer_waits` says it for a receiver).
        csi: what the transmitter knows of the channel.
        budget: of the first round.
        seed: of the receiver's sampler.
    """
    session = encoder.open(image, goal)
    message: GoMessage | None = session.first(csi, budget)
    result: PipelineResult | None = None
    feedback: Feedback | None = None
    while message is not None:
        received, cost, items = transmit(message, channel, goal.link, feedback.wanted if feedback else None)
        rounds = [*(result.rounds if result else []), received]
        picture, reason = _decode(decoder, rounds, sampler_generator(seed, goal.frame_index, message.round))
        total = result.bytes + cost if result else cost
        result = PipelineResult(picture, reason, rounds, total, [*(result.items if result else []), *items])
        feedback = ask(rounds, picture) if ask and len(rounds) < goal.max_rounds else None
        message = None
        if feedback:
            request = feedback_to_proto(feedback, rounds[0].frame, goal.link)
            arrived, spent = _send_back(request, way_back, attempts)
            result.bytes.feedback_bytes += spent
            if arrived:
                message = session.refine(feedback)
                answer = feedback_pb2.SendFeedbackResponse(will_send=message is not None)
                result.bytes.feedback_bytes += answer_bytes(answer)
    assert result is not None
    return result


def _send_back(request: feedback_pb2.SendFeedbackRequest, way_back: WayBack, attempts: int) -> tuple[bool, int]:
    """Send feedback until it arrives; -> whether it did, and the bytes of all attempts."""
    spent = 0
    for attempt in range(attempts):
        request.attempt = attempt
        spent += len(bare_message(request))
        if way_back(request):
            return True, spent
    return False, spent


def _decode(
    decoder: GenerativeDecoder, rounds: Sequence[ReceivedMessage], generator: torch.Generator
) -> tuple[Reconstruction | None, str]:
    try:
        *_, final = decoder.reconstruct(rounds, generator=generator)
    except DecodeFailed as error:
        return None, str(error)
    return final, ""
