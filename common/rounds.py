"""Several rounds of a frame as one: what is there, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.types import Bools, Ints, ReceivedMessage, ReceivedSegment


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
    return ReceivedSegment(known.kind, elements, received)


def span_positions(spans: Ints) -> Ints:
    """int64 [S, 2] of (start, length) -> int64 [N], every position, in order."""
    starts, lengths = spans[:, 0], spans[:, 1]
    before = np.cumsum(lengths) - lengths
    offsets: Ints = (starts - before).repeat(lengths)
    return offsets + np.arange(len(offsets), dtype=np.int64)


def missing_spans(mask: Bools) -> Ints:
    """bool [N], True where present -> int64 [S, 2], the (start, length) of each run of False."""
    edges = np.flatnonzero(np.diff(mask, prepend=True, append=True))
    spans: Ints = np.stack([edges[::2], edges[1::2] - edges[::2]], axis=1).astype(np.int64)
    return spans
