"""What the receiver knows of frames that are not finished, and what its link streams share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from gocom.common.settings import ReceiverSettings
from gocom.common.types import FrameHeader, Ints, ReceivedMessage
from gocom.receiver.feedback import FeedbackClient
from gocom.receiver.frame_decoding import Decoders, Outcome, Undecoded
from gocom.receiver.round_assembly import ArrivedRound
from gocom.v1 import receiver_pb2


@dataclass(slots=True, eq=False)
class Frame:
    """A frame that is not finished.

    Attributes:
        repeated: an earlier stream may have brought it, and it may be finished there yet.
        begun: rounds whose header came; ended: those whose end mark came, too.
        rounds: those unpacked.
        result: the best that can be told subscribers so far.
        next_round: set when the header of the round that was asked for comes.
        asked: spans by segment kind that the last feedback named.
        asking: the task that asks for it and waits.
        feedback_s: time spent so, from asking to the next round's header.
    """

    header: FrameHeader
    repeated: bool = False
    begun: int = 1
    ended: int = 0
    rounds: list[ReceivedMessage] = field(default_factory=list)
    result: receiver_pb2.Reconstruction | None = None
    next_round: asyncio.Event = field(default_factory=asyncio.Event)
    asked: dict[int, Ints] = field(default_factory=dict)
    asking: asyncio.Task[None] | None = None
    feedback_s: float = 0.0


class RoundOwner(Protocol):
    """The link stream that a round came on, as the decode loop sees it."""

    async def take_round(self, job: DecodeJob) -> Undecoded | None:
        """Unpack and acknowledge the round. Returns what is to be decoded, or None where nothing is."""

    def conclude(self, job: DecodeJob, outcome: Outcome) -> None:
        """Finish the frame with what the decoder made of its rounds, or ask for a further round."""

    def give_up(self, job: DecodeJob, error: Exception) -> None:
        """Let the frame fail, unless it has ended."""

    def done(self) -> None:
        """Note that a job has been handled, whatever became of it."""


@dataclass(frozen=True, slots=True)
class DecodeJob:
    """A round that waits for the decoder.

    Attributes:
        session: the link stream that the round came on.
        frame: the frame it belongs to; None where it came after the frame was finished.
        arrived: its packets.
    """

    session: RoundOwner
    frame: Frame | None
    arrived: ArrivedRound


@dataclass(frozen=True, slots=True)
class LinkDependencies:
    """What all link streams of a receiver share.

    Attributes:
        jobs: rounds that wait for the decoder.
        drained: set when the service begins to stop.
    """

    settings: ReceiverSettings
    decoders: Decoders
    feedback: FeedbackClient
    jobs: asyncio.Queue[DecodeJob]
    drained: asyncio.Event = field(default_factory=asyncio.Event)
