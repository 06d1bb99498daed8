"""Uniform scalar quantizer of features, with a range for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.errors import Mismatch
from gocom.common.tensor_files import read_tensors
from gocom.common.types import Floats, Ints


@dataclass(frozen=True, eq=False)
class UniformQuantizer:
    """A quantizer with levels of equal width between two bounds. A value beyond a bound gets the outermost level.

    Attributes:
        low, high: float64 [C], lower and upper bound of each channel.
        levels: number of levels.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    levels: int

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape or self.low.ndim != 1 or not (self.low < self.high).all():
            raise Mismatch("quantizer: its bounds are no ranges")

    @property
    def step(self) -> npt.NDArray[np.float64]:
        """Width of a level in each channel, float64 [C]."""
        return (self.high - self.low) / self.levels

    def quantize(self, values: npt.NDArray[np.floating[Any]]) -> Ints:
        """Return the level of each value, int64 [..., C] in [0, levels), for values [..., C]."""
        index = np.floor((values.astype(np.float64) - self.low) / self.step)
        levels: Ints = np.clip(index, 0, self.levels - 1).astype(np.int64)
        return levels

    def dequantize(self, index: Ints) -> Floats:
        """Return the middle of each level, float32 [..., C], for levels int64 [..., C] in [0, levels)."""
        return (self.low + (index + 0.5) * self.step).astype(np.float32)

    @staticmethod
    def calibrate(values: npt.NDArray[np.floating[Any]], levels: int, tail_share: float) -> UniformQuantizer:
        """Return a quantizer whose bounds are quantiles of sample values.

        Args:
            values: samples [N, C].
            levels: number of levels.
            tail_share: share of a channel's samples that lies below the lower bound, and share above the upper one.
        """
        low, high = np.quantile(values.astype(np.float64), [tail_share, 1 - tail_share], axis=0)
        return UniformQuantizer(low, high, levels)


def load_quantizer(path: Path, levels: int) -> UniformQuantizer:
    """Load a quantizer from the arrays "low" and "high" of a safetensors file.

    Raises:
        Mismatch: the file or an array is missing or damaged, or the bounds are not valid.
    """
    entries = read_tensors(path)
    if not {"low", "high"} <= entries.keys():
        raise Mismatch(f"quantizer: {path.name} has no bounds")
    return UniformQuantizer(entries["low"].astype(np.float64), entries["high"].astype(np.float64), levels)
