"""Plots: a grid of panels in one style. A panel has curves, bars, a map of fields, or a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from gocom.evaluation.measure.statistics import Interval
from gocom.evaluation.report.tables import Mark

# Okabe and Ito's palette, which the colour-blind can tell apart; without its yellow, too pale for a line.
PALETTE = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F", "#6A3D9A", "#8C510A",
)  # fmt: skip
GROUND = {"semantic": "#F2B98F", "even": "#E3E3E3", "classical": "#9DC3E0"}
"""Colour of a map's field, by the kind of its mark."""
GREY = 0.5
"""Of every channel: what stands, and is scored, for a picture that never came."""
DPI = 110
_WIDTH_IN = 11.5


@dataclass(frozen=True, slots=True)
class Line:
    """Points with, if given, (low, high) of each.

    Attributes:
        style: line and marker as matplotlib has them: "-o".
        color: None: the same label has the same colour in all panels.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[tuple[float, float]] = ()
    style: str = "-o"
    color: str | None = None
    width: float = 1.5


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `level`: (y, label) of a horizontal line; `ticks`: (positions, labels) on x."""

    x: str
    y: str
    lines: Sequence[Line]
    title: str = ""
    log_x: bool = False
    level: tuple[float, str] | None = None
    ticks: tuple[Sequence[float], Sequence[str]] | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars that lie, one a name, each of parts one after the other.

    Attributes:
        parts: label -> how long this part is in each bar.
        ends: of each bar the interval of its whole length, if known, and what is written behind it.
    """

    x: str
    names: Sequence[str]
    parts: Mapping[str, Sequence[float]]
    ends: Sequence[tuple[Interval | None, str]] = ()
    title: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A map: a field a row and column, on the ground of its mark's kind; None: an empty one."""

    columns: Sequence[str]
    rows: Sequence[str]
    fields: Sequence[Sequence[Mark | None]]
    title: str = ""
    x: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels uint8 [H, W, 3] with words above, beside and below; None: no picture came."""

    pixels: npt.NDArray[np.uint8] | None
    above: str = ""
    beside: str = ""
    below: str = ""


Plot = Panel | Bars | Tiles | Picture


def plot(panels: Sequence[Sequence[Plot]], title: str, path: Path) -> None:
    """Write a PNG of rows of panels, with one legend below them all: within axes it would hide points.

    Panels of a row whose y has the same name have the same range: what looks better is better. The same panels give
    the same file.
    """
    width = min(_WIDTH_IN, max(sum(2.2 if isinstance(one, Picture) else 5.4 for one in row) for row in panels))
    heights = [max(_height_in(one, width / len(row)) for one in row) for row in panels]
    colours = _colours([one for row in panels for one in row])
    legend_in = 0.24 * math.ceil(len(colours) / _legend_columns(width))
    figure = Figure(figsize=(width, sum(heights) + legend_in + 0.4 * bool(title)), layout="constrained")
    # Rows of as many panels are aligned.
    blocks = [list(block) for _, block in groupby(zip(heights, panels, strict=True), lambda row: len(row[1]))]
    high = [sum(height for height, _ in block) for block in blocks]
    places = np.ravel(np.asarray(figure.subfigures(len(blocks), 1, squeeze=False, height_ratios=high)))
    for place, block in zip(places, blocks, strict=True):
        rows = [row for _, row in block]
        grid = place.subplots(len(rows), len(rows[0]), squeeze=False, height_ratios=[height for height, _ in block])
        for row, line in zip(rows, grid, strict=True):
            for one, axes in zip(row, line, strict=True):
                shares = axes is not line[0] and isinstance(one, Panel) and one.y == getattr(row[0], "y", None)
                if shares:
                    axes.sharey(line[0])
                _draw(axes, one, colours, named=not shares)
    _legend(figure, width)
    if title:
        figure.suptitle(title, fontsize=11.5)
    _save(figure, path, whole=any(isinstance(one, Picture) for one in chain(*panels)))


def _height_in(one: Plot, width_in: float) -> float:
    match one:
        case Panel():
            return min(3.5, 0.55 * width_in + 1.0)
        case Bars():
            return 0.8 + 0.32 * len(one.names)
        case Tiles():
            return 0.5 + 0.34 * len(one.rows) + 0.2 * bool(one.title) + 0.2 * bool(one.x)
        case Picture():
            return width_in + 0.2 * bool(one.above) + 0.2 * bool(one.below)


def _colours(panels: Sequence[Plot]) -> dict[str, str]:
    """Label -> colour, those that are chosen first."""
    lines = [line for one in panels if isinstance(one, Panel) for line in one.lines]
    found = {line.label: line.color for line in lines if line.color}
    labels = [line.label for line in lines] + [name for one in panels if isinstance(one, Bars) for name in one.parts]
    free = [colour for colour in PALETTE if colour not in found.values()] or list(PALETTE)
    for label in dict.fromkeys(label for label in labels if label not in found):
        found[label] = free[0]
        free = [*free[1:], free[0]]
    return found


def _draw(axes: Axes, one: Plot, colours: Mapping[str, str], named: bool) -> None:
    """`named`: the y axis has a name and numbers of its own."""
    axes.tick_params(labelsize=8.5)
    match one:
        case Panel():
            _curves(axes, one, colours, named)
        case Bars():
            _bars(axes, one, colours)
        case Tiles():
            _tiles(axes, one)
        case Picture():
            _picture(axes, one)


def _curves(axes: Axes, panel: Panel, colours: Mapping[str, str], named: bool) -> None:
    for line in panel.lines:
        # Rounding may put a mean of equal values just outside its interval.
        ends = [(max(0.0, y - low), max(0.0, high - y)) for y, (low, high) in zip(line.y, line.band, strict=False)]
        finite = [[end if math.isfinite(end) else 0.0 for end in side] for side in zip(*ends, strict=True)]
        axes.errorbar(
            line.x, line.y, yerr=finite or None, fmt=line.style, label=line.label, color=colours[line.label],
            linewidth=line.width, markersize=4.5, capsize=2, elinewidth=0.9,
        )  # fmt: skip
    if panel.level is not None:
        axes.axhline(panel.level[0], color="0.45", linestyle=":", linewidth=1.2, label=panel.level[1])
    axes.set_xlabel(panel.x, fontsize=9)
    axes.set_title(panel.title, fontsize=10)
    if named:
        axes.set_ylabel(panel.y, fontsize=9)
    else:
        axes.tick_params(labelleft=False)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.ticks is not None:
        axes.set_xticks(panel.ticks[0], panel.ticks[1])
        axes.minorticks_off()  # of a logarithmic axis they have labels of their own
    axes.grid(alpha=0.3)


def _bars(axes: Axes, bars: Bars, colours: Mapping[str, str]) -> None:
    rows = np.arange(len(bars.names))
    left = np.zeros(len(bars.names))
    for label, lengths in bars.parts.items():
        axes.barh(rows, lengths, left=left, color=colours[label], label=label, height=0.7)
        left += lengths
    for row, (interval, text) in enumerate(bars.ends):
        end = left[row]
        if interval is not None and math.isfinite(interval[2]):
            mean, low, high = interval
            axes.errorbar([mean], [row], xerr=[[max(0.0, mean - low)], [max(0.0, high - mean)]], color="0.2", capsize=2)
            end = max(mean, high)
        axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(rows, bars.names)
    axes.set_ylim(len(bars.names) - 0.4, -0.6)
    axes.set_xlim(0, max(axes.get_xlim()[1], 1e-9) * 1.3)  # room for the words
    axes.set_xlabel(bars.x, fontsize=9)
    axes.set_title(bars.title, fontsize=10)
    axes.grid(alpha=0.3, axis="x")
    axes.set_axisbelow(True)


def _tiles(axes: Axes, tiles: Tiles) -> None:
    for row, line in enumerate(tiles.fields):
        for column, mark in enumerate(line):
            if mark is not None:
                axes.fill_between([column - 0.48, column + 0.48], row - 0.46, row + 0.46, color=GROUND[mark.kind], lw=0)
                axes.text(column, row, mark.text, ha="center", va="center", fontsize=8.5)
    axes.set_xlim(-0.5, len(tiles.columns) - 0.5)
    axes.set_ylim(len(tiles.rows) - 0.5, -0.5)
    axes.set_xticks(range(len(tiles.columns)), tiles.columns)
    axes.set_yticks(range(len(tiles.rows)), tiles.rows)
    axes.set_xlabel(tiles.x, fontsize=9)
    axes.set_title(tiles.title, fontsize=9.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _picture(axes: Axes, picture: Picture) -> None:
    if picture.pixels is None:
        axes.imshow(np.full((8, 8, 3), GREY), vmin=0, vmax=1)
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color="white", fontsize=9)
    else:
        axes.imshow(picture.pixels)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(picture.above, fontsize=9.5)
    axes.set_ylabel(picture.beside, fontsize=9.5)
    axes.set_xlabel(picture.below, fontsize=8.5, labelpad=2)


def _legend_columns(width_in: float) -> int:
    return max(1, int(width_in / 1.9))


def _legend(figure: Figure, width_in: float) -> None:
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        columns = min(_legend_columns(width_in), len(handles))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=9, frameon=False
        )


def _save(figure: Figure, path: Path, whole: bool) -> None:
    """In a palette, which makes a third of the bytes, unless all colours are needed."""
    figure.set_dpi(DPI)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    if not whole:
        # By octree: a median cut gives thin lines each other's colours.
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
