"""A paper's figures and tables, and what answers each of them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from gocom.evaluation.measure.statistics import Interval
from gocom.evaluation.study.tables import METRICS, average, difference, where, words
from gocom.evaluation.study.world import Row

OURS = ("PSNR in dB here", "distance here")
SHOWN = ("psnr_db", "distance")
"""What stands beside the paper's FID and LPIPS: column names, and fields of rows."""

Results = Mapping[str, Sequence[Row]]
"""Part of the study -> its rows."""


class Status(str, Enum):
    """How much of an item can be had here."""

    HERE = "here"
    IN_PART = "in part"
    NOT_HERE = "cannot be had here"
    DRAWING = "a drawing, nothing to measure"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: column names, lines of cells, and a line above it."""

    head: Sequence[str]
    lines: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One or more figures and tables of a paper that ask the same.

    Attributes:
        names: as the paper numbers them, "Fig. 8", "Table IV".
        shows: what they show.
        status: how much of it is here.
        said: the paper's numbers or words; what it does not give in numbers is said to be so.
        differs: what is not as in the paper, besides what differs everywhere; or why it cannot be had.
        parts: of the study, that answer it.
        ours: results -> tables with ours beside the paper's.
        answer: results -> one sentence, made from the numbers.
        figures: names of PNGs that show it.
    """

    names: tuple[str, ...]
    shows: str
    status: Status
    said: str
    differs: str
    parts: tuple[str, ...] = ()
    ours: Callable[[Results], list[Grid]] | None = None
    answer: Callable[[Results], str] | None = None
    figures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """All of them: "Fig. 8, Fig. 9"."""
        return ", ".join(self.names)

    def missing(self, results: Results) -> list[str]:
        """Parts that have no rows."""
        return [part for part in self.parts if not results.get(part)]


def cell(rows: Sequence[Row], field: str, **keys: object) -> str:
    """Mean and interval of a metric over the rows that have these values."""
    return words(average(where(rows, **keys), field), METRICS[field][1] if field in METRICS else 0)


def pair(rows: Sequence[Row], **keys: object) -> list[str]:
    """Two cells: PSNR and deep-feature distance of the rows that have these values."""
    return [cell(rows, field, **keys) for field in SHOWN]


def against(what: str, one: Sequence[Row], other: Sequence[Row]) -> str:
    """Return a sentence on `one` minus `other` in each metric: mean, 95 % interval, and whether that is significant.

    Such as "what: PSNR in dB +1.00 (0.80 to 1.20), better; deep-feature distance ..., not told apart."
    """
    parts = []
    for field in SHOWN:
        found = difference(one, other, field)
        value = words(found, METRICS[field][1], sign=True)
        parts.append(f"{METRICS[field][0]} {value}, {verdict(found, field == 'distance')}")
    return f"{what}: {'; '.join(parts)}."


def verdict(difference: Interval | None, lower_is_better: bool = False) -> str:
    """What the interval of "one minus the other" says of the one: better, worse, not told apart, or not measured."""
    if difference is None:
        return "not measured"
    low, high = difference[1:]
    if low <= 0 <= high:
        return "not told apart"
    return "better" if (high < 0) == lower_is_better else "worse"
