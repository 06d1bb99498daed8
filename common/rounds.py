"""Several rounds of a frame as one: what is there, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.types import Bools, FrameHeader, Ints, ReceivedMessage, ReceivedSegment


def merge_rounds(rounds: Sequence[ReceivedMessage]) -> dict[int, ReceivedSegment]:
    """Segments by kind, with what later rounds brought put into the arrays of the first; `spans` of all is None.

    A later round never un-receives. What does not fit the first round (elements past its end, spans of a segment it
    does not have, a whole segment of another length) is left out: it comes from the wire.
    """
    merged: dict[int, ReceivedSegment] = {}
    for message in rounds:
        for segment in message.segments:
            known = merged.get(segment.kind)
            if known is not None:
                merged[segment.kind] = _put(known, segment)
            elif segment.spans is None:
                merged[segment.kind] = segment
    return merged


def _put(known: ReceivedSegment, later: ReceivedSegment) -> ReceivedSegment:
    count = len(known.elements)
    if later.spans is None and len(later.elements) != count:
        return known
    at = np.arange(count) if later.spans is None else span_positions(later.spans)
    new = later.received & (at < count)
    elements, received = known.elements.copy(), known.received.copy()
    elements[at[new]] = later.elements[new]
    received[at[new]] = True
    return ReceivedSegment(known.kind, elements, received, None, known.withheld)


def with_requested(header: FrameHeader, asked: Mapping[int, Ints]) -> FrameHeader:
    """A later round's header with the spans that its sender did not repeat: so many of what was asked for.

    Args:
        asked: by segment kind, spans of the feedback that this round answers.
    """
    if not any(segment.as_requested for segment in header.segments):
        return header
    segments = []
    for segment in header.segments:
        spans = asked.get(segment.kind)
        if segment.as_requested and spans is not None:
            chosen = thin_spans(spans, segment.element_count)
            if int(chosen[:, 1].sum()) == segment.element_count:
                segment = replace(segment, spans=chosen)
        segments.append(segment)
    return replace(header, segments=tuple(segments))


def thin_spans(spans: Ints, limit: int) -> Ints:
    """At most `limit` of the elements of spans [S, 2], spread over all of them, the same ones on every machine."""
    positions = span_positions(spans)
    if len(positions) <= limit:
        return spans
    chosen = CounterRng(0, "thin_spans").permutation(len(positions))[:limit]
    return spans_of(np.sort(positions[chosen]))


def spans_of(positions: Ints) -> Ints:
    """int64 [N] ascending, each once -> int64 [S, 2] of (start, length)."""
    if not len(positions):
        return np.zeros((0, 2), np.int64)
    first = np.flatnonzero(np.diff(positions, prepend=positions[0] - 2) > 1)
    lengths = np.diff(np.append(first, len(positions)))
    spans: Ints = np.stack([positions[first], lengths], axis=1).astype(np.int64)
    return spans


def span_positions(spans: Ints) -> Ints:
    """int64 [S, 2] of (start, length) -> int64 [N], every position, in order."""
    starts, lengths = spans[:, 0], spans[:, 1]
    before = np.cumsum(lengths) - lengths
    offsets: Ints = (starts - before).repeat(lengths)
    return offsets + np.arange(len(offsets), dtype=np.int64)


def missing_spans(mask: Bools) -> Ints:
    """bool [N], True where present -> int64 [S, 2], the (start, length) of each run of False."""
    return spans_of(np.flatnonzero(~mask))
