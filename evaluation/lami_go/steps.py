"""Steps: figures 8 and 9 with table IV, figure 14, and figure 16 with table VIII."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gocom.common.csi import Csi
from gocom.common.pipeline import sampler_generator
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import LamiGoOptions, TokenDraw, keep_mask
from gocom.common.types import Bools, Budget
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.measure.statistics import Interval
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import METRICS, UNLABELLED, average, heads, metric_cells, sizes, table, where, words
from gocom.evaluation.study.world import BATCH, Picture, Row, chunks

STEPS = ((4, 8), (14, 16), (28, 32), (50, 62))
"""(tau, T)."""
POLICIES: dict[str, dict[str, Any]] = {
    "PRM 0.25": {"masking": "prm", "mask_ratio": 0.25},
    "PRM 0.35": {"masking": "prm", "mask_ratio": 0.35},
    "PDM 1/4": {"masking": "pdm"},
    "EBM 0.25": {"masking": "ebm", "mask_ratio": 0.25},
}
RATES = (0.1, 0.5)
SETS = ("images", "street")
TEMPERATURES: dict[str, dict[str, Any]] = {"1 to 0.2": {}, "1": {"temperature": 1.0, "final_temperature": 1.0}}
CONVERGENCE_STEPS = ((4, 8), (28, 32), (50, 62))
POLICY, LOSS, CONVERGENCE = "policies", "erasure", "convergence"
SEED = 0


def measure(world: World) -> list[Row]:
    """A picture at a time; convergence in batches."""
    rows: list[Row] = []
    for name in SETS:
        chosen = world.pictures(name, COUNTS.steps)
        for picture in world.each(chosen, f"steps {name}"):
            rows += _policies_and_loss(world, picture)
        for pictures in chunks(chosen, BATCH):
            rows += _convergence(world, pictures)
    return rows


def _policies_and_loss(world: World, picture: Picture) -> list[Row]:
    jobs = []
    for tau, total in STEPS:
        sampler = {"renoise_steps": tau, "num_inference_steps": total}
        for policy, options in POLICIES.items():
            keys = {"experiment": POLICY, "policy": policy, "rate": 0.0, "steps": total, "renoise": tau}
            jobs.append(world.job(picture, keys, "clean", seed=SEED, **options, **sampler))
        for rate in RATES:
            keys = {"experiment": LOSS, "policy": "PRM 0.25", "rate": rate, "steps": total, "renoise": tau}
            channel = f"packet_erasure:rate={rate}"
            jobs.append(world.job(picture, keys, channel, seed=SEED, **POLICIES["PRM 0.25"], **sampler))
    return world.rows(jobs)


def _convergence(world: World, pictures: Sequence[Picture]) -> list[Row]:
    """Of PRM's withheld tokens, the share that is wrong after each step."""
    truth, captions = world.tokens_of(pictures), world.captions_of(pictures)
    received = np.stack([_kept(world, picture) for picture in pictures]).reshape(truth.shape)
    rows: list[Row] = []
    for tau, total in CONVERGENCE_STEPS:
        for name, temperature in TEMPERATURES.items():
            settings = SamplerSettings(
                num_inference_steps=total, renoise_steps=tau, draw=TokenDraw.MULTINOMIAL, **temperature
            )
            generators = [sampler_generator(SEED, picture.index, 0) for picture in pictures]
            steps = world.decoder.fill(
                torch.from_numpy(truth), torch.from_numpy(received), captions, settings, generators
            )  # fmt: skip
            wrong = [((step.tokens.cpu().numpy() != truth) & ~received).sum((1, 2)) for step in steps]
            shares = (np.array(wrong) / (~received).sum((1, 2))).T
            keys = {"experiment": CONVERGENCE, "steps": total, "renoise": tau, "temperature": name}
            rows += [
                {"set": picture.set, "picture": picture.name, "seed": SEED, **keys, "wrong": share.tolist()}
                for picture, share in zip(pictures, shares, strict=True)
            ]
    return rows


def _kept(world: World, picture: Picture) -> Bools:
    message = world.session(picture, **POLICIES["PRM 0.25"]).first(Csi(), Budget())
    keep = keep_mask(message)
    assert keep is not None and LamiGoOptions().mask_ratio == POLICIES["PRM 0.25"]["mask_ratio"]
    return keep


