"""The frames of a session that are not finished, and the events a client gets of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gocom.common.errors import GoComError, InvalidInput, TooLarge, UnknownName
from gocom.common.logs import frame_id, get_logger
from gocom.common.service_metrics import FRAMES
from gocom.common.types import FrameHeader, RoundSettings
from gocom.transmitter.frame_encoding import FrameRequest
from gocom.transmitter.resources.delivery import DeliverySession
from gocom.v1 import transmitter_pb2

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
        request: what was asked for; dropped, with its image, once encoded. The outbox has it still.
        history: events so far; the first one is `accepted`, unless the frame failed before that.
        repeated: the receiver may have had it before.
        begun: in how many runs of the service before this one it was begun.
        cuts: how often the link was cut while the frame was on it.
        session: the encoder's state, for later rounds.
        header: of the first round; feedback names its elements.
        last_round: the last one that was encoded; -1: none yet.
        on_link: the link has been given something of it.
        feedback_bytes: of all feedback messages and their answers, attempts that were lost on the way included.
        attempts: at a feedback message that are in it, by the round which that answers.
        timer: fires when the link is silent about it for too long.
    """

    index: int
    request: FrameRequest | None = None
    codec: str = ""
    history: list[Response] = field(default_factory=list)
    repeated: bool = False
    begun: int = 0
    cuts: int = 0
    session: DeliverySession | None = None
    header: FrameHeader | None = None
    rounds: RoundSettings = field(default_factory=RoundSettings)
    last_round: int = -1
    on_link: bool = False
    feedback_bytes: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    def begin_again(self) -> None:
        """Back to where it was when it was accepted."""
        if self.timer is not None:
            self.timer.cancel()
        self.session = self.header = self.timer = None
        self.last_round, self.on_link, self.feedback_bytes, self.attempts = -1, False, 0, {}
        self.repeated = True
        self.cuts += 1


def is_terminal(event: Response) -> bool:
    """Nothing follows it."""
    return event.WhichOneof("event") in ("completed", "failed")


class Listener:
    """What one Transmit stream has to write.

    Attributes:
        events: in order; None: the stream ends; an exception: it ends with that.
        untold: terminal events among them that were not written yet.
        reading: the task that takes requests of the stream.
    """

    def __init__(self) -> None:
        self.reading: asyncio.Task[None] | None = None
        self.events: asyncio.Queue[Response | Exception | None] = asyncio.Queue()
        self.untold = 0

    def put(self, event: Response) -> None:
        """Queue an event."""
        self.untold += is_terminal(event)
        self.events.put_nowait(event)

    def told(self, event: Response) -> None:
        """The client has been given an event."""
        self.untold -= is_terminal(event)

    def end(self, error: Exception) -> None:
        """End the stream with that; nothing more is taken from it, even while an event is stuck in a write."""
        self.events.put_nowait(error)
        if self.reading is not None:
            self.reading.cancel()


class FrameTable:
    """Open frames by index; sees to it that each gets exactly one terminal event.

    Args:
        session_id: for logs.
        limit: frames open at a time. A slot is free again when the client has been told how the frame ended, so
            that a client which does not read its events is not read from either.
        on_end: called with each frame that has ended; its history then has the terminal event.
    """

    def __init__(self, session_id: str, limit: int, on_end: Callable[[Frame], None]) -> None:
        self.session_id = session_id
        self.listener: Listener | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._frames: dict[int, Frame] = {}
        self._limit, self._on_end = limit, on_end
        self._room = asyncio.Event()

    async def room(self) -> None:
        """Wait until a further frame may begin."""
        while len(self._frames) + (self.listener.untold if self.listener else 0) >= self._limit:
            self._room.clear()
            await self._room.wait()

    def add(self, index: int) -> Frame:
        """Begin a frame. Raises InvalidInput for the index of an open one."""
        if index in self._frames:
            raise InvalidInput(f"frame_index: {index} is open already")
        self.idle.clear()
        frame = self._frames[index] = Frame(index)
        return frame

    def drop(self, frame: Frame) -> None:
        """As if it had never begun."""
        del self._frames[frame.index]
        self._changed()

    def get(self, index: int) -> Frame | None:
        """The open frame of that index."""
        return self._frames.get(index)

    def is_open(self, frame: Frame) -> bool:
        """It has not ended yet."""
        return self._frames.get(frame.index) is frame

    def on_link(self) -> list[Frame]:
        """Frames of which the link has been given something."""
        return [frame for frame in self._frames.values() if frame.on_link]

    def name(self, frame: Frame) -> str:
        """frame_id for logs."""
        return frame_id(self.session_id, frame.index)

    def told(self, listener: Listener, event: Response) -> None:
        """The client has been given an event."""
        listener.told(event)
        self._room.set()

    def listen(self, listener: Listener | None) -> None:
        """From now on events go there, and only there; None: they are kept for who comes later."""
        self.listener = listener
        self._room.set()

    def emit(self, frame: Frame, **event: Any) -> None:
        """Tell the client of an open frame; nothing follows a terminal event."""
        if not self.is_open(frame):
            return
        response = Response(frame_index=frame.index, **event)
        frame.history.append(response)
        if self.listener is not None:
            self.listener.put(response)

    def replay(self, history: Sequence[Response]) -> None:
        """Tell the client, once more, all that happened to a frame so far."""
        if self.listener is None or not history:
            return
        accepted = transmitter_pb2.FrameAccepted(resumed=True)
        rest = list(history)
        if rest[0].WhichOneof("event") == "accepted":
            taken = rest.pop(0).accepted
            accepted.width_px, accepted.height_px, accepted.acceptance = (
                taken.width_px,
                taken.height_px,
                taken.acceptance,
            )
        for event in (Response(frame_index=history[0].frame_index, accepted=accepted), *rest):
            self.listener.put(event)

    def watch(self, frame: Frame, timeout_s: float, on_silence: Callable[[Frame], None]) -> None:
        """(Re)start the timer of a frame."""
        if frame.timer is not None:
            frame.timer.cancel()
        frame.timer = asyncio.get_running_loop().call_later(timeout_s, on_silence, frame)

    def retry(self, frame: Frame, reason: str) -> None:
        """The frame begins again."""
        frame.begin_again()
        log.info("frame begins again", frame_id=self.name(frame), cuts=frame.cuts, reason=reason)
        self.emit(frame, retried=transmitter_pb2.FrameRetried(reason=reason))

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
        self._on_end(frame)
        self._changed()

    def _changed(self) -> None:
        self._room.set()
        if not self._frames:
            self.idle.set()
