"""Curves: quality against rate, erasures, bit errors, SNR; and failures. A point is a mean with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gocom.evaluation.compare import sentences, style
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.metrics import Metric
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import rate_words
from gocom.evaluation.measure.judge import Interval

Point = tuple[float, Interval]
LOSSES = (0.0, 0.05, 0.2, 0.5)
"""Of the rate-quality curves: the channels nearest to these, closed form."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure: its file, a title, and what the numbers in it say."""

    path: Path
    title: str
    sentences: tuple[str, ...]


def few_losses(results: Results, wanted: Sequence[float] = LOSSES) -> list[str]:
    """Erasure channels nearest to the wanted rates, each once, by rising loss."""
    channels = results.channels_of(Kind.ERASURE)
    nearest = {min(channels, key=lambda c: abs((results.axes[c].x or 0.0) - rate)) for rate in wanted if channels}
    return [channel for channel in channels if channel in nearest]


def curves(results: Results, folder: Path) -> Iterator[Drawn]:
    """All figures of curves for which there are points, written into the folder."""
    for set_name in results.sets:
        yield from _rate_quality(results, set_name, folder)
        yield from _against_loss(results, set_name, folder)
        yield from _against_axis(results, set_name, Kind.BIT_FLIPS, "bit_errors", "bit error rate", folder)
        yield from _against_axis(results, set_name, Kind.FADING, "snr", "SNR in dB", folder)
        yield from _failures(results, set_name, folder)


def _rate_quality(results: Results, set_name: str, folder: Path) -> Iterator[Drawn]:
    channels, rates = few_losses(results), results.rates_of(set_name)
    if len(rates) < 2 or not channels:
        return
    metrics = results.metrics(set_name)
    for number, (title, methods) in enumerate(style.groups(results)):
        figure, grid = style.new_figure(len(metrics), len(channels))
        for metric, line in zip(metrics, grid, strict=True):
            for channel, axes in zip(channels, line, strict=True):
                for name in methods:
                    cells = [Cell(set_name, name, rate, channel) for rate in rates]
                    _curve(results, axes, name, _by_rate(results, cells, metric))
                _name(axes, "bits per pixel", metric, first=axes is line[0])
                axes.set_title(f"{results.axes[channel].label} of packets lost", fontsize=10)
                _log_ticks(axes)
        path = folder / f"{set_name}_rate_quality{_suffix(title, number)}.png"
        style.save(figure, path, f"{set_name}: quality at actual bytes{', ' if title else ''}{title}")
        said = sentences.standing(results, set_name, channels, rates, methods)
        yield Drawn(path, f"{set_name}: quality against rate{', ' if title else ''}{title}", tuple(said))


def _by_rate(results: Results, cells: Sequence[Cell], metric: Metric) -> list[Point]:
    found = [(results.average(cell, "bpp"), results.average(cell, metric.field)) for cell in cells]
    return sorted((x[0], y) for x, y in found if x and y)


def _against_loss(results: Results, set_name: str, folder: Path) -> Iterator[Drawn]:
    channels = results.channels_of(Kind.ERASURE)
    if len(channels) < 2:
        return
    groups, metrics = style.groups(results), results.metrics(set_name)
    for rate in results.rates_of(set_name):
        figure, grid = style.new_figure(len(metrics), len(groups))
        for metric, line in zip(metrics, grid, strict=True):
            for (title, methods), axes in zip(groups, line, strict=True):
                _loss_panel(results, axes, [Cell(set_name, m, rate, "") for m in methods], channels, metric.field)
                _name(axes, "packets lost (not to scale)", metric, first=axes is line[0])
                axes.set_title(title, fontsize=10)
        path = folder / f"{set_name}_loss_{_rate_suffix(rate)}.png"
        style.save(figure, path, f"{set_name}: quality against packet loss at {rate_words(rate)}")
        said = [
            *sentences.standing(results, set_name, channels, [rate], list(results.methods)),
            *sentences.falls(results, set_name, rate, channels),
        ]
        yield Drawn(path, f"{set_name}: quality against packet loss at {rate_words(rate)}", tuple(said))


def _loss_panel(results: Results, axes: Any, cells: Sequence[Cell], channels: Sequence[str], field: str) -> None:
    """Losses side by side, the methods' points a little apart, so that intervals do not hide each other."""
    for number, cell in enumerate(cells):
        apart = 0.05 * (number - (len(cells) - 1) / 2)
        found = [results.average(cell._replace(channel=channel), field) for channel in channels]
        _curve(results, axes, cell.method, [(i + apart, y) for i, y in enumerate(found) if y])
    axes.set_xticks(range(len(channels)), [results.axes[channel].label for channel in channels])


