"""Packets for a channel in this process, and how far counts are from what was expected of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import astuple

import numpy as np

from gocom.channel_emulator.fault_bases.fault import EventCounts
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_PACKETS

CERTAIN = 1e6
"""|z| of a count that a model without chance excludes."""
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


def total(rounds: Iterable[EventCounts]) -> EventCounts:
    """Counts of all rounds together, one at least."""
    return EventCounts(*map(sum, zip(*map(astuple, rounds), strict=True)))


def z_score(events: float, expected: float, variance: float) -> float:
    """Where nothing is left to chance one event too many is beyond any doubt: CERTAIN."""
    if variance > 0:
        return (events - expected) / math.sqrt(variance)
    return math.copysign(CERTAIN, events - expected) if abs(events - expected) > 0.5 else 0.0
