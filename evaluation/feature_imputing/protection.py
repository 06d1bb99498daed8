"""Importance to RaptorQ redundancy at equal bytes (the paper's second open question)."""

from __future__ import annotations

from typing import Any

from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.power import MEAN_KNOWN, channel_state
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    average,
    difference_cells,
    groups,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from gocom.evaluation.study.world import Job, Picture, Row
from gocom.transmitter.resources.repair_and_power import PLAIN, Delivery

RATES = (0.1, 0.2, 0.3)
SHARE = 0.25
"""Of the budget, for repair packets."""
NONE, ALIKE, WORTH = "none", "all features alike", "by importance"
ARMS: dict[str, tuple[Delivery, dict[str, Any]]] = {
    NONE: (PLAIN, {}),
    ALIKE: (Delivery(protection_share=SHARE), {}),
    WORTH: (Delivery(protection_share=SHARE), {"roi_share": 0.15}),
}
"""Repair packets -> how the frame is sent; a region of interest is what can have more of them than the rest."""
SHOWN = ("psnr_db", "distance", "agrees", "correct")


def measure(world: World) -> list[Row]:
    """Labelled pictures; the budget is what the features take without repair packets."""
    rows: list[Row] = []
    for picture in world.each(world.pictures(SETS[1], COUNTS.protection), "protection"):
        rows += world.rows(_jobs(world, picture))
    return rows


def _jobs(world: World, picture: Picture) -> list[Job]:
    budget = world.send(picture, "clean", seed=0).bytes.total_bytes
    jobs = []
    for rate in RATES:
        channel = f"packet_erasure:rate={rate}"
        csi = channel_state(channel, 0, picture.index, 1, MEAN_KNOWN)
        for arm, (delivery, options) in ARMS.items():
            keys = {"repair": arm, "rate": rate}
            jobs += world.jobs(
                picture, keys, channel, COUNTS.protection_seeds, csi, budget=budget, delivery=delivery, **options
            )
    return jobs


def report(rows: list[Row]) -> str:
    """Means, and repair packets minus none."""
    means, against = [], []
    for (rate, arm), found in groups(rows, "rate", "repair"):
        missing, size = words(average(found, "missing"), 2), words(average(found, "bytes"), 0)
        means.append([rate, arm, size, missing, *metric_cells(found, SHOWN)])
        for other in (NONE, ALIKE):
            if arm not in (NONE, other):
                against.append(
                    [rate, arm, other, *difference_cells(found, where(rows, rate=rate, repair=other), SHOWN)]
                )
    return "\n".join(
        [
            f"{sizes(rows)}. Every frame has at most the bytes that all features take without repair packets. With "
            f"them patches are withheld to make room ({SHARE:.0%} of the bytes), and the transmitter chooses how many "
            "(`--protect`); by importance: the rectangle of 15 % of the patches that the map is strongest in is a "
            "segment of its own, with as many repair packets as its worth pays for. The rate of loss is known.\n",
            table(["packets lost", "repair", "bytes", "features missing", *heads(SHOWN)], means),
            "Minus the others (distance: negative is better):\n",
            table(["packets lost", "repair", "minus", *heads(SHOWN)], against),
        ]
    )


PART = Part("protection", "Importance to RaptorQ redundancy at equal bytes", measure, report)
