"""Importance from class A, scored on task B: two pictures side by side, one of A and one of B.

The sender protects by the map of A's class (of the left picture). What is that worth to a receiver who wants to know
what the right one shows?
"""

from __future__ import annotations

from typing import Any

import numpy as np

from common.images import ImageArray
from common.types import PowerAllocation
from evaluation.feature_imputing.counts import COUNTS
from evaluation.feature_imputing.power import KINDS, allocated
from evaluation.feature_imputing.world import SETS, World
from evaluation.study.store import Part
from evaluation.study.tables import (
    difference_cells,
    groups,
    heads,
    metric_cells,
    sizes,
    table,
    where,
)
from evaluation.study.world import Picture, Row

SNRS_DB = (6, 8)
A, B = "A: the map's class", "B: the other class"
MAPS = ("class A", "the likeliest class", "none (equal power)")
SHOWN = ("psnr_db", "distance", "agrees", "correct")


def measure(world: World) -> list[Row]:
    """Each picture on the left of one half-way round the set: of another class, as the set is sorted by class."""
    chosen = world.pictures(SETS[1], COUNTS.tasks)
    rows: list[Row] = []
    for place, left in enumerate(world.each(chosen, "tasks")):
        rows += _of_pair(world, left, chosen[(place + (len(chosen) + 1) // 2) % len(chosen)])
    return rows


def _of_pair(world: World, left: Picture, right: Picture) -> list[Row]:
    image = np.concatenate([left.image, right.image], axis=2)
    both = Picture(left.set, left.name, left.index, world.judge.original(image))
    packets = world.send(both, "clean", seed=0).rounds[0].packets_sent
    jobs = []
    for snr_db in SNRS_DB:
        for seed in range(COUNTS.tasks_seeds):
            for name in MAPS:
                options: dict[str, Any] = {"target_class": left.original.label} if name == MAPS[0] else {}
                power = PowerAllocation.EQUAL if name == MAPS[-1] else PowerAllocation.SEMANTIC
                keys = {"map": name}
                jobs.append(
                    allocated(world, both, keys, snr_db, seed, KINDS[0], power.value, packets, **options)
                )  # fmt: skip
    made = [picture.image for picture in world.decode(jobs)]
    rows: list[Row] = []
    for task, original, side in ((A, left, 0), (B, right, 1)):
        scores = world.judge.scores([original.original] * len(jobs), [_half(image, side) for image in made])
        rows += [row | {"task": task} for row in world.judged(jobs, scores)]
    return rows


def _half(image: ImageArray, side: int) -> ImageArray:
    width = image.shape[2] // 2
    return np.ascontiguousarray(image[:, :, side * width : (side + 1) * width])


def report(rows: list[Row]) -> str:
    """Means by task and map, and what a map is worth to either task."""
    means = [
        [snr_db, task, name, *metric_cells(found, SHOWN)]
        for (snr_db, task, name), found in groups(rows, "snr_db", "task", "map")
    ]
    against = []
    for (snr_db, task), found in groups(rows, "snr_db", "task"):
        plain = where(found, map=MAPS[-1])
        for name in MAPS[:-1]:
            ours = where(found, map=name)
            cells = difference_cells(ours, plain, SHOWN)
            against.append([snr_db, task, name, *cells])
    return "\n".join(
        [
            f"{sizes(rows)}, each beside one of another class: 512x256, block fading, four packets share a gain, the "
            "mean SNR is known; power by the map of the left picture's class (A), by that of the likeliest class of "
            "the whole, or the same for all packets. The halves are judged apart.\n",
            table(["SNR in dB", "task", "power by the map of", *heads(SHOWN)], means),
            "By a map minus equal power (distance: negative is better):\n",
            table(["SNR in dB", "task", "power by the map of", *heads(SHOWN)], against),
        ]
    )


PART = Part("tasks", "Importance from class A, scored on task B", measure, report)
