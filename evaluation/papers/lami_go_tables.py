"""Tables I to VII and figures 8, 9 with ours beside them, and what ours say, in sentences made from the numbers.

LPIPS is answered by deep-feature distance, FID by nothing: PSNR stands in its column's place to show fidelity.
"""

from __future__ import annotations

from gocom.evaluation.lami_go import policies, ratio, steps
from gocom.evaluation.papers import lami_go_numbers as paper
from gocom.evaluation.papers.items import OURS, Grid, Results, against, cell, pair
from gocom.evaluation.study.tables import UNLABELLED, average, heads, metric_cells, where, words
from gocom.evaluation.study.world import Row

POLICIES = {"random (PRM), 0.25": "PRM 0.25", "fixed (PDM), 1/4": "PDM 1/4", "distance-based (EBM), 0.25": "EBM 0.25"}
"""The paper's names -> those of the part `steps`."""


def _by_policy(results: Results, set_: str, policy: str, total: int) -> list[Row]:
    return where(
        results["steps"], experiment=steps.POLICY, set=set_, policy=policy, steps=total
    )  # fmt: skip


def table_i(results: Results) -> list[Grid]:
    """Cityscapes beside our street scenes."""
    ours = {
        "LaMI-GO": pair(_by_policy(results, "street", "EBM 0.25", 8)),
        "VQGAN (all tokens)": pair(
            where(results["policies"], set="street", experiment=policies.EQUAL, channel=policies.CLEAN), policy="none"
        ),
    }
    lines = [[*line, *ours.get(line[0], ["–", "–"])] for line in paper.TABLE_I]
    return [Grid(["method", "LPIPS", "FID", "steps", *OURS], lines, "Here: EBM 0.25 at 4/8 and all tokens, street")]


def table_ii(results: Results) -> list[Grid]:
    """FID on COCO; ours has nothing to put beside it but the same setting on other pictures."""
    ours = {"LaMI-GO (28/32)": pair(_by_policy(results, "images", "PDM 1/4", 32))}
    lines = [[*line, *ours.get(line[0], ["–", "–"])] for line in paper.TABLE_II]
    return [Grid(["method", "FID", *OURS], lines, "Here: PDM 1/4 at 28/32, images")]


def table_iii(results: Results) -> list[Grid]:
    """Closest against farthest tokens."""
    lines: list[list[object]] = []
    for data, set_ in (("Cityscapes", "street"), ("Flickr", "images"), (None, "labelled")):
        third = where(results["policies"], experiment=policies.TABLE_III, set=set_)
        for word, policy in (("lowest", policies.EBM), ("highest", policies.FARTHEST)):
            theirs = paper.TABLE_III[data, word] if data else "–"
            lines.append([data or "–", f"{word}-distanced", theirs, set_, *pair(third, policy=policy)])
    return [Grid(["paper's data", "withheld", "FID", "ours", *OURS], lines)]


def answer_iii(results: Results) -> str:
    """Closest minus farthest, by set."""
    third = where(results["policies"], experiment=policies.TABLE_III)
    return " ".join(
        against(
            f"Withholding the closest instead of the farthest, {name}",
            where(third, set=name, policy=policies.EBM),
            where(third, set=name, policy=policies.FARTHEST),
        )
        for name in ("images", "street")
    )


def table_iv(results: Results) -> list[Grid]:
    """Policies by steps: the paper's LPIPS and FID, ours at the steps that were measured, and at equal bytes."""
    lines: list[list[object]] = []
    totals = dict.fromkeys([f"{tau}/{total}" for tau, total in steps.STEPS] + list(paper.STEPS))
    for policy, ours in POLICIES.items():
        for name in totals:
            theirs = [v for data in ("Cityscapes", "Flickr") for v in _theirs(policy, data, name)] or ["–"] * 4
            total = int(name.split("/")[1])
            cells = [c for set_ in ("street", "images") for c in pair(_by_policy(results, set_, ours, total))]
            lines.append([policy, name, *theirs, *cells])
    head = ["policy", "steps", "Cityscapes LPIPS", "FID", "Flickr LPIPS", "FID"]
    coco = [[policy, name, *_theirs(policy, "COCO-Stuff", name)] for policy in POLICIES for name in paper.STEPS]
    title = "A quarter of the tokens withheld; here EBM's mask costs bytes of its own (its bytes: results of `steps`)"
    return [
        Grid([*head, *(f"{column}, {name}" for name in ("street", "images") for column in OURS)], lines, title),
        Grid(["policy", "steps", "LPIPS", "FID"], coco, "The paper's COCO-Stuff; there is no such set here"),
        _equal_bytes(results),
    ]


def _theirs(policy: str, data: str, name: str) -> tuple[str, ...]:
    return paper.TABLE_IV[policy][data][paper.STEPS.index(name)] if name in paper.STEPS else ()


