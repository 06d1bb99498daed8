"""How good a picture is, and how sure the mean over pictures is: one judge for all studies.

PSNR and MS-SSIM (common/quality.py), deep-feature distance (1 - cosine of EfficientNet-lite2's pooled features) and,
for pictures with a label, whether that net's first guess of 1000 is right. Means come with a 95 % bootstrap interval
over pictures; two methods are compared by the interval of their difference on the same pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from common.images import ImageArray
from common.nets.classifier import Classifier
from common.quality import ms_ssim, psnr_db

Interval = tuple[float, float, float]
"""(mean, low, high)."""
RESAMPLES = 4000
_CPU_BATCH, _GPU_BATCH = 1, 64
"""On two CPU cores a batch is slower than its pictures one by one."""


def interval(per_picture: npt.ArrayLike, seed: int = 0) -> Interval:
    """(mean, low, high): 95 % bootstrap over pictures (percentiles, 4000 resamples) of values [pictures]."""
    values = np.asarray(per_picture, np.float64)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    draws = values[np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def paired(a: npt.ArrayLike, b: npt.ArrayLike, seed: int = 0) -> Interval:
    """Interval of a - b, values [pictures] of the same pictures in the same order."""
    return interval(np.asarray(a, np.float64) - np.asarray(b, np.float64), seed)


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """What reconstructions are compared with.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        features: float32 [1280], on the CPU.
        label: index among the 1000 classes of ImageNet; None: it has no label.
    """

    image: ImageArray
    features: Tensor
    label: int | None = None


class Judge:
    """EfficientNet-lite2 on one device."""

    def __init__(self, device: str = "auto") -> None:
        self.classifier = Classifier("lite2", device)
        self._batch = _CPU_BATCH if self.classifier.device.type == "cpu" else _GPU_BATCH

    def features(self, images: Sequence[ImageArray]) -> Tensor:
        """B pictures float32 [3, H, W] of one size -> pooled features float32 [B, 1280], on the CPU."""
        starts = range(0, len(images), self._batch)
        parts = [torch.from_numpy(np.stack(images[i : i + self._batch])) for i in starts]
        return torch.cat([self.classifier.features(part).cpu() for part in parts])

    def original(self, image: ImageArray, label: int | None = None) -> Original:
        """A picture to compare others with."""
        return Original(image, self.features([image])[0], label)

    def distance(self, a: ImageArray, b: ImageArray) -> float:
        """1 - cosine of the features of two pictures, 0 to 2."""
        first, second = self.features([a, b])
        return float(1 - F.cosine_similarity(first, second, dim=0))

    @torch.inference_mode()
    def guesses(self, features: Tensor) -> list[int]:
        """Features [B, 1280] -> the first of 1000 classes for each: the net's last layer, its maps not made twice."""
        logits: Tensor = self.classifier.net._fc(features.to(self.classifier.device))
        return [int(guess) for guess in logits.argmax(1)]

    def scores(self, originals: Sequence[Original], images: Sequence[ImageArray]) -> list[dict[str, Any]]:
        """For each picture: psnr_db, ms_ssim in [0, 1], distance, and correct (0 or 1) where it has a label."""
        if not images:
            return []
        features = self.features(images)
        references = torch.stack([original.features for original in originals])
        distances = (1 - F.cosine_similarity(features, references, dim=1)).tolist()
        truths = [original.image for original in originals]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            similarities = list(pool.map(ms_ssim, truths, images))
        rows: list[dict[str, Any]] = [
            {"psnr_db": psnr_db(truth, image), "ms_ssim": similarity, "distance": distance}
            for truth, image, similarity, distance in zip(truths, images, similarities, distances, strict=True)
        ]
        if any(original.label is not None for original in originals):
            for row, original, guess in zip(rows, originals, self.guesses(features), strict=True):
                if original.label is not None:
                    row["correct"] = int(guess == original.label)
        return rows
