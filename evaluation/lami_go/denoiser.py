"""What the denoiser is worth: tokens that are missing at random, filled by it, by neighbours, or not missing at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from gocom.common.counter_rng import CounterRng
from gocom.common.pipeline import sampler_generator
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import TokenDraw, TSchedule
from gocom.common.types import Bools, Ints
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.measure.fillers import most_frequent_received, nearest_received
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import average, difference_cells, heads, metric_cells, sizes, table, where, words
from gocom.evaluation.study.world import BATCH, Picture, Row, chunks

RATES = (0.25, 0.5)
VARIANT_RATE = 0.5
SEED = 0
SAMPLER, ARGMAX, NEAREST, FREQUENT, CLEAN = "denoiser", "one argmax step", "nearest", "most frequent", "all tokens"
FILLERS = {NEAREST: nearest_received, FREQUENT: most_frequent_received}


@dataclass(frozen=True, slots=True)
class Variant:
    """How the denoiser is asked; the default is the receiver's own way."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = True
    text: bool = True


MULTINOMIAL_AT_1 = {"draw": TokenDraw.MULTINOMIAL, "temperature": 1.0, "final_temperature": 1.0}
VARIANTS = {
    "t_schedule=paper": Variant({"t_schedule": TSchedule.PAPER}),
    "trusted channel off": Variant(trusted=False),
    "t_schedule=paper, trusted channel off": Variant({"t_schedule": TSchedule.PAPER}, trusted=False),
    "no text": Variant(text=False),
    "guidance 2": Variant({"guidance_scale": 2.0}),
    "draw=argmax": Variant({"draw": TokenDraw.ARGMAX}),
    "draw=multinomial": Variant({"draw": TokenDraw.MULTINOMIAL}),
    "draw=multinomial, temperature 1 throughout": Variant(MULTINOMIAL_AT_1),
    "the paper's: this, t_schedule=paper, trusted channel off": Variant(
        MULTINOMIAL_AT_1 | {"t_schedule": TSchedule.PAPER}, trusted=False
    ),
}


def arrived(picture: Picture, shape: tuple[int, ...], rate: float) -> Bools:
    """bool [h, w], each token False with probability `rate`; what is missing at a rate is missing at higher ones."""
    rng = CounterRng(SEED, "denoiser study", picture.index)
    return (rng.uniform(np.arange(shape[0] * shape[1])) >= rate).reshape(shape)


def fill(world: World, pictures: Sequence[Picture], received: Bools, variant: Variant) -> Ints:
    """The denoiser's tokens, int64 [B, h, w]."""
    captions = world.captions_of(pictures) if variant.text else [None] * len(pictures)
    generators = [sampler_generator(SEED, picture.index, 0) for picture in pictures]
    tokens = torch.from_numpy(world.tokens_of(pictures))
    *_, last = world.decoder.fill(
        tokens, torch.from_numpy(received), captions, SamplerSettings(**variant.settings), generators, variant.trusted
    )
    return last.tokens.cpu().numpy()


def judged(world: World, pictures: Sequence[Picture], tokens: Ints, received: Bools, keys: Row) -> list[Row]:
    """A row a picture: scores, and how many of the missing tokens are right."""
    scores = world.judge.scores([picture.original for picture in pictures], world.images_of(tokens))
    return [row | score for row, score in zip(_counted(world, pictures, tokens, received, keys), scores, strict=True)]


def _counted(world: World, pictures: Sequence[Picture], tokens: Ints, received: Bools, keys: Row) -> list[Row]:
    right = tokens == world.tokens_of(pictures)
    return [
        {"set": picture.set, "picture": picture.name, "seed": SEED, **keys}
        | ({} if known.all() else {"token_accuracy": float(hit[~known].mean())})
        for picture, hit, known in zip(pictures, right, received, strict=True)
    ]


