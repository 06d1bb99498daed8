"""The same received frame made into a picture several times: where draws differ, the net does not know but invents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from torch.nn import functional as F

from gocom.evaluation.experiment.bench import Bench, Job
from gocom.evaluation.run.work import Row

NO_NOISE, NOISE = "no noise", "drawn noise"
DRAWS = 4
BETWEEN = ("draws_alike_in_percent", "distance_between_draws", "deviation_between_draws")
_SEEDS_APART = 1000


def drawn(bench: Bench, jobs: Sequence[Job]) -> Iterator[Row]:
    """Rows of the jobs; of those whose key `start` is NOISE one for each of DRAWS.

    Besides scores these have what the draws are to each other, BETWEEN: pairs that show the same class in per cent,
    distance of deep features, and the deviation of a pixel, of 255.
    """
    yield from bench.rows([job for job in jobs if job.keys["start"] != NOISE])
    pairs = list(combinations(range(DRAWS), 2))
    for job in (job for job in jobs if job.keys["start"] == NOISE):
        images = bench.decode([replace(job, seed=job.seed + _SEEDS_APART * (1 + n)) for n in range(DRAWS)])
        features = bench.judge.features(images)
        guesses, unit = bench.judge.guesses(features), F.normalize(features, dim=1)
        alike = float(100 * np.mean([guesses[a] == guesses[b] for a, b in pairs]))
        apart = float(np.mean([1 - float(unit[a] @ unit[b]) for a, b in pairs]))
        deviation = float(255 * np.stack(images).std(0, ddof=1).mean())
        between = dict(zip(BETWEEN, (alike, apart, deviation), strict=True))
        rows = bench.judged([job] * DRAWS, bench.scores([job.picture] * DRAWS, images))
        yield from (row | {"draw": n} | between for n, row in enumerate(rows))
