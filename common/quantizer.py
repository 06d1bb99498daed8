"""Uniform scalar quantizer with a range for each channel: features to levels and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from gocom.common.errors import Mismatch
from gocom.common.types import Floats, Ints


@dataclass(frozen=True, eq=False)
class UniformQuantizer:
    """Levels of equal width between two bounds; a value beyond them takes the outermost level.

    Attributes:
        low, high: float64 [C], the bounds of each channel.
        levels: how many.
    """

    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    levels: int

    def __post_init__(self) -> None:
        if self.low.shape != self.high.shape or self.low.ndim != 1 or not (self.low < self.high).all():
            raise Mismatch("quantizer: its bounds are no ranges")

    @property
    def step(self) -> npt.NDArray[np.float64]:
        """float64 [C], the width of a level."""
        return (self.high - self.low) / self.levels

    def quantize(self, values: npt.NDArray[np.floating[Any]]) -> Ints:
        """[..., C] -> int64 [..., C], each in [0, levels)."""
        index = np.floor((values.astype(np.float64) - self.low) / self.step)
        levels: Ints = np.clip(index, 0, self.levels - 1).astype(np.int64)
        return levels

    def dequantize(self, index: Ints) -> Floats:
        """int64 [..., C] in [0, levels) -> float32 [..., C], the middle of each level."""
        return (self.low + (index + 0.5) * self.step).astype(np.float32)

    @staticmethod
    def calibrate(values: npt.NDArray[np.floating[Any]], levels: int, outside: float) -> UniformQuantizer:
        """Bounds of values [N, C] beyond which a share of `outside` lies on either side."""
        low, high = np.quantile(values.astype(np.float64), [outside, 1 - outside], axis=0)
        return UniformQuantizer(low, high, levels)


def load_quantizer(path: Path, levels: int) -> UniformQuantizer:
    """From the entries "low" and "high" of a safetensors file. Raises Mismatch."""
    entries = load_file(path)
    if not {"low", "high"} <= entries.keys():
        raise Mismatch(f"quantizer: {path.name} has no bounds")
    return UniformQuantizer(entries["low"].astype(np.float64), entries["high"].astype(np.float64), levels)
