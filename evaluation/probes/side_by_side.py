"""Two pictures sent as one, and judged apart: what an encoder does for the one, and what that costs the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gocom.common.image_files import ImageArray
from gocom.evaluation.experiment.bench import Bench, Job, Picture
from gocom.evaluation.experiment.cases import Asked
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.run.work import Row

LEFT, RIGHT = "left picture", "right picture"


@dataclass(frozen=True, slots=True, eq=False)
class Pair(Picture):
    """Two pictures of one size, the left one's place and name, and no label."""

    left: Picture
    right: Picture


def pair(bench: Bench, picture: Picture) -> Pair:
    """A picture, and on its right one of another class (see `Bench.opposite`): an Experiment's `subject`."""
    other = bench.opposite(picture)
    both = bench.judge.original(np.concatenate([picture.image, other.image], axis=2))
    return Pair(picture.set, picture.name, picture.index, both, picture, other)


@dataclass(frozen=True, slots=True)
class TargetClass:
    """Level: settings of a send of a pair, whose option `target_class` is the label of its `left` or `right`."""

    side: str
    settings: Settings

    def __call__(self, asked: Asked) -> Settings:
        """The settings with the class."""
        return {**self.settings, "target_class": getattr(asked.picture, self.side).original.label}


def judged_apart(bench: Bench, jobs: Sequence[Job]) -> Iterator[Row]:
    """Two rows of each pair that was sent, told apart by `judged`: an Experiment's `probe`."""
    images = bench.images(jobs)
    for side, name in enumerate((LEFT, RIGHT)):
        pictures = [(job.picture.left, job.picture.right)[side] for job in jobs if isinstance(job.picture, Pair)]
        scores = bench.scores(pictures, [_half(image, side) for image in images])
        yield from (row | {"judged": name} for row in bench.judged(jobs, scores))


def _half(image: ImageArray, side: int) -> ImageArray:
    width = image.shape[2] // 2
    return np.ascontiguousarray(image[:, :, side * width : (side + 1) * width])
