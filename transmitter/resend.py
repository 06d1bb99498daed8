"""Answering feedback by sending named elements again: what every codec can do without knowing what they mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from common.account import cost
from common.types import Feedback, GoMessage, Ints, LinkSettings, Segment


def clip_spans(spans: Ints, count: int, limit: int) -> Ints:
    """Spans [S, 2] cut to range(count) and to `limit` elements in all, in the order they were named."""
    kept, left = [], limit
    for start, length in spans.tolist():
        length = min(length, count - start, left)
        if length > 0:
            kept.append((start, length))
            left -= length
    return np.array(kept, np.int64).reshape(-1, 2)


def resend(first: GoMessage, feedback: Feedback, link: LinkSettings) -> GoMessage | None:
    """A further round with the wanted elements of the first one, as many as the budget allows; None: nothing fits.

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
        spans = clip_spans(spans, len(segment.elements), limit)
        if not len(spans):
            continue
        index = np.concatenate([np.arange(start, start + length) for start, length in spans.tolist()])
        limit -= len(index)
        segments.append(
            replace(segment, elements=segment.elements[index], importance=segment.importance[index], spans=spans)
        )
    return replace(first, segments=tuple(segments), round=feedback.round + 1)
