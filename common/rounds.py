"""Merging of the rounds of a frame, and spans: sets of elements as (start, length) pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.types import Bools, FrameHeader, Ints, ReceivedMessage, ReceivedSegment


def merge_rounds(rounds: Sequence[ReceivedMessage]) -> dict[int, ReceivedSegment]:
    """Merge rounds: return the segments of the first round by kind, with the elements that later rounds brought.

    In the result `spans` is None, and an element that was received in any round is received. Rounds come from the wire,
    so data that does not fit the first round is ignored: elements beyond its end, spans of a segment that it does not
    have, or a whole segment of another length.
    """
    merged: dict[int, ReceivedSegment] = {}
    for message in rounds:
        for segment in message.segments:
            known = merged.get(segment.kind)
            if known is not None:
                merged[segment.kind] = _merge_segment(known, segment)
            elif segment.spans is None:
                merged[segment.kind] = segment
    return merged


def _merge_segment(known: ReceivedSegment, later: ReceivedSegment) -> ReceivedSegment:
    count = len(known.elements)
    if later.spans is None and len(later.elements) != count:
        return known
    at = np.arange(count) if later.spans is None else spans_to_positions(later.spans)
    new = later.received & (at < count)
    elements, received = known.elements.copy(), known.received.copy()
    elements[at[new]] = later.elements[new]
    received[at[new]] = True
    return ReceivedSegment(known.kind, elements, received, None, known.withheld)


def with_requested_spans(header: FrameHeader, requested: Mapping[int, Ints]) -> FrameHeader:
    """Return the header of a later round with the spans of all segments that are sent as requested.

    Such a segment has no spans on the wire. They follow from the feedback and the number of elements, see `thin_spans`.

    Args:
        header: the header as it arrived.
        requested: spans int64 [S, 2] by segment kind, of the feedback that the round answers.
    """
    if not any(segment.as_requested for segment in header.segments):
        return header
    segments = []
    for segment in header.segments:
        spans = requested.get(segment.kind)
        if segment.as_requested and spans is not None:
            chosen = thin_spans(spans, segment.element_count)
            if int(chosen[:, 1].sum()) == segment.element_count:
                segment = replace(segment, spans=chosen)
        segments.append(segment)
    return replace(header, segments=tuple(segments))


def thin_spans(spans: Ints, limit: int) -> Ints:
    """Return spans, int64 [S, 2], of at most `limit` of the elements in the given spans.

    The choice is pseudo-random, so it is spread over all of them, and it is the same on every machine.
    """
    positions = spans_to_positions(spans)
    if len(positions) <= limit:
        return spans
    chosen = CounterRng(0, "thin_spans").permutation(len(positions))[:limit]
    return positions_to_spans(np.sort(positions[chosen]))


def positions_to_spans(positions: Ints) -> Ints:
    """Return the (start, length) of each run of consecutive positions, int64 [S, 2].

    Args:
        positions: int64 [N], ascending, without repetitions.
    """
    if not len(positions):
        return np.zeros((0, 2), np.int64)
    first = np.flatnonzero(np.diff(positions, prepend=positions[0] - 2) > 1)
    lengths = np.diff(np.append(first, len(positions)))
    spans: Ints = np.stack([positions[first], lengths], axis=1).astype(np.int64)
    return spans


def spans_to_positions(spans: Ints) -> Ints:
    """Return every position in spans int64 [S, 2] of (start, length), in order: int64 [N]."""
    starts, lengths = spans[:, 0], spans[:, 1]
    before = np.cumsum(lengths) - lengths
    offsets: Ints = (starts - before).repeat(lengths)
    return offsets + np.arange(len(offsets), dtype=np.int64)


def missing_spans(present: Bools) -> Ints:
    """Return the (start, length) of each run of False in a mask, bool [N]: int64 [S, 2]."""
    return positions_to_spans(np.flatnonzero(~present))


def erased_spans(segments: Mapping[int, ReceivedSegment]) -> dict[int, Ints]:
    """Return the spans of the erased elements by segment kind, int64 [S, 2]; a segment without any is left out."""
    return {kind: missing_spans(~segment.erased) for kind, segment in segments.items() if segment.erased.any()}
