"""Imputed features against filled ones: does a diffusion model know more than an interpolation?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from gocom.common.systems.feature_imputing import PacketOrder
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.fills import FILLS, Fill
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.report.plots import Panel, plot
from gocom.evaluation.study.curves import curve
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    METRICS,
    average,
    difference,
    difference_cells,
    groups,
    heads,
    metric_cells,
    sizes,
    table,
    where,
)
from gocom.evaluation.study.world import BATCH, Job, Picture, Row, chunks, spread

RATES = (0.1, 0.3, 0.5)
LEAST = RATES[:1]
ORDERS = tuple(order.value for order in PacketOrder)
CLEAN, IMPUTER, DRAWN = "nothing lost", "imputer", "imputer, drawn"
WAYS = (IMPUTER, DRAWN, *FILLS)
SHOWN = ("psnr_db", "distance", "agrees", "correct")
CLAIMED = ("distance", "correct")
"""What imputation must be better in than every fill."""


def measure(world: World) -> list[Row]:
    """The default order on many pictures, the others on fewer; more at the least loss, where ways differ least."""
    rows: list[Row] = []
    for name in SETS:
        chosen = world.pictures(name, COUNTS.imputing_least)
        many = spread(len(chosen), COUNTS.imputing_spatial)
        few = [many[place] for place in spread(len(many), COUNTS.imputing_others)]
        for place, picture in enumerate(world.each(chosen, f"imputing {name}")):
            default, others = (RATES, RATES) if place in few else (RATES, LEAST) if place in many else (LEAST, ())
            rows += _of_picture(world, picture, dict.fromkeys(ORDERS, others) | {ORDERS[0]: default})
    return rows


def _of_picture(world: World, picture: Picture, rates: Mapping[str, Sequence[float]]) -> list[Row]:
    """Each order at its rates."""
    rows = world.rows([world.job(picture, {"order": ORDERS[0], "rate": 0.0, "way": CLEAN}, "clean")])
    jobs: list[Job] = []
    for order in ORDERS:
        for rate in rates[order]:
            keys = {"order": order, "rate": rate, "way": IMPUTER}
            jobs += world.jobs(
                picture, keys, f"packet_erasure:rate={rate}", COUNTS.imputing_seeds, packet_order=order
            )  # fmt: skip
    rows += world.rows(jobs)
    drawn = [
        job for rate in rates[ORDERS[0]] for job in world.jobs(
            picture, {"order": ORDERS[0], "rate": rate, "way": DRAWN}, f"packet_erasure:rate={rate}",
            COUNTS.imputing_drawn_seeds, deterministic=False,
        )
    ]  # fmt: skip
    rows += world.rows(drawn)
    for name, fill in FILLS.items():
        rows += [row | {"way": name} for row in world.judged(jobs, _filled(world, jobs, fill))]
    return rows


def _filled(world: World, jobs: Sequence[Job], fill: Fill) -> list[Row]:
    """Scores of pictures whose erased features a fill made up."""
    images = []
    for part in chunks(jobs, BATCH):
        frames = [world.frame(job) for job in part]
        planes = [(f.latent.permute(1, 2, 0).numpy(), f.received.permute(1, 2, 0).numpy()) for f in frames]
        images += world.images_of(torch.from_numpy(np.stack([fill(*both) for both in planes])))
    return world.judge.scores([job.picture.original for job in jobs], images)


def report(rows: list[Row]) -> str:
    """Means, the imputer minus each fill, verdicts, and the ranks of the orders."""
    lossy = [row for row in rows if row["rate"] > 0]
    means = [
        [*keys, *metric_cells(found, SHOWN)] for keys, found in groups(rows, "set", "order", "rate", "way")
    ]  # fmt: skip
    means.sort(key=lambda line: (line[0], ORDERS.index(line[1]), line[2]))
    against, verdicts = [], []
    for (name, order, rate), found in groups(lossy, "set", "order", "rate"):
        for way in WAYS[1:]:
            if other := where(found, way=way):
                ours = ours_beside(found, other)
                cells = difference_cells(ours, other, SHOWN)
                against.append([name, order, rate, way, *cells])
        verdicts.append([name, order, rate, *(_beaten(found, field) for field in CLAIMED)])
    return "\n".join(
        [
            f"{_taken(lossy)} Packets are lost independently; {IMPUTER}: the default, begun without noise; {DRAWN}: "
            "begun with drawn noise, as in the paper, with the first seeds only; fills of the latent: 0, the mean of "
            "what arrived of the channel, linear interpolation, the biharmonic equation.\n",
            table(["set", "order", "packets lost", "by", *heads(SHOWN)], means),
            "The imputer minus the others (distance: negative is better):\n",
            table(["set", "order", "packets lost", "minus", *heads(SHOWN)], against),
            "Does the imputer beat all four fills, the paired interval away from 0?\n",
            table(["set", "order", "packets lost", *(METRICS[field][0] for field in CLAIMED)], verdicts),
            "The orders by deep-feature distance, best first, on the pictures that all have:\n",
            table(["set", "packets lost", "by", "ranks"], _ranks(lossy)),
        ]
    )


def _taken(lossy: Sequence[Row]) -> str:
    """How many pictures each order has at the least loss and beyond."""
    said = []
    for rate, at in ((RATES[0], f"Without loss and at {RATES[0]:.0%}"), (RATES[-1], "beyond")):
        here = where(lossy, rate=rate)
        said.append(
            f"{at}: {sizes(where(here, order=ORDERS[0]))} for the order {ORDERS[0]}, "
            f"{sizes(where(here, order=ORDERS[1]))} for the others"
        )
    return f"{'; '.join(said)}."


def ours_beside(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """The imputer's rows with the channel seeds that the others have: the same losses."""
    seeds = {row["seed"] for row in others}
    return [row for row in where(rows, way=IMPUTER) if row["seed"] in seeds]


