"""Rows to means with intervals, and to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gocom.evaluation.measure.statistics import Interval, interval, paired
from gocom.evaluation.report import tables as report_tables
from gocom.evaluation.study.world import Row

words = report_tables.words
METRICS = {
    "psnr_db": ("PSNR in dB", 2),
    "ms_ssim": ("MS-SSIM", 3),
    "distance": ("deep-feature distance", 3),
    "correct": ("semantic accuracy", 3),
    "agrees": ("same class as of the original", 3),
    "correct_10": ("accuracy among ten", 3),
}
"""Field of a row -> its name in tables, and digits."""
FIELDS = ("psnr_db", "ms_ssim", "distance", "correct")
"""Those of a table where nothing else is asked for."""
UNLABELLED = tuple(field for field in FIELDS if field != "correct")
"""Metrics of sets without labels."""


def where(rows: Iterable[Row], **keys: Any) -> list[Row]:
    """Rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in keys.items())]


def groups(rows: Iterable[Row], *names: str) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """(values of these keys, their rows), in order of appearance; a key that a row lacks is None."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return list(found.items())


def by_picture(rows: Iterable[Row], field: str) -> dict[tuple[str, str], float]:
    """(set, picture) -> the field's mean over seeds; rows without the field are left out."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.get(field) is not None:
            values.setdefault((row["set"], row["picture"]), []).append(float(row[field]))
    return {key: sum(found) / len(found) for key, found in values.items()}


def average(rows: Iterable[Row], field: str) -> Interval | None:
    """Mean over pictures with its interval; None: no row has the field."""
    values = by_picture(rows, field)
    return interval(list(values.values())) if values else None


def difference(rows: Iterable[Row], others: Iterable[Row], field: str) -> Interval | None:
    """Mean of rows minus others over the pictures that both have, with its interval."""
    a, b = by_picture(rows, field), by_picture(others, field)
    both = [key for key in a if key in b]
    return paired([a[key] for key in both], [b[key] for key in both]) if both else None


def metric_cells(rows: Sequence[Row], fields: Iterable[str] = FIELDS) -> list[str]:
    """One cell a metric."""
    return [words(average(rows, field), METRICS[field][1]) for field in fields]


def difference_cells(rows: Sequence[Row], others: Sequence[Row], fields: Iterable[str] = FIELDS) -> list[str]:
    """One cell a metric: rows minus others."""
    return [words(difference(rows, others, field), METRICS[field][1], sign=True) for field in fields]


def heads(fields: Iterable[str] = FIELDS) -> list[str]:
    """Column names of metrics."""
    return [METRICS[field][0] for field in fields]


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """Markdown."""
    rows = [head, ["-"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows) + "\n"


def values_of(rows: Iterable[Row], name: str) -> list[Any]:
    """Distinct values of a key, in order of appearance."""
    return list(dict.fromkeys(row[name] for row in rows if name in row))


def sizes(rows: Iterable[Row]) -> str:
    """How many pictures and seeds: "24 pictures of images, 5 seeds"."""
    rows = list(rows)
    names = {key: len({row["picture"] for row in where(rows, set=key)}) for key in values_of(rows, "set")}
    pictures = " and ".join(f"{count} picture{'s' * (count != 1)} of {name}" for name, count in names.items())
    seeds = len(values_of(rows, "seed"))
    return pictures + (f", {seeds} {'seed' if seeds == 1 else 'seeds'}" if seeds else "")
