"""Segments of elements to packets and back.

    elements --packet_order.py--> --cut so that each coded run fits--> source packets (+ repair packets) --> PacketBatch
    PacketBatch --checksum--> --repair--> --decode each packet on its own--> elements + received mask

Every loss, of a packet, of its bits, of trailing packets, becomes False entries of the received mask. Elements that
the sender withholds are left out where both ends know which they are (SegmentSpec.keep); where only the sender does
(Segment.keep), packets run over all elements and each carries its slice of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gocom.common import fec
from gocom.common.crc32c import checksums
from gocom.common.element_order import known_keep, packet_order, positions_of, unit_of, withheld_count
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
    SegmentFrame,
)

MAX_ELEMENTS = 1 << 24
MAX_PACKETS = 1 << 16
"""Packets of one round; the receiver takes no more, so the sender makes no more."""
MAX_RUN = 0xFFFF
"""Elements of one packet."""
_SHIFT = 16
"""Fixed-point bits in which code lengths are summed, so that a cut does not depend on float rounding."""


def _cut(elements: Ints, positions: Ints, coder: ElementCoder, limit: int, units: Ints) -> list[tuple[int, bytes]]:
    """Greedy cut into runs whose coded bytes are at most `limit`: (number of elements, bytes) each.

    Args:
        units: int64 [N], what each element belongs to; a run that can hold a whole unit ends with one.
    """

    def sizes(start: int, stop: int) -> Ints:
        bits = coder.bits(elements[start:stop], positions[start:stop])
        whole: Ints = np.ceil(bits * (1 << _SHIFT)).astype(np.int64)
        return whole

    ends = np.concatenate(([0], np.cumsum(sizes(0, len(elements)))))
    room = (limit * 8) << _SHIFT
    borders = np.flatnonzero(np.diff(units, prepend=-1, append=-1))  # of units: 0 and N among them
    runs, start = [], 0
    while start < len(elements):
        stop = min(int(np.searchsorted(ends, ends[start] + room, side="right")) - 1, start + MAX_RUN)
        while stop > start:
            # Neighbours that fall into another packet make no element cheaper: an estimate first, it is quicker.
            size = int(sizes(start, stop).sum())
            if size <= room:
                data = coder.encode(elements[start:stop], positions[start:stop])
                if len(data) <= limit:
                    break
                size = (len(data) * 8) << _SHIFT
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
class Cut:
    """A segment as packets.

    Attributes:
        sources: source packets, in order.
        repair: payloads of repair packets.
        symbol_bytes: size of a RaptorQ symbol; 0: the packets are not protected, or the only one is repeated.
        importance: float64 [S], of each source packet: the sum over the elements it carries.
    """

    sources: list[fec.SourcePacket]
    repair: list[bytes]
    symbol_bytes: int
    importance: npt.NDArray[np.float64]


def packetize(message: GoMessage, link: LinkSettings) -> tuple[FrameHeader, PacketBatch]:
    """One round of a frame as its header and all of its packets."""
    cuts = []
    for segment in message.segments:
        exact = segment.repair_packets
        protected = segment.repair_overhead > 0 if exact is None else exact > 0
        cut = cut_segment(message, segment, link, protected)
        count = fec.repair_count(len(cut.sources), segment.repair_overhead) if exact is None else exact
        cuts.append(replace(cut, repair=fec.make_repair(cut.sources, count, cut.symbol_bytes)))
    header, batch = lay_out(message, cuts)
    batch.checksum = checksums(batch, message.frame_index, message.round)
    if message.power is not None and len(batch):
        batch.power = message.power(packet_importance(cuts))
    return header, batch


def cut_segment(message: GoMessage, segment: Segment, link: LinkSettings, protected: bool) -> Cut:
    """A segment's source packets; with less room in each where repair packets are to come.

    Raises:
        TooLarge: it is to be protected, and is more than one RaptorQ block can carry.
    """
    count = len(segment.elements)
    withheld = withheld_count(segment)
    coder = spec_of(message.codec, segment.kind).coder(
        segment.coding, message.width_px, message.height_px, (withheld, count) if withheld else None
    )
    elements = segment.elements if segment.keep is None else np.where(segment.keep, segment.elements, -1)
    unit = unit_of(message, segment)
    order = packet_order(np.flatnonzero(known_keep(message, segment, count)), link, unit)
    limit = fec.source_payload_bytes(link.max_payload_bytes) if protected else link.max_payload_bytes
    sources: list[fec.SourcePacket] = []
    first = 0
    for run, data in _cut(elements[order], positions_of(order, segment.spans), coder, limit, order // unit):
        sources.append((first, run, data))
        first += run
    size = fec.symbol_bytes(link.max_payload_bytes) if protected and len(sources) > 1 else 0
    fec.check_block(len(sources), size)
    worth = np.where(elements < 0, 0.0, segment.importance.astype(np.float64))[order]
    sums = np.add.reduceat(worth, [first for first, _, _ in sources]) if sources else worth
    return Cut(sources, [], size, sums)


def packet_importance(cuts: Sequence[Cut]) -> Floats:
    """float32 [P]: what the loss of each packet would lose, repair packets counted like the mean of their sources."""
    parts = [np.zeros(0)]
    for cut in cuts:
        mean = cut.importance.mean() if cut.sources else 0.0
        parts += [cut.importance, np.full(len(cut.repair), mean)]
    return np.concatenate(parts).astype(np.float32)


def lay_out(message: GoMessage, cuts: Sequence[Cut]) -> tuple[FrameHeader, PacketBatch]:
    """Header and packets of segments that are cut; checksums are not set. Raises TooLarge for too many packets."""
    rows: list[tuple[int, int, int, bytes]] = []
    frames = []
    for index, (segment, cut) in enumerate(zip(message.segments, cuts, strict=True)):
        rows += [(index, first, run, data) for first, run, data in cut.sources]
        rows += [(index, number, 0, data) for number, data in enumerate(cut.repair)]
        frames.append(
            SegmentFrame(
                segment.kind,
                len(segment.elements),
                segment.coding,
                len(cut.sources),
                len(cut.repair),
                cut.symbol_bytes if cut.repair else 0,
                segment.damage_tolerant,
                None if segment.as_requested else segment.spans,
                segment.as_requested,
                withheld_count(segment),
            )
        )
    if len(rows) > MAX_PACKETS:
        raise TooLarge(f"link.max_payload_bytes: {len(rows)} packets, more than {MAX_PACKETS} a round; use larger ones")
    header = FrameHeader(
        message.codec, message.header, message.width_px, message.height_px, tuple(frames),
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
    """What arrived of a round, as elements and masks. Damaged, repeated and impossible packets count as erased."""
    good = batch.checksum == checksums(batch, header.frame_index, header.round)
    possible = (batch.length <= link.max_payload_bytes) & (batch.sequence < packets_sent)
    batch = _once(batch.select(good & possible & ~batch.erased))
    bases = np.cumsum([0, *(s.source_packets + s.repair_packets for s in header.segments)])
    segments = tuple(
        _receive(header, i, batch.select((batch.segment == i) & (batch.sequence >= base)), int(base), link)
        for i, base in enumerate(bases[:-1])
    )
    packet_bytes = np.full(packets_sent, -1, np.int64)
    packet_bytes[batch.sequence] = batch.length
    arrived = int(np.count_nonzero(packet_bytes >= 0))
    return ReceivedMessage(header, segments, packets_sent, arrived, packet_bytes)


def _once(batch: PacketBatch) -> PacketBatch:
    """Each packet once and in order of sequence, however they arrived; of several that differ the first to arrive."""
    if bool((np.diff(batch.sequence) > 0).all()):
        return batch
    return gather([(batch, np.unique(batch.sequence, return_index=True)[1])])


def _receive(header: FrameHeader, index: int, batch: PacketBatch, base: int, link: LinkSettings) -> ReceivedSegment:
    segment = header.segments[index]
    total = segment.element_count
    keep = known_keep(header, segment, total)
    elements, received = np.zeros(total, np.int64), np.zeros(total, bool)
    withheld = ~keep
    sources = _sources(segment, int(np.count_nonzero(keep)), batch, base, link)
    # Where these elements belong is not known when the feedback that named them is forgotten.
    if sources and not (segment.as_requested and segment.spans is None):
        order = packet_order(np.flatnonzero(keep), link, unit_of(header, segment))
        coder = spec_of(header.codec, segment.kind).coder(
            segment.coding, header.width_px, header.height_px,
            (segment.withheld_count, total) if segment.withheld_count else None,
        )  # fmt: skip
        positions = positions_of(order, segment.spans)
        for first, count, data in sources.values():
            at = order[first : first + count]
            # Runs never overlap; one that does would make this end decode the same elements again and again.
            if not 0 < count <= MAX_RUN or first + count > len(order) or (received[at] | withheld[at]).any():
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
    segment: SegmentFrame, total: int, batch: PacketBatch, base: int, link: LinkSettings
) -> dict[int, fec.SourcePacket]:
    """Source packets by their number in the segment, with those that repair packets bring back; `total`: in all."""
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
