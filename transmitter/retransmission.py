"""Answering feedback by sending named elements again: what every codec can do without knowing what they mean."""

from __future__ import annotations

from dataclasses import replace

from gocom.common.byte_account import cost
from gocom.common.rounds import span_positions, thin_spans
from gocom.common.types import Feedback, GoMessage, LinkSettings, Segment


def resend(first: GoMessage, feedback: Feedback, link: LinkSettings) -> GoMessage | None:
    """A further round with the wanted elements of the first one, as many as the budget allows; None: nothing fits.

    Elements that the first round withheld can be named too. What does not fit is left out by a rule both ends know
    (thin_spans), so that the receiver knows the rest by their number.

    Args:
        first: the message of round 0.
        feedback: spans are in its elements; `budget_bytes` counts every byte of the new round.
    """
    wanted = sum(int(spans[:, 1].sum()) for spans in feedback.wanted.values())
    low, high = 0, wanted
    best: GoMessage | None = None
    while low < high:
        middle = (low + high + 1) // 2 if best is not None or high != wanted else high
        message = _select(first, feedback, middle)
        if feedback.budget_bytes and cost(message, link) > feedback.budget_bytes:
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
        index = span_positions(spans)
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
