"""Rows to lines of a plot."""

from __future__ import annotations

from collections.abc import Sequence

from gocom.evaluation.report.plots import Line
from gocom.evaluation.study.tables import average, where
from gocom.evaluation.study.world import Row


def curve(
    label: str, rows: Sequence[Row], key: str, values: Sequence[float], field: str, *, band: bool = True,
    color: str | None = None,
) -> Line:  # fmt: skip
    """Means of a field by the values of a key, those that have rows; `band`: with their intervals."""
    found = {value: average(where(rows, **{key: value}), field) for value in values}
    points = {value: mean for value, mean in found.items() if mean is not None}
    bands = [mean[1:] for mean in points.values()] if band else ()
    return Line(label, list(points), [mean[0] for mean in points.values()], bands, color=color)