def report(rows: list[Row]) -> str:
    """Table IV, table VIII with figure 16, figure 14 in numbers."""
    policies, loss = where(rows, experiment=POLICY), where(rows, experiment=LOSS)
    four, eight, wrong = [], [], []
    for name in SETS:
        for policy in POLICIES:
            for tau, total in STEPS:
                found = where(policies, set=name, policy=policy, steps=total)
                if found:
                    four.append([name, policy, f"{tau}/{total}", words(average(found, "bytes"), 0), *_cells(found)])
        for rate in RATES:
            for tau, total in STEPS:
                found = where(loss, set=name, rate=rate, steps=total)
                if found:
                    eight.append([name, f"{rate:.0%}", f"{tau}/{total}", *_cells(found)])
        for tau, total in CONVERGENCE_STEPS:
            for temperature in TEMPERATURES:
                shares = _shares(rows, name, total, temperature)
                if len(shares):
                    mean = shares.mean(0)
                    shown = [f"{mean[i]:.3f}" for i in (0, total // 2 - 1, total - 1)]
                    wrong.append([name, f"{tau}/{total}", temperature, *shown])
    return "\n".join(
        [
            f"Table IV, {sizes(policies)}, clean:\n",
            table(["set", "policy", "steps", "bytes", *heads(UNLABELLED)], four),
            f"Table VIII and figure 16, {sizes(loss)}, PRM 0.25 over packet erasure:\n",
            table(["set", "erasure", "steps", *heads(UNLABELLED)], eight),
            "Figure 14: share of wrong tokens among those that PRM 0.25 withheld, draw=multinomial.\n",
            table(["set", "steps", "temperature", "after the first", "half-way", "at the end"], wrong),
        ]
    )


def _cells(rows: list[Row]) -> list[str]:
    return metric_cells(rows, UNLABELLED)


def _shares(rows: list[Row], set_: str, total: int, temperature: str) -> npt.NDArray[np.float64]:
    found = where(rows, experiment=CONVERGENCE, set=set_, steps=total, temperature=temperature)
    return np.array([row["wrong"] for row in found])


def draw(rows: list[Row], out: Path) -> list[str]:
    """steps_policies.png (figures 8, 9), steps_erasure.png (figure 16), steps_convergence.png (figure 14)."""
    policies, loss = where(rows, experiment=POLICY), where(rows, experiment=LOSS)
    present = [name for name in SETS if where(rows, set=name)]
    by_policy = {name: {p: where(policies, set=name, policy=p) for p in POLICIES} for name in present}
    by_rate = {name: {f"erasure {r:.0%}": where(loss, set=name, rate=r) for r in RATES} for name in present}
    title = "Quality by denoising steps, by masking policy, no loss"
    plot(_panels(by_policy), f"{title}\n{sizes(policies)}", out / "steps_policies.png")
    title = "Quality by denoising steps, over packet erasure, PRM 0.25"
    plot(_panels(by_rate), f"{title}\n{sizes(loss)}", out / "steps_erasure.png")
    title = "Wrong tokens among those withheld (PRM 0.25), after each step"
    convergence = where(rows, experiment=CONVERGENCE)
    plot(
        [[_converging(rows, name) for name in present]], f"{title}\n{sizes(convergence)}", out / "steps_convergence.png"
    )
    return ["steps_policies.png", "steps_erasure.png", "steps_convergence.png"]


def _panels(groups: dict[str, dict[str, list[Row]]]) -> list[list[Panel]]:
    """A row a metric, a column a set; the x axis has the settings one beside the other."""
    ticks = (range(len(STEPS)), [f"{tau}/{total}" for tau, total in STEPS])
    panels = []
    for field in ("distance", "psnr_db"):
        line = []
        for name, groups_ in groups.items():
            lines = []
            for label, found in groups_.items():
                means = [_mean(where(found, steps=total), field) for _, total in STEPS]
                lines.append(Line(label, list(ticks[0]), [m[0] for m in means]))
            line.append(Panel("steps (tau/T)", METRICS[field][0], lines, name, ticks=ticks))
        panels.append(line)
    return panels


def _mean(rows: list[Row], field: str) -> Interval:
    value = average(rows, field)
    assert value is not None
    return value


def _converging(rows: list[Row], name: str) -> Panel:
    lines = []
    for number, (tau, total) in enumerate(CONVERGENCE_STEPS):
        for temperature, style in zip(TEMPERATURES, ("-", "--"), strict=True):
            mean = _shares(rows, name, total, temperature).mean(0)
            label = f"{tau}/{total}, temperature {temperature}"
            lines.append(Line(label, range(1, total + 1), mean.tolist(), style=style, color=f"C{number}"))
    return Panel("step", "share of wrong tokens", lines, name)


PART = Part("steps", "Denoising steps", measure, report, draw)
