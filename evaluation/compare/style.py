"""How a method looks in every figure: a colour a codec, a line style a protection."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.metrics import Metric
from gocom.evaluation.compare.summary import Kept, Results

# Okabe and Ito's palette, which the colour-blind can tell apart; without its yellow, too pale for a line.
COLOURS = {
    "lami_go": "#D55E00", "jpeg": "#0072B2", "jpeg2000": "#009E73", "webp": "#CC79A7", "avif": "#56B4E9",
}  # fmt: skip
_OTHERS = ("#E69F00", "#000000", "#7F7F7F", "#6A3D9A", "#8C510A")
_LINES = {Protection.NONE.value: (":", "x"), Protection.FEC.value: ("-", "o"), Protection.ARQ.value: ("--", "s")}
_PROTECTED = {
    "": "", Protection.NONE.value: "files without protection", Protection.FEC.value: "files with RaptorQ repair",
    Protection.ARQ.value: "files with retransmissions",
}  # fmt: skip
MANY = 6
"""More methods than this are shown in panels by protection."""
DPI = 120
WIDTH_IN = 11.5


def colours(results: Results) -> dict[str, str]:
    """Method -> colour: its codec's; one with options, or of a codec unknown here, has the next that is free."""
    found: dict[str, str] = {}
    by_codec: dict[str, str] = {}
    free = list(_OTHERS)
    for name, kept in results.methods.items():
        spec = name.partition("+")[0]
        if spec not in by_codec:
            taken = kept.codec in COLOURS and COLOURS[kept.codec] not in by_codec.values()
            by_codec[spec] = COLOURS[kept.codec] if taken else free[0]
            if not taken:
                free = [*free[1:], free[0]]
        found[name] = by_codec[spec]
    return found


def line_look(kept: Kept) -> dict[str, Any]:
    """Line style, marker and width; of a codec that degrades a thick line."""
    if not kept.classical:
        return {"linestyle": "-", "marker": "D", "linewidth": 2.4, "markersize": 5, "zorder": 3}
    line, marker = _LINES[kept.protection]
    return {"linestyle": line, "marker": marker, "linewidth": 1.5, "markersize": 4.5, "zorder": 2}


def groups(results: Results) -> list[tuple[str, list[str]]]:
    """(title, methods) of the panels that methods are spread over: all in one, or the semantic ones in each."""
    if len(results.methods) <= MANY:
        return [("", list(results.methods))]
    found = []
    for protection in Protection:
        peers = [n for n in results.classical if results.methods[n].protection == protection.value]
        if peers:
            shown = [name for name in results.methods if name in peers or name in results.semantic]
            found.append((_PROTECTED[protection.value], shown))
    return found or [("", list(results.methods))]


def new_figure(rows: int, columns: int, height_in: float = 2.9, same_y: bool = True) -> tuple[Figure, Any]:
    """Figure as wide as the page, or narrower with fewer panels, and its axes [rows, columns].

    Panels of a row have the same y: what looks better is better.
    """
    width = WIDTH_IN if columns > 2 else 4.4 * columns + 1.6
    figure = Figure(figsize=(width, height_in * rows + 0.9), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey="row" if same_y else "none")


def tile(column: int, row: int, colour: str) -> Rectangle:
    """A field of a map, its middle at (column, row)."""
    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="none")


def save(figure: Figure, path: Path, title: str, columns: int = 5, more: Mapping[str, Any] | None = None) -> None:
    """With one legend for all axes and what is named besides, below them: within them it would hide points."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    handles |= more or {}
    if handles:
        columns = max(1, min(columns, int(figure.get_figwidth() / 1.9)))
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=9, frameon=False
        )
    figure.suptitle(title, fontsize=11.5)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=DPI)
    # So few colours have room in a palette, which makes a third of the bytes; nor is a library's version in the file.
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


def y_title(metric: Metric) -> str:
    """A metric on an axis, and which way is better."""
    return f"{fill(metric.title, 29)}\n({'more' if metric.higher else 'less'} is better)"


def bar_look(kept: Kept, colour: str) -> dict[str, Any]:
    """A bar of the codec's colour: full, or with lines across it for its protection."""
    hatch = {Protection.FEC.value: "", Protection.ARQ.value: "////", Protection.NONE.value: "...."}
    return {
        "color": colour,
        "edgecolor": "white",
        "linewidth": 0,
        "hatch": hatch[kept.protection] if kept.classical else "",
    }
