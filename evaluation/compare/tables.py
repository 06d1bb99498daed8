"""The questions answered, a table each: who wins in short, who is best at each loss, what the bytes were."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.measure.metrics import Metric
from gocom.evaluation.report.tables import NOTHING, Mark, Table, words

OUTCOMES = {"won": "semantic", "level": "even", "lost": "classical"}
"""Of a semantic codec -> whose side won, as marks have it."""


def rate_words(rate: float | None) -> str:
    """ "0.25 bpp", or that each codec sends as it does by itself."""
    return "the codec's own rate" if rate is None else f"{rate:g} bpp"


def better_words(metric: Metric) -> str:
    """Which way is better."""
    return f"{'more' if metric.higher else 'less'} is better"


def in_short(results: Results) -> Table | None:
    """A line a semantic codec, set and metric, over all rates and channels; None: there are no two sides."""
    lines = [
        line
        for name, set_name in product(results.semantic, results.sets)
        for metric in results.metrics(set_name)
        if (line := _short_line(results, name, set_name, metric))
    ]
    if not lines:
        return None
    notes = (
        "Places are rates and channels: won, better than every classical method; lost, at least one is better; level, "
        "neither can be said. Those that send once do without retransmissions, which need a way back and time.",
    )
    head = (
        "semantic codec", "set", "metric", "against all: won / level / lost",
        "against those that send once: won / level / lost",
    )  # fmt: skip
    return Table("Won, level and lost", notes, head, tuple(lines))


def _short_line(results: Results, name: str, set_name: str, metric: Metric) -> tuple[str, ...]:
    cells = [Cell(set_name, name, rate, c) for rate, c in product(results.rates_of(set_name), results.channels)]
    counts = []
    for once in (False, True):
        found = [outcome for cell in cells if (outcome := results.standing(cell, metric, once))]
        counts.append(" / ".join(str(found.count(outcome)) for outcome in OUTCOMES) if found else NOTHING)
    if counts[0] == NOTHING:
        return ()
    return (name, set_name, metric.title, *counts)


def winners(
    results: Results, set_name: str, metric: Metric, rate: float | None, channels: Sequence[str]
) -> Table | None:
    """Who is best on each channel at one rate; None: nobody was there."""
    lines = [_winner_line(results, Cell(set_name, "", rate, channel), metric) for channel in channels]
    lines = [line for line in lines if set(line[1:]) != {NOTHING}]
    if not lines:
        return None
    notes = (f"{metric.title[0].upper()}{metric.title[1:]}: {better_words(metric)}.",)
    minus = (f"{name} minus the best file" for name in results.semantic)
    head = ("channel", *results.methods, "best, or not told apart from it", *minus)
    return Table(f"{set_name}: {metric.title} at {rate_words(rate)}", notes, head, tuple(lines))


def _winner_line(results: Results, place: Cell, metric: Metric) -> tuple[str | Mark, ...]:
    leaders = results.leaders(place, metric)
    cells: list[str | Mark] = []
    for name in results.methods:
        cell = place._replace(method=name)
        text = words(results.average(cell, metric.field), metric.digits)
        text = f"[{text}]" if results.overspent(cell) else text
        cells.append(Mark(text, "best") if name in leaders[:1] else text)
    differences: list[str | Mark] = []
    for name in results.semantic:
        cell = place._replace(method=name)
        rival, outcome = results.rival(cell, metric), results.standing(cell, metric)
        difference = f"{words(rival[1], metric.digits, sign=True)} {rival[0].method}" if rival else NOTHING
        differences.append(Mark(difference, OUTCOMES[outcome]) if outcome else difference)
    return (results.axes[place.channel].label, *cells, leaders_mark(results, leaders), *differences)


def leaders_mark(results: Results, leaders: Sequence[str]) -> str | Mark:
    """The winner's name, or "level: a, b", set off by the side: both sides level is nobody's."""
    if not leaders:
        return NOTHING
    sides = {results.methods[name].classical for name in leaders}
    kind = "even" if len(sides) > 1 else "classical" if sides.pop() else "semantic"
    return Mark(f"level: {', '.join(leaders)}" if len(leaders) > 1 else leaders[0], kind)


def bytes_taken(results: Results, set_name: str, rate: float | None) -> Table | None:
    """Mean bytes of each method on each channel, and where its smallest file was too large."""
    lines = []
    for channel in results.channels:
        texts = [_bytes_words(results, Cell(set_name, name, rate, channel)) for name in results.methods]
        if set(texts) != {NOTHING}:
            lines.append((results.axes[channel].label, *texts))
    if not lines:
        return None
    return Table(f"{set_name}: bytes at {rate_words(rate)}", (), ("channel", *results.methods), tuple(lines))


def _bytes_words(results: Results, cell: Cell) -> str:
    floor = results.mean(cell, "at_floor")
    said = f", at its floor in {floor:.0f} %" if floor else ""
    return words(results.average(cell, "bytes_total"), 0) + said


def set_distances(title: str, entries: Sequence[dict[str, Any]]) -> Table | None:
    """Kernel distance or FID, as results.json has them; None: there are none."""
    if not entries:
        return None
    lines = tuple(
        (e.get("set", NOTHING), e["method"], e["channel"], rate_words(e.get("rate_bpp")),
         words((e["value"], e["low"], e["high"]), 4) if "low" in e else f"{e['value']:.2f}",
         str(e.get("pictures", NOTHING)))
        for e in entries
    )  # fmt: skip
    notes = ("Between all reconstructions with the first seed and all originals of a set: less is better.",)
    return Table(title, notes, ("set", "method", "channel", "rate", title.lower(), "pictures"), lines)
