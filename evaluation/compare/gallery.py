"""The pictures of the picture wall: one photo by every codec over channels of rising loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from gocom.common.image_files import square_crop, to_uint8
from gocom.evaluation.compare.grid import Grid, PictureSet, Task, erasure_rate
from gocom.evaluation.compare.methods import Method, Protection
from gocom.evaluation.compare.worker import Worker

PHOTO = "chelsea"
"""A cat of scikit-image's: what is evaluated may not be ours to show."""


def make_wall(grid: Grid, worker: Worker, out: Path) -> list[dict[str, Any]]:
    """Write wall/*.png for each codec and channel of the first set, at its last rate; what the page is told of them."""
    first, folder = grid.sets[0], out / "wall"
    folder.mkdir(parents=True, exist_ok=True)
    channels = sorted(first.channels, key=lambda channel: erasure_rate(channel, grid.link.max_payload_bytes))
    photo = np.ascontiguousarray(getattr(data, PHOTO)()[..., :3])
    source = folder / f"{PHOTO}.png"
    Image.fromarray(photo).save(source)
    Image.fromarray(square_crop(photo, grid.size_px)).save(folder / "original.png")
    shown = PictureSet("wall", source, None, first.rates_bpp[-1:], tuple(channels), first.seeds[:1])
    tiles: list[dict[str, Any]] = [
        {"photo": PHOTO, "method": "original", "channel": channel, "file": "wall/original.png"} for channel in channels
    ]
    for number, method in enumerate(_methods(grid)):
        for place, (row, sent) in enumerate(worker.sends(Task(shown, 0, PHOTO, method))):
            file = folder / f"{number}-{place}.png"
            if sent.image is not None:
                Image.fromarray(to_uint8(sent.image)).save(file)
            tiles.append({
                "photo": PHOTO, "method": method.name, "channel": row["channel"], "bytes": row["bytes_total"],
                "file": None if sent.image is None else f"wall/{file.name}", "psnr_db": row["psnr_db"],
                "failed": bool(row["failed"]),
            })  # fmt: skip
    return tiles


def _methods(grid: Grid) -> list[Method]:
    """Each codec once: a classical one as FEC protects it, if it is there so."""
    best: dict[tuple[str, tuple[tuple[str, str], ...]], Method] = {}
    for method in grid.methods:
        if method.protection is Protection.FEC or (method.codec, method.options) not in best:
            best[method.codec, method.options] = method
    return list(best.values())
