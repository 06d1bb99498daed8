"""Plots of LaMI-GO's page: the study's own, and two with the paper's numbers in a panel beside ours."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gocom.evaluation.lami_go import mixture, noise, ratio, steps
from gocom.evaluation.papers import lami_go_numbers as paper
from gocom.evaluation.papers.items import Results
from gocom.evaluation.papers.lami_go_tables import POLICIES
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import METRICS, average, sizes, where
from gocom.evaluation.study.world import Row

POLICIES_PNG, LOSS_PNG = "paper_policies.png", "paper_loss.png"
STUDY: dict[str, Part] = {
    "steps_convergence.png": steps.PART,
    "noise.png": noise.PART,
    "mixture.png": mixture.PART,
    "ratio.png": ratio.PART,
}
"""The study's plots that the page shows -> part."""


def draw(results: Results, out: Path) -> list[str]:
    """Write what there are rows for into `out`; the names of the PNGs."""
    made = []
    with TemporaryDirectory() as folder:  # a part may draw more than the page shows
        for name, part in STUDY.items():
            if (rows := list(results.get(part.name, ()))) and name in part.draw(rows, Path(folder)):
                made.append(name)
                shutil.copyfile(Path(folder) / name, out / name)
    if rows := list(results.get("steps", ())):
        _policies(where(rows, experiment=steps.POLICY), out / POLICIES_PNG)
        _loss(where(rows, experiment=steps.LOSS), out / LOSS_PNG)
        made += [POLICIES_PNG, LOSS_PNG]
    return made


def _line(label: str, rows: Sequence[Row], field: str, color: str) -> Line:
    """Means by steps, with their intervals."""
    points = {i: average(where(rows, steps=total), field) for i, (_, total) in enumerate(steps.STEPS)}
    found = {i: value for i, value in points.items() if value is not None}
    return Line(label, list(found), [v[0] for v in found.values()], [v[1:] for v in found.values()], color=color)


def _policies(rows: list[Row], path: Path) -> None:
    """Figures 8 and 9 with table IV: the paper's LPIPS and FID, and our distance and PSNR, street."""
    theirs = (range(len(paper.STEPS)), paper.STEPS)
    ours = (range(len(steps.STEPS)), [f"{tau}/{total}" for tau, total in steps.STEPS])
    top = [
        Panel(
            "steps (tau/T)",
            name,
            [
                Line(
                    POLICIES[policy],
                    list(theirs[0]),
                    [float(pair[i]) for pair in data["Cityscapes"]],
                    color=f"C{number}",
                )
                for number, (policy, data) in enumerate(paper.TABLE_IV.items())
            ],
            f"paper, Cityscapes, {name} (table IV)",
            ticks=theirs,
        )
        for i, name in enumerate(("LPIPS", "FID"))
    ]
    labels = [*POLICIES.values(), "PRM 0.35"]
    street = where(rows, set="street")
    bottom = [
        Panel(
            "steps (tau/T)",
            METRICS[field][0],
            [_line(label, where(street, policy=label), field, f"C{i}") for i, label in enumerate(labels)],
            f"here, street, {METRICS[field][0]}",
            ticks=ours,
        )
        for field in ("distance", "psnr_db")
    ]
    plot([top, bottom], f"A quarter of the tokens withheld, no loss, by policy and steps\nhere: {sizes(street)}", path)


def _loss(rows: list[Row], path: Path) -> None:
    """Figure 16 with table VIII: the paper's LPIPS and FID at 10 %, our distance and PSNR at 10 and 50 %."""
    ticks = (range(len(steps.STEPS)), [f"{tau}/{total}" for tau, total in steps.STEPS])
    top = [
        Panel(
            "steps (tau/T)",
            name,
            [Line("10 % lost", list(range(len(paper.STEPS))), [float(line[i]) for line in paper.TABLE_VIII])],
            f"paper, Cityscapes, {name} (table VIII)",
            ticks=(range(len(paper.STEPS)), paper.STEPS),
        )
        for i, name in ((1, "LPIPS"), (0, "FID"))
    ]
    street = where(rows, set="street")
    bottom = [
        Panel(
            "steps (tau/T)",
            METRICS[field][0],
            [
                _line(f"{rate:.0%} lost", where(street, rate=rate), field, f"C{number}")
                for number, rate in enumerate(steps.RATES)
            ],
            f"here, street, {METRICS[field][0]}",
            ticks=ticks,
        )
        for field in ("distance", "psnr_db")
    ]
    plot([top, bottom], f"Packets lost, by steps, PRM 0.25\nhere: {sizes(street)}", path)
