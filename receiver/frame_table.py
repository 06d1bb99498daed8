"""The open frames of a link stream: which need a further round, and how each one ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gocom.common.errors import GoComError
from gocom.common.goals import Round, append_round
from gocom.common.logs import frame_id, get_logger
from gocom.common.service_metrics import FRAMES
from gocom.common.tasks import TaskResult
from gocom.common.types import Feedback, FrameHeader, LinkSettings, Reconstruction
from gocom.receiver.feedback_policy import policy_for
from gocom.receiver.frame_decoding import failure_to_proto
from gocom.receiver.link_state import Frame, LinkDependencies
from gocom.receiver.session_pictures import SessionRecord
from gocom.v1 import link_pb2, receiver_pb2

log = get_logger("receiver")

_SERVICE = "receiver"


class FrameTable:
    """Open frames by index. Each ends with one outcome for the sender and one picture for subscribers.

    A frame gets neither if its stream has ended, or if the service is stopping and the frame needs a further round.
    The sender then sends it again on another stream. If it does not, subscribers of a stream that has ended get the
    last result of the frame.

    Args:
        session_id: name of the stream's session.
        link: link settings of the stream.
        record: record that pictures are added to.
        dependencies: objects that all link streams share.
        on_change: called when a frame was removed.

    Attributes:
        responses: responses to the sender; None ends the stream.
    """

    def __init__(
        self, session_id: str, link: LinkSettings, record: SessionRecord, dependencies: LinkDependencies,
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        self.session_id, self.link = session_id, link
        self.responses: asyncio.Queue[link_pb2.SendResponse | None] = asyncio.Queue()
        self._record, self._dependencies, self._on_change = record, dependencies, on_change
        self._frames: dict[int, Frame] = {}
        self._stream_ended = False
        record.streams.add(self)

    def __len__(self) -> int:
        return len(self._frames)

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def get(self, index: int) -> Frame | None:
        """Return the open frame with that index, or None."""
        return self._frames.get(index)

    def is_open(self, frame: Frame) -> bool:
        """Return whether the frame is still open."""
        return self._frames.get(frame.header.frame_index) is frame

    def add(self, header: FrameHeader, repeated: bool) -> Frame:
        """Open a frame."""
        frame = self._frames[header.frame_index] = Frame(header, repeated)
        return frame

    def name(self, index: int) -> str:
        """Return the frame_id that logs use."""
        return frame_id(self.session_id, index)

    async def finish_or_request_round(
        self, frame: Frame, picture: Reconstruction | None, task_result: TaskResult | None
    ) -> None:
        """Finish the frame, or request a further round, as the policy that holds for it says.

        The policy runs in the worker's thread, because it may have to merge all rounds of a large frame.

        Args:
            frame: a frame whose latest round was decoded.
            picture: its picture; None: decoding failed.
            task_result: result of the goal's task on the picture; None: there is none.
        """
        if not self.is_open(frame):
            return
        append_round(frame.history, Round(frame.rounds[-1], picture, task_result))
        policy = policy_for(frame.header.rounds, frame.goal.goal)
        feedback = await self._dependencies.decoders.run(partial(policy.next, frame.history))
        if not self.is_open(frame):
            return
        if feedback is None or len(self._waiting()) >= self._dependencies.settings.open_frames:
            self.finish(frame)
        elif self._stream_ended:
            self._publish_later(frame)
        elif self._dependencies.draining.is_set():
            self._remove(frame)
        else:
            frame.next_round, frame.requested = asyncio.Event(), dict(feedback.wanted)
            frame.feedback_task = asyncio.create_task(self._request_round(frame, feedback))

    def finish(self, frame: Frame) -> None:
        """Send the outcome to the sender and the picture to subscribers, unless the frame has ended."""
        index, result = frame.header.frame_index, frame.result
        if not self.is_open(frame) or result is None:
            return
        if frame.feedback_s:
            result.stages.add(stage="feedback", seconds=frame.feedback_s)
        # After a cut of the link a frame may be decoded on both streams; subscribers get only one picture of it.
        if not ((frame.repeated or self._stream_ended) and self._record.find(index)):
            self._record.add(result, self)
        self.answer(result)
        status = link_pb2.FrameStatus.Name(result.status).removeprefix("FRAME_STATUS_").lower()
        FRAMES.labels(_SERVICE, frame.header.codec, status).inc()
        log.info("frame ended", frame_id=self.name(index), status=status, rounds=result.rounds)
        self._remove(frame)

    def refuse(self, index: int, error: GoComError) -> None:
        """End a frame of which an item is invalid; it ends with the result of its earlier rounds if there is one."""
        log.warning("frame refused", frame_id=self.name(index), reason=str(error))
        frame = self._frames.get(index)
        if frame is not None and len(frame.history) < frame.rounds_ended == frame.rounds_begun:
            return  # its earlier rounds are still being decoded, and end it
        if frame is not None and frame.result is not None:
            self.finish(frame)
            return
        if frame is not None:
            self._remove(frame)
        refused = failure_to_proto(index, [], str(error), self._record.goal.revision)
        refused.status = link_pb2.FRAME_STATUS_REFUSED
        if self._record.find(index) is None:
            self._record.add(refused, self)
        self.answer(refused)

    def answer(self, result: receiver_pb2.Reconstruction) -> None:
        """Send the outcome of a frame to the transmitter, on the link stream."""
        outcome = link_pb2.FrameOutcome(
            frame_index=result.frame_index, status=result.status, reason=result.reason, rounds=result.rounds
        )
        self.responses.put_nowait(link_pb2.SendResponse(outcome=outcome))

    def hand_over(self, index: int) -> None:
        """Remove a frame that another stream has brought again, because this stream was cut."""
        if (frame := self._frames.get(index)) is not None:
            if frame.feedback_task is not None:
                frame.feedback_task.cancel()
            self._remove(frame)

    async def drain(self) -> None:
        """Remove the frames that wait for a further round, because the service is stopping."""
        for frame in await self._cancel_feedback():
            self._remove(frame)

    async def close(self) -> None:
        """Handle the end of the stream.

        Frames that are being decoded are still finished for subscribers, and those that wait for a further round may
        get it on another stream. Frames with an incomplete round are removed.
        """
        self._stream_ended = True
        self._record.streams.discard(self)
        for frame in await self._cancel_feedback():
            self._publish_later(frame)
        for frame in [frame for frame in self._frames.values() if frame.rounds_ended < frame.rounds_begun]:
            self._remove(frame)

    async def _request_round(self, frame: Frame, feedback: Feedback) -> None:
        start, index = time.perf_counter(), frame.header.frame_index
        try:
            feedback = replace(feedback, link=self._record.link.report())
            headers = [message.frame for message in frame.rounds]
            if await self._dependencies.feedback_client.ask(self.session_id, feedback, headers, self.link):
                async with asyncio.timeout(self._dependencies.settings.feedback_timeout_s):
                    await frame.next_round.wait()
                return
        except TimeoutError:
            log.warning("further round did not come", frame_id=self.name(index), rounds=len(frame.rounds))
        except Exception as error:  # the frame still has a result, and the sender waits for its outcome
            log.error("feedback failed", frame_id=self.name(index), exc_info=error)
        finally:
            frame.feedback_s += time.perf_counter() - start
        # The round may have arrived although the answer to the feedback was lost.
        if not frame.next_round.is_set():
            self.finish(frame)

    def _waiting(self) -> list[Frame]:
        """Return the frames that wait for an answer to feedback or for a further round."""
        frames = self._frames.values()
        return [frame for frame in frames if frame.feedback_task is not None and not frame.feedback_task.done()]

    async def _cancel_feedback(self) -> list[Frame]:
        """Cancel all feedback, and return the open frames that waited for a further round."""
        waiting = self._waiting()
        for frame in waiting:
            assert frame.feedback_task is not None
            frame.feedback_task.cancel()
            await asyncio.gather(frame.feedback_task, return_exceptions=True)
        return [frame for frame in waiting if self.is_open(frame)]

    def _remove(self, frame: Frame) -> None:
        del self._frames[frame.header.frame_index]
        self._on_change()

    def _publish_later(self, frame: Frame) -> None:
        """Remove a frame, and publish its result later unless another stream brings the frame again by then."""
        self._remove(frame)
        index, result = frame.header.frame_index, frame.result

        def publish() -> None:
            taken_over = any(index in stream for stream in self._record.streams)
            if result is not None and not taken_over and self._record.find(index) is None:
                self._record.add(result)

        asyncio.get_running_loop().call_later(self._dependencies.settings.feedback_timeout_s, publish)
