"""Steps by time: where more of them cease to help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from common.pipeline import sampler_generator
from evaluation.feature_imputing.counts import COUNTS
from evaluation.feature_imputing.world import SETS, World
from evaluation.study.curves import curve
from evaluation.study.plots import Panel, plot
from evaluation.study.store import Part
from evaluation.study.tables import (
    METRICS,
    average,
    difference,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from evaluation.study.world import Row

STEPS = (1, 2, 4, 6, 8, 10, 13, 16, 25, 50)
RATE = 0.3
STARTS = {"no noise": True, "drawn noise": False}
"""What the sampler begins with -> `deterministic`."""
SHOWN = ("psnr_db", "distance", "agrees")
TIMED = 8
"""Pictures that are made one by one, for the time it takes."""


def measure(world: World) -> list[Row]:
    """Every number of steps, both starts, the same losses."""
    chosen = world.pictures(SETS[0], COUNTS.steps)
    rows: list[Row] = []
    for start, deterministic in STARTS.items():
        for steps in world.each(STEPS, f"steps, {start}"):
            options: dict[str, Any] = {"deterministic": deterministic, "num_inference_steps": steps}
            keys = {"start": start, "steps": steps}
            jobs = [
                job for picture in chosen for job in world.jobs(
                    picture, keys, f"packet_erasure:rate={RATE}", COUNTS.steps_seeds, **options
                )
            ]  # fmt: skip
            seconds = [_seconds(world, job.sent.rounds) for job in jobs[:: max(1, len(jobs) // TIMED)]]
            rows += [row | {"seconds": median(seconds)} for row in world.rows(jobs)]
    return rows


def _seconds(world: World, rounds: Sequence[object]) -> float:
    *_, made = world.real.decoder.reconstruct(rounds, generator=sampler_generator(0, 0, 0))  # type: ignore[arg-type]
    return made.seconds.get("sample", 0.0)


def knee(rows: Sequence[Row], field: str = "distance") -> int | None:
    """The fewest steps that the most are not better than, by the paired interval."""
    most = where(rows, steps=STEPS[-1])
    for steps in STEPS:
        found = difference(where(rows, steps=steps), most, field)
        if (found is not None and found[1] <= 0 <= found[2]) or (found is not None and found[2] < 0):
            return steps
    return None


def report(rows: list[Row]) -> str:
    """Means by steps, and the knee."""
    lines, knees = [], []
    for start in STARTS:
        found = where(rows, start=start)
        for steps in STEPS:
            here = where(found, steps=steps)
            most = difference(here, where(found, steps=STEPS[-1]), "distance")
            cells = [f"{here[0]['seconds']:.3f}" if here else "–", *metric_cells(here, SHOWN)]
            lines.append([start, steps, *cells, words(most, METRICS["distance"][1], sign=True)])
        best = min(STEPS, key=lambda n: (average(where(found, steps=n), "distance") or (9.0,))[0])
        knees.append(
            f"- Begun with {start}: the fewest steps that {STEPS[-1]} are not better than (distance): {knee(found)}; "
            f"least mean distance at {best}.\n"
        )
    return "\n".join(
        [
            f"{sizes(rows)}, {RATE:.0%} of the packets lost. Seconds: the sampler's, one picture at a time, median, "
            f"{torch.get_num_threads()} torch threads.\n",
            table(
                ["begun with", "steps", "seconds", *heads(SHOWN), f"distance minus that of {STEPS[-1]} steps"], lines
            ),
            *knees,
        ]
    )


def draw(rows: list[Row], out: Path) -> list[str]:
    """steps.png: distance and PSNR by steps; seconds."""
    panels = [[_panel(rows, field) for field in ("distance", "psnr_db")] + [_panel(rows, "seconds")]]
    plot(panels, f"Steps, {RATE:.0%} of the packets lost\n{sizes(rows)}", out / "steps.png")
    return ["steps.png"]


def _panel(rows: Sequence[Row], field: str) -> Panel:
    timed = field == "seconds"
    lines = [curve(start, where(rows, start=start), "steps", STEPS, field, band=not timed) for start in STARTS]
    name = METRICS[field][0] if field in METRICS else "seconds a picture"
    return Panel("steps", name, lines, log_x=True, ticks=(STEPS, [str(n) for n in STEPS]))


PART = Part("steps", "Steps by time", measure, report, draw)
