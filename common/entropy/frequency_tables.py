"""Static integer frequency tables, the same on every machine, since none is computed from floats at run time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from gocom.common.errors import Mismatch
from gocom.common.tensor_files import read_tensors

TOTAL = 1 << 24
"""Sum of the frequencies of a table. It makes constriction's 24-bit models exact."""


@dataclass(frozen=True, eq=False)
class FrequencyTable:
    """Frequencies of K symbols.

    Attributes:
        frequencies: int64 [K], K at least 2, each at least 1; their sum is TOTAL.

    Raises:
        Mismatch: the frequencies are not as described.
    """

    frequencies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.frequencies) < 2 or self.frequencies.min() < 1 or self.frequencies.sum() != TOTAL:
            raise Mismatch(f"table: {len(self.frequencies)} frequencies sum to {self.frequencies.sum()}, not {TOTAL}")

    @property
    def bits(self) -> npt.NDArray[np.float64]:
        """Ideal code length of each symbol in bits, float64 [K]. It is for planning packets, never for coding."""
        return 24.0 - np.log2(self.frequencies.astype(np.float64))

    @staticmethod
    def from_counts(counts: npt.NDArray[np.int64]) -> FrequencyTable:
        """Return a table in proportion to counts, int64 [K].

        One is added to each count. What is left over after rounding down goes to the likeliest symbols.
        """
        smoothed = counts.astype(np.int64) + 1
        free = TOTAL - len(smoothed)
        frequencies = 1 + smoothed * free // int(smoothed.sum())
        order = np.argsort(-smoothed, kind="stable")
        frequencies[order[: TOTAL - int(frequencies.sum())]] += 1
        return FrequencyTable(frequencies)

    @staticmethod
    def uniform(size: int) -> FrequencyTable:
        """Return a table in which all symbols are equally frequent, as far as TOTAL can be divided by their number."""
        return FrequencyTable.from_counts(np.zeros(size, np.int64))

    def with_escape(self, withheld: int, total: int) -> FrequencyTable:
        """Return the table with one more symbol, K, which means "withheld".

        Its probability is `withheld` / `total`, where 0 < withheld < total.
        """
        size = len(self.frequencies)
        room = TOTAL - size - 1  # every symbol, the new one included, keeps a frequency of at least 1
        escape = 1 + room * withheld // total
        scaled = 1 + (self.frequencies - 1) * (TOTAL - size - escape) // (TOTAL - size)
        order = np.argsort(-self.frequencies, kind="stable")
        scaled[order[: TOTAL - escape - int(scaled.sum())]] += 1
        return FrequencyTable(np.append(scaled, escape))


@dataclass(frozen=True, eq=False)
class NeighbourTables:
    """Frequency tables by context: the classes of the left and the upper neighbour, or of the left neighbour alone.

    Attributes:
        classes: int64 [K], class of each symbol, in [0, C).
        frequencies: int64 [(C + 1)**2 or C + 1, K]. The row is left * (C + 1) + above, or just left; class C means that
            the packet does not hold the neighbour. Each row sums to TOTAL.

    Raises:
        Mismatch: the arrays are not as described.
    """

    classes: npt.NDArray[np.int64]
    frequencies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        rows, size = self.frequencies.shape
        if len(self.classes) != size or self.classes.min() < 0:
            raise Mismatch(f"table: {len(self.classes)} classes for {size} symbols")
        if rows not in (self.missing_class + 1, (self.missing_class + 1) ** 2):
            raise Mismatch(f"table: {rows} contexts for {self.missing_class} classes")
        if self.frequencies.min() < 1 or (self.frequencies.sum(1) != TOTAL).any():
            raise Mismatch("table: frequencies of a context do not sum up")

    @staticmethod
    def uniform(size: int) -> NeighbourTables:
        """Return tables for symbols of which neighbours say nothing: one class, whose frequencies are equal."""
        row = FrequencyTable.uniform(size).frequencies
        return NeighbourTables(np.zeros(size, np.int64), np.stack([row, row]))

    @property
    def missing_class(self) -> int:
        """Class C, of a neighbour that the packet does not hold."""
        return int(self.classes.max()) + 1

    @property
    def uses_above(self) -> bool:
        """Whether the context has the neighbour above too, and not the left one alone."""
        return len(self.frequencies) > self.missing_class + 1


_ROW_TOTAL = 1 << 16
"""Sum of a row of neighbour tables as stored, in uint16; loading multiplies it by TOTAL / _ROW_TOTAL = 256."""


def save_tables(
    tables: dict[str, FrequencyTable],
    path: Path,
    neighbours: dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None = None,
) -> None:
    """Write tables to one safetensors file.

    A plain table is stored as int32. Neighbour tables are stored as classes (int16) and rows (uint16).


    Args:
        tables: plain tables by name.
        path: file to write.
        neighbours: by name, (classes [K], counts float [contexts, K]) as for `row_frequencies`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, npt.NDArray[Any]] = {name: t.frequencies.astype(np.int32) for name, t in tables.items()}
    for name, (classes, counts) in (neighbours or {}).items():
        arrays[f"{name}_classes"] = np.asarray(classes, np.int16)
        arrays[f"{name}_rows"] = row_frequencies(np.asarray(counts, np.float64))
    save_file(arrays, path)
    path.chmod(0o644)  # safetensors gives access to the owner only, but a service may run as another user


def row_frequencies(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    """Return frequencies, uint16 [contexts, K], in proportion to counts: each at least 1, each row summing to 2**16."""
    free = _ROW_TOTAL - counts.shape[1]
    rows = 1 + np.floor(counts / counts.sum(1, keepdims=True) * free).astype(np.int64)
    for row, short in zip(rows, _ROW_TOTAL - rows.sum(1), strict=True):
        row[np.argsort(-row, kind="stable")[:short]] += 1
    out: npt.NDArray[np.uint16] = rows.astype(np.uint16)
    return out


def load_table(path: Path, name: str) -> FrequencyTable:
    """Return the table of a name from a safetensors file. Raise Mismatch if it is absent or malformed."""
    return FrequencyTable(_load(path, name).astype(np.int64))


def load_neighbours(path: Path, name: str) -> NeighbourTables:
    """Return the neighbour tables of a name from a safetensors file. Raise Mismatch if they are absent or malformed."""
    classes, rows = (_load(path, f"{name}_{part}").astype(np.int64) for part in ("classes", "rows"))
    return NeighbourTables(classes, rows * (TOTAL // _ROW_TOTAL))


def _load(path: Path, name: str) -> npt.NDArray[Any]:
    tables = read_tensors(path)
    if name not in tables:
        raise Mismatch(f"table: no {name!r} in {path.name}; there are {', '.join(sorted(tables))}")
    values: npt.NDArray[Any] = tables[name]
    return values
