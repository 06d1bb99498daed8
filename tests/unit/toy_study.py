"""Studies of jpeg, for tests of experiments: no net is loaded, and the judge is PSNR."""

import numpy as np
import torch
from PIL import Image

from gocom.common.image_quality import psnr_db
from gocom.evaluation.experiment.bench import Bench
from gocom.evaluation.experiment.experiment import Claim, Curves, Experiment, Means, Study, erasure, option
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.measure.judge import Original
from gocom.evaluation.studies import STUDIES

SIDES = Experiment(
    name="sides", title="Two qualities", sets={"images": 3}, factors=(option("quality", (20, 60)),),
    views=(Means(("quality",), ("bytes", "psnr_db")), Curves("size", "quality", (), ("bytes",))),
)  # fmt: skip
LOSS = Experiment(
    name="loss", title="Losses", sets={"images": 2}, factors=(erasure((0, 0.02)),), settings={"quality": 20}, seeds=3,
    views=(Means(("rate",), ("psnr_db", "missing")),),
)  # fmt: skip


class PsnrJudge:
    """Sees nothing in pictures."""

    def original(self, image, label=None):
        return Original(image, torch.zeros(1), 0, label)

    def scores(self, originals, images):
        return [{"psnr_db": psnr_db(original.image, image)} for original, image in zip(originals, images, strict=True)]


def study(*experiments, **more):
    """Of jpeg, over a set `images`."""
    claims = (Claim(names="Fig. 1", shows="a size", said="Bytes grow with quality.", experiments=("sides",)),)
    given = {"sets": {"images": "photos"}, "title": "JPEG", "claims": claims if SIDES in experiments else ()}
    return Study(system="jpeg", experiments=experiments, **(given | more))


def write_pictures(folder, count=3, seed=0):
    """Noise on a ramp, 64 px, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        ramp = np.add.outer(np.arange(64), np.arange(64))[..., None]
        pixels = ramp + rng.integers(0, 60, (64, 64, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{i}.png")
    return folder


def bench(made, folder, limit=None):
    """On the CPU."""
    return Bench(made, PictureSets({"images": folder}, limit), "cpu")


def use(monkeypatch, made, name="jpeg"):
    """As if it were the only study that is registered; pictures are judged by PSNR."""
    monkeypatch.setattr(Bench, "judge", PsnrJudge())
    monkeypatch.setattr(STUDIES, "_items", {name: made})
    monkeypatch.setattr(STUDIES, "load", lambda: None)
