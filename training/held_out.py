"""Held-out pictures, and what nets from pictures to pictures are judged by on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.image_files import square_crop, to_float
from gocom.common.nets.classifier import Classifier
from gocom.evaluation.measure.judge import imagenet_class
from gocom.evaluation.measure.st_lpips import StLpips
from gocom.evaluation.measure.st_lpips_weights import weights_path
from gocom.training.data import load_samples
from gocom.training.pictures import JUDGED_PX, blockiness, lattice, psnr_db

Reconstruct = Callable[[Tensor], Tensor]
"""Float32 [1, 3, 256, 256] in [0, 1] -> what a net makes of it, the same shape and range."""
MEANING = (
    "feature_distance is 1 - cosine of EfficientNet-lite2 features, agrees how often that net's first of 1000 classes "
    "is that for the photo (correct: the label); st_lpips_vgg is ST-LPIPS with VGG16, not trained on; blockiness the "
    "steps at patch borders and lattice the detail that repeats every 4 px, both over the photo's; colour_shift the "
    "error of a picture's mean colour"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Photo:
    x: Tensor
    features: Tensor
    guess: int
    label: int | None
    perceived: list[Tensor]


class HeldOut:
    """Pictures never trained on, centre squares of 256 px, and the judge.

    Args:
        source: folder of images or tar.
        device: where pictures and judge are.
        limit: so many of them, evenly spread; None: all.
        labelled: labels are imagenette's, 0 to 9.
        perceptual: with ST-LPIPS, by far the slowest, where its weights are installed.
    """

    def __init__(
        self,
        source: Path,
        device: torch.device,
        limit: int | None = None,
        labelled: bool = False,
        perceptual: bool = True,
    ) -> None:
        self.judge = Classifier("lite2", str(device))
        found = perceptual and weights_path("vgg") is not None
        self.st_lpips = StLpips("vgg", device) if found else None
        samples = load_samples([source])
        if limit is not None:
            samples = [samples[i * len(samples) // limit] for i in range(min(limit, len(samples)))]
        self.photos = []
        with torch.inference_mode():
            for sample in samples:
                x = torch.from_numpy(to_float(square_crop(sample.pixels, JUDGED_PX)))[None].to(device)
                features = self.judge.features(x)[0]
                perceived = [] if self.st_lpips is None else [f.half() for f in self.st_lpips.features(x)]
                label = imagenet_class(sample.label) if labelled else None
                self.photos.append(_Photo(x, features, self._guess(features), label, perceived))
        self.line = f"{source.name}: {len(self.photos)} pictures, centre square, {JUDGED_PX}x{JUDGED_PX}"

    def _guess(self, features: Tensor) -> int:
        return int(self.judge.logits(features).argmax())

    @torch.inference_mode()
    def each(self, reconstruct: Reconstruct) -> dict[str, list[float]]:
        """Metric -> a value a picture; see MEANING. `correct` only of labelled pictures."""
        found: dict[str, list[float]] = {}
        for photo in self.photos:
            x_hat = reconstruct(photo.x)
            features = self.judge.features(x_hat)[0]
            guess = self._guess(features)
            values = {
                "psnr_db": psnr_db(x_hat, photo.x),
                "feature_distance": 1 - float(F.cosine_similarity(features, photo.features, dim=0)),
                "agrees": float(guess == photo.guess),
                "blockiness": blockiness(x_hat) / blockiness(photo.x),
                "lattice": lattice(x_hat) / lattice(photo.x),
                "colour_shift": float((x_hat - photo.x).mean((2, 3)).abs().mean()),
            }
            if photo.label is not None:
                values["correct"] = float(guess == photo.label)
            if self.st_lpips is not None:
                perceived = [f.float() for f in photo.perceived]
                values["st_lpips_vgg"] = float(self.st_lpips.between(self.st_lpips.features(x_hat), perceived))
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        return found

    def means(self, reconstruct: Reconstruct) -> dict[str, float]:
        """Metric -> its mean over the pictures."""
        return {name: float(np.mean(values)) for name, values in self.each(reconstruct).items()}
