"""Rows to what a page shows of an experiment: means, differences with verdicts, curves, and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

from gocom.evaluation.experiment.experiment import Against, Curves, Experiment, Means, Settings
from gocom.evaluation.experiment.pictures import sizes
from gocom.evaluation.experiment.rows import average, difference, groups, is_known, metric_of, where
from gocom.evaluation.measure.statistics import Interval, holm
from gocom.evaluation.report.page import Figure
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.report.tables import NOTHING, Mark, Table, words
from gocom.evaluation.run.work import Row

BETTER, WORSE, LEVEL = "better", "worse", "not told apart"
HIGHER, LOWER = "higher", "lower"
"""Of a field of which nobody knows if more is better."""
_MARKS = {BETTER: "good", WORSE: "bad"}
_KEYS = {"rate": "packets lost", "snr_db": "SNR in dB"}
"""Keys that most studies have."""
_SHADED, _FEW = 3, 7
"""Most lines of a panel that have shades; most places that are all marked on a logarithmic axis."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of an Against: for each field the difference with its verdict; None: it was not measured."""

    label: str
    at: tuple[Any, ...]
    found: dict[str, tuple[Interval, str] | None]


def means_table(view: Means, rows: Sequence[Row]) -> Table:
    """A line for each combination of the keys' values, in order of appearance."""
    rows = where(rows, view.where)
    columns = [(f, "", dict[str, Any]()) for f in view.fields]
    if view.across is not None:
        across = [values[0] for values, _ in groups(rows, [view.across])]
        columns = [(f, f", {value_words(v)}", {view.across: v}) for v in across for f in view.fields]
    lines = [
        (*map(value_words, values), *(words(average(where(found, of), f), metric_of(f).digits) for f, _, of in columns))
        for values, found in groups(rows, view.by)
    ]
    head = (*map(key_words, view.by), *(_head(field) + label for field, label, _ in columns))
    return Table(view.title, (), head, tuple(lines))


def compared(view: Against, rows: Sequence[Row]) -> list[Compared]:
    """Every pair at every combination of `by`; a metric's lines are one family for Holm."""
    rows = where(rows, view.where)
    found: list[tuple[str, tuple[Any, ...], dict[str, tuple[Interval, float] | None]]] = []
    for pair in view.pairs:
        for values in _places(view, rows, pair.one):
            place = dict(zip(view.by, values, strict=True))
            one, other = where(rows, place | dict(pair.one)), where(rows, place | dict(pair.other))
            if one and other:
                found.append((pair.label, values, {f: difference(one, other, f) for f in view.fields}))
    verdicts = {field: _verdicts(field, [line[field] for _, _, line in found]) for field in view.fields}
    return [
        Compared(label, at, {
            field: None if one is None else (one[0], verdicts[field][i]) for field, one in line.items()
        })
        for i, (label, at, line) in enumerate(found)
    ]  # fmt: skip


def _places(view: Against, rows: Sequence[Row], one: Any) -> list[tuple[Any, ...]]:
    return [values for values, _ in groups(where(rows, one), view.by)] if view.by else [()]


def _verdicts(field: str, found: Sequence[tuple[Interval, float] | None]) -> list[str]:
    stand = iter(holm([one[1] for one in found if one is not None]))
    more, less = (BETTER, WORSE) if metric_of(field).higher else (WORSE, BETTER)
    if not is_known(field):
        more, less = HIGHER, LOWER
    return [LEVEL if one is None or not next(stand) else more if one[0][0] > 0 else less for one in found]


def against_table(view: Against, rows: Sequence[Row]) -> Table:
    """A line for each comparison; better and worse are set off."""
    lines = [
        (line.label, *map(value_words, line.at), *(_cell(field, line.found[field]) for field in view.fields))
        for line in compared(view, rows)
    ]
    lower = [metric_of(field).title for field in view.fields if not metric_of(field).higher]
    notes = (f"One minus the other. Less is better of: {', '.join(lower)}.",) if lower else ("One minus the other.",)
    return Table(view.title, notes, ("", *map(key_words, view.by), *map(_head, view.fields)), tuple(lines))


def _cell(field: str, found: tuple[Interval, str] | None) -> str | Mark:
    if found is None:
        return NOTHING
    text = words(found[0], metric_of(field).digits, sign=True)
    if found[1] != LEVEL:
        text = f"{text}, {found[1]}"
    return Mark(text, _MARKS[found[1]]) if found[1] in _MARKS else text


