"""Tables VIII to X and figures 10 to 16: loss, the sampler and time, with ours beside them."""

from __future__ import annotations

from statistics import median

from gocom.evaluation.lami_go import mixture, noise, showtime, steps
from gocom.evaluation.measure.statistics import Interval
from gocom.evaluation.papers import lami_go_numbers as paper
from gocom.evaluation.papers.items import OURS, Grid, Results, against, pair
from gocom.evaluation.study.tables import average, difference, heads, metric_cells, where, words
from gocom.evaluation.study.world import Row


def table_viii(results: Results) -> list[Grid]:
    """10 % of packets lost, by steps; and 50 % (figure 16)."""
    theirs = dict(zip(paper.STEPS, paper.TABLE_VIII, strict=True))
    lines = []
    for name in dict.fromkeys([f"{tau}/{total}" for tau, total in steps.STEPS] + list(paper.STEPS)):
        cells = [*theirs[name]] if name in theirs else ["–"] * 3
        total = int(name.split("/")[1])
        loss = where(results["steps"], experiment=steps.LOSS, steps=total)
        for rate in steps.RATES:
            cells += pair(loss, set="street", rate=rate)
        lines.append([name, *cells])
    head = ["steps", "FID, 10 %", "LPIPS, 10 %", "depth RMSE, 10 %"]
    ours = [f"{column}, {_percent(rate)}" for rate in steps.RATES for column in OURS]
    return [Grid([*head, *ours], lines, "Here: street, PRM 0.25; the values of figure 16 (50 %) are not in the text")]


def answer_viii(results: Results) -> str:
    """Many steps against few, over loss."""
    loss = where(results["steps"], experiment=steps.LOSS, set="street")
    return " ".join(
        against(
            f"50/62 against 4/8 steps at {_percent(rate)} loss, street",
            where(loss, rate=rate, steps=62),
            where(loss, rate=rate, steps=8),
        )
        for rate in steps.RATES
    )


def _setups(results: Results, number: int) -> list[Row]:
    return where(results["noise"], experiment=noise.SETUP, setup=number, bursty=False)


def figure_10(results: Results) -> list[Grid]:
    """Packets lost with interleaver (setup 1)."""
    lines = [[_percent(level), *pair(_setups(results, 1), level=level)] for level in noise.PACKET_RATES]
    return [Grid(["packets lost", *OURS], lines, "Here: images, PRM 0.25, 4/8; caption hit as well")]


def answer_10(results: Results) -> str:
    """20 % against none, and with the interleaver against without."""
    on, off = _setups(results, 1), _setups(results, 3)
    return " ".join(
        [
            against("20 % of packets lost against none", where(on, level=0.2), where(on, level=0.0)),
            against("Interleaver on against off at 20 % loss", where(on, level=0.2), where(off, level=0.2)),
        ]
    )


def table_ix(results: Results) -> list[Grid]:
    """Packets lost without interleaver (setup 3)."""
    theirs = {level: cells for level, *cells in paper.TABLE_IX}
    lines = [
        [_percent(level), *theirs.get(level, ["–", "–"]), *pair(_setups(results, 3), level=level)]
        for level in sorted({*theirs, *noise.PACKET_RATES})
    ]
    return [Grid(["packets lost", "FID", "LPIPS", *OURS], lines, "Here: images, PRM 0.25, 4/8; caption hit as well")]


def answer_ix(results: Results) -> str:
    """5 and 20 % against none."""
    off = _setups(results, 3)
    return " ".join(
        against(f"{_percent(level)} of packets lost against none", where(off, level=level), where(off, level=0.0))
        for level in (0.05, 0.2)
    )


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def figures_11_12(results: Results) -> list[Grid]:
    """Bit errors with (setup 2) and without (setup 4) interleaver."""
    lines = [
        [f"{level:g}", *pair(_setups(results, 2), level=level), *pair(_setups(results, 4), level=level)]
        for level in noise.BIT_RATES
    ]
    ours = [f"{column}, interleaver {word}" for word in ("on", "off") for column in OURS]
    return [Grid(["bit error rate", *ours], lines, "Here: images, PRM 0.25, 4/8, tokens of fixed length")]


