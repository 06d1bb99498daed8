"""20 % packet erasure against the clean picture of the same policy: at most 3 dB of PSNR."""

from __future__ import annotations

from typing import Any

from gocom.evaluation.lami_go.counts import COUNTS, ERASURE
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    UNLABELLED,
    average,
    by_picture,
    difference,
    difference_cells,
    heads,
    metric_cells,
    sizes,
    table,
    values_of,
    where,
    words,
)
from gocom.evaluation.study.world import Job, Picture, Row

LIMIT_DB = 3.0
CLEAN = "clean"
POLICIES: dict[str, dict[str, Any]] = {"PRM 0.25": {"masking": "prm", "mask_ratio": 0.25}, "none": {"masking": "none"}}


def measure(world: World) -> list[Row]:
    """Every picture once clean and with every seed."""
    rows: list[Row] = []
    for picture in world.each(world.pictures("images", COUNTS.erasure), "erasure"):
        rows += world.rows(_jobs(world, picture))
    return rows


def _jobs(world: World, picture: Picture) -> list[Job]:
    cases = [(CLEAN, 0), *((ERASURE, seed) for seed in range(COUNTS.erasure_seeds))]
    return [
        world.job(picture, {"policy": name, "channel": channel}, channel, seed=seed, **options)
        for name, options in POLICIES.items()
        for channel, seed in cases
    ]


def report(rows: list[Row]) -> str:
    """Means, what is lost, and whether the limit holds."""
    lines, losses, verdicts = [], [], []
    for policy in values_of(rows, "policy"):
        clean, lossy = (where(rows, policy=policy, channel=channel) for channel in (CLEAN, ERASURE))
        for channel, found in ((CLEAN, clean), (ERASURE, lossy)):
            missing = words(average(found, "missing"), 2)
            lines.append(
                [policy, channel, words(average(found, "bytes"), 0), missing, *metric_cells(found, UNLABELLED)]
            )
        losses.append([policy, *difference_cells(lossy, clean, UNLABELLED)])
        verdicts.append(_verdict(policy, clean, lossy))
    return "\n".join(
        [
            f"{sizes(where(rows, channel=ERASURE))}, one for clean.\n",
            table(["policy", "channel", "bytes", "missing", *heads(UNLABELLED)], lines),
            f"{ERASURE} minus clean:\n",
            table(["policy", *heads(UNLABELLED)], losses),
            *verdicts,
        ]
    )


def _verdict(policy: str, clean: list[Row], lossy: list[Row]) -> str:
    cost = difference(clean, lossy, "psnr_db")
    assert cost is not None
    good, bad = by_picture(clean, "psnr_db"), by_picture(lossy, "psnr_db")
    worst = max(good[key] - bad[key] for key in bad)
    over = sum(good[row["set"], row["picture"]] - row["psnr_db"] > LIMIT_DB for row in lossy)
    holds = "holds" if cost[2] <= LIMIT_DB else "holds for the mean only" if cost[0] <= LIMIT_DB else "does not hold"
    return (
        f"- {policy}: erasure costs {words(cost)} dB; a limit of {LIMIT_DB:g} dB {holds}. The worst picture loses "
        f"{worst:.2f} dB in the mean over seeds; {over} of {len(lossy)} frames lose more than the limit.\n"
    )


PART = Part("erasure", "20 % packet erasure", measure, report)
