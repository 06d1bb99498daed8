"""Further rounds that repeat the requested elements; this works for every codec."""

from __future__ import annotations

from dataclasses import replace

from gocom.common.byte_account import message_bytes
from gocom.common.rounds import spans_to_positions, thin_spans
from gocom.common.types import Budget, Feedback, Goal, GoMessage, Segment


def resend(first: GoMessage, feedback: Feedback, budget: Budget, goal: Goal) -> GoMessage | None:
    """Return a further round with the requested elements of the first one, as many as the budget allows.

    Elements that the first round withheld can be requested, too. Elements that do not fit are left out by a rule that
    both ends apply (`thin_spans`), so the receiver knows from their number which ones were sent.

    Args:
        first: the message of round 0.
        feedback: the request; its spans refer to elements of `first`.
        budget: limit on every byte of the new round.
        goal: the goal that `first` was encoded for, with the packetizer settings.

    Returns:
        The message of round `feedback.round + 1`; None if nothing fits.
    """
    wanted = sum(int(spans[:, 1].sum()) for spans in feedback.wanted.values())
    low, high = 0, wanted
    best: GoMessage | None = None
    while low < high:
        middle = (low + high + 1) // 2 if best is not None or high != wanted else high
        message = _select(first, feedback, middle)
        if budget.max_bytes and message_bytes(message, goal.link) > budget.max_bytes:
            high = middle - 1
        else:
            low, best = middle, message
    return best if best is not None and best.segments else None


def _select(first: GoMessage, feedback: Feedback, limit: int) -> GoMessage:
    segments: list[Segment] = []
    for segment in first.segments:
        spans = feedback.wanted.get(segment.kind)
        if spans is None or limit <= 0:
            continue
        spans = thin_spans(spans, limit)
        index = spans_to_positions(spans)
        limit -= len(index)
        segments.append(
            replace(
                segment,
                elements=segment.elements[index],
                importance=segment.importance[index],
                spans=spans,
                as_requested=True,
                keep=None,
            )
        )
    return replace(first, segments=tuple(segments), round=feedback.round + 1)
