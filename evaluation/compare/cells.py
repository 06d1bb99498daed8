"""Rows averaged over seeds: a value a cell, field and picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from gocom.evaluation.compare.rows import KEYS, Row
from gocom.evaluation.measure.metrics import METRICS, Metric

SEGMENT = "segment:"
"""Before a segment's name: the field with its bytes, repair included."""

_PLAIN = ("bytes_total", "bytes_header", "bytes_feedback", "bytes_repair", "bpp", "rounds")
_SECONDS = ("encode_s", "channel_s", "decode_s", "total_s")
_MEASURED = (*METRICS, *(Metric(name, "", 1, higher=False, share=True) for name in ("failed", "at_floor")))


class Cell(NamedTuple):
    """What is averaged over pictures and seeds."""

    set: str
    method: str
    rate_bpp: float | None
    channel: str


def averaged(rows: Iterable[Row], timings: Iterable[Row]) -> dict[Cell, dict[str, dict[str, float]]]:
    """Cell -> field -> picture -> mean over seeds; seconds are those of frames that brought a picture."""
    parsed = [(row, json.loads(row["bytes_by_segment"] or "{}")) for row in rows]
    seconds = {_key(row): {name: row[name] for name in _SECONDS} for row in timings}
    names: dict[str, dict[str, float]] = {}
    for row, segments in parsed:  # one that a frame lacks counts as no bytes
        names.setdefault(row["method"], {}).update({SEGMENT + name: 0.0 for name in segments})
    found: dict[Cell, dict[str, dict[str, list[float]]]] = {}
    for row, segments in parsed:
        values = {name: row[name] for name in _PLAIN} | {metric.field: metric.of(row) for metric in _MEASURED}
        values |= names[row["method"]] | {SEGMENT + name: float(size) for name, size in segments.items()}
        if not row["failed"]:  # to give up early is not to be quick
            values |= seconds.get(_key(row), {})
        fields = found.setdefault(Cell(row["set"], row["method"], row["rate_bpp"], row["channel"]), {})
        for name, value in values.items():
            if value is not None:
                fields.setdefault(name, {}).setdefault(row["picture"], []).append(value)
    return {
        cell: {field: {p: sum(v) / len(v) for p, v in pictures.items()} for field, pictures in fields.items()}
        for cell, fields in found.items()
    }


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS)
