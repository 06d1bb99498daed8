"""Showtime (table X): seconds a stage by steps, and pictures a second in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import torch

from gocom.common.csi import Csi
from gocom.common.pipeline import sampler_generator, transmit
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import LamiGoOptions
from gocom.common.types import Budget, Goal
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import UNLABELLED, heads, metric_cells, sizes, table, values_of, where
from gocom.evaluation.study.world import Picture, Row

STEPS = ((4, 8), (14, 16), (28, 32))
BATCHES = (1, 4, 8)
REPEATS = 3
STAGES = ("encode", "transport", "sample", "decode")
STAGE, BATCHED = "stages", "batches"


def measure(world: World) -> list[Row]:
    """Stages on pictures one by one; batches on random tokens."""
    chosen = world.pictures("images", COUNTS.showtime)
    rows: list[Row] = []
    for tau, total in STEPS:
        _timed(world, chosen[0], tau, total)  # warm
        for picture in world.each(chosen, f"showtime {tau}/{total}"):
            rows.append(_timed(world, picture, tau, total))
    return rows + list(_batches(world))


def _timed(world: World, picture: Picture, tau: int, total: int) -> Row:
    """One picture over a clean channel, nothing remembered."""
    options = make_parameters(LamiGoOptions, {"renoise_steps": tau, "num_inference_steps": total})
    goal = Goal(options, picture.index)
    start = time.perf_counter()
    encoder = world.real.encoder
    message = encoder.open(encoder.analyse(picture.image), goal).first(Csi(), Budget())
    encoded = time.perf_counter()
    received, account, _ = transmit(message, lambda header, batch: batch, goal.link)
    seconds = {"encode": encoded - start, "transport": time.perf_counter() - encoded}
    *_, made = world.decoder.reconstruct([received], generator=sampler_generator(0, picture.index, 0))
    seconds |= {name: made.seconds[name] for name in STAGES[2:]}
    (scores,) = world.judge.scores([picture.original], [made.image])
    keys = {"set": picture.set, "picture": picture.name, "seed": 0, "experiment": STAGE, "steps": total, "renoise": tau}
    return keys | {"bytes": account.total_bytes} | seconds | {"all": sum(seconds.values())} | scores


def _batches(world: World) -> Iterator[Row]:
    """Denoiser and tokenizer's decoder on B grids of 32x32 of which a quarter is missing, 4/8 steps, without text."""
    rng = np.random.default_rng(0)
    for size in BATCHES:
        tokens, received = torch.from_numpy(rng.integers(1024, size=(size, 32, 32))), rng.random((size, 32, 32)) >= 0.25
        for repeat in range(REPEATS + 1):
            generators = [torch.Generator().manual_seed(i) for i in range(size)]
            start = time.perf_counter()
            *_, step = world.decoder.fill(
                tokens, torch.from_numpy(received), [None] * size, SamplerSettings(), generators
            )
            sampled = step.tokens.cpu().numpy()
            middle = time.perf_counter()
            world.images_of(sampled)
            end = time.perf_counter()
            if repeat:
                yield {"experiment": BATCHED, "batch": size, "sample": middle - start, "decode": end - middle}


def report(rows: list[Row]) -> str:
    """Table X, and batches."""
    stages, batches, lines, rates = where(rows, experiment=STAGE), where(rows, experiment=BATCHED), [], []
    for tau, total in STEPS:
        found = where(stages, steps=total)
        seconds = [f"{median(row[name] for row in found):.3f}" for name in (*STAGES, "all")]
        lines.append([f"{tau}/{total}", *seconds, *metric_cells(found, UNLABELLED)])
    for size in values_of(batches, "batch"):
        found = where(batches, batch=size)
        sample, decode = (median(row[name] for row in found) for name in ("sample", "decode"))
        rates.append([size, f"{sample / size:.3f}", f"{decode / size:.3f}", f"{size / (sample + decode):.2f}"])
    return "\n".join(
        [
            f"{sizes(stages)}, PRM 0.25, clean, one at a time. Seconds, median: encode (tokens, caption, mask, entropy "
            "coding but for the cut into packets), transport (packets, wire form, entropy decoding), sample, decode.\n",
            table(["steps", *STAGES, "all", *heads(UNLABELLED)], lines),
            f"The decoder in batches, 4/8 steps, median of {REPEATS}:\n",
            table(["batch", "sample, seconds a picture", "decode, seconds a picture", "pictures a second"], rates),
        ]
    )


PART = Part("showtime", "Showtime", measure, report)