def measure(world: World) -> list[Row]:
    """All methods at both rates, and the variants on every so-manieth of the pictures."""
    chosen = world.pictures("labelled", COUNTS.denoiser)
    rows: list[Row] = []
    for pictures in world.each(chunks(chosen, BATCH), "denoiser"):
        rows += _methods(world, pictures)
    every = -(-len(chosen) // COUNTS.denoiser_variants)
    for pictures in world.each(chunks(chosen[::every], BATCH), "denoiser variants"):
        received = _received(world, pictures, VARIANT_RATE)
        for name, variant in VARIANTS.items():
            tokens = fill(world, pictures, received, variant)
            rows += judged(world, pictures, tokens, received, {"rate": VARIANT_RATE, "variant": name})
    return rows


def _received(world: World, pictures: Sequence[Picture], rate: float) -> Bools:
    shape = world.tokens_of(pictures[:1]).shape[1:]
    return np.stack([arrived(picture, shape, rate) for picture in pictures])


def _methods(world: World, pictures: Sequence[Picture]) -> list[Row]:
    truth = world.tokens_of(pictures)
    rows = judged(world, pictures, truth, np.ones_like(truth, bool), {"rate": 0.0, "method": CLEAN})
    for rate in RATES:
        received = _received(world, pictures, rate)
        tokens = fill(world, pictures, received, Variant())
        rows += judged(world, pictures, tokens, received, {"rate": rate, "method": SAMPLER})
        once = fill(world, pictures, received, Variant({"num_inference_steps": 1, "draw": TokenDraw.ARGMAX}))
        rows += _counted(world, pictures, once, received, {"rate": rate, "method": ARGMAX})
        for name, filler in FILLERS.items():
            pairs = zip(truth, received, strict=True)
            filled = np.stack([filler(grid, known) for grid, known in pairs])
            rows += judged(world, pictures, filled, received, {"rate": rate, "method": name})
    return rows


def report(rows: list[Row]) -> str:
    """Three tables: means, the denoiser against the others, variants."""
    clean, means, against = where(rows, method=CLEAN), [], []
    for rate in RATES:
        ours = where(rows, rate=rate, method=SAMPLER)
        for name in (SAMPLER, ARGMAX, *FILLERS):
            found = where(rows, rate=rate, method=name)
            accuracy = words(average(found, "token_accuracy"), 3)
            means.append([f"{rate:.0%}", name, *metric_cells(found), accuracy])
        for name, others in ((NEAREST, None), (FREQUENT, None), (CLEAN, clean)):
            others = where(rows, rate=rate, method=name) if others is None else others
            against.append([f"{rate:.0%}", name, *difference_cells(ours, others)])
    means.append(["0%", CLEAN, *metric_cells(clean), "–"])
    main = [row for row in rows if "method" in row]
    return "\n".join(
        [
            f"{sizes(main)}. Tokens are missing independently of each other, without a channel; the denoiser takes 4/8 "
            "steps and the captioner's text. Token accuracy: share of the missing tokens that are right.\n",
            table(["missing", "filled by", *heads(), "token accuracy"], means),
            "The denoiser minus the others (distance: negative is better):\n",
            table(["missing", "minus", *heads()], against),
            _variants(rows),
        ]
    )


def _variants(rows: list[Row]) -> str:
    default, lines = where(rows, method=SAMPLER, rate=VARIANT_RATE), []
    for name in VARIANTS:
        found = where(rows, variant=name)
        accuracy = words(average(found, "token_accuracy"), 3)
        lines.append([name, *difference_cells(found, default), accuracy])
    return (
        f"Variants, {sizes([r for r in rows if 'variant' in r])}, {VARIANT_RATE:.0%} missing: variant minus default "
        "(t matched, trusted channel on, text, no guidance, draws at a temperature that falls from 1 to 0.2, the last "
        "step the codeword nearest to the expected one).\n\n"
        + table(["variant", *heads(), "its token accuracy"], lines)
    )


PART = Part("denoiser", "Denoiser against neighbours", measure, report)
