"""Batches that are delayed, and messages made of packets of several of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2

MAX_COLUMN_BYTES, MIN_COLUMN_BYTES = 32, 6
"""Upper and lower estimate of the bytes that the columns of one packet take in a message."""
_PACKET_BYTES, _BATCH_BYTES = 512, 2048
"""Memory of a packet beyond its payload, with a departure time of its own, and of a batch beyond its packets; bytes."""
_TOGETHER = 1 << 16
"""Number of packets and copies processed together; bounds memory."""
_COPIES, _BEGIN, _LENGTH, _SEQUENCE, _CHECKSUM, _POWER = 0, 1, 2, 3, 6, 7
"""Rows of DelayedBatch.columns; from _LENGTH on they are the columns of PacketBatch, in its order."""


class DelayedBatch:
    """A batch of which packets are still to be sent.

    Attributes:
        unsent: number of packets that are not sent yet.
        size: memory that the batch takes, in bytes.
        columns: int64 [8, P]; power is stored as the bits of a float32.
        payload: the payload of all packets.
    """

    __slots__ = ("columns", "payload", "size", "unsent")

    def __init__(self, timed_batch: TimedBatch) -> None:
        batch = timed_batch.batch
        self.unsent = int(np.count_nonzero(~batch.erased))
        self.size = len(batch.payload) + _PACKET_BYTES * len(batch) + _BATCH_BYTES
        self.payload = np.ascontiguousarray(batch.payload).data
        self.columns: Ints = np.stack([
            timed_batch.copies, batch.offset, batch.length, batch.sequence, batch.first_element, batch.element_count,
            batch.checksum, batch.power.view(np.uint32),
        ]).astype(np.int64, copy=False)  # fmt: skip


PacketSelection = tuple[DelayedBatch, Ints]
"""Packets of a delayed batch, by their indices."""


def messages(selections: Sequence[PacketSelection], max_bytes: int) -> Iterator[bytes]:
    """Yield the packets with their copies as serialized items of at most `max_bytes` bytes, or of one packet."""
    # Many selections are a single packet, so most operations are done on all selections at once.
    table = np.concatenate([delayed.columns[:, rows] for delayed, rows in selections], axis=1)
    owner_of_packet = np.repeat(np.arange(len(selections)), [len(rows) for _, rows in selections])
    step = max(1, _TOGETHER // (1 + int(table[_COPIES].max())))
    for first in range(0, len(owner_of_packet), step):
        columns, owner = table[:, first : first + step], owner_of_packet[first : first + step]
        times = 1 + columns[_COPIES]
        payloads = [selections[selection][0].payload for selection in np.repeat(owner, times).tolist()]
        yield from _split_messages(np.repeat(columns, times, axis=1), payloads, max_bytes)


def _split_messages(table: Ints, payloads: Sequence[memoryview], max_bytes: int) -> Iterator[bytes]:
    """Yield serialized items.

    Args:
        table: int64 [8, N], columns of the packets, as in DelayedBatch.
        payloads: for each packet the payload of the batch that it belongs to.
        max_bytes: size limit of an item.
    """
    ends = np.cumsum(table[_LENGTH] + MAX_COLUMN_BYTES)
    start = 0
    while start < len(ends):
        previous_end = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, previous_end + max_bytes, side="right")))
        yield _encode(table[:, start:stop], payloads[start:stop])
        start = stop


def _encode(table: Ints, data: Sequence[memoryview]) -> bytes:
    """Return one serialized item; see _split_messages."""
    begin, length = table[_BEGIN], table[_LENGTH]
    places = zip(data, begin.tolist(), (begin + length).tolist(), strict=True)
    batch = PacketBatch(
        np.frombuffer(b"".join([whole[start:stop] for whole, start, stop in places]), np.uint8),
        length, table[_SEQUENCE], table[_SEQUENCE + 1], table[_SEQUENCE + 2],
        table[_CHECKSUM].astype(np.uint32), table[_POWER].astype(np.uint32).view(np.float32),
        np.zeros(len(length), bool),
    )  # fmt: skip
    return link_pb2.SendRequest(batch=batch_to_proto(batch)).SerializeToString()
