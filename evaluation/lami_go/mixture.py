"""Ablation (section V-I, figure 13): denoising with latent mixture integration, and without it.

Without it the sampler is Paella's: it begins with the same tokens (received ones, and random ones for the masked), but
no position is held. Every step draws the whole grid, re-noising takes positions from all of it, and what was received
is never put back (eq. 12 left out).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gocom.common.csi import Csi
from gocom.common.pipeline import sampler_generator
from gocom.common.samplers.latent_mixture import Generators, SamplerSettings, Step, sample
from gocom.common.systems.lami_go import TokenDraw, TSchedule, keep_mask
from gocom.common.types import Bools, Budget, Ints
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import SETS, World
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    METRICS,
    average,
    by_picture,
    difference_cells,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from gocom.evaluation.study.world import BATCH, Picture, Row, chunks
from gocom.receiver.decoders.lami_go import LamiGoDecoder

SEED = 0
STEPS = ((4, 8), (28, 32))
"""(tau, T); the paper does not say with which it made figure 13."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to denoise. `trusted`: the net is told which tokens were received; it can only be where they are held."""

    mixture: bool
    trusted: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


PAELLA = {"t_schedule": TSchedule.PAPER, "draw": TokenDraw.MULTINOMIAL, "temperature": 1.0, "final_temperature": 1.0}
"""The paper's sampler: t from 1 to 0, multinomial draws at temperature 1."""
OWN_DRAWS = {"t_schedule": TSchedule.PAPER}
"""t as Paella's, draws as by default."""
GENTLE = {"renoise_steps": 0}
"""The least that can be lost: t begins at the share that is really masked, nothing is re-noised."""
DEFAULT, WITH, WITHOUT = "the receiver's own", "with", "without"
KINDS: dict[str, Mapping[str, Any]] = {
    "Paella's t and draws": PAELLA,
    "Paella's t, own draws": OWN_DRAWS,
    "t matched, no re-noising": GENTLE,
}
ARMS = {DEFAULT: Arm(mixture=True, trusted=True)} | {
    f"{word}: {kind}": Arm(mixture=word == WITH, settings=settings)
    for kind, settings in KINDS.items()
    for word in (WITH, WITHOUT)
}


def measure(world: World) -> list[Row]:
    """All arms on all sets, in batches; the second setting of steps on images only."""
    rows: list[Row] = []
    for name in SETS:
        for pictures in world.each(chunks(world.pictures(name, COUNTS.mixture), BATCH), f"mixture {name}"):
            for tau, total in STEPS if name == SETS[0] else STEPS[:1]:
                for label, arm in ARMS.items():
                    chosen = {"num_inference_steps": total, "renoise_steps": tau} | dict(arm.settings)
                    settings = SamplerSettings(**chosen)
                    keys = {"arm": label, "steps": total, "renoise": tau}
                    rows += _rows(world, pictures, arm, settings, keys)
    return rows


def _rows(world: World, pictures: Sequence[Picture], arm: Arm, settings: SamplerSettings, keys: Row) -> list[Row]:
    """`held`: share of the received tokens that the result still has; `token_accuracy`: of the masked ones, right."""
    truth, received = world.tokens_of(pictures), _received(world, pictures)
    generators = [sampler_generator(SEED, picture.index, 0) for picture in pictures]
    tokens = fill(world, pictures, truth, received, arm, settings, generators)
    scores = world.judge.scores([picture.original for picture in pictures], world.images_of(tokens))
    right = tokens == truth
    return [
        {"set": picture.set, "picture": picture.name, "seed": SEED, **keys}
        | {"held": float(hit[known].mean()), "token_accuracy": float(hit[~known].mean())}
        | score
        for picture, hit, known, score in zip(pictures, right, received, scores, strict=True)
    ]


def _received(world: World, pictures: Sequence[Picture]) -> Bools:
    """PDM's quarter is missing (eq. 15), as in the paper's ablation; nothing is lost on the way."""
    masks = list[Bools]()
    for picture in pictures:
        message = world.session(picture, masking="pdm").first(Csi(), Budget())
        keep = keep_mask(message)
        assert keep is not None
        masks.append(keep)
    return np.stack(masks).reshape(world.tokens_of(pictures).shape)


