"""Conversion of segments into packets, and of received packets back into segments.

    elements --element_order.py--> --cut into coded runs that fit--> source packets (+ repair packets) --> PacketBatch
    PacketBatch --verify checksums--> --repair--> --decode each packet on its own--> elements + received mask

Any loss (erased packets, damaged packets, packets missing at the end) becomes False entries of the received mask. If
both ends know which elements are withheld (SegmentSpec.keep), packets do not contain these. If only the sender knows
(Segment.keep), packets cover all elements, and each carries its slice of the mask.

The header counts the packets of each segment, so the number of a packet says to which segment it belongs. What a repair
packet, or the only source packet of a segment, holds follows from its number; both have element_count 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gocom.common import fec
from gocom.common.crc32c import checksums
from gocom.common.element_order import element_layout, header_keep_mask, unit_size, withheld_count
from gocom.common.entropy.coders import ElementCoder
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch, gather
from gocom.common.systems import spec_of
from gocom.common.types import (
    Bools,
    Floats,
    FrameHeader,
    GoMessage,
    Ints,
    LinkSettings,
    ReceivedMessage,
    ReceivedSegment,
    Segment,
    SegmentHeader,
)

MAX_ELEMENTS = 1 << 24
"""Largest number of elements of a segment."""
MAX_PACKETS = 1 << 16
"""Largest number of packets of one round, at the sender and at the receiver."""
MAX_SEGMENTS = 256
"""Largest number of segments of one round."""
MAX_PACKET_ELEMENTS = 0xFFFF
"""Largest number of elements of one packet."""
_FRACTION_BITS = 16
"""Number of fraction bits of code lengths, which are summed in fixed point so that float rounding moves no cut."""


def _cut(elements: Ints, positions: Ints, coder: ElementCoder, limit: int, units: Ints) -> list[tuple[int, bytes]]:
    """Cut elements greedily into runs, and return (number of elements, coded bytes) of each.

    Args:
        elements: int64 [N], in packet order.
        positions: int64 [N], positions in the segment, from which the coder finds neighbours.
        coder: the segment's coder; each run is coded on its own.
        limit: largest size of a coded run, in bytes.
        units: int64 [N], the unit of each element. A run that has room for a whole unit ends with a whole one.

    Raises:
        InvalidInput: a single element takes more than `limit` bytes.
    """

    def sizes(start: int, stop: int) -> Ints:
        bits = coder.bits(elements[start:stop], positions[start:stop])
        fixed_point: Ints = np.ceil(bits * (1 << _FRACTION_BITS)).astype(np.int64)
        return fixed_point

    ends = np.concatenate(([0], np.cumsum(sizes(0, len(elements)))))
    room = (limit * 8) << _FRACTION_BITS
    borders = np.flatnonzero(np.diff(units, prepend=-1, append=-1))  # between units, with 0 and N
    runs, start = [], 0
    while start < len(elements):
        stop = min(int(np.searchsorted(ends, ends[start] + room, side="right")) - 1, start + MAX_PACKET_ELEMENTS)
        while stop > start:
            # `ends` assumes that all neighbours are in the same packet. Estimate without it first: coding is slower.
            size = int(sizes(start, stop).sum())
            if size <= room:
                data = coder.encode(elements[start:stop], positions[start:stop])
                if len(data) <= limit:
                    break
                size = (len(data) * 8) << _FRACTION_BITS
            stop -= max(1, (size - room) * (stop - start) // (2 * size))
        if stop == start:
            raise InvalidInput(f"link.max_payload_bytes: one element does not fit {limit} bytes")
        border = int(np.searchsorted(borders, stop, side="right")) - 1
        if border > 0 and start <= borders[border - 1] and borders[border] < stop:
            stop = int(borders[border])
            data = coder.encode(elements[start:stop], positions[start:stop])
        runs.append((stop - start, data))
        start = stop
    return runs


@dataclass(frozen=True, slots=True)
class SegmentPackets:
    """The packets of one segment.

    Attributes:
        sources: source packets, in order.
        repair: payloads of the repair packets.
        symbol_bytes: size of a RaptorQ symbol, in bytes; 0 if there is no RaptorQ, because the segment is not protected
            or its only packet is repeated.
        importance: float64 [S], importance of each source packet, the sum over its elements.
    """

    sources: list[fec.SourcePacket]
    repair: list[bytes]
    symbol_bytes: int
    importance: npt.NDArray[np.float64]


def packetize(message: GoMessage, link: LinkSettings) -> tuple[FrameHeader, PacketBatch]:
    """Return the header and all packets of one round of a frame.

    Raises:
        InvalidInput: an element does not fit a packet, or a segment withholds all of its elements.
        TooLarge: a protected segment is larger than a RaptorQ block, or the round has more than MAX_PACKETS packets.
    """
    segments = []
    for segment in message.segments:
        exact = segment.repair_packets
        protected = segment.repair_overhead > 0 if exact is None else exact > 0
        packets = packetize_segment(message, segment, link, protected)
        count = fec.repair_count(len(packets.sources), segment.repair_overhead) if exact is None else exact
        segments.append(replace(packets, repair=fec.make_repair(packets.sources, count, packets.symbol_bytes)))
    header, batch = assemble_round(message, segments)
    batch.checksum = checksums(batch, message.frame_index, message.round)
    if message.power is not None and len(batch):
        batch.power = message.power(packet_importance(segments))
    return header, batch


def packetize_segment(message: GoMessage, segment: Segment, link: LinkSettings, protected: bool) -> SegmentPackets:
    """Return the source packets of a segment, without repair packets.

    Args:
        message: the message of the segment.
        segment: the segment.
        link: payload size and interleaver settings.
        protected: repair packets will be added, so payloads must fit a RaptorQ symbol.

    Raises:
        InvalidInput: an element does not fit a packet, or all elements are withheld.
        TooLarge: the segment is to be protected, and is larger than a RaptorQ block.
    """
    count = len(segment.elements)
    withheld = withheld_count(segment)
    coder = spec_of(message.codec, segment.kind).coder(
        segment.coding, message.width_px, message.height_px, (withheld, count) if withheld else None
    )
    elements = segment.elements if segment.keep is None else np.where(segment.keep, segment.elements, -1)
    unit = unit_size(message, segment.kind)
    order, grid = element_layout(message, segment, count, link)
    positions = grid[order]
    limit = fec.source_payload_bytes(link.max_payload_bytes) if protected else link.max_payload_bytes
    sources: list[fec.SourcePacket] = []
    first = 0
    for run, data in _cut(elements[order], positions, coder, limit, positions // unit):
        sources.append((first, run, data))
        first += run
    size = fec.symbol_bytes(link.max_payload_bytes) if protected and len(sources) > 1 else 0
    fec.check_block(len(sources), size)
    importance = np.where(elements < 0, 0.0, segment.importance.astype(np.float64))[order]
    sums = np.add.reduceat(importance, [first for first, _, _ in sources]) if sources else importance
    return SegmentPackets(sources, [], size, sums)


def packet_importance(segments: Sequence[SegmentPackets]) -> Floats:
    """Return the importance of each packet of a round, float32 [P], by sequence number.

    A repair packet has the mean importance of the source packets of its segment.
    """
    parts = [np.zeros(0)]
    for packets in segments:
        mean = packets.importance.mean() if packets.sources else 0.0
        parts += [packets.importance, np.full(len(packets.repair), mean)]
    return np.concatenate(parts).astype(np.float32)


def assemble_round(message: GoMessage, segments: Sequence[SegmentPackets]) -> tuple[FrameHeader, PacketBatch]:
    """Return the header of a round and its packets in one batch. Checksums are 0, and powers are 1.

    Args:
        message: the message of the round.
        segments: the packets of each segment of the message.

    Raises:
        TooLarge: there are more than MAX_PACKETS packets.
    """
    rows: list[tuple[int, int, bytes]] = []
    segment_headers = []
    for segment, packets in zip(message.segments, segments, strict=True):
        alone = len(packets.sources) == 1
        rows += [(0, 0, data) if alone else (first, run, data) for first, run, data in packets.sources]
        rows += [(0, 0, data) for data in packets.repair]
        segment_headers.append(
            SegmentHeader(
                segment.kind,
                len(segment.elements),
                segment.coding,
                len(packets.sources),
                len(packets.repair),
                segment.damage_tolerant,
                None if segment.as_requested else segment.spans,
                segment.as_requested,
                withheld_count(segment),
            )
        )
    if len(rows) > MAX_PACKETS:
        raise TooLarge(f"link.max_payload_bytes: {len(rows)} packets, more than {MAX_PACKETS} a round; use larger ones")
    header = FrameHeader(
        message.codec, message.header, message.width_px, message.height_px, tuple(segment_headers),
        message.frame_index, message.round, message.rounds, message.position,
    )  # fmt: skip
    return header, _batch(rows)


def _batch(rows: list[tuple[int, int, bytes]]) -> PacketBatch:
    count = len(rows)
    columns = np.array([row[:2] for row in rows], np.int64).reshape(count, 2)
    return PacketBatch(
        payload=np.frombuffer(b"".join(row[2] for row in rows), np.uint8),
        length=np.array([len(row[2]) for row in rows], np.int64),
        sequence=np.arange(count, dtype=np.int64),
        first_element=columns[:, 0],
        element_count=columns[:, 1],
        checksum=np.zeros(count, np.uint32),
        power=np.ones(count, np.float32),
        erased=np.zeros(count, bool),
    )


def depacketize(header: FrameHeader, batch: PacketBatch, link: LinkSettings) -> ReceivedMessage:
    """Decode the packets that arrived of a round.

    Damaged, repeated and impossible packets are treated as erased.

    Args:
        header: header of the round.
        batch: packets as they arrived, in any order.
        link: settings of the sender's packetizer.
    """
    sent = header.packets
    good = batch.checksum == checksums(batch, header.frame_index, header.round)
    possible = (batch.length <= link.max_payload_bytes) & (batch.sequence < sent)
    batch = _sort_unique(batch.select(good & possible & ~batch.erased))
    bases = np.cumsum([0, *(s.packets for s in header.segments)])
    places = np.searchsorted(batch.sequence, bases)
    segments = tuple(
        _decode_segment(header, segment, batch.select(_range_mask(len(batch), *places[i : i + 2])), int(bases[i]), link)
        for i, segment in enumerate(header.segments)
    )
    packet_bytes = np.full(sent, -1, np.int64)
    packet_bytes[batch.sequence] = batch.length
    arrived = int(np.count_nonzero(packet_bytes >= 0))
    return ReceivedMessage(header, segments, sent, arrived, packet_bytes)


def _range_mask(count: int, start: int, stop: int) -> Bools:
    mask = np.zeros(count, bool)
    mask[start:stop] = True
    return mask


def _sort_unique(batch: PacketBatch) -> PacketBatch:
    """Return the packets in the order of their sequence numbers; of several with one number, the first to arrive."""
    if bool((np.diff(batch.sequence) > 0).all()):
        return batch
    return gather([(batch, np.unique(batch.sequence, return_index=True)[1])])


def _decode_segment(
    header: FrameHeader, segment: SegmentHeader, batch: PacketBatch, base: int, link: LinkSettings
) -> ReceivedSegment:
    """Decode the packets of one segment; `base` is the sequence number of its first packet."""
    total = segment.element_count
    elements, received = np.zeros(total, np.int64), np.zeros(total, bool)
    # The feedback that named the elements may have been forgotten. Then their positions are not known.
    if segment.as_requested and segment.spans is None:
        return ReceivedSegment(segment.kind, elements, received, located=False)
    keep = header_keep_mask(header, segment, total)
    withheld = ~keep
    sources = _sources(segment, int(np.count_nonzero(keep)), batch, base, link)
    if sources:
        order, grid = element_layout(header, segment, total, link)
        coder = spec_of(header.codec, segment.kind).coder(
            segment.coding, header.width_px, header.height_px,
            (segment.withheld_count, total) if segment.withheld_count else None,
        )  # fmt: skip
        positions = grid[order]
        for first, count, data in sources.values():
            at = order[first : first + count]
            # Valid runs never overlap. Overlapping ones would make the receiver decode elements again and again.
            in_range = 0 < count <= MAX_PACKET_ELEMENTS and first + count <= len(order)
            if not in_range or (received[at] | withheld[at]).any():
                continue
            try:
                values = coder.decode(data, positions[first : first + count])
            except InvalidInput:
                continue
            sent = values >= 0
            elements[at[sent]] = values[sent]
            received[at[sent]] = True
            withheld[at[~sent]] = True
    return ReceivedSegment(segment.kind, elements, received, segment.spans, withheld if withheld.any() else None)


def _sources(
    segment: SegmentHeader, total: int, batch: PacketBatch, base: int, link: LinkSettings
) -> dict[int, fec.SourcePacket]:
    """Return a segment's source packets by number, those that repair packets restore included.

    Args:
        segment: header of the segment.
        total: number of elements that the source packets carry in total; a single packet carries all of them.
        batch: packets of the segment that arrived.
        base: sequence number of the first packet of the segment.
        link: settings of the sender's packetizer.
    """
    columns = (batch.sequence - base, batch.first_element, batch.element_count)
    rows = zip(*(c.tolist() for c in columns), batch.payloads(), strict=True)
    sources: dict[int, fec.SourcePacket] = {}
    repair: dict[int, bytes] = {}
    for number, first, count, data in rows:
        if number >= segment.source_packets:
            if count == 0:
                repair[number - segment.source_packets] = data
        elif count > 0:
            sources[number] = (first, count, data)
        elif segment.source_packets == 1:
            sources[0] = (0, total, data)
    if not repair or len(sources) >= segment.source_packets:
        return sources
    if segment.source_packets == 1:
        return {0: (0, total, next(iter(repair.values())))}
    return fec.recover(sources, repair, segment.source_packets, fec.symbol_bytes(link.max_payload_bytes))
