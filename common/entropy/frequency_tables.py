"""Static integer frequency tables: the same numbers on every machine, never computed from floats at run time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from gocom.common.errors import Mismatch

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

    def with_escape(self, withheld: int, total: int) -> FrequencyTable:
        """One symbol more, K: "withheld", as likely as `withheld` of `total` elements; 0 < withheld < total."""
        size = len(self.frequencies)
        room = TOTAL - size - 1  # one each is spoken for
        escape = 1 + room * withheld // total
        scaled = 1 + (self.frequencies - 1) * (TOTAL - size - escape) // (TOTAL - size)
        order = np.argsort(-self.frequencies, kind="stable")
        scaled[order[: TOTAL - escape - int(scaled.sum())]] += 1
        return FrequencyTable(np.append(scaled, escape))


@dataclass(frozen=True, eq=False)
class NeighbourTables:
    """A table for each pair of neighbours' classes (or for the left one's class alone).

    Attributes:
        classes: int64 [K], the class of each symbol, in [0, C).
        frequencies: int64 [(C + 1)**2 or C + 1, K]; row left * (C + 1) + above, where C means "not in this packet".
    """

    classes: npt.NDArray[np.int64]
    frequencies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        rows, size = self.frequencies.shape
        if len(self.classes) != size or self.classes.min() < 0:
            raise Mismatch(f"table: {len(self.classes)} classes for {size} symbols")
        if rows not in (self.nothing + 1, (self.nothing + 1) ** 2):
            raise Mismatch(f"table: {rows} contexts for {self.nothing} classes")
        if self.frequencies.min() < 1 or (self.frequencies.sum(1) != TOTAL).any():
            raise Mismatch("table: frequencies of a context do not sum up")

    @property
    def nothing(self) -> int:
        """C: the class of a neighbour that is not there."""
        return int(self.classes.max()) + 1

    @property
    def uses_above(self) -> bool:
        """Whether the neighbour above counts, or only the one before."""
        return len(self.frequencies) > self.nothing + 1


_ROW_TOTAL = 1 << 16
"""Rows of neighbour tables are kept in 16 bits: 256 of the unit of TOTAL."""


def save_tables(
    tables: dict[str, FrequencyTable],
    path: Path,
    neighbours: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None = None,
) -> None:
    """Write tables to one safetensors file: int32 for plain ones; classes (int16) and rows (uint16) for neighbours.

    Args:
        neighbours: name -> (classes [K], counts float [contexts, K]), see `row_frequencies`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {name: t.frequencies.astype(np.int32) for name, t in tables.items()}
    for name, (classes, counts) in (neighbours or {}).items():
        arrays[f"{name}_classes"] = np.asarray(classes, np.int16)
        arrays[f"{name}_rows"] = row_frequencies(np.asarray(counts, np.float64))
    save_file(arrays, path)
    path.chmod(0o644)  # safetensors writes for the owner only; a service may run as somebody else


def row_frequencies(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Counts [contexts, K] -> uint16 [contexts, K], each at least 1, rows summing to 2**16."""
    free = _ROW_TOTAL - counts.shape[1]
    rows = 1 + np.floor(counts / counts.sum(1, keepdims=True) * free).astype(np.int64)
    for row, short in zip(rows, _ROW_TOTAL - rows.sum(1), strict=True):
        row[np.argsort(-row, kind="stable")[:short]] += 1
    out: npt.NDArray[np.uint16] = rows.astype(np.uint16)
    return out


def load_table(path: Path, name: str) -> FrequencyTable:
    """Read one table. Raises Mismatch when the file or the table is not what it should be."""
    return FrequencyTable(_load(path, name).astype(np.int64))


def load_neighbours(path: Path, name: str) -> NeighbourTables:
    """Read neighbour tables. Raises Mismatch when the file or the tables are not what they should be."""
    classes, rows = (_load(path, f"{name}_{part}").astype(np.int64) for part in ("classes", "rows"))
    return NeighbourTables(classes, rows * (TOTAL // _ROW_TOTAL))


def _load(path: Path, name: str) -> npt.NDArray[Any]:
    tables = load_file(path)
    if name not in tables:
        raise Mismatch(f"table: no {name!r} in {path.name}; there are {', '.join(sorted(tables))}")
    values: npt.NDArray[Any] = tables[name]
    return values
