"""Refinement by the receiver's uncertainty, against everything at once and against asking for what was erased."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from gocom.common.pipeline import sampler_generator
from gocom.common.rounds import merge_rounds
from gocom.common.samplers.latent_mixture import SamplerSettings, Step
from gocom.common.systems.lami_go import TOKENS
from gocom.common.types import Bools, FeedbackPolicy, Floats, Reconstruction
from gocom.evaluation.lami_go.budgets import AtOnce
from gocom.evaluation.lami_go.counts import COUNTS, ERASURE
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    UNLABELLED,
    average,
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
from gocom.evaluation.study.world import BATCH, Job, Picture, Row, chunks

RATIOS = (0.25, 0.5)
ROUND_BYTES = (150, 300)
FIRST, REFINE, AT_ONCE, ERASED = "first round", "A: refine", "B: at once", "C: erased"
ARMS = (FIRST, REFINE, AT_ONCE, ERASED)
ASKED = {REFINE: FeedbackPolicy.UNCERTAIN, ERASED: FeedbackPolicy.ERASED}
ARM, RANKING = "arms", "ranking"
WHAT = (
    "A: first round with PRM at p, then one round of at most R bytes with the tokens the decoder is least certain of. "
    "B: one round with the bytes of A, feedback included: the smallest PRM ratio that fits, and where even no mask "
    "leaves bytes over, RaptorQ repair. C: as A, but the receiver asks for what the channel erased."
)


def measure(world: World) -> list[Row]:
    """Arms a picture at a time; the ranking in batches."""
    rows: list[Row] = []
    chosen = world.pictures("images", COUNTS.refinement)
    for picture in world.each(chosen, "refinement"):
        rows += _arms(world, picture)
    for pictures in world.each(chunks(chosen, BATCH), "uncertainty"):
        for ratio in RATIOS:
            rows += _ranking(world, pictures, ratio)
    return rows


def _arms(world: World, picture: Picture) -> list[Row]:
    first = [
        world.job(picture, {"experiment": ARM, "arm": FIRST, "ratio": ratio}, ERASURE, seed=seed, mask_ratio=ratio)
        for ratio in RATIOS
        for seed in range(COUNTS.refinement_seeds)
    ]
    made, at_once = world.decode(first), AtOnce(world, picture)
    rows, jobs = world.judged(first, world.scores(first, made)), list[Job]()
    for job, picture_ in zip(first, made, strict=True):
        for round_bytes in ROUND_BYTES:
            jobs += _later_jobs(world, job, picture_, round_bytes, at_once)
    return rows + world.rows(jobs)


def _later_jobs(world: World, first: Job, made: Reconstruction, round_bytes: int, at_once: AtOnce) -> list[Job]:
    """Return the jobs that go on from one first round, one for each feedback policy that is compared.

    They share the losses and the picture of the first round, so they differ only in what the receiver asks for.
    """
    picture, seed, ratio = first.picture, first.seed, first.keys["ratio"]
    keys = {"experiment": ARM, "ratio": ratio, "round_bytes": round_bytes}
    jobs = []
    for arm, policy in ASKED.items():
        job = world.job(
            picture, keys | {"arm": arm}, ERASURE, seed=seed, first=made, mask_ratio=ratio, max_rounds=2,
            round_budget_bytes=round_bytes, feedback_policy=policy,
        )  # fmt: skip
        job.keys["feedback_bytes"] = job.sent.bytes.feedback_bytes
        jobs.append(job)
    options = at_once.within(jobs[0].sent.bytes.total_bytes)
    chosen = {"mask_ratio": options["mask_ratio"], "repair": options.get("repair_overhead", 0.0)}
    jobs.append(world.job(picture, keys | {"arm": AT_ONCE} | chosen, ERASURE, seed=seed, **options))
    return jobs


def _ranking(world: World, pictures: Sequence[Picture], ratio: float) -> list[Row]:
    """How well the decoder's uncertainty tells which of its guesses are wrong, and how far off."""
    sent = [world.send(picture, ERASURE, seed=0, mask_ratio=ratio) for picture in pictures]
    truth = world.tokens_of(pictures)
    received = np.stack([merge_rounds(s.rounds)[TOKENS].received for s in sent]).reshape(truth.shape)
    generators = [sampler_generator(0, picture.index, 0) for picture in pictures]
    *_, step = world.decoder.fill(
        torch.from_numpy(truth), torch.from_numpy(received), world.captions_of(pictures), SamplerSettings(), generators
    )
    codebook = world.decoder.tokenizer.codebook
    doubt, tokens = step.uncertainty(codebook).cpu().numpy(), step.tokens.cpu()
    off = (codebook.cpu()[tokens] - codebook.cpu()[torch.from_numpy(truth)]).norm(dim=-1).numpy()
    likely = _probability(step)
    return [
        {"set": picture.set, "picture": picture.name, "seed": 0, "experiment": RANKING, "ratio": ratio}
        | deciles(doubt[i][~known], off[i][~known])
        | {"spearman_of_probability": _correlation(1 - likely[i][~known], off[i][~known])}
        for i, (picture, known) in enumerate(zip(pictures, received, strict=True))
    ]