def sentences(view: Against, rows: Sequence[Row]) -> list[str]:
    """What the differences say: "EBM against PRM. PSNR in dB: better at images; not told apart at street." """
    by_label: dict[str, list[Compared]] = {}
    for line in compared(view, rows):
        by_label.setdefault(line.label, []).append(line)
    said = []
    for label, lines in by_label.items():
        parts = [f"{metric_of(field).title}: {_at(field, lines)}" for field in view.fields]
        said.append(f"{label}. {'. '.join(parts)}.")
    return said


def _at(field: str, lines: Sequence[Compared]) -> str:
    found = [(line.at, one) for line in lines if (one := line.found[field]) is not None]
    if not found:
        return "not measured"
    if not lines[0].at:
        (_, (difference_, verdict)), *_ = found
        return f"{words(difference_, metric_of(field).digits, True)}, {verdict}"
    places: dict[str, list[str]] = {}
    for at, (_, verdict) in found:
        places.setdefault(verdict, []).append(" ".join(map(value_words, at)))
    if len(places) == 1 and len(found) > 1:
        return f"{next(iter(places))} everywhere"
    return "; ".join(f"{verdict} at {', '.join(at)}" for verdict, at in places.items())


def draw(view: Curves, experiment: Experiment, rows: Sequence[Row], out: Path) -> Figure | None:
    """Write OUT/figures/<experiment>_<name>.png; None: there is nothing to draw."""
    shown = where(rows, view.where)
    places: list[Settings] = [{}]
    if view.columns is not None:
        places = [{view.columns: values[0]} for values, _ in groups(shown, [view.columns])]
    panels = [[_panel(view, field, rows, place) for place in places] for field in view.fields]
    if not any(panel.lines for line in panels for panel in line):
        return None
    if view.columns is None:  # fields stand side by side
        panels = [[panel for line in panels for panel in line]]
    path = out / "figures" / f"{experiment.name}_{view.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = view.title or experiment.title
    plot(panels, f"{title}\n{sizes(shown)}", path)
    shaded = any(line.band for row in panels for panel in row for line in panel.lines)
    return Figure(path, title, ("Shades: 95 % over pictures.",) if shaded else ())


def _panel(view: Curves, field: str, rows: Sequence[Row], place: Settings) -> Panel:
    here = dict(view.where) | dict(place)
    lines, chosen = list[Line](), groups(where(rows, here), view.lines)
    for values, found in chosen:
        points = [(_place(view, of), average(of, field)) for _, of in groups(found, view.points or (view.x,))]
        drawn = sorted(
            ((x, mean) for x, mean in points if x is not None and mean is not None), key=lambda point: point[0]
        )
        if drawn:
            label = ", ".join(map(value_words, values)) or "all"
            bands = [mean[1:] for _, mean in drawn]
            # Of one picture there are none, and those of many lines would hide them.
            bands = bands if all(map(isfinite, chain.from_iterable(bands))) and len(chosen) <= _SHADED else []
            lines.append(Line(label, [x for x, _ in drawn], [mean[0] for _, mean in drawn], bands))
    level = average(where(rows, here | dict(view.level[0])), field) if view.level else None
    return Panel(
        metric_of(view.x).title if view.points else key_words(view.x), metric_of(field).title, lines,
        "".join(f"{key_words(key)}: {value_words(value)}" for key, value in place.items()), view.log_x,
        None if level is None or view.level is None else (level[0], view.level[1]),
        _ticks([x for line in lines for x in line.x]) if view.log_x else None,
    )  # fmt: skip


def _ticks(places: Sequence[float]) -> tuple[Sequence[float], Sequence[str]]:
    """Of a logarithmic axis: the places where they are few, otherwise 1, 2 and 5 times powers of ten among them."""
    ticks = sorted(set(places))
    if len(ticks) > _FEW:
        round_ones = (digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5))
        ticks = [tick for tick in round_ones if ticks[0] <= tick <= ticks[-1]]
    return ticks, [f"{tick:g}" for tick in ticks]


def _place(view: Curves, rows: Sequence[Row]) -> float | None:
    if not view.points:
        return float(rows[0][view.x])
    found = average(rows, view.x)
    return None if found is None else found[0]


def key_words(key: str) -> str:
    """A key as a column's name."""
    return _KEYS.get(key) or key.replace("_", " ")


def value_words(value: Any) -> str:
    """A key's value in a cell."""
    return (
        "yes" if value is True else "no" if value is False else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _head(field: str) -> str:
    return metric_of(field).title
