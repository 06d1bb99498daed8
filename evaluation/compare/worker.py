"""The work of `gocom eval`: all cases of one picture by one method are planned, sent and judged in one go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.image_files import ImageArray, read_samples, square_crop, to_float
from gocom.evaluation.compare.engine import Engine, PipelineEngine, Sent
from gocom.evaluation.compare.grid import LABELLED, Grid, PictureSet, Task, chosen, erasure_rate
from gocom.evaluation.compare.plan import Planner
from gocom.evaluation.compare.rows import KEYS, Row
from gocom.evaluation.measure import optional_metrics
from gocom.evaluation.measure.judge import Judge, Original, grey_like, imagenet_class
from gocom.evaluation.measure.kernel_distance import MIN_PICTURES
from gocom.evaluation.run import record
from gocom.evaluation.run.codec_setup import RememberingEncoder, make_codec
from gocom.evaluation.run.work import Done

MORE = {"lpips": optional_metrics.lpips, "dists": optional_metrics.dists, "st_lpips": optional_metrics.st_lpips}
"""Columns that need what a user may not have."""
KERNEL, FID = "kernel_distance", "fid"
"""Distances between sets of pictures."""


def more_metrics() -> list[str]:
    """Those of MORE and FID that can be had here."""
    found = optional_metrics.available()
    return [name for name in (*MORE, FID) if found[name.upper().replace("_", "-")] == optional_metrics.READY]


@dataclass(frozen=True)
class Comparison:
    """A grid, as a work.

    Attributes:
        grid: what is measured.
        engine: sends; None: the process that does the task. It stays in this process.
    """

    grid: Grid
    engine: Engine | None = None

    def tasks(self) -> list[Task]:
        """In the grid's order."""
        return list(self.grid.tasks())

    def worker(self, device: str) -> Worker:
        """Both ends of all codecs, and the judge."""
        return Worker(self.grid, device, self.engine)

    def record(self) -> dict[str, Any]:
        """The grid, the pictures, and all that makes rows of them."""
        return {
            "engine": "pipeline" if self.engine is None else "services",
            **self.grid.as_record(),
            "pictures": [record.content(pictures.source) for pictures in self.grid.sets],
            "code": record.code(),
            "commit": record.commit(),
            "nets": record.nets(),
            "packages": record.packages(),
            "more": more_metrics(),
        }


