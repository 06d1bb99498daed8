"""What a fault did in one round of a frame, beside what it should have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from gocom.common.packets import PacketBatch

if TYPE_CHECKING:
    from gocom.channel_emulator.impairments import Fault


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of one fault.

    Attributes:
        trials: packets or bits it acted on.
        events: how many of them it erased or flipped.
        expected: mean of `events`.
        variance: of `events`, memory of the model included.
    """

    trials: int
    events: int
    expected: float
    variance: float


class Tally:
    """Counts of one fault in one round, batch by batch. A fault with memory in it overrides `Fault.tally`."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._trials = self._events = 0
        self._variance: float | None = 0.0

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        """Count a batch as it came to the fault, and what was drawn for it."""
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        variance = self._fault.batch_variance(batch)
        self._variance = None if variance is None or self._variance is None else self._variance + variance

    def score(self) -> Score:
        """Of all so far."""
        fault, trials = self._fault, self._trials
        variance = fault.count_variance(trials) if self._variance is None else self._variance
        return Score(trials, self._events, trials * fault.expected_rate, variance)


class GivenTally(Tally):
    """Counts of a fault that leaves nothing to chance: what it is told to do is what is expected, without variance.

    So its z is 0 and proves nothing; that it does as told shows when what it did is recorded.
    """

    def score(self) -> Score:
        return Score(self._trials, self._events, float(self._events), 0.0)
