"""Packets for a channel in this process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_PACKETS

_BATCH_BYTES = 1 << 18
"""Payload of a batch; bounds memory."""
_BATCH_PACKETS = 1 << 14


def batch_of(count: int, payload_bytes: int, first: int = 0) -> PacketBatch:
    """Packets of one segment, with sequence numbers from `first` on."""
    index, ones = np.arange(first, first + count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(count * payload_bytes, np.uint8), ones * payload_bytes, index, index, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def batches(packets: int, payload_bytes: int) -> Iterator[tuple[int, list[PacketBatch]]]:
    """Rounds of so many packets in all: frame index, and the batches of its round."""
    size = max(1, min(_BATCH_PACKETS, _BATCH_BYTES // payload_bytes))
    frame = 0
    while packets > 0:
        here = min(packets, MAX_PACKETS)
        starts = range(0, here, size)
        yield frame, [batch_of(min(size, here - start), payload_bytes, start) for start in starts]
        packets, frame = packets - here, frame + 1