class Worker:
    """Both ends of all codecs, and the judge.

    Args:
        grid: what is measured.
        device: of the nets.
        engine: sends; None: this process does.
    """

    def __init__(self, grid: Grid, device: str, engine: Engine | None = None) -> None:
        self._grid = grid
        codecs = {method.codec: make_codec(method.codec, device) for method in grid.methods}
        self._engine = engine or PipelineEngine(codecs, grid.link)
        # Plans of a picture, and the bytes of its rounds, need only one analysis for each codec.
        self._codecs = {
            name: replace(codec, encoder=RememberingEncoder(codec.encoder, keep=1)) for name, codec in codecs.items()
        }
        self._judge = Judge(device)
        self._more = {name: MORE[name] for name in more_metrics() if name in MORE}
        self._load = cache(partial(_load, size_px=grid.size_px))
        self._picture = lru_cache(1)(self._open)

    def run(self, task: Task) -> Done:
        """Rows in the grid's order. Arrays are the features of sets that are large enough for distances between them:
        by distance float32 [cases with the first seed, D].
        """
        done, many = Done(), len(chosen(task.set)) >= MIN_PICTURES
        found: dict[str, list[npt.NDArray[np.float32]]] = {}
        for row, sent in self.sends(task):
            done.rows.append(row)
            if many and row["seed"] == task.set.seeds[0]:
                for name, features in self._features(self._picture(task.set, task.index).shown(sent)).items():
                    found.setdefault(name, []).append(features)
            done.timings.append({name: row[name] for name in KEYS} | sent.timings)
        return replace(done, arrays={name: np.stack(features) for name, features in found.items()})

    def original_features(self, pictures: PictureSet) -> dict[str, npt.NDArray[np.float32]]:
        """Float32 [N, D] by distance, of a set's pictures in order."""
        loaded = self._load(pictures)
        found = [self._features(loaded[index][0]) for index, _ in chosen(pictures)]
        return {name: np.stack([features[name] for features in found]) for name in found[0]}

    def _features(self, image: ImageArray) -> dict[str, npt.NDArray[np.float32]]:
        found = {KERNEL: self._judge.features([image])[0].numpy()}
        return found | ({FID: optional_metrics.inception_features(image)} if FID in more_metrics() else {})

    def sends(self, task: Task) -> Iterator[tuple[Row, Sent]]:
        """Each row of a task with what became of the picture."""
        picture, method = self._picture(task.set, task.index), task.method
        height, width = picture.image.shape[1:]
        for rate, channel in product(task.set.rates_bpp, task.set.channels):
            budget = self._budget(task, picture, rate)
            plan = picture.planner.plan(method, channel, budget)
            planned = {
                "set": task.set.name, "picture": task.picture, "method": method.name, "rate_bpp": rate,
                "channel": channel, "codec": method.codec, "protection": method.protection.value,
                "width_px": width, "height_px": height,
                "packet_erasure_rate": erasure_rate(channel, self._grid.link.max_payload_bytes),
                "budget_bytes": budget, "at_floor": int(plan.at_floor),
                "options": json.dumps(plan.settings, sort_keys=True),
            }  # fmt: skip
            for seed in task.set.seeds_of(channel):
                sent = self._engine.send(method.codec, picture.image, channel, seed, task.index, plan.settings)
                came = {
                    "seed": seed,
                    "bytes_by_segment": json.dumps(dict(sent.by_segment)),
                    "bpp": 8 * sent.row["bytes_total"] / (width * height),
                    "failed": int(sent.image is None),
                }
                yield planned | came | sent.row | self._scores(picture, picture.shown(sent)), sent

    def _scores(self, picture: _Picture, image: ImageArray) -> Row:
        """Judged once where the same picture comes again, as files that arrive do."""
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if key not in picture.scores:
            (found,) = self._judge.scores([picture.original], [image])
            more = {name: metric(picture.image, image) for name, metric in self._more.items()}
            picture.scores[key] = found | more
        return picture.scores[key]

    def _budget(self, task: Task, picture: _Picture, rate: float | None) -> int | None:
        """The bytes of a rate; those that the anchor made of it for a classical method, so that both spend the same."""
        height, width = picture.image.shape[1:]
        budget = None if rate is None else int(rate * width * height / 8)
        anchor = self._grid.anchor
        return budget if anchor is None or not task.method.classical else picture.planner.spent(anchor, budget)

    def _open(self, pictures: PictureSet, index: int) -> _Picture:
        image, label = self._load(pictures)[index]
        original = self._judge.original(image, imagenet_class(label))
        return _Picture(original, Planner(self._codecs, image, index, self._grid.link))


def _load(pictures: PictureSet, size_px: int) -> dict[int, tuple[ImageArray, int | None]]:
    """Image float32 [3, size_px, size_px] and label of each picture that is sent, by index."""
    wanted = dict(chosen(pictures))
    samples = read_samples(pictures.source, lambda _: None)  # the grid has said who is left out
    return {
        index: (to_float(square_crop(sample.pixels, size_px)), sample.label if pictures.name == LABELLED else None)
        for index, sample in enumerate(samples)
        if index in wanted
    }


@dataclass(frozen=True, slots=True)
class _Picture:
    """The picture that tasks are about just now, its plans, and what the judge said of what came of it."""

    original: Original
    planner: Planner
    scores: dict[bytes, Row] = field(default_factory=dict)

    @property
    def image(self) -> ImageArray:
        return self.original.image

    def shown(self, sent: Sent) -> ImageArray:
        """What is judged; grey where there is no picture."""
        return grey_like(self.image) if sent.image is None else sent.image
