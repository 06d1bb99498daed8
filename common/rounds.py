"""Merging of the rounds of a frame, and spans: sets of elements as (start, length) pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.systems import spec_of
from gocom.common.types import Bools, FrameHeader, Ints, ReceivedMessage, ReceivedSegment


def merge_rounds(rounds: Sequence[ReceivedMessage]) -> dict[int, ReceivedSegment]:
    """Merge rounds: return the segments that any of them brought, by kind, each in its full grid.

    A segment may come first in any round, and grow in any round. In the result `spans` is None; an element that was
    received in any round is received, and one that no round has sent so far counts as withheld. Rounds come from the
    wire, so elements beyond the grid are ignored, and so are segments whose elements have no known positions: those
    that are not `located`, and those that should be the whole grid and do not have its size.

    Args:
        rounds: one or more rounds of a frame, in order.
    """
    parts: dict[int, list[ReceivedSegment]] = {}
    for message in rounds:
        for segment in message.segments:
            if segment.located:
                parts.setdefault(segment.kind, []).append(segment)
    merged = {}
    for kind, found in parts.items():
        size = _grid_size(rounds[0].frame, kind, found)
        fixed = spec_of(rounds[0].frame.codec, kind).count is not None
        usable = [part for part in found if part.spans is not None or not fixed or len(part.elements) == size]
        if usable:
            merged[kind] = _merge_parts(usable, size)
    return merged


def grid_positions(count: int, spans: Ints | None) -> Ints:
    """Return the positions in the segment's full grid of `count` elements, int64 [count]; see Segment.spans."""
    return np.arange(count, dtype=np.int64) if spans is None else spans_to_positions(spans)


def _grid_size(frame: FrameHeader, kind: int, parts: Sequence[ReceivedSegment]) -> int:
    """Return the number of elements in the grid of a segment; without a fixed number, it ends where the parts do."""
    spec = spec_of(frame.codec, kind)
    if spec.count is not None:
        return spec.count(frame.width_px, frame.height_px)
    return max(len(p.elements) if p.spans is None else int(p.spans.sum(1).max(initial=0)) for p in parts)


def _merge_parts(parts: Sequence[ReceivedSegment], size: int) -> ReceivedSegment:
    elements, received, sent = np.zeros(size, np.int64), np.zeros(size, bool), np.zeros(size, bool)
    for part in parts:
        at = grid_positions(len(part.elements), part.spans)
        inside = at < size
        new = part.received & inside
        elements[at[new]] = part.elements[new]
        received[at[new]] = True
        sent[at[inside if part.withheld is None else inside & ~part.withheld]] = True
    return ReceivedSegment(parts[0].kind, elements, received, None, None if sent.all() else ~sent)


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


def clip_spans(spans: Ints, limit: int) -> Ints:
    """Return the parts of spans, int64 [S, 2] of (start, length), that lie below `limit`."""
    inside = spans[spans[:, 0] < limit].copy()
    inside[:, 1] = np.minimum(inside[:, 1], limit - inside[:, 0])
    return inside


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
