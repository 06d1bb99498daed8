"""What faults of time, order and number share: a batch with when each packet leaves, behind whom, and how often.

A packet is first held back until others have overtaken it, then waits in the queue of a slow link, then is delayed,
wherever in the chain these faults stand; several of a kind add up. Copies are made last: they share a packet's fate.
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
    """Packets of a round, in the order in which they came, and how they leave.

    Attributes:
        batch: the packets; those with `erased` set do not leave.
        queue_ms: float64 [P], from the beginning of the round until the packet is through the queue, if none goes
            before it that came later: see in_queue_order.
        delay_ms: float64 [P], how long it then takes.
        copies: int64 [P], how often it comes beyond the first time.
        behind: int64 [P], packets that come later and go before it; 0: it is not held back.
    """

    batch: PacketBatch
    queue_ms: Doubles
    delay_ms: Doubles
    copies: Ints
    behind: Ints

    @classmethod
    def of(cls, batch: PacketBatch) -> TimedBatch:
        """As they come: at once, in order, and once."""
        none, nought = np.zeros(len(batch), np.int64), np.zeros(len(batch))
        return cls(batch, nought, nought, none, none)

    def arranged(self) -> PacketBatch:
        """What arrives of a whole round, in order; all of its packets are taken to come at once.

        Of those that arrive within a millisecond the first to leave is the first to arrive, as in a DelayLine.
        """
        rows = np.flatnonzero(~self.batch.erased)
        rows = rows[np.argsort(Overtaking().keys(self.behind[rows]), kind="stable")]
        ticks = np.ceil(in_queue_order(self.queue_ms[rows], 0.0) + self.delay_ms[rows])
        rows = rows[np.argsort(ticks, kind="stable")]
        return gather([(self.batch, np.repeat(rows, 1 + self.copies[rows]))])


def join_timed_batches(timed_batches: Sequence[TimedBatch]) -> TimedBatch:
    """All packets of several, in order; at least one of them."""
    if len(timed_batches) == 1:
        return timed_batches[0]
    names = TimedBatch.__slots__[1:]
    columns = [np.concatenate([getattr(timed_batch, name) for timed_batch in timed_batches]) for name in names]
    return TimedBatch(join_batches([timed_batch.batch for timed_batch in timed_batches]), *columns)


def in_queue_order(queue_ms: Doubles, reached_ms: float) -> Doubles:
    """When packets are through a first-in first-out queue, float64 [P], ms; they are in the order in which they leave.

    One that was held back comes to the queue behind those that overtook it, and leaves it no earlier than they do. The
    time that was its own stays empty: the link is never quicker than its rate.

    Args:
        queue_ms: see TimedBatch.
        reached_ms: of the packets before them.
    """
    return np.maximum(np.maximum.accumulate(queue_ms), reached_ms)


class Overtaking:
    """Who goes before whom in a round, from batch to batch.

    The k-th packet that is not held back has the key 2 k. One that comes after n of them and is held back until d more
    have gone has 2 (n + d) + 1. Packets leave by ascending keys; of equal ones the first to come is the first to go.
    """

    def __init__(self) -> None:
        self._passed = 0

    @property
    def reached(self) -> int:
        """Packets with keys up to here may go."""
        return 2 * self._passed + 1

    def keys(self, behind: Ints) -> Ints:
        """int64 [P], of the next packets to come; `behind`: see TimedBatch."""
        passed = self._passed + np.cumsum(behind == 0)
        self._passed = int(passed[-1]) if len(passed) else self._passed
        return np.asarray(2 * (passed + behind) + (behind > 0))


class TimedFault(Fault):
    """A fault that does something to packets' time, order or number; its trials are packets."""

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET

    @abstractmethod
    def apply_timed(self, timed_batch: TimedBatch, drawn: npt.NDArray[Any]) -> TimedBatch:
        """With what was drawn for these packets; what it erases is `apply`'s business."""

    def work(self, batch: PacketBatch) -> float:
        return len(batch)


def with_erased(batch: PacketBatch, lost: npt.NDArray[np.bool_]) -> PacketBatch:
    """The batch with some more packets erased, bool [P]; itself where none is."""
    return batch.erase(lost) if lost.any() else batch