def _equal_bytes(results: Results) -> Grid:
    rows = where(results["policies"], experiment=policies.EQUAL, channel=policies.CLEAN)
    lines = []
    for name in ("images", "street", "labelled"):
        for policy in (policies.PRM, policies.PDM, policies.EBM):
            found = where(rows, set=name, policy=policy)
            share = words(average(found, "missing"), 2)
            lines.append([name, policy, cell(found, "bytes"), share, *metric_cells(found)])
    title = "What the paper does not have: the same policies at the same total bytes, mask included, 4/8"
    return Grid(["set", "policy", "bytes", "withheld", *heads()], lines, title)


def answer_iv(results: Results) -> str:
    """EBM and PDM against PRM at the same share, and EBM at the same bytes."""
    equal = where(results["policies"], experiment=policies.EQUAL, channel=policies.CLEAN, set="street")
    ours = {policy: _by_policy(results, "street", policy, 8) for policy in POLICIES.values()}
    return " ".join(
        [
            against("EBM against PRM at the same share, street", ours["EBM 0.25"], ours["PRM 0.25"]),
            against(
                "EBM against PRM at the same bytes, street",
                where(equal, policy=policies.EBM),
                where(equal, policy=policies.PRM),
            ),
            against("PDM against PRM, street", ours["PDM 1/4"], ours["PRM 0.25"]),
        ]
    )


def figures_8_9(results: Results) -> list[Grid]:
    """PRM 0.25 against 0.35 by steps, ours; then the whole range of ratios."""
    lines: list[list[object]] = []
    for tau, total in steps.STEPS:
        for policy in ("PRM 0.25", "PRM 0.35"):
            cells = [c for set_ in ("street", "images") for c in pair(_by_policy(results, set_, policy, total))]
            lines.append([policy, f"{tau}/{total}", *cells])
    head = ["policy", "steps", *(f"{column}, {name}" for name in ("street", "images") for column in OURS)]
    ratios = [
        [set_, share, cell(found, "bytes"), *metric_cells(found, UNLABELLED)]
        for set_ in ratio.SETS
        for share in ratio.RATIOS
        if (found := where(results.get("ratio", ()), experiment=ratio.RATIO, set=set_, ratio=share))
    ]
    title = "Beyond the figures: PRM from nothing to nine tenths, 4/8"
    return [Grid(head, lines), Grid(["set", "share withheld", "bytes", *heads(UNLABELLED)], ratios, title)]


def answer_8_9(results: Results) -> str:
    """The two ratios; many steps against few."""
    few = {policy: _by_policy(results, "street", policy, 8) for policy in ("PRM 0.25", "PRM 0.35")}
    many = _by_policy(results, "street", "PRM 0.25", 62)
    return " ".join(
        [
            against("p = 0.35 against 0.25, street, 4/8", few["PRM 0.35"], few["PRM 0.25"]),
            against("50/62 against 4/8 steps, street, p = 0.25", many, few["PRM 0.25"]),
        ]
    )


def table_v(_: Results) -> list[Grid]:
    """The paper's only."""
    return [Grid(["method", "RMSE"], paper.TABLE_V, "The paper's, Cityscapes")]


def table_vi(results: Results) -> list[Grid]:
    """mAP, and beside it how often a classifier is right."""
    theirs = Grid(["data", "steps", "mAP in %"], paper.TABLE_VI, "The paper's, detections on the original as truth")
    found = where(results["policies"], set="labelled", experiment=policies.EQUAL)
    lines = [
        [channel, policy, cell(found, "correct", channel=channel, policy=policy)]
        for channel in policies.CHANNELS
        for policy in (policies.NONE, policies.PRM, policies.PDM, policies.EBM)
    ]
    head = ["channel", "policy", "semantic accuracy (top-1 of 1000)"]
    return [theirs, Grid(head, lines, "Here, instead: is the class still recognised? labelled, 4/8")]


def table_vii(results: Results) -> list[Grid]:
    """Bytes and quality beside files."""
    grids = [Grid(["method", "KB", "FID", "steps"], paper.TABLE_VII, "The paper's, Cityscapes at 256x512")]
    for set_ in ratio.SETS:
        lines = [
            [label, cell(found, "bytes"), *metric_cells(found, UNLABELLED)]
            for label, found in ratio.bandwidth_cases(list(results["ratio"]), set_)
        ]
        grids.append(Grid(["method", "bytes", *heads(UNLABELLED)], lines, f"Here, {set_} at 256x256, 4/8"))
    return grids


def answer_vii(results: Results) -> str:
    """PRM 0.25 against JPEG and JPEG 2000 of the same bytes, or their smallest."""
    here = where(results["ratio"], set="street")
    ours = where(here, experiment=ratio.RATIO, ratio=ratio.BANDWIDTH_RATIOS[-1])
    return " ".join(
        against(f"PRM 0.25 against {codec} within its bytes (or the smallest there is), street", ours, theirs)
        for codec in ratio.PEERS
        if (theirs := where(here, codec=codec, at=ratio.AT_PRM))
    )
