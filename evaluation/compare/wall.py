"""The picture wall: one picture by all methods, over rising loss."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from gocom.evaluation.compare import style
from gocom.evaluation.compare.axes import Axis, Kind, axis_of
from gocom.evaluation.compare.figures import Drawn
from gocom.evaluation.compare.summary import Results

_TOGETHER = 7
"""Columns of a wall that are wide enough to be looked at."""
GREY = 0.5
"""Of every channel: what stands, and is scored, for a picture that never came."""
_LOSSES = 3
"""So many packet loss rates make a wall of their own, without other channels."""
_ONE_DRAW = "One draw of the losses: at neighbouring rates the same packets may be the ones lost."
_LABEL_CHARACTERS = 26
"""Of a line beside a tile."""


def walls(results: Results, entries: Sequence[Mapping[str, Any]], out: Path) -> Iterator[Drawn]:
    """One figure a photo, or several where there are many methods, in OUT/figures.

    Args:
        results: for the groups that methods are shown in, and the labels of channels.
        entries: "wall" of results.json: photo, method, channel, file (seen from `out`; unused where failed), bytes,
            psnr_db, failed.
    """
    photos = list(dict.fromkeys(entry["photo"] for entry in entries))
    for number, photo in enumerate(photos):
        shown = [entry for entry in entries if entry["photo"] == photo]
        known = {entry["method"] for entry in shown}
        extra = [name for name in dict.fromkeys(e["method"] for e in shown) if name not in results.methods]
        for part, (title, methods) in enumerate(_groups(results, known)):
            named = [*extra, *(name for name in methods if name in known)]
            if not set(named) - set(extra):
                continue
            path = out / "figures" / f"wall_{number + 1}{f'_{part + 1}' if title else ''}.png"
            caption = f"{photo}{', ' if title else ''}{title}"
            rows = _rising(results, _channels(results, shown))
            drawn = [entry for entry in shown if entry["channel"] in rows]
            _draw(results, drawn, named, path, caption)
            yield Drawn(path, f"Picture wall: {caption}", (_said(results, drawn, named), _ONE_DRAW))


def _groups(results: Results, known: Collection[str]) -> Sequence[tuple[str, Sequence[str]]]:
    """Methods that belong in one figure: all of a few."""
    return [("", list(results.methods))] if len(known) <= _TOGETHER else style.groups(results)


def _draw(
    results: Results, entries: Sequence[Mapping[str, Any]], methods: Sequence[str], path: Path, title: str
) -> None:
    channels = _channels(results, entries)
    tiles = {(entry["channel"], entry["method"]): entry for entry in entries}
    side = min(2.2, style.WIDTH_IN / len(methods))
    figure = Figure(figsize=(side * len(methods) + 0.6, (side + 0.28) * len(channels) + 0.7), layout="constrained")
    grid = figure.subplots(len(channels), len(methods), squeeze=False)
    for row, (channel, line) in enumerate(zip(channels, grid, strict=True)):
        for method, axes in zip(methods, line, strict=True):
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
            if axes is line[0]:
                axes.set_ylabel(fill(_label(results, channel), _LABEL_CHARACTERS), fontsize=9)
            if row == 0:
                axes.set_title(method, fontsize=9.5)
            if (entry := tiles.get((channel, method))) is not None:
                _tile(axes, entry, path.parent.parent)
    figure.suptitle(title, fontsize=11.5)
    figure.savefig(path, dpi=style.DPI, metadata={"Software": None})


def _tile(axes: Any, entry: Mapping[str, Any], out: Path) -> None:
    if entry.get("failed"):
        axes.imshow(np.full((8, 8, 3), GREY), vmin=0, vmax=1)
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color="white", fontsize=9)
    else:
        with Image.open(out / entry["file"]) as picture:
            axes.imshow(np.asarray(picture.convert("RGB")))
    size, psnr = entry.get("bytes"), entry.get("psnr_db")
    words = [f"{size:,.0f} bytes" if size is not None else "", f"{psnr:.1f} dB" if psnr is not None else ""]
    axes.set_xlabel(", ".join(filter(None, words)), fontsize=8.5, labelpad=2)


def _channels(results: Results, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """By rising loss, as tables have them."""
    named = list(dict.fromkeys(entry["channel"] for entry in entries))
    return sorted(named, key=lambda c: results.channels.index(c) if c in results.channels else len(results.channels))


def _rising(results: Results, channels: Sequence[str]) -> list[str]:
    """Those of rising packet loss where there are some; else all."""
    losses = [channel for channel in channels if _axis(results, channel).kind is Kind.ERASURE]
    return losses if len(losses) >= _LOSSES else list(channels)


def _axis(results: Results, channel: str) -> Axis:
    return results.axes.get(channel) or axis_of(channel)


def _label(results: Results, channel: str) -> str:
    axis = _axis(results, channel)
    return f"{axis.label} lost" if axis.kind is Kind.ERASURE else axis.label


def _said(results: Results, entries: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> str:
    """Who has no picture where."""
    failed = [entry for entry in entries if entry.get("failed") and entry["method"] in methods]
    if not failed:
        return "Every method has a picture in every tile."
    found = []
    for name in dict.fromkeys(entry["method"] for entry in failed):
        channels = _channels(results, [entry for entry in failed if entry["method"] == name])
        found.append(f"{name} at {', '.join(_label(results, channel) for channel in channels)}")
    return f"No picture came from {'; '.join(found)}."
