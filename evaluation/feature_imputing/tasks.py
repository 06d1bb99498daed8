"""Importance from class A, scored on task B: two pictures side by side, one of A and one of B.

The sender protects by the map of A's class (of the left picture). What is that worth to a receiver who wants to know
what the right one shows?
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from gocom.common.image_files import ImageArray
from gocom.common.types import PowerAllocation
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.power import GAINS_KNOWN, allocated
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    difference_cells,
    groups,
    heads,
    metric_cells,
    sizes,
    table,
    where,
)
from gocom.evaluation.study.world import Picture, Row

SNRS_DB = (6, 8)
A, B = "A, the left picture's class", "B, the right one's"
MAP_A, MAP_B, NO_MAP, EQUAL = "A's map", "B's map", "no map, all alike", "equal power"
ARMS: dict[str, tuple[PowerAllocation, dict[str, Any]]] = {
    MAP_A: (PowerAllocation.SEMANTIC, {"roi_share": 0.25}),
    MAP_B: (PowerAllocation.SEMANTIC, {"roi_share": 0.25}),
    NO_MAP: (PowerAllocation.SEMANTIC, {"importance": "uniform"}),
    EQUAL: (PowerAllocation.EQUAL, {"importance": "uniform"}),
}
"""Whose map -> power and options; a region of interest, as packets of scattered patches have as much of A as of B."""
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
    jobs = []
    for name, (power, options) in ARMS.items():
        target = {MAP_A: left.original.label, MAP_B: right.original.label}.get(name)
        packets = world.send(both, "clean", seed=0, target_class=target, **options).rounds[0].packets_sent
        for snr_db, seed in product(SNRS_DB, range(COUNTS.tasks_seeds)):
            jobs.append(
                allocated(
                    world, both, {"map": name}, snr_db, seed, GAINS_KNOWN, power.value, packets, target_class=target,
                    **options,
                )
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
    against = [
        [snr_db, task, name, *difference_cells(where(found, map=name), where(found, map=NO_MAP), SHOWN)]
        for (snr_db, task), found in groups(rows, "snr_db", "task")
        for name in (MAP_A, MAP_B, EQUAL)
    ]
    return "\n".join(
        [
            f"{sizes(rows)}, each beside one of another class: 512x256, block fading, four packets share a gain, which "
            "is known. Power by the map of either class, whose quarter of the patches shares packets with no others; "
            "by the same rule with all patches alike; or equal. The halves are judged apart.\n",
            table(["SNR in dB", "task", "power by", *heads(SHOWN)], means),
            "Minus the same rule without a map (distance: negative is better):\n",
            table(["SNR in dB", "task", "power by", *heads(SHOWN)], against),
        ]
    )


PART = Part("tasks", "Importance from class A, scored on task B", measure, report)
