"""Masking policies at equal bytes, clean and over erasure; and table III: which tokens EBM should withhold."""

from __future__ import annotations

from typing import Any

from gocom.common.systems.lami_go import MaskingPolicy
from gocom.evaluation.lami_go.budgets import fit
from gocom.evaluation.lami_go.counts import COUNTS, ERASURE
from gocom.evaluation.lami_go.world import SETS, World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    average,
    difference_cells,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from gocom.evaluation.study.world import Job, Picture, Row

PRM, PDM, EBM, FARTHEST, NONE = (
    policy.value
    for policy in (
        MaskingPolicy.PRM,
        MaskingPolicy.PDM,
        MaskingPolicy.EBM,
        MaskingPolicy.EBM_FARTHEST,
        MaskingPolicy.NONE,
    )
)
CLEAN = "clean"
CHANNELS = (CLEAN, ERASURE)
ORDER = (PDM, PRM, EBM, FARTHEST, NONE)
EQUAL, TABLE_III = "equal bytes", "table III"
QUARTER = 0.25


def measure(world: World) -> list[Row]:
    """All policies on all sets."""
    rows: list[Row] = []
    for name in SETS:
        for picture in world.each(world.pictures(name, COUNTS.policies), f"policies {name}"):
            rows += world.rows([*_equal_bytes(world, picture), *_table_iii(world, picture)])
    return rows


def _equal_bytes(world: World, picture: Picture) -> list[Job]:
    """The budget is what PDM takes; `none` has no budget: it is what no mask would give."""
    budget = world.send(picture, CLEAN, seed=0, masking=PDM).bytes.total_bytes
    options: dict[str, dict[str, Any]] = {PDM: {"masking": PDM}, NONE: {"masking": NONE}}
    for policy in (MaskingPolicy.PRM, MaskingPolicy.EBM, MaskingPolicy.EBM_FARTHEST):
        options[policy.value] = fit(world, picture, policy, budget)
    cases = [(CLEAN, 0), *((ERASURE, seed) for seed in range(COUNTS.policies_seeds))]
    return [
        world.job(picture, {"experiment": EQUAL, "channel": channel, "policy": name}, channel, seed=seed, **chosen)
        for name, chosen in options.items()
        for channel, seed in cases
    ]


def _table_iii(world: World, picture: Picture) -> list[Job]:
    """A quarter of the tokens, clean: 256 of 1024 at 256x256."""
    return [
        world.job(
            picture,
            {"experiment": TABLE_III, "channel": CLEAN, "policy": name},
            CLEAN,
            masking=name,
            mask_ratio=QUARTER,
        )
        for name in (EBM, FARTHEST)
    ]


def report(rows: list[Row]) -> str:
    """Means and differences to PRM; then table III."""
    equal, third = where(rows, experiment=EQUAL), where(rows, experiment=TABLE_III)
    means, against = [], []
    for name in SETS:
        for channel in CHANNELS:
            here = where(equal, set=name, channel=channel)
            for policy in ORDER if here else ():
                found = where(here, policy=policy)
                size, missing = words(average(found, "bytes"), 0), words(average(found, "missing"), 2)
                means.append([name, channel, policy, size, missing, *metric_cells(found)])
                if policy != PRM:
                    against.append([name, channel, policy, *difference_cells(found, where(here, policy=PRM))])
    return "\n".join(
        [
            f"{sizes(equal)} (of the erasure; clean has one). Every policy has the bytes that PDM 1/4 takes for that "
            "picture: PRM and EBM withhold as little as fits (EBM's mask is in its packets and counted). `none` has no "
            "budget.\n",
            table(["set", "channel", "policy", "bytes", "missing", *heads()], means),
            "The policy minus PRM (distance: negative is better):\n",
            table(["set", "channel", "policy", *heads()], against),
            "Table III: 256 of 1024 tokens withheld, clean; closest to their codeword (ebm) against farthest.\n",
            _third(third),
        ]
    )


def _third(rows: list[Row]) -> str:
    lines = []
    for name in SETS:
        closest, farthest = (where(rows, set=name, policy=policy) for policy in (EBM, FARTHEST))
        for label, found in (("closest", closest), ("farthest", farthest)):
            if found:
                lines.append([name, label, words(average(found, "bytes"), 0), *metric_cells(found)])
        if closest:
            lines.append([name, "closest minus farthest", "", *difference_cells(closest, farthest)])
    return table(["set", "withheld", "bytes", *heads()], lines)


PART = Part("policies", "Masking policies", measure, report)
