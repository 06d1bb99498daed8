"""What is drawn for one round, kept from batch to batch.

A batch of a hundred packets costs the calls of numpy, hardly the arithmetic. So draws are made for a window of sequence
numbers at a time. They are the same draws: each belongs to its sequence number.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch, Span
from gocom.common.types import Ints

T = TypeVar("T")
Array = TypeVar("Array", bound=npt.NDArray[Any])

WINDOW, LONG_WINDOW = 2048, 8192
"""Sequence numbers that draws are made for together: the first ones of a round, and from then on, up to multiples."""
_MAX_KEYS = 64
"""Things that are made in a window; of more a round has nothing kept."""
_KEPT = 2
"""Windows kept; bounds memory."""


class CachedRng(CounterRng):
    """A CounterRng of one frame and round that keeps what was drawn with it. For one thread at a time.

    Attributes:
        kept: what a fault remembers of the round's packets so far, where that is its way: see rate_limit.py.
    """

    __slots__ = ("_asked", "_windows", "kept")

    kept: dict[str, Any]
    _asked: set[Hashable]
    _windows: dict[tuple[int, Hashable], Any]

    def __init__(self, seed: int, stream: str, frame_index: int, round_: int) -> None:
        super().__init__(seed, stream, frame_index, round_)
        object.__setattr__(self, "kept", {})
        object.__setattr__(self, "_asked", set())
        object.__setattr__(self, "_windows", {})

    def sub(self, name: str) -> CounterRng:
        """An independent stream below this one; nothing of it is kept."""
        return CounterRng(self.seed, self.stream, self.frame_index, self.round).sub(name)

    def window(self, span: Span, key: Hashable, make: Callable[[Ints, CounterRng], T]) -> tuple[int, T] | None:
        """What `make` makes of all sequence numbers of the window that these are in, and the first of them.

        Args:
            span: of the sequence numbers.
            key: what is made; it may be kept under this name.
            make: takes int64 [S], S at most LONG_WINDOW, and the numbers to draw with.

        Returns:
            None where the numbers are in several windows, and for the first asking: a round of one batch needs none.
        """
        if key not in self._asked or span.last < 0:
            if len(self._asked) < _MAX_KEYS:
                self._asked.add(key)
            return None
        start, stop = _around(span.first)
        if span.last >= stop:
            return None
        if (start, key) not in self._windows:
            self._windows[start, key] = make(np.arange(start, stop), self)
            if len(self._windows) > _KEPT:
                del self._windows[next(iter(self._windows))]
        return start, self._windows[start, key]


def _around(sequence: int) -> tuple[int, int]:
    """First of the window that a sequence number is in, and of the next one."""
    if sequence < WINDOW:
        return 0, WINDOW
    start = sequence // LONG_WINDOW * LONG_WINDOW
    return max(start, WINDOW), start + LONG_WINDOW


def draw_by_window(
    rng: CounterRng, batch: PacketBatch, key: Hashable, make: Callable[[Ints, CounterRng], Array]
) -> Array:
    """make(batch.sequence, rng), an array not to be changed; from a window where `rng` has one."""
    span = batch.span
    window = rng.window(span, key, make) if isinstance(rng, CachedRng) else None
    if window is None:
        return make(batch.sequence, rng)
    start, made = window
    if not span.whole:
        return cast(Array, made[batch.sequence - start])
    part = cast(Array, made[span.first - start : span.last - start + 1])
    part.flags.writeable = False
    return part


def common_value(values: npt.NDArray[Any]) -> float | None:
    """The one that all have; None where they differ, or there is none."""
    # Compared as bytes: quicker than array operations on a hundred numbers.
    return float(values[0]) if len(values) and values.tobytes() == values[:1].tobytes() * len(values) else None
