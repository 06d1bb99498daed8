"""Seconds that a frame spends in each stage, alone and in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.pipeline import sampler_generator, transmit
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.experiment.bench import Bench, Picture
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.run.work import Row

REPEATS = 3
"""Times that a frame is measured. Its median counts, so the first, slow one does not."""


@dataclass(frozen=True, slots=True)
class StageSeconds:
    """A measure: seconds of a frame over a clean channel, nothing remembered of its picture.

    Fields: encode (all up to the cut into packets), transport (packets, their wire form, entropy decoding), those that
    the decoder names, `all`, and the picture's scores.

    Attributes:
        key: of the rows.
        cases: its value -> options of the codec.
    """

    key: str
    cases: Mapping[str | int, Settings]

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """Rows of a picture."""
        for value, options in self.cases.items():
            runs = [_run(bench, picture, options) for _ in range(REPEATS)]
            seconds = {stage: median(run[0][stage] for run in runs) for stage in runs[0][0]}
            (scores,) = bench.scores([picture], [runs[0][1]])
            yield {self.key: value} | seconds | {"all": sum(seconds.values())} | scores


def _run(bench: Bench, picture: Picture, options: Settings) -> tuple[dict[str, float], ImageArray]:
    codec = bench.real()
    goal = Goal(make_parameters(SYSTEMS.get(codec.name).options, dict(options)), picture.index)
    start = time.perf_counter()
    message = codec.encoder.open(codec.encoder.analyse(picture.image), goal).first(Csi(), Budget())
    encoded = time.perf_counter()
    received, _, _ = transmit(message, lambda header, batch: batch, goal.link)
    arrived = time.perf_counter()
    *_, made = codec.decoder.reconstruct([received], generator=sampler_generator(0, picture.index, 0))
    return {"encode": encoded - start, "transport": arrived - encoded, **made.seconds}, made.image


@dataclass(frozen=True, slots=True)
class BatchSeconds:
    """A measure: seconds a picture of each of the decoder's stages, and pictures a second, by the key `batch`.

    The frame of one picture fills the batch, with other randomness in each place.

    Attributes:
        sizes: of the batches.
        settings: of `Bench.send`.
    """

    sizes: Sequence[int]
    settings: Settings

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """Rows of a picture."""
        rounds, decoder = bench.send(picture, **self.settings).rounds, bench.real().decoder
        together = getattr(decoder, "reconstruct_batch")  # noqa: B009 - not every decoder has it
        for size in self.sizes:
            runs = [
                together([rounds] * size, generators=[sampler_generator(i, picture.index, 0) for i in range(size)])[0]
                for _ in range(REPEATS)
            ]
            seconds = {stage: median(run.seconds[stage] for run in runs) for stage in runs[0].seconds}
            yield {"batch": size} | seconds | {"pictures_a_second": 1 / sum(seconds.values())}
