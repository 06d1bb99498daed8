"""The picture wall: one picture by all methods, over rising loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image

from gocom.evaluation.compare import style
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.report.page import Figure
from gocom.evaluation.report.plots import Picture, plot

Entry = Mapping[str, Any]
"""Of "wall" in results.json: photo, method, channel, file (seen from OUT; unused where failed), bytes, psnr_db,
failed."""
_TOGETHER = 7
"""Columns of a wall that are wide enough to be looked at."""
_LOSSES = 3
"""So many packet loss rates make a wall of their own, without other channels."""
_ONE_DRAW = "One draw of the losses: at neighbouring rates the same packets may be the ones lost."
_LABEL_CHARACTERS = 26
"""Of a line beside a tile."""


def walls(results: Results, entries: Sequence[Entry], out: Path) -> Iterator[Figure]:
    """One figure a photo, or several where there are many methods, in OUT/figures.

    Args:
        results: for the groups that methods are shown in, and the labels of channels.
        entries: what is on the wall; methods that are not in `results`, such as the original, come first.
    """
    for number, photo in enumerate(dict.fromkeys(entry["photo"] for entry in entries)):
        shown = [entry for entry in entries if entry["photo"] == photo]
        known = {entry["method"] for entry in shown}
        extra = [name for name in dict.fromkeys(e["method"] for e in shown) if name not in results.methods]
        groups = [("", list(results.methods))] if len(known) <= _TOGETHER else style.groups(results)
        channels = _rising(results, shown)
        for part, (title, methods) in enumerate(groups):
            named = [name for name in methods if name in known]
            if not named:
                continue
            path = out / "figures" / f"wall_{number + 1}{f'_{part + 1}' if title else ''}.png"
            caption = f"{photo}{', ' if title else ''}{title}"
            tiles = {(entry["channel"], entry["method"]): entry for entry in shown}
            rows = [
                [
                    tile(
                        tiles.get((channel, name)), out, name if channel == channels[0] else "",
                        fill(_label(results, channel), _LABEL_CHARACTERS) if place == 0 else "",
                    )
                    for place, name in enumerate([*extra, *named])
                ]
                for channel in channels
            ]  # fmt: skip
            plot(rows, caption, path)
            yield Figure(path, f"Picture wall: {caption}", (_ONE_DRAW,))


def tile(entry: Entry | None, out: Path, above: str, beside: str = "") -> Picture:
    """A picture of the wall, with its bytes and PSNR below it; nothing, or a failure: a grey one."""
    if entry is None:
        return Picture(None, above, beside)
    size, psnr_db = entry.get("bytes"), entry.get("psnr_db")
    words = [f"{size:,.0f} bytes" if size is not None else "", f"{psnr_db:.1f} dB" if psnr_db is not None else ""]
    pixels = None
    if not entry.get("failed"):
        with Image.open(out / entry["file"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    return Picture(pixels, above, beside, ", ".join(filter(None, words)))


def _rising(results: Results, entries: Sequence[Entry]) -> list[str]:
    """Channels by rising loss, as tables have them: only those of packet loss where there are some; else all."""
    named = [channel for channel in results.channels if any(entry["channel"] == channel for entry in entries)]
    losses = [channel for channel in named if results.axes[channel].kind is Kind.ERASURE]
    return losses if len(losses) >= _LOSSES else named


def _label(results: Results, channel: str) -> str:
    axis = results.axes[channel]
    return f"{axis.label} lost" if axis.kind is Kind.ERASURE else axis.label
