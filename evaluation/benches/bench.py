"""How quick it is: stages of a picture, pictures a second end to end, packets a second through the emulator.

    make bench

Stages: one picture at a time through the three services, warm, median of several. Pictures a second: a stream of them,
from the first handed over to the last result. Packets a second: see link_bench.py.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from skimage import data

from gocom.client.client import Client
from gocom.client.command_process import run_command
from gocom.client.local_stack import LocalStack
from gocom.common.image_files import square_crop
from gocom.common.systems import SYSTEMS
from gocom.evaluation.benches import link_bench

PHOTOS = ("astronaut", "coffee", "chelsea")
CODECS = ("lami_go", "feature_imputing", "jpeg", "webp")
STREAMS = (("jpeg", 64, 300), ("jpeg", 256, 150), ("lami_go", 256, 20), ("feature_imputing", 256, 20))
"""Codec, side in pixels and number of pictures."""
WARM_PICTURES = 2


def photos(side_px: int) -> list[npt.NDArray[np.uint8]]:
    """uint8 [side, side, 3] of each sample picture."""
    return [square_crop(np.ascontiguousarray(getattr(data, name)()[..., :3]), side_px) for name in PHOTOS]


def stages(client: Client, codec: str, runs: int) -> dict[str, float]:
    """Median seconds by stage of `runs` pictures, one at a time, after two that do not count."""
    rows: list[dict[str, float]] = []
    for run, photo in enumerate(islice(cycle(photos(256)), runs + WARM_PICTURES)):
        (result,) = list(client.send([photo], codec=codec, first_index=run))
        rows.append(dict(result.seconds))
    names = [name for row in rows for name in row]
    return {name: median([row.get(name, 0.0) for row in rows[WARM_PICTURES:]]) for name in dict.fromkeys(names)}


def pictures_per_s(client: Client, codec: str, side_px: int, count: int) -> float:
    """Of a stream of `count` pictures, after one that does not count. Raises RuntimeError where one fails."""
    pictures = photos(side_px)
    list(client.send(pictures[:1], codec=codec))
    began = time.perf_counter()
    results = list(client.send(islice(cycle(pictures), count), codec=codec, first_index=1))
    seconds = time.perf_counter() - began
    # What the channel destroys is a result; a service that gave up is not what is measured here.
    broken = [result.reason for result in results if result.is_error]
    if broken:
        raise RuntimeError(f"{codec}: {len(broken)} of {count} pictures failed: {broken[0]}")
    return count / seconds


def measure_pictures(runs: int, channel: str, device: str) -> dict[str, Any]:
    """Stages of every codec, and pictures a second of every stream; those with nets over the channel, files clean."""
    stage_rows, stream_rows = {}, []
    with LocalStack(device=device, codecs=CODECS) as stack, stack.client() as client:
        for codec in CODECS:
            client.set_channel(channel if SYSTEMS.get(codec).knowledge else "clean")
            stage_rows[codec] = stages(client, codec, runs)
        for codec, side_px, count in STREAMS:
            client.set_channel(channel if SYSTEMS.get(codec).knowledge else "clean")
            rate = pictures_per_s(client, codec, side_px, count)
            stream_rows.append({"codec": codec, "side_px": side_px, "pictures": count, "pictures_per_s": rate})
    return {"stages": stage_rows, "streams": stream_rows}


def picture_table(found: dict[str, Any], runs: int, channel: str) -> list[str]:
    """Lines to print: two Markdown tables."""
    lines = [f"Seconds of a stage, 256x256, median of {runs}; jpeg and webp clean, others over `{channel}`:", ""]
    lines += ["| codec | stages |", "|-|-|"]
    for codec, times in found["stages"].items():
        lines.append(f"| {codec} | {', '.join(f'{name} {value:.3f}' for name, value in times.items())} |")
    lines += ["", "End to end, pictures in a stream:", "", "| codec | side, px | pictures | pictures/s |", "|-|-|-|-|"]
    for row in found["streams"]:
        lines.append(f"| {row['codec']} | {row['side_px']} | {row['pictures']} | {row['pictures_per_s']:.1f} |")
    return lines


def link_table(results: Sequence[link_bench.LinkResult], pairs: int) -> list[str]:
    """Lines to print: packets a second."""
    sizes = (
        f"{link_bench.PAYLOAD_BYTES}-byte payloads, {link_bench.BATCH_PACKETS} packets a batch, {pairs} pairs of runs"
    )
    return [f"Client -> emulator or relay -> sink: {sizes}:", "", *link_bench.table(results)]


def main(
    runs: Annotated[int, typer.Option(min=1, help="Pictures a stage is the median of.")] = 10,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of runs of the link bench; 0: leave it out.")] = 15,
    channel: str = "packet_erasure:rate=0.2",
    device: str = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and README.md.")] = None,
) -> None:
    """Measure, and print tables."""
    found = measure_pictures(runs, channel, device)
    lines = picture_table(found, runs, channel)
    if pairs:
        results = link_bench.measure(list(link_bench.PROFILES.values()), pairs, frames=8)
        found["link"] = {"profiles": [asdict(result) for result in results], "goals": link_bench.goals(results)}
        lines += ["", *link_table(results, pairs)]
    print("\n".join(lines))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench.json").write_text(json.dumps(found, indent=1))
        head = [
            "# Bench",
            "",
            f"Made by `python -m gocom.evaluation.benches.bench --out FOLDER` on {platform.machine()}.",
            "",
        ]
        (out / "README.md").write_text("\n".join([*head, *lines]) + "\n")


if __name__ == "__main__":
    run_command(main)