def _beaten(rows: Sequence[Row], field: str) -> str:
    """yes, or the fills that are not beaten."""
    ours, open_ = where(rows, way=IMPUTER), []
    for way in FILLS:
        found = difference(ours, where(rows, way=way), field)
        if found is None:
            return "–"
        better = found[2] < 0 if field == "distance" else found[1] > 0
        if not better:
            open_.append(way)
    return f"not {', '.join(open_)}" if open_ else "yes"


def _ranks(rows: Sequence[Row]) -> list[list[object]]:
    lines: list[list[object]] = []
    for (name, rate, way), found in groups(rows, "set", "rate", "way"):
        both = {row["picture"] for row in where(found, order=ORDERS[1])}
        means = {
            order: average([row for row in where(found, order=order) if row["picture"] in both], "distance")
            for order in ORDERS
        }
        ranked = sorted((value[0], order) for order, value in means.items() if value is not None)
        if len(ranked) == len(ORDERS):
            lines.append([name, rate, way, ", ".join(f"{order} {value:.3f}" for value, order in ranked)])
    return lines


def draw(rows: list[Row], out: Path) -> list[str]:
    """imputing.png: each way's means by loss, the default order, the pictures that have all losses."""
    found = where(rows, order=ORDERS[0], set=SETS[1])
    whole = {row["picture"] for row in where(found, rate=RATES[-1])}
    found = [row for row in found if row["picture"] in whole]
    panels = [[_panel(found, field) for field in ("distance", "correct", "psnr_db")]]
    plot(panels, f"Imputed and filled features, order {ORDERS[0]}\n{sizes(found)}", out / "imputing.png")
    return ["imputing.png"]


def _panel(rows: Sequence[Row], field: str) -> Panel:
    clean = average(where(rows, way=CLEAN), field)
    lines = [curve(way, where(rows, way=way), "rate", RATES, field, band=way == IMPUTER) for way in WAYS]
    return Panel("packets lost", METRICS[field][0], lines, level=(clean[0], CLEAN) if clean else None)


PART = Part("imputing", "Imputing against filling", measure, report, draw)
