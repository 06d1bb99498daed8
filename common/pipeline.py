"""The whole transmission loop in one process, on one page. Read this file first.

    image -> encoder -> GoMessage -> packets -> wire -> channel -> wire -> received mask -> generative decoder -> image
                ^                                                                                  |
                +----------- feedback: labels, a text, requested elements <----- task -------------+

The three services run the same loop with a network in between, and give the same bytes, masks and pictures
(tests/integration/test_parity.py verifies this). Nothing here depends on the codec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gocom.common.byte_account import ByteAccount, count_bytes, frame_items
from gocom.common.codec_interfaces import GenerativeDecoder, SemanticEncoder
from gocom.common.counter_rng import CounterRng
from gocom.common.csi import Csi
from gocom.common.errors import DecodeFailed, InvalidInput
from gocom.common.goals import ConsumerGoal, PolicyFor, Round, append_round
from gocom.common.image_files import ImageArray
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packetizer import MAX_PACKETS, depacketize, packetize
from gocom.common.rounds import with_requested_spans
from gocom.common.systems import first_position
from gocom.common.tasks import LoadTask, TaskResult, run_task
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
from gocom.common.wire.feedback import answer_bytes, counted_message, feedback_to_proto
from gocom.common.wire.frame_headers import header_from_proto, stream_position
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import feedback_pb2, link_pb2

if TYPE_CHECKING:
    import torch

Channel = Callable[[FrameHeader, PacketBatch], PacketBatch]
"""Function from the header and all packets of a round to the packets after the channel. It may set `erased`, change
payloads, and reorder or duplicate packets."""
ReverseChannel = Callable[[feedback_pb2.SendFeedbackRequest], bool]
"""Function that says whether an attempt to send a feedback message arrives."""


def clean_channel(header: FrameHeader, batch: PacketBatch) -> PacketBatch:
    """Return the packets of a round unchanged: a channel without impairments."""
    return batch


def clean_reverse_channel(request: feedback_pb2.SendFeedbackRequest) -> bool:
    """Return True: a reverse channel without losses."""
    return True


@dataclass(slots=True)
class PipelineResult:
    """The result of sending one frame from end to end.

    Attributes:
        reconstruction: the final picture; None if none could be made.
        reason: why no picture could be made; empty if there is one.
        rounds: the received rounds, in order.
        bytes: byte account of all rounds and of the feedback.
        items: the messages that went over the link, in all rounds.
        task_results: result of the goal's task on the picture of each round; None: there is none.
    """

    reconstruction: Reconstruction | None
    reason: str
    rounds: list[ReceivedMessage]
    bytes: ByteAccount
    items: list[link_pb2.SendRequest] = field(default_factory=list)
    task_results: list[TaskResult | None] = field(default_factory=list)


def sampler_generator(seed: int, frame_index: int, round_: int) -> torch.Generator:
    """Return the generator of the receiver's sampler for one round. The same arguments give the same picture."""
    import torch  # noqa: PLC0415 - the channel emulator shares this package and has no torch

    return torch.Generator().manual_seed(CounterRng(seed, "sampler", frame_index, round_).integer())


def transmit(
    message: GoMessage, channel: Channel, link: LinkSettings, requested: Mapping[int, Ints] | None = None
) -> tuple[ReceivedMessage, ByteAccount, list[link_pb2.SendRequest]]:
    """Send one round over the channel, with serialization before and after it.

    Args:
        message: the round.
        channel: the channel that its packets cross.
        link: packetizer settings.
        requested: spans int64 [S, 2] by segment kind, of the feedback that the round answers; None in a first round.

    Returns:
        The received round, its byte account, and the messages that went over the link.
    """
    header, packets = packetize(message, link)
    items = frame_items(header, packets, link.batch_packets)
    arrived_header = header_from_proto(items[0].header, stream_position(header))
    arrived_header = with_requested_spans(arrived_header, requested or {})
    impaired = channel(arrived_header, join_batches([batch_from_proto(item.batch) for item in items[1:-1]]))
    arrived = [batch_from_proto(batch_to_proto(part)) for part in impaired.slices(MAX_PACKETS)]
    received = depacketize(arrived_header, join_batches(arrived), link)
    return received, count_bytes(header, packets, items), items