def _probability(step: Step) -> Floats:
    probability: Floats = step.probability.cpu().numpy()
    return probability


def deciles(doubt: Floats, off: Floats) -> Row:
    """The tenth of the guesses with the most doubt against the rest.

    Args:
        doubt: float [M], the decoder's uncertainty of each guess.
        off: float [M], distance of the guessed codeword to the right one; 0: the guess is right.
    """
    top: Bools = np.zeros(len(doubt), bool)
    top[np.argsort(-doubt, kind="stable")[: max(1, round(len(doubt) / 10))]] = True
    wrong = off > 0
    return {
        "wrong_top": float(wrong[top].mean()), "wrong_rest": float(wrong[~top].mean()),
        "off_top": float(off[top].mean()), "off_rest": float(off[~top].mean()),
        "spearman": _correlation(doubt, off),
    }  # fmt: skip


def _correlation(a: Floats, b: Floats) -> float:
    """Spearman's; 0 where one of both is the same everywhere."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0


def report(rows: list[Row]) -> str:
    """Means of the arms, A against B and C, and the ranking."""
    arms, ranking = where(rows, experiment=ARM), where(rows, experiment=RANKING)
    means, against = [], []
    for ratio in RATIOS:
        first = where(arms, ratio=ratio, arm=FIRST)
        cells = [words(average(first, "bytes"), 0), *_spent(first), *metric_cells(first, UNLABELLED)]
        means.append([ratio, "–", FIRST, *cells])
        for size in ROUND_BYTES:
            here = where(arms, ratio=ratio, round_bytes=size)
            for arm in ARMS[1:]:
                found = where(here, arm=arm)
                cells = [words(average(found, "bytes"), 0), *_spent(found), *metric_cells(found, UNLABELLED)]
                means.append([ratio, size, arm, *cells])
            for arm in (AT_ONCE, ERASED):
                ours, theirs = where(here, arm=REFINE), where(here, arm=arm)
                cells = [words(difference(ours, theirs, "bytes"), 0, True), *difference_cells(ours, theirs, UNLABELLED)]
                against.append([ratio, size, f"A minus {arm}", *cells])
    at_once = where(arms, arm=AT_ONCE)
    repaired = sum(row["repair"] > 0 for row in at_once)
    return "\n".join(
        [
            f"{sizes(arms)}, {ERASURE}. {WHAT}\n",
            table(["p", "R in bytes", "arm", "bytes", "of them feedback", "missing", *heads(UNLABELLED)], means),
            f"B sends repair in {repaired} of {len(at_once)} frames. C asks for less where less was erased.\n",
            "Paired differences (distance: negative is better for A):\n",
            table(["p", "R in bytes", "difference", "bytes", *heads(UNLABELLED)], against),
            _ranking_table(ranking),
        ]
    )


def _spent(rows: list[Row]) -> list[str]:
    feedback = average(rows, "feedback_bytes")
    return [words(feedback, 0), words(average(rows, "missing"), 3)]


def _ranking_table(rows: list[Row]) -> str:
    fields = ("wrong_top", "wrong_rest", "off_top", "off_rest", "spearman", "spearman_of_probability")
    lines = [
        [ratio, *(words(average(where(rows, ratio=ratio), field), 3) for field in fields)]
        for ratio in values_of(rows, "ratio")
    ]
    head = [
        "p", "wrong, top tenth", "wrong, rest", "codeword distance, top tenth", "rest",
        "rank correlation, uncertainty", "rank correlation, 1 - probability",
    ]  # fmt: skip
    return (
        f"Does the ranking find the errors? {sizes(rows)}, guesses of the first round by the decoder's uncertainty: "
        "the least certain tenth against the rest. Rank correlation (Spearman) is with the distance of the guessed "
        "codeword to the right one.\n\n" + table(head, lines)
    )


PART = Part("refinement", "Refinement", measure, report)
