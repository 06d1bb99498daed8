"""How long a decoder samples a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gocom.evaluation.experiment.bench import Bench, Job, generator
from gocom.evaluation.run.work import Row


def timed(bench: Bench, jobs: Sequence[Job]) -> Iterator[Row]:
    """Rows of jobs with `seconds`: the sampler's, of the picture made once alone. The first job warms up."""
    for row, job in zip(bench.rows(jobs), jobs, strict=True):
        *_, made = bench.real(job.codec).decoder.reconstruct(job.sent.rounds, generator=generator(job))
        yield row | {"seconds": made.seconds.get("sample", 0.0)}
