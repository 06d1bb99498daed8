"""Further rounds that repeat the requested elements; this works for every codec."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from gocom.common.byte_account import message_bytes
from gocom.common.rounds import clip_spans, spans_to_positions, thin_spans
from gocom.common.types import Budget, Feedback, Goal, GoMessage, Segment


def resend(content: GoMessage, feedback: Feedback, budget: Budget, goal: Goal) -> GoMessage | None:
    """Return a further round with the requested elements of a message, as many as the budget allows.

    Elements that the message withholds can be requested, too. Elements that do not fit are left out by a rule that
    both ends apply (`thin_spans`), so the receiver knows from their number which ones were sent.

    Args:
        content: everything that there is to send, in segments without spans: the message of round 0, or that of a later
            round with all elements of its segments. Requested segments and elements that it has not got are left out.
        feedback: the request.
        budget: limit on every byte of the new round.
        goal: the goal that the frame is encoded for, with the packetizer settings.

    Returns:
        The message of round `feedback.round + 1`; None if nothing fits.
    """
    held = {segment.kind: len(segment.elements) for segment in content.segments}
    inside = {kind: clip_spans(spans, held[kind]) for kind, spans in feedback.wanted.items() if kind in held}
    # The other end derives the elements from its own request, so none of that may be left out here.
    known = {kind for kind, spans in inside.items() if len(spans) and spans.sum() == feedback.wanted[kind].sum()}
    feedback = replace(feedback, wanted={kind: spans for kind, spans in inside.items() if len(spans)})
    wanted = sum(int(spans[:, 1].sum()) for spans in feedback.wanted.values())
    low, high = 0, wanted
    best: GoMessage | None = None
    while low < high:
        middle = (low + high + 1) // 2 if best is not None or high != wanted else high
        message = _select(content, feedback, middle, known)
        if budget.max_bytes and message_bytes(message, goal.link) > budget.max_bytes:
            high = middle - 1
        else:
            low, best = middle, message
    return best if best is not None and best.segments else None


def _select(content: GoMessage, feedback: Feedback, limit: int, known: Set[int]) -> GoMessage:
    segments: list[Segment] = []
    for segment in content.segments:
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
                as_requested=segment.kind in known,
                keep=None,
            )
        )
    return replace(content, segments=tuple(segments), round=feedback.round + 1)
