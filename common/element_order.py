"""In which order a round's packets hold the elements of a segment. Both ends work it out, from the frame header alone.

    in the segment --those withheld left out (SegmentSpec.keep)--> --units permuted (SegmentSpec.unit)--> in packets

Where only the sender knows what it withholds (Segment.keep) nothing is left out.
"""

from __future__ import annotations

import numpy as np

from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.rounds import span_positions
from gocom.common.systems import spec_of
from gocom.common.types import Bools, FrameHeader, GoMessage, Ints, LinkSettings, Segment, SegmentFrame


def interleaver(count: int, link: LinkSettings) -> Ints:
    """int64 [count]: position i of the packet order holds element perm[i]. Off: raster order."""
    if not link.interleave:
        return np.arange(count, dtype=np.int64)
    return CounterRng(link.interleave_seed, "interleaver").permutation(count)


def known_keep(message: GoMessage | FrameHeader, segment: Segment | SegmentFrame, count: int) -> Bools:
    """bool [count], True where an element is in the packets, as far as both ends know that from the header.

    All of them in later rounds, and where packets carry the mask. Raises InvalidInput when the system's mask is not as
    long as the segment.
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


def withheld_count(segment: Segment | SegmentFrame) -> int:
    """Elements whose absence the packets say. Raises InvalidInput when that is all of them."""
    if isinstance(segment, SegmentFrame):
        return segment.withheld_count
    count = 0 if segment.keep is None else int(np.count_nonzero(~segment.keep))
    if count and count == len(segment.elements):
        raise InvalidInput(f"keep: withholds all {count} elements; leave the segment out instead")
    return count


def unit_of(message: GoMessage | FrameHeader, segment: Segment | SegmentFrame) -> int:
    """Elements that stay together (SegmentSpec.unit); 1 in later rounds, whose elements are any."""
    unit = spec_of(message.codec, segment.kind).unit
    if unit is None or message.round > 0:
        return 1
    return unit(message.header, message.width_px, message.height_px)


def packet_order(sent: Ints, link: LinkSettings, unit: int) -> Ints:
    """int64 [n], ascending indices of what is sent -> int64 [n], as packets hold them; a unit's stay in a row."""
    if unit == 1:
        return sent[interleaver(len(sent), link)]
    units, member = np.unique(sent // unit, return_inverse=True)
    place = np.argsort(interleaver(len(units), link))  # of each unit among them
    return sent[np.argsort(place[member], kind="stable")]


def transmission_order(first: FrameHeader, segment: SegmentFrame, link: LinkSettings) -> Ints:
    """int64 [N]: a first round's elements in the order in which its packets hold them, then those withheld."""
    keep = known_keep(first, segment, segment.element_count)
    sent = np.flatnonzero(keep)
    return np.concatenate([packet_order(sent, link, unit_of(first, segment)), np.flatnonzero(~keep)])


def positions_of(indices: Ints, spans: Ints | None) -> Ints:
    """int64 [n] indices in a round -> int64 [n] in the segment of the first round, which is what neighbours go by."""
    return indices if spans is None else span_positions(spans)[indices]
