"""Random draws of one round, cached across batches.

For a batch of a hundred packets most of the time goes into calls of numpy, hardly any into arithmetic. So draws are
made for a whole window of sequence numbers at a time. Each draw belongs to its sequence number, so caching changes no
value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch, SequenceRange
from gocom.common.types import Ints

T = TypeVar("T")
Array = TypeVar("Array", bound=npt.NDArray[Any])

WINDOW, LONG_WINDOW = 2048, 8192
"""The first window of a round has WINDOW sequence numbers; later windows end at multiples of LONG_WINDOW."""
_MAX_KEYS = 64
"""Largest number of different keys that are cached for a round; bounds memory."""
_MAX_WINDOWS = 2
"""Number of windows that are cached; bounds memory."""


class CachedRng(CounterRng):
    """A CounterRng of one frame and round that caches what was drawn with it. One thread at a time may use it.

    Attributes:
        fault_state: state that a fault keeps from batch to batch of the round; see rate_limit.py.
    """

    __slots__ = ("_requested_keys", "_windows", "fault_state")

    fault_state: dict[str, Any]
    _requested_keys: set[Hashable]
    _windows: dict[tuple[int, Hashable], Any]

    def __init__(self, seed: int, stream: str, frame_index: int, round_: int) -> None:
        super().__init__(seed, stream, frame_index, round_)
        object.__setattr__(self, "fault_state", {})
        object.__setattr__(self, "_requested_keys", set())
        object.__setattr__(self, "_windows", {})

    def substream(self, name: str) -> CounterRng:
        """Return an independent substream, whose draws are not cached."""
        return CounterRng(self.seed, self.stream, self.frame_index, self.round).substream(name)

    def window(
        self, sequence_range: SequenceRange, key: Hashable, make: Callable[[Ints, CounterRng], T]
    ) -> tuple[int, T] | None:
        """Return cached values for the window that contains these sequence numbers.

        Args:
            sequence_range: the range of the sequence numbers.
            key: the cache key; it identifies `make`.
            make: computes the values of sequence numbers int64 [S], S at most LONG_WINDOW, from a random number
                generator.

        Returns:
            The first sequence number of the window, and the values of the window. None if the numbers lie in several
            windows, and on the first request for a key: a round that is a single batch needs no cache.
        """
        if key not in self._requested_keys or sequence_range.last < 0:
            if len(self._requested_keys) < _MAX_KEYS:
                self._requested_keys.add(key)
            return None
        start, stop = _window_bounds(sequence_range.first)
        if sequence_range.last >= stop:
            return None
        if (start, key) not in self._windows:
            self._windows[start, key] = make(np.arange(start, stop), self)
            if len(self._windows) > _MAX_WINDOWS:
                del self._windows[next(iter(self._windows))]
        return start, self._windows[start, key]


def _window_bounds(sequence: int) -> tuple[int, int]:
    """Return the first sequence number of the window that contains this one, and that of the next window."""
    if sequence < WINDOW:
        return 0, WINDOW
    start = sequence // LONG_WINDOW * LONG_WINDOW
    return max(start, WINDOW), start + LONG_WINDOW


def draw_cached(rng: CounterRng, batch: PacketBatch, key: Hashable, make: Callable[[Ints, CounterRng], Array]) -> Array:
    """Return make(batch.sequence, rng), taken from a cached window if possible. The array must not be changed."""
    sequence_range = batch.sequence_range
    window = rng.window(sequence_range, key, make) if isinstance(rng, CachedRng) else None
    if window is None:
        return make(batch.sequence, rng)
    start, made = window
    if not sequence_range.contiguous:
        return cast(Array, made[batch.sequence - start])
    part = cast(Array, made[sequence_range.first - start : sequence_range.last - start + 1])
    part.flags.writeable = False
    return part


def value_if_all_equal(values: npt.NDArray[Any]) -> float | None:
    """Return the value that all entries have in common; None if they differ, or there are none."""
    # For a hundred numbers, comparing bytes is faster than array operations.
    return float(values[0]) if len(values) and values.tobytes() == values[:1].tobytes() * len(values) else None
