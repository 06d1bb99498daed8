"""Tiny pictures through the three services for a long time: does memory grow, do files or threads pile up?

    make soak IMAGES=3000 MINUTES=0

Memory, open files and threads of each process are sampled once a second from /proc. Growth of memory is the Theil-Sen
slope (the median of the slopes between all pairs of samples, which a single jump does not move) over the samples after
the warm-up, in MiB per 1,000 pictures. Exit status 1 when a slope is 1 MiB or more, or files or threads grow.
"""

from __future__ import annotations

import csv
import io
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from scipy.stats import theilslopes
from tqdm import tqdm

from gocom.client.command_process import run_command
from gocom.client.local_stack import SERVICES, LocalStack
from gocom.evaluation.report.plots import Line, Panel, plot

SIDE_PX = 64
WARM_UP = 1 / 3
"""Share of the pictures that does not count: caches fill, allocators find their size."""
MOST_MIB = 1.0
"""Growth per 1,000 pictures that is let pass."""
MOST_HANDLES = 2
"""More open files or threads at the end than after the warm-up; connections that come and go are one or two."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one process used when so many pictures were through."""

    seconds: float
    images: int
    process: str
    rss_mib: float
    files: int
    threads: int


def usage(pid: int) -> tuple[float, int, int]:
    """Resident MiB, open files and threads of a process, from /proc."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])


def pictures(images: int, minutes: float) -> Iterator[bytes]:
    """Small PNGs, no two neighbours alike, until there were so many and so much time has passed."""
    until = time.monotonic() + 60 * minutes
    index = 0
    while index < images or time.monotonic() < until:
        pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(out, "PNG")
        yield out.getvalue()
        index += 1


def soak(codec: str, images: int, minutes: float, spec: str) -> tuple[list[Sample], int]:
    """Samples of the services and of this process, and how many pictures could not be made."""
    samples: list[Sample] = []
    failed, due, began = 0, 0.0, time.monotonic()
    with LocalStack(spec, codecs=(codec,)) as stack, stack.client() as client:
        pids = {**{name: stack.pid(name) for name in SERVICES}, "client": os.getpid()}
        results = client.send(pictures(images, minutes), codec=codec)
        for count, result in enumerate(tqdm(results, total=images, unit="picture", mininterval=1.0), 1):
            failed += result.outcome != "reconstructed"
            if result.is_error:
                raise RuntimeError(f"picture {count}: {result.reason}")
            if time.monotonic() >= due or count == images:
                due = time.monotonic() + 1
                now = time.monotonic() - began
                samples += [Sample(now, count, name, *usage(pid)) for name, pid in pids.items()]
    return samples, failed


def judge(samples: list[Sample]) -> tuple[list[str], bool]:
    """A line a process, and whether all is well."""
    lines, well = [], True
    last = max(sample.images for sample in samples)
    for name in dict.fromkeys(sample.process for sample in samples):
        mine = [s for s in samples if s.process == name and s.images >= last * WARM_UP]
        if len(mine) < 5:
            raise ValueError("too short: fewer than 5 samples after the warm-up; send more pictures")
        slope, _, low, high = theilslopes([s.rss_mib for s in mine], [s.images / 1000 for s in mine], 0.95)
        files, threads = (_growth([getattr(s, what) for s in mine]) for what in ("files", "threads"))
        fine = slope < MOST_MIB and files <= MOST_HANDLES and threads <= MOST_HANDLES
        well &= fine
        lines.append(
            f"{name:12} {mine[-1].rss_mib:7.1f} MiB, {slope:+.3f} ({low:+.3f} to {high:+.3f}) MiB per 1,000 pictures; "
            f"files {mine[-1].files} ({files:+d}), threads {mine[-1].threads} ({threads:+d})"
            f"{'' if fine else '  <- grows'}"
        )
    return lines, well


def _growth(values: list[int]) -> int:
    """Of the last quarter over the first, by medians: a connection that is just open does not count."""
    quarter = max(1, len(values) // 4)
    return round(float(np.median(values[-quarter:]) - np.median(values[:quarter])))


def draw(samples: list[Sample], title: str, path: Path) -> None:
    """Memory, files and threads over the pictures that were through, and where the warm-up ends."""
    warm = max(sample.images for sample in samples) * WARM_UP
    panels = []
    for what, y in (("rss_mib", "resident memory, MiB"), ("files", "open files"), ("threads", "threads")):
        lines = []
        for name in dict.fromkeys(sample.process for sample in samples):
            mine = [s for s in samples if s.process == name]
            lines.append(Line(name, [s.images for s in mine], [getattr(s, what) for s in mine], style="-"))
        top = max(max(line.y) for line in lines)
        lines.append(Line("end of the warm-up", [warm, warm], [0, top], style=":", color="0.45"))
        panels.append(Panel("pictures", y, lines))
    plot([panels], title, path)


def main(
    images: Annotated[int, typer.Option(min=100, help="Pictures at least.")] = 3000,
    minutes: Annotated[float, typer.Option(min=0, help="Time at least.")] = 0.0,
    codec: str = "jpeg",
    channel: str = "packet_erasure:rate=0.02",
    out: Annotated[Path, typer.Option(help="Folder for samples.csv and soak.png.")] = Path("out/soak"),
) -> None:
    """Stream, sample, judge."""
    samples, failed = soak(codec, images, minutes, channel)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(samples[0])))
        writer.writeheader()
        writer.writerows(asdict(sample) for sample in samples)
    count = max(sample.images for sample in samples)
    draw(samples, f"{count} pictures of {SIDE_PX}x{SIDE_PX}, {codec}, {channel}", out / "soak.png")
    lines, well = judge(samples)
    seconds = max(sample.seconds for sample in samples)
    print(f"{count} pictures in {seconds:.0f} s, {failed} could not be made of what arrived; plot: {out / 'soak.png'}")
    print("\n".join(lines))
    sys.exit(not well)


if __name__ == "__main__":
    run_command(main)
