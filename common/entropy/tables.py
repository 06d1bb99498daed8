"""Static integer frequency tables: the same numbers on every machine, never computed from floats at run time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from common.errors import Mismatch

TOTAL = 1 << 24
"""Frequencies of a table sum to this; constriction's 24-bit models are then exact."""


@dataclass(frozen=True, eq=False)
class FrequencyTable:
    """Frequencies int64 [K], each at least 1, summing to TOTAL."""

    frequencies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.frequencies) < 2 or self.frequencies.min() < 1 or self.frequencies.sum() != TOTAL:
            raise Mismatch(f"table: {len(self.frequencies)} frequencies sum to {self.frequencies.sum()}, not {TOTAL}")

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """Ideal code length of each symbol, in bits. For planning packet cuts, never for coding."""
        return 24.0 - np.log2(self.frequencies.astype(np.float64))

    @staticmethod
    def from_counts(counts: npt.NDArray[np.int64]) -> FrequencyTable:
        """Counts [K] -> a table: one added to each, scaled, the remainder given to the likeliest symbols."""
        smoothed = counts.astype(np.int64) + 1
        free = TOTAL - len(smoothed)
        frequencies = 1 + smoothed * free // int(smoothed.sum())
        order = np.argsort(-smoothed, kind="stable")
        frequencies[order[: TOTAL - int(frequencies.sum())]] += 1
        return FrequencyTable(frequencies)


def save_tables(tables: dict[str, FrequencyTable], path: Path) -> None:
    """Write tables to one safetensors file (int32)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: table.frequencies.astype(np.int32) for name, table in tables.items()}, path)
    path.chmod(0o644)  # safetensors writes for the owner only; a service may run as somebody else


def load_table(path: Path, name: str) -> FrequencyTable:
    """Read one table. Raises Mismatch when the file or the table is not what it should be."""
    tables = load_file(path)
    if name not in tables:
        raise Mismatch(f"table: no {name!r} in {path.name}; there are {', '.join(sorted(tables))}")
    return FrequencyTable(tables[name].astype(np.int64))