def _against_axis(
    results: Results, set_name: str, kind: Kind, name: str, x_title: str, folder: Path
) -> Iterator[Drawn]:
    families: dict[str, list[str]] = {}
    for channel in results.channels_of(kind):
        families.setdefault(results.axes[channel].family, []).append(channel)
    metrics = results.metrics(set_name)
    for rate in results.rates_of(set_name):
        for number, (family, channels) in enumerate(families.items()):
            groups = style.groups(results)
            figure, grid = style.new_figure(len(metrics), len(groups))
            for metric, line in zip(metrics, grid, strict=True):
                for (title, methods), axes in zip(groups, line, strict=True):
                    for method in methods:
                        _curve(
                            results, axes, method, _by_axis(results, Cell(set_name, method, rate, ""), channels, metric)
                        )
                    _name(axes, x_title, metric, first=axes is line[0])
                    axes.set_title(title, fontsize=10)
                    if kind is Kind.BIT_FLIPS and all(results.axes[channel].x for channel in channels):
                        axes.set_xscale("log")
                    elif kind is Kind.FADING:
                        axes.set_xticks([results.axes[channel].x or 0.0 for channel in channels])
            if not any(axes.has_data() for axes in figure.axes):
                continue
            title = f"{set_name}: quality against {x_title} at {rate_words(rate)} ({family})"
            suffix = f"_{number + 1}" if len(families) > 1 else ""
            path = folder / f"{set_name}_{name}{suffix}_{_rate_suffix(rate)}.png"
            style.save(figure, path, title)
            gentle = channels if kind is Kind.BIT_FLIPS else channels[::-1]
            said = [
                *sentences.standing(results, set_name, channels, [rate], list(results.methods)),
                *sentences.falls(results, set_name, rate, gentle),
            ]
            yield Drawn(path, title, tuple(said))


def _by_axis(results: Results, place: Cell, channels: Sequence[str], metric: Metric) -> list[Point]:
    found = [(results.axes[c].x, results.average(place._replace(channel=c), metric.field)) for c in channels]
    return [(x, y) for x, y in found if x is not None and y]


def _failures(results: Results, set_name: str, folder: Path) -> Iterator[Drawn]:
    channels, rates, groups = results.channels_of(Kind.ERASURE), results.rates_of(set_name), style.groups(results)
    if not channels:
        return
    figure, grid = style.new_figure(len(rates), len(groups), 2.5)
    for rate, line in zip(rates, grid, strict=True):
        for (title, methods), axes in zip(groups, line, strict=True):
            _loss_panel(results, axes, [Cell(set_name, m, rate, "") for m in methods], channels, "failed")
            axes.set_ylim(-5, 105)
            axes.set_xlabel("packets lost (not to scale)", fontsize=9)
            if axes is line[0]:
                axes.set_ylabel(f"no picture, % of frames\n{rate_words(rate)}", fontsize=9)
            axes.set_title(title, fontsize=10)
            _tidy(axes)
    path = folder / f"{set_name}_failures.png"
    style.save(figure, path, f"{set_name}: how often there is no picture")
    yield Drawn(path, f"{set_name}: failures against packet loss", tuple(sentences.failures(results, set_name)))


def _curve(results: Results, axes: Any, name: str, points: Sequence[Point]) -> None:
    if not points:
        return
    ys = [y for _, y in points]
    # Rounding may put a mean of equal values just outside its interval.
    error = [[max(0.0, y - low) for y, low, _ in ys], [max(0.0, high - y) for y, _, high in ys]]
    axes.errorbar(
        [x for x, _ in points], [y[0] for y in ys], yerr=error, label=name, color=style.colours(results)[name],
        capsize=2, elinewidth=0.9, **style.line_look(results.methods[name]),
    )  # fmt: skip


def _name(axes: Any, x: str, metric: Metric, first: bool) -> None:
    axes.set_xlabel(x, fontsize=9)
    if first:
        axes.set_ylabel(style.y_title(metric), fontsize=9)
    _tidy(axes)


def _tidy(axes: Any) -> None:
    axes.tick_params(labelsize=8.5)
    axes.grid(alpha=0.3)


def _log_ticks(axes: Any) -> None:
    """A logarithmic axis of rates where they span more than 4, with the numbers as they are."""
    low, high = axes.dataLim.intervalx
    if not (math.isfinite(low) and math.isfinite(high)) or low <= 0 or high / low < 4:
        return
    axes.set_xscale("log")
    ticks = [t for t in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low / 1.3 <= t <= high * 1.3]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)


def _suffix(title: str, number: int) -> str:
    return f"_{number + 1}" if title else ""


def _rate_suffix(rate: float | None) -> str:
    return "own" if rate is None else f"{rate:g}bpp"
