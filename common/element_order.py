"""Order in which the packets of a round hold the elements of a segment. Both ends derive it from the frame header.

    segment order --leave out withheld elements (SegmentSpec.keep)--> --permute units (SegmentSpec.unit)--> packet order

A segment that names its elements by spans leaves none out. If only the sender knows which elements are withheld
(Segment.keep), none is left out of the order either. All of this holds in every round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.rounds import grid_positions
from gocom.common.systems import spec_of
from gocom.common.types import Bools, FrameHeader, GoMessage, Ints, LinkSettings, Segment, SegmentHeader


def interleaver(count: int, link: LinkSettings) -> Ints:
    """Return the permutation, int64 [count], whose entry i is the element at position i of the packet order.

    Without interleaving it is the identity.
    """
    if not link.interleave:
        return np.arange(count, dtype=np.int64)
    return CounterRng(link.interleave_seed, "interleaver").permutation(count)


def header_keep_mask(message: GoMessage | FrameHeader, segment: Segment | SegmentHeader, count: int) -> Bools:
    """Return which elements are in the packets, as both ends know from the header: bool [count], True if sent.

    It is all True if the segment names its elements by spans, and if the packets themselves carry the mask.

    Raises:
        InvalidInput: the mask that follows from the codec's header is not as long as the segment.
    """
    spec = spec_of(message.codec, segment.kind)
    named = segment.spans is not None or segment.as_requested
    if named or withheld_count(segment) > 0 or spec.keep is None:
        return np.ones(count, bool)
    keep = spec.keep(message)
    if keep is None:
        return np.ones(count, bool)
    if len(keep) != count:
        raise InvalidInput(f"segments.element_count: {count} of {spec.name!r}, the mask is for {len(keep)}")
    return keep


def withheld_count(segment: Segment | SegmentHeader) -> int:
    """Return the number of withheld elements that packets mark as such; 0 if both ends know the mask from the header.

    Raises:
        InvalidInput: all elements are withheld.
    """
    if isinstance(segment, SegmentHeader):
        return segment.withheld_count
    count = 0 if segment.keep is None else int(np.count_nonzero(~segment.keep))
    if count and count == len(segment.elements):
        raise InvalidInput(f"keep: withholds all {count} elements; leave the segment out instead")
    return count


def unit_size(message: GoMessage | FrameHeader, kind: int) -> int:
    """Return the number of elements of a segment that stay together (SegmentSpec.unit)."""
    unit = spec_of(message.codec, kind).unit
    return 1 if unit is None else unit(message)


def packet_order(sent: Ints, positions: Ints, link: LinkSettings, unit: int) -> Ints:
    """Return the elements in packet order, int64 [n]. The elements of a unit stay adjacent and in order.

    Args:
        sent: int64 [n], ascending indices of the elements that are sent.
        positions: int64 [n], ascending positions of these elements in the segment's full grid.
        link: interleaver settings.
        unit: number of elements in a unit; unit u has the positions from u * unit on. A round may bring parts of units.
    """
    if unit == 1:
        return sent[interleaver(len(sent), link)]
    units, member = np.unique(positions // unit, return_inverse=True)
    unit_rank = np.argsort(interleaver(len(units), link))
    return sent[np.argsort(unit_rank[member], kind="stable")]


def element_layout(
    message: GoMessage | FrameHeader, segment: Segment | SegmentHeader, count: int, link: LinkSettings
) -> tuple[Ints, Ints]:
    """Return the elements of a segment of a round in packet order, and the positions of all of its elements.

    Args:
        message: message or header of the round.
        segment: the segment, or its header.
        count: number of elements, withheld ones included.
        link: interleaver settings.

    Returns:
        int64 [n], indices of the elements that are sent, in packet order; and int64 [count], the position of every
        element in the segment's full grid, from which context coding finds its neighbours.
    """
    positions = grid_positions(count, segment.spans)
    sent = np.flatnonzero(header_keep_mask(message, segment, count))
    return packet_order(sent, positions[sent], link, unit_size(message, segment.kind)), positions


def transmission_order(header: FrameHeader, segment: SegmentHeader, link: LinkSettings) -> Ints:
    """Return all positions of a segment's grid, first those that a round brings, in packet order: int64 [N].

    Args:
        header: header of the round.
        segment: header of the segment, whose elements have known positions.
        link: interleaver settings.
    """
    order, positions = element_layout(header, segment, segment.element_count, link)
    count = spec_of(header.codec, segment.kind).count
    size = count(header.width_px, header.height_px) if count else int(positions.max(initial=-1)) + 1
    others = np.ones(size, bool)
    others[positions[order]] = False
    return np.concatenate([positions[order], np.flatnonzero(others)])


def feedback_order(headers: Sequence[FrameHeader], kind: int, link: LinkSettings) -> Ints | None:
    """Return the order in which feedback may count the elements of a segment, so that a lost packet is one run.

    It is the transmission order of the round that brought the segment first.

    Args:
        headers: headers of the frame's rounds so far.
        kind: the segment.
        link: link settings that the frame was packetized with.

    Returns:
        int64 [N], a permutation of 0 to N - 1; None if no round has brought the segment, or if the positions of its
        elements are not known.
    """
    for header in headers:
        for segment in header.segments:
            if segment.kind == kind:
                unknown = segment.as_requested and segment.spans is None
                return None if unknown else transmission_order(header, segment, link)
    return None
