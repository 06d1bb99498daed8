"""Order in which the packets of a round hold the elements of a segment. Both ends derive it from the frame header.

    segment order --leave out withheld elements (SegmentSpec.keep)--> --permute units (SegmentSpec.unit)--> packet order

If only the sender knows which elements are withheld (Segment.keep), none is left out of the order.
"""

from __future__ import annotations

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.rounds import spans_to_positions
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

    It is all True in later rounds, and where the packets themselves carry the mask.

    Raises:
        InvalidInput: the mask that follows from the codec's header is not as long as the segment.
    """
    spec = spec_of(message.codec, segment.kind)
    masked = withheld_count(segment) > 0
    if message.round > 0 or masked or spec.keep is None:
        return np.ones(count, bool)
    keep = spec.keep(message.header, message.width_px, message.height_px)
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


def unit_size(message: GoMessage | FrameHeader, segment: Segment | SegmentHeader) -> int:
    """Return the number of elements that stay together (SegmentSpec.unit).

    It is 1 in later rounds, whose elements need not form whole units.
    """
    unit = spec_of(message.codec, segment.kind).unit
    if unit is None or message.round > 0:
        return 1
    return unit(message.header, message.width_px, message.height_px)


def packet_order(sent: Ints, link: LinkSettings, unit: int) -> Ints:
    """Return the elements in packet order, int64 [n]. The elements of a unit stay adjacent and in order.

    Args:
        sent: int64 [n], ascending indices of the elements that are sent.
        link: interleaver settings.
        unit: number of elements in a unit.
    """
    if unit == 1:
        return sent[interleaver(len(sent), link)]
    units, member = np.unique(sent // unit, return_inverse=True)
    unit_rank = np.argsort(interleaver(len(units), link))
    return sent[np.argsort(unit_rank[member], kind="stable")]


def transmission_order(first: FrameHeader, segment: SegmentHeader, link: LinkSettings) -> Ints:
    """Return the elements of a segment of the first round in packet order, then the withheld ones: int64 [N]."""
    keep = header_keep_mask(first, segment, segment.element_count)
    sent = np.flatnonzero(keep)
    return np.concatenate([packet_order(sent, link, unit_size(first, segment)), np.flatnonzero(~keep)])


def first_round_positions(indices: Ints, spans: Ints | None) -> Ints:
    """Return the positions in the first round's segment, int64 [n], of elements of a round.

    Context coding finds the neighbours of an element by this position.

    Args:
        indices: int64 [n], indices of the elements in the round.
        spans: int64 [S, 2] of (start, length) in the first round's segment; None in the first round itself.
    """
    return indices if spans is None else spans_to_positions(spans)[indices]
