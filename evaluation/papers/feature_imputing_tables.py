"""Our tables beside the paper's claims, and the sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from gocom.evaluation.feature_imputing import coding as coding_part
from gocom.evaluation.feature_imputing import imputing as imputing_part
from gocom.evaluation.feature_imputing import invention as invention_part
from gocom.evaluation.feature_imputing import orders as orders_part
from gocom.evaluation.feature_imputing import peers as peers_part
from gocom.evaluation.feature_imputing import power as power_part
from gocom.evaluation.feature_imputing import protection as protection_part
from gocom.evaluation.feature_imputing import steps as steps_part
from gocom.evaluation.feature_imputing import tasks as tasks_part
from gocom.evaluation.papers.items import Grid, Results, verdict
from gocom.evaluation.study.tables import METRICS, average, difference, groups, heads, metric_cells, where, words
from gocom.evaluation.study.world import Row

JUDGED = ("distance", "correct")
SHOWN = ("psnr_db", "distance", "correct")
UNLABELLED = ("psnr_db", "distance")
LABELLED = "labelled"
Case = tuple[str, Sequence[Row], Sequence[Row]]
"""Where, and what is compared with what."""


def _grid(title: str, names: dict[str, str], rows: Sequence[Row], fields: Sequence[str] = SHOWN) -> Grid:
    """A line for each combination of the keys; `names`: key -> column name."""
    lines = [[*values, *metric_cells(found, fields)] for values, found in groups(rows, *names)]
    return Grid([*names.values(), *heads(fields)], lines, title)


def _summary(what: str, cases: Sequence[Case], fields: Sequence[str] = JUDGED) -> str:
    """ "what. Deep-feature distance: better at 10%, 30%; not told apart at 48%. Semantic accuracy: ..." """
    parts = [what]
    for field in fields:
        found: dict[str, list[str]] = {}
        for label, one, other in cases:
            found.setdefault(verdict(difference(one, other, field), field == "distance"), []).append(label)
        name = METRICS[field][0]
        said = "; ".join(f"{word} at {', '.join(at)}" for word, at in found.items())
        parts.append(f"{name[0].upper()}{name[1:]}: {said}")
    return ". ".join(parts) + "."


def clean(results: Results) -> list[Grid]:
    """With and without quantizing."""
    return [_grid("Here: nothing lost", {"set": "set", "features": "features"}, results["clean"], UNLABELLED)]


def orders(results: Results) -> list[Grid]:
    """By loss."""
    rows = where(results["orders"], set=LABELLED)
    return [_grid("Here: labelled", {"rate": "packets lost", "arm": "order"}, rows)]


def answer_orders(results: Results) -> str:
    """Spatial against the others."""
    rows, parts = where(results["orders"], set=LABELLED), []
    for arm in list(orders_part.ARMS)[1:]:
        cases = [_case(rows, "arm", orders_part.SPATIAL, arm, rate) for rate in orders_part.RATES]
        parts.append(_summary(f"Spatial against {arm}", cases))
    return " ".join(parts)


def _case(rows: Sequence[Row], key: str, one: str, other: str, rate: float) -> Case:
    here = where(rows, rate=rate)
    return f"{rate:.0%}", where(here, **{key: one}), where(here, **{key: other})


def imputing(results: Results) -> list[Grid]:
    """The default order, by loss."""
    rows = where(results["imputing"], set=LABELLED, order=imputing_part.ORDERS[0])
    rows = [row for row in rows if row["rate"]]
    return [_grid("Here: labelled, order spatial", {"rate": "packets lost", "way": "by"}, rows)]


def answer_imputing(results: Results) -> str:
    """The imputer against each way of filling."""
    rows, parts = where(results["imputing"], set=LABELLED, order=imputing_part.ORDERS[0]), []
    for way in imputing_part.WAYS[1:]:
        cases = []
        for rate in imputing_part.RATES:
            others = where(rows, rate=rate, way=way)
            cases.append((f"{rate:.0%}", imputing_part.ours_beside(where(rows, rate=rate), others), others))
        parts.append(_summary(f"Imputer against {way}", cases, SHOWN))
    return " ".join(parts)


def power(results: Results) -> list[Grid]:
    """By layout, SNR and what is known."""
    names = {"layout": "layout", "snr_db": "SNR in dB", "known": "known", "power": "power"}
    return [_grid("Here: labelled, block fading", names, results["power"])]


def answer_power(results: Results) -> str:
    """By importance against equal power and water-filling."""
    parts = []
    for layout in power_part.LAYOUTS:
        rows, layouts = where(results["power"], layout=layout), (layout, power_part.WHOLE)
        for kind, other in (
            (power_part.MEAN_KNOWN, power_part.EQUAL), (power_part.GAINS_KNOWN, power_part.EQUAL),
            (power_part.GAINS_KNOWN, power_part.WATER), (power_part.GAINS_KNOWN, power_part.ALIKE),
        ):  # fmt: skip
            cases = []
            for snr_db in power_part.SNRS_DB:
                here = where(rows, snr_db=snr_db)
                ours = where(here, known=kind, power=power_part.SEMANTIC)
                # All alike has no region of interest: there is nothing to say where it is.
                theirs = where(results["power"], snr_db=snr_db, layout=layouts[other == power_part.ALIKE], power=other)
                cases.append((f"{snr_db} dB", ours, theirs))
            if any(theirs for *_, theirs in cases):
                name = other.replace("_", "-")
                parts.append(_summary(f"By importance against {name}, {layout}, {kind} channel state", cases))
    return " ".join(parts)


def steps(results: Results) -> list[Grid]:
    """By start."""
    rows = results["steps"]
    grid = _grid("Here: images, 30 % lost", {"start": "begun with", "steps": "steps"}, rows, UNLABELLED)
    seconds = [f"{found[0]['seconds']:.3f}" for _, found in groups(rows, "start", "steps")]
    lines = [[*line, cell] for line, cell in zip(grid.lines, seconds, strict=True)]
    return [Grid([*grid.head, "seconds"], lines, grid.title)]


def answer_steps(results: Results) -> str:
    """The knee of either start."""
    return " ".join(
        f"Begun with {start}: {steps_part.STEPS[-1]} steps are less than {steps_part.LEVEL:g} better in distance than "
        f"{steps_part.knee(where(results['steps'], start=start))}."
        for start in steps_part.STARTS
    )


def peers(results: Results) -> list[Grid]:
    """At the bytes of either, and the share of the clean accuracy."""
    rows = results["peers"]
    names = {"at": "at the bytes of", "rate": "packets lost", "method": "method"}
    return [
        _grid("Here: labelled, equal total bytes", names, rows, (*SHOWN, "correct_10")),
        Grid(
            ["at the bytes of", "method", *heads(peers_part.ACCURACY)], peers_part.shares(rows),
            "Accuracy at 48 % loss, as a share of that without loss",
        ),
    ]  # fmt: skip


def answer_peers(results: Results) -> str:
    """Ours against the others, at our own bytes."""
    rows = where(results["peers"], at=peers_part.OWN)
    return " ".join(
        _summary(
            f"At feature_imputing's own bytes against {method}",
            [_case(rows, "method", peers_part.OURS, method, rate) for rate in peers_part.RATES],
            SHOWN,
        )
        for method in peers_part.METHODS[1:]
    )


def coding(results: Results) -> list[Grid]:
    """Bytes, and quality by loss."""
    rows = results["coding"]
    lines = [
        [coding_, order, words(average(found, "bytes"), 0)]
        for (coding_, order), found in groups(where(rows, rate=0.0), "coding", "order")
    ]
    lossy = where(rows, order=orders_part.SPATIAL)
    return [
        Grid(["coding", "order", "bytes of a frame"], lines, "Here: images, no loss"),
        _grid("Here: images, order spatial", {"coding": "coding", "rate": "packets lost"}, lossy, UNLABELLED),
    ]


def answer_coding(results: Results) -> str:
    """Range coding against fixed length."""
    rows, parts = where(results["coding"], order=orders_part.SPATIAL), []
    sizes = {name: average(where(rows, rate=0.0, coding=name), "bytes") for name in coding_part.CODINGS}
    fixed, ranged = sizes[coding_part.FIXED], sizes[coding_part.RANGE]
    if fixed and ranged:
        parts.append(f"Range coding saves {1 - ranged[0] / fixed[0]:.1%} of all bytes.")
    cases = [_case(rows, "coding", coding_part.RANGE, coding_part.FIXED, rate) for rate in coding_part.RATES[1:]]
    parts.append(_summary("Range coding against fixed length, so much lost", cases, UNLABELLED))
    return " ".join(parts)


def protection(results: Results) -> list[Grid]:
    """By loss."""
    names = {"rate": "packets lost", "repair": "repair packets"}
    return [_grid("Here: labelled, equal total bytes", names, results["protection"])]


def answer_protection(results: Results) -> str:
    """By importance against none and against all alike."""
    rows, worth = results["protection"], protection_part.WORTH
    return " ".join(
        _summary(
            f"Repair {worth} against {other}",
            [_case(rows, "repair", worth, other, rate) for rate in protection_part.RATES],
        )
        for other in (protection_part.NONE, protection_part.ALIKE)
    )


def tasks(results: Results) -> list[Grid]:
    """By task."""
    names = {"snr_db": "SNR in dB", "task": "task", "map": "power by"}
    return [_grid("Here: pairs of labelled", names, results["tasks"])]


def answer_tasks(results: Results) -> str:
    """What A's map is worth to A and to B."""
    parts = []
    for (task,), found in groups(results["tasks"], "task"):
        cases = [
            (f"{snr_db} dB", where(here, map=tasks_part.MAP_A), where(here, map=tasks_part.NO_MAP))
            for (snr_db,), here in groups(found, "snr_db")
        ]
        parts.append(_summary(f"Power by A's map against none, all patches alike, judged for {task}", cases))
    return " ".join(parts)


def invention(results: Results) -> list[Grid]:
    """By loss."""
    return [Grid(invention_part.HEAD, invention_part.lines(list(results["invention"])))]


def answer_invention(results: Results) -> str:
    """Where half of the pictures are no longer what they were."""
    return " ".join(invention_part.findings(list(results["invention"])))
