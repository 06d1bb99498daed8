"""Rows averaged over seeds: a value a cell, field and picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gocom.evaluation.compare.rows import KEYS, Row
from gocom.evaluation.measure.metrics import METRICS

SEGMENT = "segment:"
"""Before a segment's name: the field with its bytes, repair included."""

_PLAIN = ("bytes_total", "bytes_header", "bytes_feedback", "bytes_repair", "bpp", "rounds")
_SHARES = ("failed", "at_floor")
"""0 or 1 in rows, per cent here."""
_SECONDS = ("encode_s", "channel_s", "decode_s", "total_s")


class Cell(NamedTuple):
    """What is averaged over pictures and seeds."""

    set: str
    method: str
    rate_bpp: float | None
    channel: str


def averaged(rows: Iterable[Row], timings: Iterable[Row]) -> dict[Cell, dict[str, dict[str, float]]]:
    """Cell -> field -> picture -> mean over seeds; seconds are those of frames that brought a picture."""
    found: dict[Cell, dict[str, dict[str, list[float]]]] = {}
    parsed = [(row, json.loads(row["bytes_by_segment"] or "{}")) for row in rows]
    names: dict[str, list[str]] = {}
    for row, segments in parsed:  # one that a frame lacks counts as no bytes
        names[row["method"]] = list(dict.fromkeys([*names.get(row["method"], ()), *segments]))
    for row, segments in parsed:
        every = {f"{SEGMENT}{name}": float(segments.get(name, 0)) for name in names[row["method"]]}
        _collect(found, row, {**_scaled(row), **every})
    failed = {_key(row) for row, _ in parsed if row["failed"]}
    for row in timings:
        if _key(row) in failed:  # to give up early is not to be quick
            continue
        _collect(found, row, {name: row[name] for name in _SECONDS})
    return {
        cell: {field: {p: sum(v) / len(v) for p, v in pictures.items()} for field, pictures in fields.items()}
        for cell, fields in found.items()
    }


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEYS)


def _scaled(row: Row) -> dict[str, float | None]:
    values = {name: row[name] for name in _PLAIN} | {name: 100.0 * row[name] for name in _SHARES}
    return values | {metric.field: metric.of(row) for metric in METRICS}


def _collect(
    found: dict[Cell, dict[str, dict[str, list[float]]]], row: Row, values: Mapping[str, float | None]
) -> None:
    cell = Cell(row["set"], row["method"], row["rate_bpp"], row["channel"])
    fields = found.setdefault(cell, {})
    for name, value in values.items():
        if value is not None:
            fields.setdefault(name, {}).setdefault(row["picture"], []).append(value)
