"""A figure of the channel: curves of theory and the points that were measured beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gocom.evaluation.report.plots import DPI, PALETTE

Point = tuple[float, float, float]
"""(x, measured, z)."""


@dataclass(frozen=True, slots=True)
class Series:
    """A curve (x, y), and points that should lie on it; styles are matplotlib's. A label has one colour in a figure."""

    label: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    points: Sequence[Point] = ()
    style: str = "-"
    marker: str = "o"


@dataclass(frozen=True, slots=True)
class Graph:
    """A pair of axes: `log` names those that are logarithmic, `low` is where y begins if it goes up to 1."""

    x: str
    y: str
    series: Sequence[Series]
    title: str = ""
    log: str = "y"
    low: float | None = None


def draw(title: str, graphs: Sequence[Graph], path: Path) -> list[float]:
    """Write a PNG of graphs side by side with one legend below; returns the z of all points."""
    figure = Figure(figsize=(max(6.6, 5.4 * len(graphs)), 4.6), layout="constrained")
    labels = dict.fromkeys(one.label for graph in graphs for one in graph.series)
    colours, handles = dict(zip(labels, PALETTE, strict=False)), dict[str, Line2D]()
    for axes, graph in zip(figure.subplots(1, len(graphs), squeeze=False)[0], graphs, strict=True):
        for one in graph.series:
            x, y = [point[0] for point in one.points], [point[1] for point in one.points]
            (line,) = axes.plot(one.x, one.y, one.style, color=colours[one.label], linewidth=1.2)
            axes.plot(x, y, one.marker, color=colours[one.label], markersize=4 if one.marker == "o" else 8)
            handles.setdefault(one.label, line)
        for axis in graph.log:
            axes.set(**{f"{axis}scale": "log"})
        axes.set(xlabel=graph.x, ylabel=graph.y)
        axes.set_title(graph.title, fontsize=10)
        if graph.low is not None:
            axes.set_ylim(graph.low, 1)
        axes.grid(alpha=0.3)
    columns = min(4, 2 * len(graphs))
    figure.legend([*handles.values()], [*handles], loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11.5)
    figure.savefig(path, dpi=DPI)
    return [z for graph in graphs for one in graph.series for _, _, z in one.points]
