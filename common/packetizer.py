"""Conversion of segments into packets, and of received packets back into segments.

    elements --element_order.py--> --cut into coded runs that fit--> source packets (+ repair packets) --> PacketBatch
    PacketBatch --verify checksums--> --repair--> --decode each packet on its own--> elements + received mask

Any loss (erased packets, damaged packets, packets missing at the end) becomes False entries of the received mask. If
both ends know which elements are withheld (SegmentSpec.keep), packets do not contain these. If only the sender knows
(Segment.keep), packets cover all elements, and each carries its slice of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gocom.common import fec
from gocom.common.crc32c import checksums
from gocom.common.element_order import first_round_positions, header_keep_mask, packet_order, unit_size, withheld_count
from gocom.common.entropy.coders import ElementCoder
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch, gather
from gocom.common.systems import spec_of
from gocom.common.types import (
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
    unit = unit_size(message, segment)
    order = packet_order(np.flatnonzero(header_keep_mask(message, segment, count)), link, unit)
    limit = fec.source_payload_bytes(link.max_payload_bytes) if protected else link.max_payload_bytes
    sources: list[fec.SourcePacket] = []
    first = 0
    for run, data in _cut(elements[order], first_round_positions(order, segment.spans), coder, limit, order // unit):
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
    rows: list[tuple[int, int, int, bytes]] = []
    segment_headers = []
    for index, (segment, packets) in enumerate(zip(message.segments, segments, strict=True)):
        rows += [(index, first, run, data) for first, run, data in packets.sources]
        rows += [(index, number, 0, data) for number, data in enumerate(packets.repair)]
        segment_headers.append(
            SegmentHeader(
                segment.kind,
                len(segment.elements),
                segment.coding,
                len(packets.sources),
                len(packets.repair),
                packets.symbol_bytes if packets.repair else 0,
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
        message.frame_index, message.round, message.rounds,
    )  # fmt: skip
    return header, _batch(rows)


def _batch(rows: list[tuple[int, int, int, bytes]]) -> PacketBatch:
    count = len(rows)
    columns = np.array([row[:3] for row in rows], np.int64).reshape(count, 3)
    return PacketBatch(
        payload=np.frombuffer(b"".join(row[3] for row in rows), np.uint8),
        length=np.array([len(row[3]) for row in rows], np.int64),
        sequence=np.arange(count, dtype=np.int64),
        segment=columns[:, 0],
        first_element=columns[:, 1],
        element_count=columns[:, 2],
        checksum=np.zeros(count, np.uint32),
        power=np.ones(count, np.float32),
        erased=np.zeros(count, bool),
    )


def depacketize(header: FrameHeader, batch: PacketBatch, packets_sent: int, link: LinkSettings) -> ReceivedMessage:
    """Decode the packets that arrived of a round.

    Damaged, repeated and impossible packets are treated as erased.

    Args:
        header: header of the round.
        batch: packets as they arrived, in any order.
        packets_sent: number of packets that were sent, from the end mark.
        link: settings of the sender's packetizer.
    """
    good = batch.checksum == checksums(batch, header.frame_index, header.round)
    possible = (batch.length <= link.max_payload_bytes) & (batch.sequence < packets_sent)
    batch = _sort_unique(batch.select(good & possible & ~batch.erased))
    bases = np.cumsum([0, *(s.source_packets + s.repair_packets for s in header.segments)])
    segments = tuple(
        _decode_segment(header, i, batch.select((batch.segment == i) & (batch.sequence >= base)), int(base), link)
        for i, base in enumerate(bases[:-1])
    )
    packet_bytes = np.full(packets_sent, -1, np.int64)
    packet_bytes[batch.sequence] = batch.length
    arrived = int(np.count_nonzero(packet_bytes >= 0))
    return ReceivedMessage(header, segments, packets_sent, arrived, packet_bytes)


def _sort_unique(batch: PacketBatch) -> PacketBatch:
    """Return the packets in the order of their sequence numbers; of several with one number, the first to arrive."""
    if bool((np.diff(batch.sequence) > 0).all()):
        return batch
    return gather([(batch, np.unique(batch.sequence, return_index=True)[1])])


def _decode_segment(
    header: FrameHeader, index: int, batch: PacketBatch, base: int, link: LinkSettings
) -> ReceivedSegment:
    segment = header.segments[index]
    total = segment.element_count
    keep = header_keep_mask(header, segment, total)
    elements, received = np.zeros(total, np.int64), np.zeros(total, bool)
    withheld = ~keep
    sources = _sources(segment, int(np.count_nonzero(keep)), batch, base, link)
    # The feedback that named the elements may have been forgotten. Then their positions are not known.
    if sources and not (segment.as_requested and segment.spans is None):
        order = packet_order(np.flatnonzero(keep), link, unit_size(header, segment))
        coder = spec_of(header.codec, segment.kind).coder(
            segment.coding, header.width_px, header.height_px,
            (segment.withheld_count, total) if segment.withheld_count else None,
        )  # fmt: skip
        positions = first_round_positions(order, segment.spans)
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
        total: number of elements that the source packets carry in total; a repeated single packet carries all of them.
        batch: packets of the segment that arrived.
        base: sequence number of the first packet of the segment.
        link: settings of the sender's packetizer.
    """
    columns = (batch.sequence - base, batch.first_element, batch.element_count)
    rows = zip(*(c.tolist() for c in columns), batch.payloads(), strict=True)
    sources: dict[int, fec.SourcePacket] = {}
    repair: dict[int, bytes] = {}
    for number, first, count, data in rows:
        if count > 0 and number < segment.source_packets:
            sources[number] = (first, count, data)
        elif count == 0:
            repair[number] = data
    if not repair or len(sources) >= segment.source_packets:
        return sources
    if segment.source_packets == 1:
        return {0: (0, total, next(iter(repair.values())))}
    if segment.symbol_bytes != fec.symbol_bytes(link.max_payload_bytes):
        return sources
    return fec.recover(sources, repair, segment.source_packets, segment.symbol_bytes)
