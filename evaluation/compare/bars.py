"""Bars: what the bytes are, what the seconds are, and quality over bursts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch

from gocom.evaluation.compare import sentences, style
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import SEGMENT, Cell
from gocom.evaluation.compare.figures import Drawn, few_losses
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import rate_words
from gocom.evaluation.measure.judge import Interval

_PARTS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#8C510A", "#6A3D9A")
_HEADER, _FEEDBACK = "#4D4D4D", "#E69F00"
_STAGES = (("encode_s", "encode", "#0072B2"), ("channel_s", "channel", "#999999"), ("decode_s", "decode", "#D55E00"))


def bars(results: Results, folder: Path) -> Iterator[Drawn]:
    """All figures of bars for which there are numbers, written into the folder."""
    for set_name in results.sets:
        yield from _bursts(results, set_name, folder)
        rates, channels = results.rates_of(set_name), few_losses(results, (0.0, 0.2)) or results.channels[:1]
        rate = rates[len(rates) // 2]
        yield from _bytes(results, set_name, rate, channels, folder)
        yield from _latency(results, set_name, rate, channels, folder)


def _bytes(
    results: Results, set_name: str, rate: float | None, channels: Sequence[str], folder: Path
) -> Iterator[Drawn]:
    figure, grid = style.new_figure(1, len(channels), 0.6 + 0.34 * len(results.methods), same_y=False)
    cells = [Cell(set_name, name, rate, channel) for channel in channels for name in results.methods]
    names = list(dict.fromkeys(name for cell in cells for name in results.segments(cell)))
    parts = [("bytes_header", "header", _HEADER)]
    parts += [(SEGMENT + name, name, _PARTS[i % len(_PARTS)]) for i, name in enumerate(names)]
    for channel, axes in zip(channels, grid[0], strict=True):
        for row, name in enumerate(results.methods):
            cell = Cell(set_name, name, rate, channel)
            left = _stack(axes, row, [(_mean(results, cell, field), label, colour) for field, label, colour in parts])
            # A classical codec's only segment is its file; of several it is not known whose the repair is.
            repair = _mean(results, cell, "bytes_repair") if results.methods[name].classical else 0.0
            if repair:
                axes.barh(
                    row,
                    repair,
                    left=left - repair,
                    color="none",
                    edgecolor="white",
                    hatch="////",
                    linewidth=0,
                )
            if feedback := _mean(results, cell, "bytes_feedback"):
                axes.barh(row, feedback, left=left, color=_FEEDBACK, label="feedback")
            _total(axes, row, results.average(cell, "bytes_total"), "{:.0f}")
        _rows(axes, results, f"{results.axes[channel].label} of packets lost", "bytes, all rounds")
    path, title = folder / f"{set_name}_bytes.png", f"{set_name}: what the bytes are at {rate_words(rate)}"
    some = any(_mean(results, cell, "bytes_repair") for cell in cells if results.methods[cell.method].classical)
    hatched = {"of it repair": Patch(facecolor="0.6", edgecolor="white", hatch="////", linewidth=0)}
    style.save(figure, path, title, columns=6, more=hatched if some else None)
    yield Drawn(path, title, tuple(sentences.sizes(results, cells)))


def _latency(
    results: Results, set_name: str, rate: float | None, channels: Sequence[str], folder: Path
) -> Iterator[Drawn]:
    cells = [Cell(set_name, name, rate, channel) for channel in channels for name in results.methods]
    if not any(results.pictures(cell, "total_s") for cell in cells):
        return
    figure, grid = style.new_figure(1, len(channels), 0.6 + 0.34 * len(results.methods), same_y=False)
    for channel, axes in zip(channels, grid[0], strict=True):
        for row, name in enumerate(results.methods):
            cell = Cell(set_name, name, rate, channel)
            _stack(axes, row, [(_mean(results, cell, field), label, colour) for field, label, colour in _STAGES])
            trips = _mean(results, cell, "rounds") - 1
            said = f" + {trips:.1f} round trips" if trips > 0 else ""
            _total(axes, row, results.average(cell, "total_s"), "{:.3f} s" + said)
        _rows(axes, results, f"{results.axes[channel].label} of packets lost", "seconds a picture")
        axes.set_xlim(0, axes.get_xlim()[1] * 1.25)  # room for the words
    path, title = folder / f"{set_name}_latency.png", f"{set_name}: what the seconds are at {rate_words(rate)}"
    style.save(figure, path, title)
    said_of = [cell for cell in cells if cell.channel == channels[-1]]
    waits = "Of frames that brought a picture. Round trips are counted; their seconds are the network's."
    yield Drawn(path, title, (*sentences.seconds(results, said_of), waits))


def _stack(axes: Any, row: int, parts: Sequence[tuple[float, str, str]]) -> float:
    """Parts one after the other; where they end."""
    left = 0.0
    for width, label, colour in parts:
        if width:
            axes.barh(row, width, left=left, color=colour, label=label)
            left += width
    return left


def _total(axes: Any, row: int, value: Interval | None, form: str) -> None:
    if value is None:
        return
    mean, low, high = value
    error = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
    axes.errorbar([mean], [row], xerr=error, color="black", capsize=2, elinewidth=0.9)
    axes.annotate(
        form.format(mean), (max(mean, high), row), (4, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def _rows(axes: Any, results: Results, title: str, x_title: str) -> None:
    axes.set_yticks(range(len(results.methods)), list(results.methods), fontsize=9)
    axes.set_ylim(len(results.methods) - 0.4, -0.6)
    axes.set_xlim(0, max(axes.get_xlim()[1], 1e-9) * 1.15)
    axes.set_xlabel(x_title, fontsize=9)
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8.5)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)


def _mean(results: Results, cell: Cell, field: str) -> float:
    found = results.average(cell, field)
    return found[0] if found else 0.0


def _bursts(results: Results, set_name: str, folder: Path) -> Iterator[Drawn]:
    channels = results.channels_of(Kind.BURSTS)
    metrics = results.metrics(set_name)
    if len(channels) < 2:  # one says no more than its table
        return
    for rate in results.rates_of(set_name):
        cells = [Cell(set_name, name, rate, channel) for channel in channels for name in results.methods]
        if not any(results.pictures(cell, metrics[0].field) for cell in cells):
            continue
        figure, grid = style.new_figure(len(metrics), 1, 2.4)
        figure.set_figwidth(style.WIDTH_IN)
        wide = 0.84 / len(results.methods)
        for metric, (axes,) in zip(metrics, grid, strict=True):
            for number, (name, kept) in enumerate(results.methods.items()):
                apart = wide * (number - (len(results.methods) - 1) / 2)
                look = style.bar_look(kept, style.colours(results)[name])
                for place, channel in enumerate(channels):
                    if found := results.average(Cell(set_name, name, rate, channel), metric.field):
                        error = [[max(0.0, found[0] - found[1])], [max(0.0, found[2] - found[0])]]
                        axes.bar(
                            place + apart,
                            found[0],
                            wide * 0.92,
                            yerr=error,
                            label=name,
                            capsize=2,
                            error_kw={"elinewidth": 0.9},
                            **look,
                        )
            axes.set_xticks(range(len(channels)), [results.axes[channel].label for channel in channels])
            axes.set_ylabel(style.y_title(metric), fontsize=9)
            axes.tick_params(labelsize=8.5)
            axes.grid(alpha=0.3, axis="y")
            axes.set_axisbelow(True)
        suffix = "own" if rate is None else f"{rate:g}bpp"
        path, title = folder / f"{set_name}_bursts_{suffix}.png", f"{set_name}: bursts of losses at {rate_words(rate)}"
        style.save(figure, path, title)
        said = sentences.standing(results, set_name, channels, [rate], list(results.methods))
        yield Drawn(path, title, tuple(said))
