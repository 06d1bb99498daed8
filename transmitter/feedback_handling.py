"""Checks of a feedback message before the encoder gets it, and the answers that were given."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.goals import check_labels, check_text
from gocom.common.types import Feedback, FrameHeader, Ints, LinkSettings
from gocom.common.wire.feedback import counted_message, link_report_from_proto, wanted_from_proto
from gocom.common.wire.frame_messages import MAX_ROUNDS
from gocom.transmitter.frame_table import Frame
from gocom.v1 import feedback_pb2

KEPT_ANSWERS = 1024

Key = tuple[int, int]
Answer = feedback_pb2.SendFeedbackResponse


def refusal(reason: str) -> Answer:
    """Return the answer that no further round will be sent."""
    return Answer(will_send=False, reason=reason)


def count_attempts(frame: Frame, request: feedback_pb2.SendFeedbackRequest) -> None:
    """Add the bytes of a feedback message that arrived, and of its earlier attempts that did not, to the frame.

    An attempt that arrives after a later one is counted already. A message of which every attempt was lost cannot be
    counted at this end.
    """
    counted = frame.attempts.get(request.round, 0)
    if request.round < MAX_ROUNDS:  # no frame has more rounds; a message that names a higher one is refused
        frame.attempts[request.round] = max(counted, request.attempt + 1)
    frame.feedback_bytes += sum(len(counted_message(request, n)) for n in range(counted, request.attempt + 1))


def check_feedback(
    request: feedback_pb2.SendFeedbackRequest, headers: Sequence[FrameHeader], link: LinkSettings
) -> Feedback:
    """Return the feedback of a request, checked against the codec's specification. Raises InvalidInput.

    Args:
        request: the message.
        headers: headers of the frame's rounds so far.
        link: link settings of the session.
    """
    wanted: dict[int, Ints] = {}
    named: set[int] = set()
    for item in request.wanted:
        if item.kind in named:
            raise InvalidInput(f"wanted.kind: {item.kind} repeats")
        named.add(item.kind)
        spans = wanted_from_proto(item, headers, link)
        if len(spans):
            wanted[item.kind] = spans
    check_labels(request.labels, "labels")
    if request.text:
        check_text(request.text, "text")
    return Feedback(
        frame_index=request.frame_index,
        round=request.round,
        wanted=wanted,
        labels=tuple(request.labels),
        text=request.text or None,
        budget_bytes=request.budget_bytes,
        link=link_report_from_proto(request),
    )


class AnsweredFeedback:
    """The transmitter's answers to feedback, by frame index and round: a message that is repeated gets the same answer.

    The number of answers is bounded; the oldest are dropped first.
    """

    def __init__(self) -> None:
        self._tasks: OrderedDict[Key, asyncio.Task[Answer]] = OrderedDict()

    async def make(self, key: Key, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Start the coroutine that makes an answer, and wait for it. It goes on if the caller is cancelled."""
        self._tasks[key] = asyncio.create_task(work)
        while len(self._tasks) > KEPT_ANSWERS:
            self._tasks.popitem(last=False)
        return await asyncio.shield(self._tasks[key])

    async def repeat(self, key: Key) -> Answer | None:
        """Return the first answer, once it is made; None if there is none."""
        task = self._tasks.get(key)
        return None if task is None else await asyncio.shield(task)

    def forget(self, frame_index: int) -> None:
        """Drop the answers for a frame that starts again."""
        for key in [key for key in self._tasks if key[0] == frame_index]:
            del self._tasks[key]

    async def close(self) -> None:
        """Cancel the answers that are still being made."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
