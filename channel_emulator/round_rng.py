"""Random numbers of one round, kept from batch to batch.

A batch of a hundred packets costs the calls of numpy, hardly the arithmetic. So numbers are made for a window of
sequence numbers at a time. They are the same numbers: each belongs to its sequence number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from common.random import CounterRng
from common.types import Ints

T = TypeVar("T")

WINDOW = 1024
"""Sequence numbers that numbers are made for together."""
_KEPT = 4
"""Windows kept; bounds memory."""


class RoundRng(CounterRng):
    """A CounterRng of one frame and round that is quick for batches in order. For one thread at a time."""

    __slots__ = ("_asked", "_windows")

    _asked: set[Hashable]
    _windows: dict[tuple[int, Hashable], Any]

    def __init__(self, seed: int, stream: str, frame_index: int, round_: int) -> None:
        super().__init__(seed, stream, frame_index, round_)
        object.__setattr__(self, "_asked", set())
        object.__setattr__(self, "_windows", {})

    def sub(self, name: str) -> CounterRng:
        """An independent stream below this one; nothing of it is kept."""
        return CounterRng(self.seed, f"{self.stream}/{name}", self.frame_index, self.round)

    def uniform(self, sequence: npt.ArrayLike, block: npt.ArrayLike = 0) -> npt.NDArray[np.float64]:
        """As CounterRng.uniform."""
        if isinstance(block, int) and isinstance(sequence, np.ndarray):
            window = self.window(sequence, block, lambda all_: super(RoundRng, self).uniform(all_, block))
            if window is not None:
                start, numbers = window
                picked: npt.NDArray[np.float64] = numbers[sequence - start]
                return picked
        return super().uniform(sequence, block)

    def window(self, sequence: Ints, key: Hashable, make: Callable[[Ints], T]) -> tuple[int, T] | None:
        """What `make` makes of all sequence numbers of the window that these are in, and the first of them.

        Args:
            sequence: int64 [P].
            key: what is made; it may be kept under this name.
            make: takes int64 [WINDOW].

        Returns:
            None where the numbers are in several windows, and for the first asking: a round of one batch needs none.
        """
        if key not in self._asked or not sequence.size:
            self._asked.add(key)
            return None
        number = int(sequence.min()) // WINDOW
        if int(sequence.max()) // WINDOW != number or number < 0:
            return None
        start = number * WINDOW
        if (number, key) not in self._windows:
            self._windows[number, key] = make(np.arange(start, start + WINDOW))
            if len(self._windows) > _KEPT:
                del self._windows[next(iter(self._windows))]
        return start, self._windows[number, key]