def fill(
    world: World,
    pictures: Sequence[Picture],
    truth: Ints,
    received: Bools,
    arm: Arm,
    settings: SamplerSettings,
    generators: Generators,
) -> Ints:
    """The last step's tokens, int64 [B, h, w].

    Args:
        truth: int64 [B, h, w], the transmitter's tokens.
        received: bool [B, h, w].
    """
    tokens, known, captions = torch.from_numpy(truth), torch.from_numpy(received), world.captions_of(pictures)
    if arm.mixture:
        *_, last = world.decoder.fill(tokens, known, captions, settings, generators, arm.trusted)
    else:
        last = _without(world.decoder, tokens, known, captions, settings, generators)
    return last.tokens.cpu().numpy()


@torch.inference_mode()
def _without(
    decoder: LamiGoDecoder,
    tokens: Tensor,
    known: Tensor,
    captions: Sequence[str],
    settings: SamplerSettings,
    generators: Generators,
) -> Step:
    """The sampler with no position held: only what it looks at first has the received tokens in it."""
    tokens, known = tokens.to(decoder.device), known.to(decoder.device)
    denoise, _ = decoder.denoiser.bind(captions, torch.zeros_like(known, dtype=torch.float32))
    # To the sampler all is missing, so its t falls from 1; matched, it is to fall from the share really masked.
    start = (~known).flatten(1).float().mean(1) if settings.t_schedule is TSchedule.MATCHED else 1.0
    begun = False

    def first_with_received(x: Tensor, t: Tensor) -> Tensor:
        nonlocal begun
        x, begun = (x if begun else torch.where(known, tokens, x)), True
        return denoise(x, t * start)

    *_, last = sample(
        first_with_received, tokens, torch.zeros_like(known), codebook=decoder.tokenizer.codebook, settings=settings,
        generators=generators,
    )  # fmt: skip
    return last


def report(rows: list[Row]) -> str:
    """Means, then what leaving the mixture out costs."""
    means, costs = [], []
    for name in [n for n in SETS if where(rows, set=n)]:
        for tau, total in STEPS:
            here = where(rows, set=name, steps=total)
            for arm in ARMS if here else ():
                found = where(here, arm=arm)
                shares = [words(average(found, key), 3) for key in ("held", "token_accuracy")]
                means.append([name, f"{tau}/{total}", arm, *shares, *metric_cells(found)])
            for kind in KINDS if here else ():
                without, with_ = (where(here, arm=f"{word}: {kind}") for word in (WITHOUT, WITH))
                cost = difference_cells(without, with_)
                costs.append([name, f"{tau}/{total}", kind, *cost])
    return "\n".join(
        [
            f"{sizes(rows)}. PDM 1/4 (as the paper's ablation), no loss. Without mixture the sampler begins with the "
            "same received tokens, but holds none: each step draws the whole grid. Within a pair eq. 12 is all that "
            "differs; in none of the pairs is the net told which tokens were received, as then it would hold them by "
            "itself. Paella's: t from 1 to 0, multinomial draws at temperature 1. Matched: t from the share that is "
            "really masked. Held: share of the received tokens that are still there at the end.\n",
            table(["set", "steps", "arm", "held", "masked tokens right", *heads()], means),
            "What leaving it out costs (distance: positive is worse):\n",
            table(["set", "steps", "without minus with", *heads()], costs),
        ]
    )


def draw(rows: list[Row], out: Path) -> list[str]:
    """mixture.png: each picture's quality without (y) by its quality with (x)."""
    panels = [[_panel(rows, key, kind) for key in ("psnr_db", "distance")] for kind in KINDS]
    title = "Latent mixture integration left out: each point is a picture, PDM 1/4, 4/8 steps"
    plot(panels, f"{title}\n{sizes(where(rows, steps=STEPS[0][1]))}", out / "mixture.png")
    return ["mixture.png"]


def _panel(rows: list[Row], key: str, kind: str) -> Panel:
    first, lines, seen = where(rows, steps=STEPS[0][1]), [], list[float]()
    for name in [n for n in SETS if where(first, set=n)]:
        a, b = (by_picture(where(first, set=name, arm=f"{word}: {kind}"), key) for word in (WITH, WITHOUT))
        lines.append(Line(name, list(a.values()), [b[picture] for picture in a], style="o"))
        seen += [*a.values(), *b.values()]
    label, equal = METRICS[key][0], [min(seen, default=0.0), max(seen, default=1.0)]
    lines.append(Line("equal", equal, equal, style="--", color="0.6"))
    return Panel(f"{label}, with", f"{label}, without", lines, kind)


PART = Part("mixture", "Without latent mixture", measure, report, draw)
