"""Where a semantic codec wins and where it loses: for who only looks, a map of colours; for who reads, a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gocom.evaluation.compare import style
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.figures import Drawn
from gocom.evaluation.compare.metrics import Metric
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import NOTHING, Table, rate_words, standings
from gocom.evaluation.measure.judge import Interval

_COLOURS = {"won": "#E8A87C", "level": "#E3E3E3", "lost": "#9DC3E0"}
_TITLES = ("against all", "against those that send once")


def rival(results: Results, cell: Cell, metric: Metric, among: Sequence[str]) -> tuple[str, Interval] | None:
    """The best of the classical methods `among` that are within their bytes, and the cell minus it; None: none is."""
    peers = [cell._replace(method=name) for name in results.classical if name in among]
    means = {p: m[0] for p in peers if not results.overspent(p) and (m := results.average(p, metric.field))}
    if not means:
        return None
    best = (max if metric.higher else min)(means, key=lambda peer: means[peer])
    difference = results.difference(cell, best, metric.field)
    return None if difference is None else (best.method, difference)


def in_short(results: Results) -> Table | None:
    """A line a semantic codec, set and metric, over all rates and channels."""
    lines = []
    for name in results.semantic:
        for set_name in results.sets:
            for metric in results.metrics(set_name):
                if line := _short_line(results, name, set_name, metric):
                    lines.append(line)
    if not lines:
        return None
    notes = (
        "Places are rates and channels: won, better than every classical method; lost, at least one is better; level, "
        "neither can be said. Ahead: of the best that sends once; behind: the best of all; where that is clear.",
    )
    head = (
        "semantic codec",
        "set",
        "metric",
        *(f"{t}: won / level / lost" for t in _TITLES),
        "most ahead",
        "most behind",
    )
    return Table("In short", notes, head, tuple(lines))


def _short_line(results: Results, name: str, set_name: str, metric: Metric) -> tuple[str, ...]:
    everybody, once = list(results.methods), results.one_transmission
    rates = results.rates_of(set_name)
    counts = []
    for among in (everybody, once):
        found = [s.outcome for r in rates for _, s in standings(results, set_name, name, r, metric, among=among)]
        counts.append(" / ".join(str(found.count(o)) for o in ("won", "level", "lost")) if found else NOTHING)
    cells = [Cell(set_name, name, rate, channel) for rate in rates for channel in results.channels]
    cells = [cell for cell in cells if results.pictures(cell, metric.field)]
    if counts[0] == NOTHING:
        return ()
    ahead = _farthest(results, cells, metric, once, 1 if metric.higher else -1)
    behind = _farthest(results, cells, metric, everybody, -1 if metric.higher else 1)
    return (name, set_name, metric.title, *counts, ahead, behind)


def _farthest(results: Results, cells: Sequence[Cell], metric: Metric, among: Sequence[str], sign: int) -> str:
    """The place with the largest clear difference of that sign from the best rival."""
    found = [(sign * r[1][0], cell, r) for cell in cells if (r := rival(results, cell, metric, among))]
    clear = [f for f in found if min(sign * f[2][1][1], sign * f[2][1][2]) > 0]
    if not clear:
        return NOTHING
    _, cell, (method, (mean, _, _)) = max(clear, key=lambda f: f[0])
    place = f"{results.axes[cell.channel].short}, {rate_words(cell.rate_bpp)}"
    return f"{mean:+.{metric.digits}f} from {method} ({place})"


def outcome_maps(results: Results, folder: Path) -> Iterator[Drawn]:
    """A figure a set and semantic codec, written into the folder: losses across, rates down, a colour an outcome."""
    channels = results.channels_of(Kind.ERASURE)
    for set_name in results.sets:
        for number, name in enumerate(results.semantic):
            metrics = [m for m in results.metrics(set_name) if _any(results, set_name, name, m, channels)]
            if not metrics or len(channels) < 2:
                continue
            figure, grid = style.new_figure(
                len(metrics), 2, 0.75 + 0.42 * len(results.rates_of(set_name)), same_y=False
            )
            figure.set_figwidth(style.WIDTH_IN)
            groups = (list(results.methods), results.one_transmission)
            for metric, line in zip(metrics, grid, strict=True):
                for among, title, axes in zip(groups, _TITLES, line, strict=True):
                    _map(results, axes, Cell(set_name, name, None, ""), metric, channels, among)
                    better = "more" if metric.higher else "less"
                    axes.set_title(f"{metric.title} ({better} is better), {title}", fontsize=8.5)
            path = folder / f"{set_name}_outcomes{f'_{number + 1}' if number else ''}.png"
            style.save(figure, path, f"{set_name}: where {name} wins (orange), is level (grey), loses (blue)")
            said = (
                "In each field: its mean minus that of the best rival within the same bytes. Orange: better than every "
                "rival; blue: at least one rival is better; grey: neither can be said.",
            )
            yield Drawn(path, f"{set_name}: where {name} wins and where it loses", said)


def _any(results: Results, set_name: str, name: str, metric: Metric, channels: Sequence[str]) -> bool:
    return any(standings(results, set_name, name, rate, metric, channels) for rate in results.rates_of(set_name))


def _map(
    results: Results, axes: Any, place: Cell, metric: Metric, channels: Sequence[str], among: Sequence[str]
) -> None:
    rates = results.rates_of(place.set)
    for row, rate in enumerate(rates):
        for column, channel in enumerate(channels):
            cell = place._replace(rate_bpp=rate, channel=channel)
            standing, found = results.standing(cell, metric, among), rival(results, cell, metric, among)
            if standing is None or found is None:
                continue
            axes.add_patch(style.tile(column, row, _COLOURS[standing.outcome]))
            axes.text(column, row, f"{found[1][0]:+.{metric.digits}f}", ha="center", va="center", fontsize=9)
    axes.set_xlim(-0.5, len(channels) - 0.5)
    axes.set_ylim(len(rates) - 0.5, -0.5)
    axes.set_xticks(range(len(channels)), [f"{results.axes[channel].label} lost" for channel in channels], fontsize=8.5)
    axes.set_yticks(
        range(len(rates)), ["own rate" if rate is None else rate_words(rate) for rate in rates], fontsize=8.5
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
