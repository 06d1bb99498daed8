"""Base of the faults that delay, reorder or duplicate packets: a batch with departure times, order and copies.

A packet is first held back until others have overtaken it, then waits in the queue of a slow link, then is delayed.
This order does not depend on where the faults stand in the chain; several faults of a kind add up. Copies are made
last, so they share the fate of their packet.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.fault import Fault
from gocom.common.packet_batch import PacketBatch, gather, join_batches
from gocom.common.types import Ints
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimedBatch:
    """Packets of a round in order of arrival, and how they leave.

    Attributes:
        batch: the packets; erased packets do not leave.
        queue_ms: float64 [P], ms from the beginning of the round until the packet has left the queue, unless a packet
            that arrived later overtakes it; see fifo_departures_ms.
        delay_ms: float64 [P], delay after the queue, in ms.
        copies: int64 [P], number of additional copies.
        overtaken_by: int64 [P], number of later packets that overtake the packet; 0: it is not held back.
    """

    batch: PacketBatch
    queue_ms: Doubles
    delay_ms: Doubles
    copies: Ints
    overtaken_by: Ints

    @classmethod
    def of(cls, batch: PacketBatch) -> TimedBatch:
        """Return packets that leave without delay, in order, and without copies."""
        zero_counts, zero_times = np.zeros(len(batch), np.int64), np.zeros(len(batch))
        return cls(batch, zero_times, zero_times, zero_counts, zero_counts)

    def in_arrival_order(self) -> PacketBatch:
        """Return the packets of a whole round in their order of arrival at the next hop, with copies.

        All packets of the round are taken to enter at once. Packets that arrive within the same millisecond keep the
        order in which they leave, as in a DelayLine.
        """
        rows = np.flatnonzero(~self.batch.erased)
        rows = rows[np.argsort(DepartureOrder().keys(self.overtaken_by[rows]), kind="stable")]
        ticks = np.ceil(fifo_departures_ms(self.queue_ms[rows], 0.0) + self.delay_ms[rows])
        rows = rows[np.argsort(ticks, kind="stable")]
        return gather([(self.batch, np.repeat(rows, 1 + self.copies[rows]))])


def join_timed_batches(timed_batches: Sequence[TimedBatch]) -> TimedBatch:
    """Join batches in order; there must be at least one."""
    if len(timed_batches) == 1:
        return timed_batches[0]
    names = TimedBatch.__slots__[1:]
    columns = [np.concatenate([getattr(timed_batch, name) for timed_batch in timed_batches]) for name in names]
    return TimedBatch(join_batches([timed_batch.batch for timed_batch in timed_batches]), *columns)


def fifo_departures_ms(queue_ms: Doubles, previous_ms: float) -> Doubles:
    """Return when packets leave a first-in first-out queue, float64 [P], in ms.

    A packet that was held back enters the queue after those that overtook it, and leaves no earlier than they do. The
    transmission time reserved for it stays unused: the link never exceeds its rate.

    Args:
        queue_ms: see TimedBatch; packets in the order in which they leave.
        previous_ms: when the packets before these have left, in ms.
    """
    return np.maximum(np.maximum.accumulate(queue_ms), previous_ms)


class DepartureOrder:
    """The order in which packets of a round leave, kept from batch to batch.

    The k-th packet that is not held back has the key 2 k. A packet that comes after n of them and is held back until d
    more have left has the key 2 (n + d) + 1. Packets leave by ascending key; those with equal keys leave in order of
    arrival.
    """

    def __init__(self) -> None:
        self._not_held_back = 0

    @property
    def max_released_key(self) -> int:
        """Largest key of the packets that may leave now."""
        return 2 * self._not_held_back + 1

    def keys(self, overtaken_by: Ints) -> Ints:
        """Return the keys of the next packets to arrive, int64 [P]; for `overtaken_by` see TimedBatch."""
        not_held_back = self._not_held_back + np.cumsum(overtaken_by == 0)
        self._not_held_back = int(not_held_back[-1]) if len(not_held_back) else self._not_held_back
        return np.asarray(2 * (not_held_back + overtaken_by) + (overtaken_by > 0))


class TimedFault(Fault):
    """A fault that delays, reorders or duplicates packets; its trials are packets."""

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET

    @abstractmethod
    def apply_timed(self, timed_batch: TimedBatch, drawn: npt.NDArray[Any]) -> TimedBatch:
        """Return the batch with the draw applied to its times, order and copies; erasing packets is left to `apply`."""

    def work(self, batch: PacketBatch) -> float:
        return len(batch)


def with_erased(batch: PacketBatch, lost: npt.NDArray[np.bool_]) -> PacketBatch:
    """Return the batch with more packets erased, bool [P]; the same batch if there are none."""
    return batch.erase(lost) if lost.any() else batch