def answer_11_12(results: Results) -> str:
    """1 bit in 100 against 1 in 100,000, and the interleaver at 1 in 100."""
    on, off = _setups(results, 2), _setups(results, 4)
    return " ".join(
        [
            against("BER 0.01 against 0.00001, interleaver on", where(on, level=1e-2), where(on, level=1e-5)),
            against("Interleaver on against off at BER 0.01", where(on, level=1e-2), where(off, level=1e-2)),
        ]
    )


def figure_13(results: Results) -> list[Grid]:
    """Ours in numbers, where the paper has three pictures."""
    lines = []
    for set_ in ("images", "labelled", "street"):
        for tau, total in mixture.STEPS:
            here = where(results["mixture"], set=set_, steps=total)
            for arm in mixture.ARMS if here else ():
                found = where(here, arm=arm)
                held = words(average(found, "held"), 3)
                lines.append([set_, f"{tau}/{total}", arm, held, *metric_cells(found)])
    return [Grid(["set", "steps", "latent mixture", "received tokens held", *heads()], lines, "Here: PDM 1/4, no loss")]


def answer_13(results: Results) -> str:
    """Without against with, in each way of sampling."""
    here = where(results["mixture"], set="images", steps=mixture.STEPS[0][1])
    return " ".join(
        against(
            f"Without mixture against with it, images, {kind}",
            where(here, arm=f"{mixture.WITHOUT}: {kind}"),
            where(here, arm=f"{mixture.WITH}: {kind}"),
        )
        for kind in mixture.KINDS
    )


def figure_14(results: Results) -> list[Grid]:
    """Share of wrong tokens after the first, the middle and the last step."""
    lines = []
    for set_ in steps.SETS:
        for tau, total in steps.CONVERGENCE_STEPS:
            for temperature in steps.TEMPERATURES:
                cells = [words(_wrong(results, set_, total, temperature, i), 3) for i in (0, total // 2 - 1, total - 1)]
                lines.append([set_, f"{tau}/{total}", temperature, *cells])
    head = ["set", "steps", "temperature", "after the first", "half-way", "at the end"]
    return [Grid(head, lines, "Here: share of wrong tokens among those PRM 0.25 withheld, multinomial draws")]


def _wrong(results: Results, set_: str, total: int, temperature: str, step: int) -> Interval | None:
    found = where(
        results["steps"], experiment=steps.CONVERGENCE, set=set_, steps=total, temperature=temperature
    )  # fmt: skip
    return average([row | {"wrong": row["wrong"][step]} for row in found], "wrong")


def answer_14(results: Results) -> str:
    """Last against first step, both temperatures."""
    parts = []
    for temperature in steps.TEMPERATURES:
        found = where(
            results["steps"], experiment=steps.CONVERGENCE, set="street", steps=62, temperature=temperature
        )  # fmt: skip
        first, last = ([row | {"share": row["wrong"][i]} for row in found] for i in (0, -1))
        change = words(difference(last, first, "share"), 3, sign=True)
        parts.append(
            f"Share of wrong tokens, last minus first of 62 steps, street, temperature {temperature}: {change}."
        )
    return " ".join(parts)


def table_x(results: Results) -> list[Grid]:
    """Seconds a picture."""
    stages = where(results["showtime"], experiment=showtime.STAGE)
    lines: list[list[object]] = [["paper", *line] for line in paper.TABLE_X]
    grids = [Grid(["", "model", "steps", "FID", "LPIPS", "seconds"], lines, "The paper's: one A100, Cityscapes")]
    ours: list[list[object]] = []
    for tau, total in showtime.STEPS:
        found = where(stages, steps=total)
        seconds = [f"{median(row[key] for row in found):.3f}" if found else "–" for key in (*showtime.STAGES, "all")]
        ours.append([f"{tau}/{total}", *seconds, *pair(found)])
    head = ["steps", *showtime.STAGES, "all", *OURS]
    return [*grids, Grid(head, ours, "Here: seconds a picture by stage, median, images, one at a time")]
