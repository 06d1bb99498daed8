"""A table, and what it is as Markdown."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gocom.evaluation.measure.statistics import Interval

NOTHING = "–"
"""Stands in a cell that has no value."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A cell that is set off.

    Attributes:
        text: what it says.
        kind: the class of the cell in HTML. Bold everywhere: "best", "semantic" (its side won) and "bad" (red in HTML);
            in HTML only, a ground of another colour: "classical", "even", "good".
    """

    text: str
    kind: str

    def __str__(self) -> str:
        return self.text


Cell = str | Mark


@dataclass(frozen=True, slots=True)
class Table:
    """A title ("": none), plain sentences before it, the names of its columns, and lines of cells."""

    title: str
    notes: tuple[str, ...]
    head: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]


def words(value: Interval | None, digits: int = 2, sign: bool = False) -> str:
    """An interval as text: "21.30 (20.95 to 21.65)"; of one picture, "21.30 (one picture)"; None or nan: a dash."""
    if value is None or math.isnan(value[0]):
        return NOTHING
    # Adding 0 turns the -0.0 that rounding may leave into 0.
    mean, *ends = [f"{round(v, digits) + 0.0:{'+' if sign else ''}.{digits}f}" for v in value]
    return f"{mean} (one picture)" if math.isinf(value[2] - value[1]) else f"{mean} ({' to '.join(ends)})"


def to_markdown(table: Table, level: int = 3) -> str:
    """With its title as a heading of this level, and its sentences."""
    rows = [table.head, ["-"] * len(table.head), *([_cell(cell) for cell in line] for line in table.lines)]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    parts = [f"{'#' * level} {table.title}"] if table.title else []
    return "\n\n".join([*parts, *table.notes, body]) + "\n"


def _cell(cell: Cell) -> str:
    text = str(cell).replace("|", "\\|").replace("\n", " ")
    return f"**{text}**" if isinstance(cell, Mark) and cell.kind in ("best", "semantic", "bad") else text