def run(
    image: ImageArray,
    goal: Goal,
    *,
    encoder: SemanticEncoder[Any],
    decoder: GenerativeDecoder,
    channel: Channel = clean_channel,
    ask: PolicyFor | None = None,
    consumer_goal: ConsumerGoal | None = None,
    load_task: LoadTask | None = None,
    reverse_channel: ReverseChannel = clean_reverse_channel,
    attempts: int = 1,
    csi: Csi = Csi(),
    budget: Budget = Budget(),
    seed: int = 0,
) -> PipelineResult:
    """Send one image, in as many rounds as the goal allows and the receiver asks for.

    Args:
        image: float32 [3, H, W] in [0, 1].
        goal: codec options, limits of further rounds, and packetizer settings.
        encoder, decoder: the two ends of one codec.
        channel: the channel that packets cross.
        ask: gives the receiver's feedback policy; None: there is only one round.
        consumer_goal: what the consumer wants the picture for; None: the sender's policy holds.
        load_task: loads the goal's task; needed for a goal that has one.
        reverse_channel: the channel that feedback crosses. If all attempts at a feedback message are lost, the frame
            ends with the rounds that it has.
        attempts: largest number of attempts at one feedback message. For the receiver service it follows from
            `gocom.common.wire.feedback.answer_waits`.
        csi: channel state at the transmitter.
        budget: bytes that the first round may cost.
        seed: seed of the receiver's sampler.

    Raises:
        BudgetTooSmall: the budget is below the codec's floor.
        InvalidInput: the goal has a task, and `load_task` is missing.
    """
    if consumer_goal and consumer_goal.task and load_task is None:
        raise InvalidInput(f"load_task: missing; the goal has the task {consumer_goal.task!r}")
    session = encoder.open(encoder.analyse(image), goal)
    first = session.first(csi, budget)
    position = first_position(goal, first)
    message: GoMessage | None = first
    result: PipelineResult | None = None
    feedback: Feedback | None = None
    history: list[Round] = []
    while message is not None:
        message = replace(message, position=position)
        received, cost, items = transmit(message, channel, goal.link, feedback.wanted if feedback else None)
        rounds = [*(result.rounds if result else []), received]
        picture, reason = _decode(decoder, rounds, sampler_generator(seed, goal.frame_index, message.round))
        total = result.bytes + cost if result else cost
        judged = _judge(picture, consumer_goal, load_task)
        append_round(history, Round(received, picture, judged))
        tasks = [*(result.task_results if result else []), judged]
        result = PipelineResult(picture, reason, rounds, total, [*(result.items if result else []), *items], tasks)
        policy = ask(rounds[0].frame.rounds, consumer_goal) if ask and len(rounds) < goal.max_rounds else None
        feedback = policy.next(history) if policy else None
        message = None
        if feedback:
            request = feedback_to_proto(feedback, [received.frame for received in rounds], goal.link)
            arrived, spent = _send_feedback(request, reverse_channel, attempts)
            result.bytes.feedback_bytes += spent
            if arrived:
                limit = Budget.smallest(feedback.budget_bytes, goal.round_budget_bytes)
                message = session.refine(feedback, csi, limit)
                answer = feedback_pb2.SendFeedbackResponse(will_send=message is not None)
                result.bytes.feedback_bytes += answer_bytes(answer)
    assert result is not None
    return result


def _judge(picture: Reconstruction | None, goal: ConsumerGoal | None, load_task: LoadTask | None) -> TaskResult | None:
    """Run the goal's task on the picture of a round. Return None if there is no picture or no task."""
    if picture is None or goal is None or goal.task is None or load_task is None:
        return None
    return run_task(load_task, goal.task, picture.image, goal.labels)


def _send_feedback(
    request: feedback_pb2.SendFeedbackRequest, reverse_channel: ReverseChannel, attempts: int
) -> tuple[bool, int]:
    """Send feedback until it arrives. Return whether it did, and the bytes of all attempts."""
    spent = 0
    for attempt in range(attempts):
        request.attempt = attempt
        spent += len(counted_message(request))
        if reverse_channel(request):
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
