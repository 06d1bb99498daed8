"""Rows to statistics: seeds of a picture are averaged, pictures are the sample."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from gocom.evaluation.measure.metrics import METRIC, Metric
from gocom.evaluation.measure.statistics import Interval, interval, p_value, paired
from gocom.evaluation.run.work import Row

_MORE = {
    metric.field: metric
    for metric in (
        Metric("bytes", "bytes", 0, higher=False),
        Metric("feedback_bytes", "of them feedback", 0, higher=False),
        Metric("packets", "packets", 1, higher=False),
        Metric("missing", "missing", 3, higher=False),
        Metric("failed", "no picture in %", 1, higher=False, share=True),
        Metric("token_accuracy", "missing tokens right", 3),
        Metric("held", "received tokens held", 3),
        Metric("wrong", "wrong tokens", 3, higher=False),
        Metric("wrong_top", "wrong, top tenth", 3, higher=False),
        Metric("wrong_rest", "wrong, the rest", 3, higher=False),
        Metric("off_top", "codeword distance, top tenth", 3, higher=False),
        Metric("off_rest", "codeword distance, the rest", 3, higher=False),
        Metric("rank_of_uncertainty", "rank correlation of uncertainty", 3),
        Metric("rank_of_probability", "of 1 - probability", 3),
        Metric("elements", "elements", 1, higher=None),
        Metric("bits_an_element", "bits an element", 2, higher=False),
        Metric("payload_bytes", "payload bytes", 1, higher=False),
        Metric("ideal_bytes", "ideal code length", 1, higher=False),
        Metric("packet_bytes", "packet headers", 1, higher=False),
        Metric("frame_bytes", "frame header and end", 1, higher=False),
        Metric("total_bytes", "all", 1, higher=False),
        Metric("pictures_a_second", "pictures a second", 2),
    )
}
"""Of every send, and of probes."""


def metric_of(field: str) -> Metric:
    """What a field of a row is called, and its digits; of one that nobody knows its own name, three digits, and no side
    that is better."""
    return METRIC.get(field) or _MORE.get(field) or Metric(field, field.replace("_", " "), 3, higher=None)


def where(rows: Iterable[Row], keys: Mapping[str, Any]) -> list[Row]:
    """Rows that have these values; a collection stands for any of its values."""
    return [row for row in rows if all(_is(row.get(name), value) for name, value in keys.items())]


def _is(found: Any, wanted: Any) -> bool:
    return found in wanted if isinstance(wanted, Collection) and not isinstance(wanted, str) else found == wanted


def groups(rows: Iterable[Row], names: Sequence[str]) -> list[tuple[tuple[Any, ...], list[Row]]]:
    """(values of these keys, their rows), in order of appearance; rows that lack one are left out."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if all(name in row for name in names):
            found.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(found.items())


def by_picture(rows: Iterable[Row], field: str) -> dict[tuple[str, str], float]:
    """(set, picture) -> the field's mean over seeds, shares in per cent; rows without the field are left out."""
    metric, values = metric_of(field), dict[tuple[str, str], list[float]]()
    for row in rows:
        if (value := metric.of(row)) is not None:
            values.setdefault((row["set"], row["picture"]), []).append(value)
    return {key: sum(found) / len(found) for key, found in values.items()}


def average(rows: Iterable[Row], field: str) -> Interval | None:
    """Mean over pictures with its interval; None: no row has the field."""
    values = by_picture(rows, field)
    return interval(list(values.values())) if values else None


def difference(rows: Iterable[Row], others: Iterable[Row], field: str) -> tuple[Interval, float] | None:
    """Rows minus others over the pictures that both have: mean with its interval, and p; None: they share none.

    Where both have seeds, only those count that both have: they met the same losses.
    """
    rows, others = list(rows), list(others)
    ours, theirs = ({row.get("seed") for row in some} - {None} for some in (rows, others))
    if ours and theirs:
        shared = ours & theirs | {None}
        rows, others = where(rows, {"seed": shared}), where(others, {"seed": shared})
    a, b = by_picture(rows, field), by_picture(others, field)
    both = [key for key in a if key in b]
    if not both:
        return None
    first, second = [a[key] for key in both], [b[key] for key in both]
    return paired(first, second), p_value(first, second)
