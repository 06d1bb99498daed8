"""The open frames of a session, and the events that their client gets."""

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
from gocom.transmitter.resources.repair_and_power import DeliverySession
from gocom.v1 import transmitter_pb2

log = get_logger("transmitter")

Response = transmitter_pb2.TransmitResponse

INVALID = transmitter_pb2.FAILURE_KIND_INVALID
UNDECODABLE = transmitter_pb2.FAILURE_KIND_UNDECODABLE
LINK = transmitter_pb2.FAILURE_KIND_LINK
INTERNAL = transmitter_pb2.FAILURE_KIND_INTERNAL


@dataclass(slots=True, eq=False)
class Frame:
    """A frame that has no terminal event yet.

    Attributes:
        index: frame index in the session.
        request: the checked request with its image; None once the encoder has taken it. The outbox still has it then.
        codec: name of the codec.
        history: events so far. The first one is `accepted`, unless the frame failed before it was accepted.
        repeated: whether the receiver may have seen the frame before.
        earlier_starts: number of earlier runs of the service in which the frame reached the encoder.
        cuts: number of times the link was cut while the frame was on it.
        session: the encoder's state for further rounds; None until the first round is encoded.
        headers: headers of the rounds that were encoded, from which feedback is understood.
        rounds: limits and feedback policy of the frame's rounds.
        last_round: index of the last round that was encoded; -1 if there is none.
        on_link: whether any part of the frame was given to the link.
        feedback_bytes: size of all feedback messages for the frame and of their answers, including attempts that were
            lost on the way.
        attempts: number of attempts counted in `feedback_bytes`, by the round that the feedback answers.
        timer: fires when nothing was heard of the frame on the link for too long.
    """

    index: int
    request: FrameRequest | None = None
    codec: str = ""
    history: list[Response] = field(default_factory=list)
    repeated: bool = False
    earlier_starts: int = 0
    cuts: int = 0
    session: DeliverySession | None = None
    headers: list[FrameHeader] = field(default_factory=list)
    rounds: RoundSettings = field(default_factory=RoundSettings)
    last_round: int = -1
    on_link: bool = False
    feedback_bytes: int = 0
    attempts: dict[int, int] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None

    def reset(self) -> None:
        """Return to the state after acceptance and count the cut of the link."""
        if self.timer is not None:
            self.timer.cancel()
        self.session = self.timer = None
        self.headers = []
        self.last_round, self.on_link, self.feedback_bytes, self.attempts = -1, False, 0, {}
        self.repeated = True
        self.cuts += 1


def is_terminal(event: Response) -> bool:
    """Return whether the event is the last one of its frame."""
    return event.WhichOneof("event") in ("completed", "failed")


class ClientStream:
    """The output of one Transmit stream.

    Attributes:
        events: events to write, in order. None ends the stream; an exception ends it with that error.
        unwritten_terminals: number of terminal events that were queued but not yet written.
        reading: the task that takes requests from the stream; None before it starts.
    """

    def __init__(self) -> None:
        self.reading: asyncio.Task[None] | None = None
        self.events: asyncio.Queue[Response | Exception | None] = asyncio.Queue()
        self.unwritten_terminals = 0

    def put(self, event: Response) -> None:
        """Queue an event."""
        self.unwritten_terminals += is_terminal(event)
        self.events.put_nowait(event)

    def mark_written(self, event: Response) -> None:
        """Note that an event was written."""
        self.unwritten_terminals -= is_terminal(event)

    def end(self, error: Exception) -> None:
        """End the stream with an error and stop reading its requests, even while a write is blocked."""
        self.events.put_nowait(error)
        if self.reading is not None:
            self.reading.cancel()


