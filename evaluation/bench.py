"""Seconds of each stage, warm, through the three services on this machine.

    make bench

lami_go at 256x256 with its default 4/8 steps over 20 % erasure, median of 10; and transport alone: the same packets
sent again to a receiver that does nothing with them.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from skimage import data

from client.stack import LocalStack
from common.images import square_crop

PHOTOS = ("astronaut", "coffee", "chelsea")


def measure(codec: str, runs: int, spec: str, device: str) -> dict[str, float]:
    """Median seconds by stage of `runs` pictures, one at a time, after two that do not count."""
    photos = [square_crop(getattr(data, name)()[..., :3], 256) for name in PHOTOS]
    rows: list[dict[str, float]] = []
    with LocalStack(channel_spec=spec, device=device) as stack, stack.client() as client:
        for run in range(runs + 2):
            (result,) = list(client.send([photos[run % len(photos)]], codec=codec, first_index=run))
            rows.append(dict(result.seconds))
    names = [name for row in rows for name in row]
    return {name: median([row.get(name, 0.0) for row in rows[2:]]) for name in dict.fromkeys(names)}


def main(
    runs: int = 10,
    channel: str = "packet_erasure:rate=0.2",
    device: str = "auto",
    out: Annotated[Path | None, typer.Option(help="JSON file to write")] = None,
) -> None:
    """Measure and print a table."""
    codecs = ("lami_go", "jpeg", "webp")
    table = {codec: measure(codec, runs, channel if codec == "lami_go" else "clean", device) for codec in codecs}
    print(f"median of {runs}, 256x256, {channel} (jpeg, webp: clean), {platform.machine()}, seconds")
    for codec, stages in table.items():
        print(f"{codec:8s} " + "  ".join(f"{name} {value:.3f}" for name, value in stages.items()))
    if out:
        out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    typer.run(main)
