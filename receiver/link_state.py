"""State of a receiver's open frames, and the objects that its link streams share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gocom.common.goals import GoalState, Round
from gocom.common.settings import ReceiverSettings
from gocom.common.types import FrameHeader, Ints, ReceivedMessage
from gocom.receiver.feedback_client import FeedbackClient
from gocom.receiver.frame_decoding import DecodeInput, Decoders, Outcome
from gocom.receiver.round_assembly import ArrivedRound
from gocom.receiver.tasks import LoadedTasks
from gocom.v1 import receiver_pb2


@dataclass(slots=True, eq=False)
class Frame:
    """A frame that has no outcome yet.

    Attributes:
        header: header of the first round.
        repeated: whether an earlier stream may have brought the frame, too, and may still finish it.
        rounds_begun: number of rounds whose header arrived.
        rounds_ended: number of rounds whose end mark arrived.
        rounds: the rounds that are unpacked.
        goal: the session's goal when the latest round was about to be decoded. It holds until the round is concluded.
        history: the rounds that are decoded, for the feedback policy.
        result: latest message for subscribers; None before the first round is decoded.
        next_round: set when the header of the requested round arrives.
        requested: spans by segment kind that the last feedback requested.
        feedback_task: the task that sends the feedback and waits for the round.
        feedback_s: seconds spent on that, from the request to the header of the next round.
    """

    header: FrameHeader
    repeated: bool = False
    rounds_begun: int = 1
    rounds_ended: int = 0
    rounds: list[ReceivedMessage] = field(default_factory=list)
    goal: GoalState = field(default_factory=GoalState)
    history: list[Round] = field(default_factory=list)
    result: receiver_pb2.Reconstruction | None = None
    next_round: asyncio.Event = field(default_factory=asyncio.Event)
    requested: dict[int, Ints] = field(default_factory=dict)
    feedback_task: asyncio.Task[None] | None = None
    feedback_s: float = 0.0

    @property
    def awaits_round(self) -> bool:
        """Whether a further round was requested and has not begun to arrive."""
        return self.feedback_task is not None and not self.next_round.is_set()


class RoundOwner(Protocol):
    """The link stream of a round, as the decode loop sees it."""

    async def unpack_round(self, job: DecodeJob) -> DecodeInput | None:
        """Unpack and acknowledge the round. Return the frame to decode, or None if there is nothing to decode."""

    async def conclude(self, job: DecodeJob, outcome: Outcome) -> None:
        """Finish the frame with the result of the decoder, or request a further round."""

    def fail_frame(self, job: DecodeJob, error: Exception) -> None:
        """Let the frame fail, unless it has ended."""

    def job_done(self) -> None:
        """Note that a job was processed, successfully or not."""


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """A round that waits for the decoder.

    Attributes:
        session: the owner of the link stream that the round arrived on.
        frame: the frame of the round; None if the frame had ended before. Such a round is acknowledged, not decoded.
        arrived: the round's packets.
    """

    session: RoundOwner
    frame: Frame | None
    arrived: ArrivedRound


@dataclass(frozen=True, slots=True)
class LinkDependencies:
    """Objects that all link streams of a receiver share.

    Attributes:
        settings: settings of the receiver.
        decoders: worker that runs the decoders and the tasks.
        tasks: the tasks, to be used in that worker's thread.
        feedback_client: client of the transmitter's FeedbackService.
        decode_queue: rounds that wait for the decoder.
        draining: set when the service begins to stop.
    """

    settings: ReceiverSettings
    decoders: Decoders
    tasks: LoadedTasks
    feedback_client: FeedbackClient
    decode_queue: asyncio.Queue[DecodeJob]
    draining: asyncio.Event = field(default_factory=asyncio.Event)