class FrameTable:
    """Open frames by index. Each frame gets exactly one terminal event.

    Args:
        session_id: name of the session, for logs.
        limit: maximum number of open frames. A frame keeps its slot until its terminal event is written, so requests
            of a client that does not read its events are not read either.
        on_end: called with each frame that has ended; its history then includes the terminal event.

    Attributes:
        client_stream: the stream that events are written to; None while no client is connected.
        idle: set while no frame is open.
    """

    def __init__(self, session_id: str, limit: int, on_end: Callable[[Frame], None]) -> None:
        self.session_id = session_id
        self.client_stream: ClientStream | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self._frames: dict[int, Frame] = {}
        self._limit, self._on_end = limit, on_end
        self._room = asyncio.Event()

    async def wait_for_room(self) -> None:
        """Wait until another frame may be opened."""
        while len(self._frames) + (self.client_stream.unwritten_terminals if self.client_stream else 0) >= self._limit:
            self._room.clear()
            await self._room.wait()

    def add(self, index: int) -> Frame:
        """Open a frame. Raises InvalidInput if a frame with that index is open."""
        if index in self._frames:
            raise InvalidInput(f"frame_index: {index} is open already")
        self.idle.clear()
        frame = self._frames[index] = Frame(index)
        return frame

    def remove(self, frame: Frame) -> None:
        """Remove a frame that was never accepted; it gets no event."""
        del self._frames[frame.index]
        self._changed()

    def get(self, index: int) -> Frame | None:
        """Return the open frame with that index, or None."""
        return self._frames.get(index)

    def is_open(self, frame: Frame) -> bool:
        """Return whether the frame is still open."""
        return self._frames.get(frame.index) is frame

    def open_frames(self) -> list[Frame]:
        """Return all open frames that were accepted, of which none is on the link while it is down."""
        return [frame for frame in self._frames.values() if frame.history]

    def frames_on_link(self) -> list[Frame]:
        """Return the frames of which any part was given to the link."""
        return [frame for frame in self._frames.values() if frame.on_link]

    def name(self, frame: Frame) -> str:
        """Return the frame_id that logs use."""
        return frame_id(self.session_id, frame.index)

    def mark_written(self, stream: ClientStream, event: Response) -> None:
        """Note that an event was written to the client, which may free a slot."""
        stream.mark_written(event)
        self._room.set()

    def attach(self, stream: ClientStream | None) -> None:
        """Write all further events to this stream; None keeps them for the next stream of the session."""
        self.client_stream = stream
        self._room.set()

    def emit(self, frame: Frame, **event: Any) -> None:
        """Add an event to the frame's history and queue it for the client. Does nothing once the frame has ended."""
        if not self.is_open(frame):
            return
        response = Response(frame_index=frame.index, **event)
        frame.history.append(response)
        if self.client_stream is not None:
            self.client_stream.put(response)

    def replay(self, history: Sequence[Response]) -> None:
        """Send the client all events of a frame once more, with `resumed` set in `accepted`."""
        if self.client_stream is None or not history:
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
            self.client_stream.put(event)

    def restart_timer(self, frame: Frame, timeout_s: float, on_silence: Callable[[Frame], None]) -> None:
        """Start or restart the timer of a frame: `on_silence` is called with the frame after `timeout_s` seconds."""
        if frame.timer is not None:
            frame.timer.cancel()
        frame.timer = asyncio.get_running_loop().call_later(timeout_s, on_silence, frame)

    def retry(self, frame: Frame, reason: str) -> None:
        """Reset the frame after a cut of the link and emit `retried`."""
        frame.reset()
        log.info("frame begins again", frame_id=self.name(frame), cuts=frame.cuts, reason=reason)
        self.emit(frame, retried=transmitter_pb2.FrameRetried(reason=reason))

    def complete(self, frame: Frame, rounds: int) -> None:
        """End the frame with `completed`: the receiver has made a picture."""
        done = transmitter_pb2.FrameCompleted(rounds=rounds, feedback_bytes=frame.feedback_bytes)
        self._end(frame, "completed", completed=done)

    def fail(self, frame: Frame, kind: transmitter_pb2.FailureKind.ValueType, reason: str) -> None:
        """End the frame with `failed`: there is no picture."""
        outcome = transmitter_pb2.FailureKind.Name(kind).removeprefix("FAILURE_KIND_").lower()
        failed = transmitter_pb2.FrameFailed(kind=kind, reason=reason, feedback_bytes=frame.feedback_bytes)
        self._end(frame, outcome, reason, failed=failed)

    def fail_with(self, frame: Frame, error: Exception) -> None:
        """End the frame with the kind of failure that an exception from its request or its encoder stands for."""
        if isinstance(error, InvalidInput | UnknownName | TooLarge):
            self.fail(frame, INVALID, str(error))
        elif isinstance(error, GoComError):
            self.fail(frame, INTERNAL, str(error))
        else:
            log.error("frame failed", frame_id=self.name(frame), exc_info=error)
            self.fail(frame, INTERNAL, f"internal error ({type(error).__name__}); see the log of the transmitter")

    def close(self) -> None:
        """Stop the timers of all frames."""
        for frame in self._frames.values():
            if frame.timer is not None:
                frame.timer.cancel()

    def _end(self, frame: Frame, outcome: str, reason: str = "", **event: Any) -> None:
        if not self.is_open(frame):
            return
        self.emit(frame, **event)
        del self._frames[frame.index]
        if frame.timer is not None:
            frame.timer.cancel()
        FRAMES.labels("transmitter", frame.codec, outcome).inc()
        why = {"reason": reason} if reason else {}
        log.info("frame ended", frame_id=self.name(frame), outcome=outcome, **why)
        self._on_end(frame)
        self._changed()

    def _changed(self) -> None:
        self._room.set()
        if not self._frames:
            self.idle.set()
