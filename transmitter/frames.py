"""The frames of a Transmit stream that are not finished, and the events a client gets of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from common.errors import GoComError, InvalidInput, TooLarge, UnknownName
from common.interfaces import EncoderSession
from common.logs import frame_id, get_logger
from common.metrics import FRAMES
from common.types import FrameHeader, RoundSettings
from gocom.v1 import transmitter_pb2
from transmitter.encoding import FrameRequest

log = get_logger("transmitter")

Response = transmitter_pb2.TransmitResponse

INVALID = transmitter_pb2.FAILURE_KIND_INVALID
UNDECODABLE = transmitter_pb2.FAILURE_KIND_UNDECODABLE
LINK = transmitter_pb2.FAILURE_KIND_LINK
INTERNAL = transmitter_pb2.FAILURE_KIND_INTERNAL


@dataclass(slots=True, eq=False)
class Frame:
    """A frame that is not finished.

    Attributes:
        request: what was asked for; dropped, with its image, once encoded.
        session: the encoder's state, for later rounds.
        header: of the first round; feedback names its elements.
        last_round: the last one that was encoded; -1: none yet.
        on_link: the link has been given something of it.
        feedback_bytes: of all feedback messages and their answers, repeats included.
        timer: fires when the link is silent about it for too long.
    """

    index: int
    request: FrameRequest | None = None
    codec: str = ""
    session: EncoderSession | None = None
    header: FrameHeader | None = None
    rounds: RoundSettings = field(default_factory=RoundSettings)
    last_round: int = -1
    on_link: bool = False
    feedback_bytes: int = 0
    timer: asyncio.TimerHandle | None = None


class FrameTable:
    """Open frames by index; sees to it that each gets exactly one terminal event.

    Args:
        session_id: for logs.
        limit: frames open at a time. A slot is free again when the client has been told how the frame ended, so
            that a client which does not read its events is not read from either.
    """

    def __init__(self, session_id: str, limit: int) -> None:
        self.session_id = session_id
        self.events: asyncio.Queue[Response | None] = asyncio.Queue()
        self.idle = asyncio.Event()
        self.idle.set()
        self._frames: dict[int, Frame] = {}
        self._used: set[int] = set()
        self._slots = asyncio.Semaphore(limit)

    async def add(self, index: int) -> Frame:
        """Begin a frame, once there is room. Raises InvalidInput for an index that was used before."""
        if index in self._used:
            raise InvalidInput(f"frame_index: {index} was used before in the session")
        await self._slots.acquire()
        self._used.add(index)
        self.idle.clear()
        frame = self._frames[index] = Frame(index)
        return frame

    def get(self, index: int) -> Frame | None:
        """The open frame of that index."""
        return self._frames.get(index)

    def is_open(self, frame: Frame) -> bool:
        """It has not ended yet."""
        return self._frames.get(frame.index) is frame

    def name(self, frame: Frame) -> str:
        """frame_id for logs."""
        return frame_id(self.session_id, frame.index)

    def told(self, event: Response) -> None:
        """The client has been given an event."""
        if event.WhichOneof("event") in ("completed", "failed"):
            self._slots.release()

    def emit(self, frame: Frame, **event: Any) -> None:
        """Tell the client of an open frame; nothing follows a terminal event."""
        if self.is_open(frame):
            self.events.put_nowait(Response(frame_index=frame.index, **event))

    def watch(self, frame: Frame, timeout_s: float, on_silence: Callable[[Frame], None]) -> None:
        """(Re)start the timer of a frame."""
        if frame.timer is not None:
            frame.timer.cancel()
        frame.timer = asyncio.get_running_loop().call_later(timeout_s, on_silence, frame)

    def complete(self, frame: Frame, rounds: int) -> None:
        """Terminal: a picture was re-created."""
        done = transmitter_pb2.FrameCompleted(rounds=rounds, feedback_bytes=frame.feedback_bytes)
        self._end(frame, "completed", completed=done)

    def fail(self, frame: Frame, kind: transmitter_pb2.FailureKind.ValueType, reason: str) -> None:
        """Terminal: no picture."""
        outcome = transmitter_pb2.FailureKind.Name(kind).removeprefix("FAILURE_KIND_").lower()
        failed = transmitter_pb2.FrameFailed(kind=kind, reason=reason, feedback_bytes=frame.feedback_bytes)
        self._end(frame, outcome, failed=failed)

    def fail_by(self, frame: Frame, error: Exception) -> None:
        """Terminal: what an exception of request or encoder means."""
        if isinstance(error, InvalidInput | UnknownName | TooLarge):
            self.fail(frame, INVALID, str(error))
        elif isinstance(error, GoComError):
            self.fail(frame, INTERNAL, str(error))
        else:
            log.error("frame failed", frame_id=self.name(frame), exc_info=error)
            self.fail(frame, INTERNAL, f"internal error ({type(error).__name__}); see the log of the transmitter")

    def fail_on_link(self, error: Exception) -> None:
        """Terminal for every frame the lost link was given something of."""
        for frame in [f for f in self._frames.values() if f.on_link]:
            self.fail(frame, LINK, str(error))

    def close(self) -> None:
        """Stop all timers."""
        for frame in self._frames.values():
            if frame.timer is not None:
                frame.timer.cancel()

    def _end(self, frame: Frame, outcome: str, **event: Any) -> None:
        if not self.is_open(frame):
            return
        self.emit(frame, **event)
        del self._frames[frame.index]
        if frame.timer is not None:
            frame.timer.cancel()
        FRAMES.labels("transmitter", frame.codec, outcome).inc()
        log.info("frame ended", frame_id=self.name(frame), outcome=outcome)
        if not self._frames:
            self.idle.set()
