"""Steps by time: where more of them cease to help."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.report.plots import Panel, plot
from gocom.evaluation.study.curves import curve
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
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
from gocom.evaluation.study.world import Job, Row

STEPS = (1, 2, 4, 6, 8, 10, 13, 16, 25, 50)
RATE = 0.3
LEVEL = 0.005
"""Of deep-feature distance: differences below it do not matter."""
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
            timed = jobs[:: max(1, len(jobs) // TIMED)]
            seconds = [_seconds(world, job) for job in (timed[0], *timed)][1:]  # the first one warms up
            rows += [row | {"seconds": median(seconds)} for row in world.rows(jobs)]
    return rows


def _seconds(world: World, job: Job) -> float:
    *_, made = world.decoder.reconstruct(job.sent.rounds, generator=world.generator(job))
    return made.seconds.get("sample", 0.0)


def knee(rows: Sequence[Row]) -> int | None:
    """The fewest steps from which on the most are at most LEVEL better in distance, as far as the interval says."""
    most = where(rows, steps=STEPS[-1])
    level = [_worse(where(rows, steps=steps), most) < LEVEL for steps in STEPS]
    return next((steps for i, steps in enumerate(STEPS) if all(level[i:])), None)


def _worse(rows: Sequence[Row], most: Sequence[Row]) -> float:
    """Upper end of the interval of the difference in distance."""
    found = difference(rows, most, "distance")
    return float("inf") if found is None else found[2]


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
            f"- Begun with {start}: {STEPS[-1]} steps are less than {LEVEL:g} better in distance than {knee(found)}; "
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
