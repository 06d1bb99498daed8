"""How quick it is: stages of a picture, pictures a second end to end, packets a second through the emulator.

    make bench

Stages: one picture at a time through the three services, warm, median of several. Pictures a second: a stream of them,
from the first handed over to the last result. Packets a second: see link_bench.py.
"""

from __future__ import annotations

import json
import platform
import time
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
from gocom.evaluation.report.page import Section, write_page
from gocom.evaluation.report.tables import Table, to_markdown

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


def picture_tables(found: dict[str, Any], runs: int, channel: str) -> list[Table]:
    """Seconds of stages, and pictures a second."""
    stage_lines = [
        (codec, ", ".join(f"{name} {value:.3f}" for name, value in times.items()))
        for codec, times in found["stages"].items()
    ]
    stream_lines = [
        (row["codec"], str(row["side_px"]), str(row["pictures"]), f"{row['pictures_per_s']:.1f}")
        for row in found["streams"]
    ]
    notes = f"256x256, median of {runs}; jpeg and webp clean, others over `{channel}`."
    return [
        Table("Seconds of a stage", (notes,), ("codec", "stages"), tuple(stage_lines)),
        Table(
            "End to end, pictures in a stream", (), ("codec", "side, px", "pictures", "pictures/s"), tuple(stream_lines)
        ),
    ]


def main(
    runs: Annotated[int, typer.Option(min=1, help="Pictures a stage is the median of.")] = 10,
    pairs: Annotated[int, typer.Option(min=0, help="Pairs of runs of the link bench; 0: leave it out.")] = 15,
    channel: str = "packet_erasure:rate=0.2",
    device: str = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for bench.json and a page.")] = None,
) -> None:
    """Measure, and print tables."""
    found = measure_pictures(runs, channel, device)
    tables = picture_tables(found, runs, channel)
    if pairs:
        results = link_bench.measure(list(link_bench.PROFILES.values()), pairs, frames=8)
        found["link"] = {"profiles": [asdict(result) for result in results], "goals": link_bench.goals(results)}
        tables.append(link_bench.rates(results, pairs, frames=8))
    print("\n".join(map(to_markdown, tables)))
    if out:
        lead = f"Made by `python -m gocom.evaluation.benches.bench --out FOLDER` on {platform.machine()}."
        write_page(out, "Bench", [lead], [Section("Tables", tables=tuple(tables))])
        (out / "bench.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    run_command(main)
