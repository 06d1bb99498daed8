"""A work without nets, which other processes import: photos as JPEG files over a lossy channel."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage import data

from gocom.common.errors import InvalidInput
from gocom.common.image_files import square_crop, to_float
from gocom.common.image_quality import psnr_db
from gocom.evaluation.run.codec_setup import make_codec
from gocom.evaluation.run.work import Done

CHANNEL = "packet_erasure:rate=0.02"


@dataclass(frozen=True)
class Quality:
    """A task: the photo with one quality, with so many seeds."""

    quality: int
    cases: int
    weight: float = 1.0

    @property
    def name(self) -> str:
        return f"quality-{self.quality:03d}"


@dataclass(frozen=True)
class Qualities:
    """A work. Its `fault`: "once", a worker's process dies if it finds a file "once" in the folder, and removes it;
    "always", each dies; "refuses", an error of the work itself; "differs", another record in every process.
    """

    tasks_: int = 100
    seeds: int = 20
    fault: str = ""
    folder: Path = Path()

    def tasks(self):
        return [Quality(quality, self.seeds) for quality in range(self.tasks_)]

    def worker(self, device):
        return Sender(self)

    def record(self):
        same = {"tasks": self.tasks_, "seeds": self.seeds}
        return same | ({"process": os.getpid()} if self.fault == "differs" else {})


class Sender:
    def __init__(self, work):
        self.work, self.codec = work, make_codec("jpeg", "cpu")
        self.image = to_float(square_crop(data.astronaut(), 64))

    def run(self, task):
        if task.quality == 2:
            self._fail()
        rows = [self._row(task.quality, seed) for seed in range(task.cases)]
        return Done(rows, [{"task": task.name, "process": os.getpid()}], {"seeds": np.arange(task.cases)})

    def _row(self, quality, seed):
        sent = self.codec.send(self.image, CHANNEL, seed=seed, quality=quality)
        picture = sent.reconstruction
        good = None if picture is None else psnr_db(self.image, picture.image)
        return {"quality": quality, "seed": seed, "bytes": sent.bytes.total_bytes, "psnr_db": good}

    def _fail(self):
        if self.work.fault == "refuses":
            raise InvalidInput("quality: 2 is not to this worker's taste")
        file = self.work.folder / "once"
        if self.work.fault == "always" or (self.work.fault == "once" and file.is_file()):
            file.unlink(missing_ok=True)
            os._exit(1)
