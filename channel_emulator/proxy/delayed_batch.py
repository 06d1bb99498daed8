"""Batches under way, and messages made of some packets of several of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2

ON_WIRE, ON_WIRE_LEAST = 32, 6
"""Bytes of a packet's columns in a message."""
_PACKET_BYTES, _BATCH_BYTES = 512, 2048
"""What keeping a packet takes beyond its payload where each is due at another time, and a batch beyond its packets."""
_TOGETHER = 1 << 16
"""Packets and copies looked at together; bounds memory."""
_COPIES, _BEGIN, _LENGTH, _SEQUENCE, _CHECKSUM, _POWER = 0, 1, 2, 3, 7, 8
"""Rows of a delayed's columns; from the third on they are those of PacketBatch, in its order."""


class DelayedBatch:
    """A batch under way.

    Attributes:
        left: how many of its packets have not gone.
        size: what keeping it takes, bytes.
        columns: int64 [9, P]; power as the bits of a float32.
        payload: of all packets.
    """

    __slots__ = ("columns", "left", "payload", "size")

    def __init__(self, timed_batch: TimedBatch) -> None:
        batch = timed_batch.batch
        self.left = int(np.count_nonzero(~batch.erased))
        self.size = len(batch.payload) + _PACKET_BYTES * len(batch) + _BATCH_BYTES
        self.payload = np.ascontiguousarray(batch.payload).data
        self.columns: Ints = np.stack([
            timed_batch.copies, batch.offset, batch.length, batch.sequence, batch.segment, batch.first_element,
            batch.element_count, batch.checksum, batch.power.view(np.uint32),
        ]).astype(np.int64, copy=False)  # fmt: skip


Piece = tuple[DelayedBatch, Ints]
"""Packets of a delayed, by their indices."""


def messages(pieces: Sequence[Piece], most: int) -> Iterator[bytes]:
    """Packets with their copies as items, cut so that each has at most so many bytes, or one packet."""
    # Many pieces are one packet each: few operations on each piece, all else on all of them.
    table = np.concatenate([delayed.columns[:, rows] for delayed, rows in pieces], axis=1)
    whose = np.repeat(np.arange(len(pieces)), [len(rows) for _, rows in pieces])
    step = max(1, _TOGETHER // (1 + int(table[_COPIES].max())))
    for first in range(0, len(whose), step):
        part, owner = table[:, first : first + step], whose[first : first + step]
        times = 1 + part[_COPIES]
        payloads = [pieces[piece][0].payload for piece in np.repeat(owner, times).tolist()]
        yield from _cut(np.repeat(part, times, axis=1), payloads, most)


def _cut(table: Ints, payloads: Sequence[memoryview], most: int) -> Iterator[bytes]:
    """Packets as items; `table`: their columns as DelayedBatch has them, `payloads`: what each one's lies in."""
    ends = np.cumsum(table[_LENGTH] + ON_WIRE)
    start = 0
    while start < len(ends):
        used = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, used + most, side="right")))
        yield _encode(table[:, start:stop], payloads[start:stop])
        start = stop


def _encode(table: Ints, data: Sequence[memoryview]) -> bytes:
    """One item; see _cut."""
    begin, length = table[_BEGIN], table[_LENGTH]
    places = zip(data, begin.tolist(), (begin + length).tolist(), strict=True)
    batch = PacketBatch(
        np.frombuffer(b"".join([whole[start:stop] for whole, start, stop in places]), np.uint8),
        length, table[_SEQUENCE], table[_SEQUENCE + 1], table[_SEQUENCE + 2], table[_SEQUENCE + 3],
        table[_CHECKSUM].astype(np.uint32), table[_POWER].astype(np.uint32).view(np.float32),
        np.zeros(len(length), bool),
    )  # fmt: skip
    return link_pb2.SendRequest(batch=batch_to_proto(batch)).SerializeToString()
