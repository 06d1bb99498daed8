"""What the transmitter does with a feedback message before the encoder sees it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.types import Feedback, FrameHeader, Ints, LinkSettings
from gocom.common.wire.feedback import bare_message, read_link, read_wanted
from gocom.common.wire.messages import MAX_ROUNDS
from gocom.transmitter.frame_table import Frame
from gocom.v1 import feedback_pb2

MAX_TEXT = 400
KEPT_ANSWERS = 1024

Key = tuple[int, int]
Answer = feedback_pb2.SendFeedbackResponse


def refusal(reason: str) -> Answer:
    """No further round will come."""
    return Answer(will_send=False, reason=reason)


def count_attempts(frame: Frame, request: feedback_pb2.SendFeedbackRequest) -> None:
    """Count the bytes of a message that arrived, and of the attempts at it before that did not.

    An attempt that comes after later ones is counted already. One whose every attempt was lost nobody here knows of.
    """
    counted = frame.attempts.get(request.round, 0)
    if request.round < MAX_ROUNDS:  # no frame has more; whoever names others is refused
        frame.attempts[request.round] = max(counted, request.attempt + 1)
    frame.feedback_bytes += sum(len(bare_message(request, n)) for n in range(counted, request.attempt + 1))


def check_feedback(
    request: feedback_pb2.SendFeedbackRequest, first: FrameHeader, link: LinkSettings, round_budget_bytes: int
) -> Feedback:
    """A request that fits the frame's first round, with the smaller of both budgets. Raises InvalidInput."""
    wanted: dict[int, Ints] = {}
    named: set[int] = set()
    for item in request.wanted:
        if item.kind in named:
            raise InvalidInput(f"wanted.kind: {item.kind} repeats")
        named.add(item.kind)
        spans = read_wanted(item, first, link)
        if len(spans):
            wanted[item.kind] = spans
    if len(request.text) > MAX_TEXT:
        raise InvalidInput(f"text: {len(request.text)} characters are more than {MAX_TEXT}")
    budgets = [b for b in (request.budget_bytes, round_budget_bytes) if b]
    return Feedback(
        frame_index=request.frame_index,
        round=request.round,
        wanted=wanted,
        label=request.label if request.HasField("label") else None,
        text=request.text if request.HasField("text") else None,
        budget_bytes=min(budgets, default=0),
        link=read_link(request),
    )


class Answers:
    """Answers by (frame, round), so that a repeat gets the first one; the oldest are forgotten."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[Key, asyncio.Task[Answer]] = OrderedDict()

    async def make(self, key: Key, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Start the work that makes an answer, and wait for it; it goes on when the caller gives up."""
        self._tasks[key] = asyncio.create_task(work)
        while len(self._tasks) > KEPT_ANSWERS:
            self._tasks.popitem(last=False)
        return await asyncio.shield(self._tasks[key])

    async def repeat(self, key: Key) -> Answer | None:
        """The first answer, waited for where it is still being made; None: there is none."""
        task = self._tasks.get(key)
        return None if task is None else await asyncio.shield(task)

    def forget(self, frame_index: int) -> None:
        """The frame begins again, and so does what is said of it."""
        for key in [key for key in self._tasks if key[0] == frame_index]:
            del self._tasks[key]

    async def close(self) -> None:
        """Stop what is still being made."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
