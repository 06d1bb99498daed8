"""The frames of a link stream that are not finished: whether each has enough, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gocom.common.errors import GoComError
from gocom.common.logs import frame_id, get_logger
from gocom.common.service_metrics import FRAMES
from gocom.common.types import FrameHeader, Ints, LinkSettings, Reconstruction
from gocom.receiver.feedback import wanted_elements
from gocom.receiver.frame_decoding import failure_to_proto
from gocom.receiver.frames import Frame, LinkDependencies
from gocom.receiver.session_records import SessionRecord
from gocom.v1 import link_pb2, receiver_pb2

log = get_logger("receiver")

_SERVICE = "receiver"


class FrameTable:
    """Open frames by index; each ends with one outcome for the sender and one picture for subscribers.

    A frame whose stream is gone, or that a stopping service would have to ask more for, ends with neither: the sender
    brings it again on another stream.

    Args:
        session_id: of the stream.
        link: its settings.
        record: where pictures go.
        dependencies: what all streams share.
        on_change: called when there are fewer.

    Attributes:
        responses: what goes back to the sender; None: the end.
    """

    def __init__(
        self, session_id: str, link: LinkSettings, record: SessionRecord, dependencies: LinkDependencies,
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        self.session_id, self.link = session_id, link
        self.responses: asyncio.Queue[link_pb2.SendResponse | None] = asyncio.Queue()
        self._record, self._dependencies, self._on_change = record, dependencies, on_change
        self._frames: dict[int, Frame] = {}
        self._gone = False
        record.streams.add(self)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def get(self, index: int) -> Frame | None:
        """The open frame of that index."""
        return self._frames.get(index)

    def is_open(self, frame: Frame) -> bool:
        """It has not ended yet."""
        return self._frames.get(frame.header.frame_index) is frame

    def add(self, header: FrameHeader, repeated: bool) -> Frame:
        """Begin a frame."""
        frame = self._frames[header.frame_index] = Frame(header, repeated)
        return frame

    def name(self, index: int) -> str:
        """frame_id for logs."""
        return frame_id(self.session_id, index)

    def decide(self, frame: Frame, picture: Reconstruction | None) -> None:
        """Finish the frame, or ask for more."""
        if not self.is_open(frame):
            return
        waiting = sum(1 for other in self._frames.values() if other.asking is not None and not other.asking.done())
        wanted = wanted_elements(frame.rounds, picture)
        if not wanted or waiting >= self._dependencies.settings.open_frames:
            self.finish(frame)
        elif self._gone:
            self._leave(frame)
        elif self._dependencies.drained.is_set():
            self._drop(frame)
        else:
            frame.next_round, frame.asked = asyncio.Event(), wanted
            frame.asking = asyncio.create_task(self._ask(frame, wanted))

    def finish(self, frame: Frame) -> None:
        """Tell both sides how the frame ended, once."""
        index, result = frame.header.frame_index, frame.result
        if not self.is_open(frame) or result is None:
            return
        if frame.feedback_s:
            result.stages.add(stage="feedback", seconds=frame.feedback_s)
        # A link that was cut may bring a frame twice, and both may be decoded; subscribers get one picture of it.
        if not ((frame.repeated or self._gone) and self._record.find(index)):
            self._record.add(result, self)
        self.answer(result)
        status = link_pb2.FrameStatus.Name(result.status).removeprefix("FRAME_STATUS_").lower()
        FRAMES.labels(_SERVICE, frame.header.codec, status).inc()
        log.info("frame ended", frame_id=self.name(index), status=status, rounds=result.rounds)
        self._drop(frame)

    def refuse(self, index: int, error: GoComError) -> None:
        """What came of a frame is not valid: it ends with what there was before, if there was anything."""
        log.warning("frame refused", frame_id=self.name(index), reason=str(error))
        frame = self._frames.get(index)
        if frame is not None and frame.result is not None:
            self.finish(frame)
            return
        if frame is not None and frame.ended == frame.begun:
            return  # all that came of it before is in work, and will have its outcome
        if frame is not None:
            self._drop(frame)
        refused = failure_to_proto(index, [], str(error))
        refused.status = link_pb2.FRAME_STATUS_REFUSED
        if self._record.find(index) is None:
            self._record.add(refused, self)
        self.answer(refused)

    def answer(self, result: receiver_pb2.Reconstruction) -> None:
        """Tell the sender how a frame ended."""
        outcome = link_pb2.FrameOutcome(
            frame_index=result.frame_index, status=result.status, reason=result.reason, rounds=result.rounds
        )
        self.responses.put_nowait(link_pb2.SendResponse(outcome=outcome))

    def disown(self, index: int) -> None:
        """Another stream brings the frame anew: this one has been cut, and nobody has noticed yet."""
        if (frame := self._frames.get(index)) is not None:
            if frame.asking is not None:
                frame.asking.cancel()
            self._drop(frame)

    async def drain(self) -> None:
        """The service stops: frames that wait for a further round will not get it here."""
        for frame in await self._stop_asking():
            self._drop(frame)

    async def close(self) -> None:
        """The stream is gone. What is in work is finished for subscribers; a frame that wants more may yet get it."""
        self._gone = True
        self._record.streams.discard(self)
        for frame in await self._stop_asking():
            self._leave(frame)
        for frame in [frame for frame in self._frames.values() if frame.ended < frame.begun]:
            self._drop(frame)

    async def _ask(self, frame: Frame, wanted: dict[int, Ints]) -> None:
        start, index = time.perf_counter(), frame.header.frame_index
        try:
            report = self._record.link.report()
            if await self._dependencies.feedback.ask(self.session_id, frame.rounds, wanted, self.link, report):
                async with asyncio.timeout(self._dependencies.settings.feedback_timeout_s):
                    await frame.next_round.wait()
                return
        except TimeoutError:
            log.warning("further round did not come", frame_id=self.name(index), rounds=len(frame.rounds))
        except Exception as error:  # the frame still has its picture, and its outcome must go out
            log.error("feedback failed", frame_id=self.name(index), exc_info=error)
        finally:
            frame.feedback_s += time.perf_counter() - start
        # The round may have begun while the answer was lost.
        if not frame.next_round.is_set():
            self.finish(frame)

    async def _stop_asking(self) -> list[Frame]:
        """Frames that were waiting for a further round."""
        waiting = [frame for frame in self._frames.values() if frame.asking is not None and not frame.asking.done()]
        for frame in waiting:
            assert frame.asking is not None
            frame.asking.cancel()
            await asyncio.gather(frame.asking, return_exceptions=True)
        return [frame for frame in waiting if self.is_open(frame)]

    def _drop(self, frame: Frame) -> None:
        del self._frames[frame.header.frame_index]
        self._on_change()

    def _leave(self, frame: Frame) -> None:
        """What there is of it is told to subscribers, unless another stream brings the frame again before long."""
        self._drop(frame)
        index, result = frame.header.frame_index, frame.result

        def tell() -> None:
            heir = any(index in stream for stream in self._record.streams)
            if result is not None and not heir and self._record.find(index) is None:
                self._record.add(result)

        asyncio.get_running_loop().call_later(self._dependencies.settings.feedback_timeout_s, tell)
