"""How good a picture is: one judge for all studies.

PSNR and MS-SSIM (common/image_quality.py), deep-feature distance (1 - cosine of EfficientNet-lite2's pooled features),
whether that net still sees what it sees in the original and, of pictures with a label, whether it sees that.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.image_files import ImageArray
from gocom.common.image_quality import ms_ssim, psnr_db
from gocom.common.nets.classifier import Classifier
from gocom.receiver.tasks.classify import ClassifyTask

IMAGENETTE = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
"""Imagenette's classes among the 1000 of ImageNet."""
_CPU_BATCH, _GPU_BATCH = 1, 64
"""On two CPU cores a batch is slower than its pictures one by one."""


def imagenet_class(label: int | None) -> int | None:
    """Imagenette's class 0 to 9 -> ImageNet's of 1000."""
    return None if label is None else IMAGENETTE[label]


def grey_like(image: ImageArray) -> ImageArray:
    """Mid-grey, 0.5 everywhere: float32 of the shape of `image`. What a picture that failed is scored as."""
    return np.full_like(image, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """What reconstructions are compared with.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        features: float32 [1280], on the CPU.
        guess: the net's first of the 1000 classes of ImageNet.
        label: index among them; None: it has no label.
    """

    image: ImageArray
    features: Tensor
    guess: int
    label: int | None = None


class Judge:
    """EfficientNet-lite2 on one device. What it sees in a picture is told by the receiver's task `classify`."""

    def __init__(self, device: str = "auto") -> None:
        self.task = ClassifyTask(Classifier("lite2", device))
        self.classifier = self.task.classifier
        self._batch = _CPU_BATCH if self.classifier.device.type == "cpu" else _GPU_BATCH

    def features(self, images: Sequence[ImageArray]) -> Tensor:
        """B pictures float32 [3, H, W] of one size -> pooled features float32 [B, 1280], on the CPU."""
        starts = range(0, len(images), self._batch)
        parts = [torch.from_numpy(np.stack(images[i : i + self._batch])) for i in starts]
        return torch.cat([self.classifier.features(part).cpu() for part in parts])

    def original(self, image: ImageArray, label: int | None = None) -> Original:
        """A picture to compare others with."""
        features = self.features([image])
        return Original(image, features[0], self.guesses(features)[0], label)

    def distance(self, a: ImageArray, b: ImageArray) -> float:
        """1 - cosine of the features of two pictures, 0 to 2."""
        first, second = self.features([a, b])
        return float(1 - F.cosine_similarity(first, second, dim=0))

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 1280] -> logits float32 [B, 1000], on the CPU: the net's last layer, its maps not made twice."""
        return self.classifier.logits(features).cpu()

    def guesses(self, features: Tensor) -> list[int]:
        """Features [B, 1280] -> the first of 1000 classes for each."""
        return [self.guess(logits) for logits in self.logits(features)]

    def guess(self, logits: Tensor) -> int:
        """Logits float32 [1000] -> the first of 1000 classes."""
        return self.task.rate(logits.numpy()).labels[0].index

    def scores(self, originals: Sequence[Original], images: Sequence[ImageArray]) -> list[dict[str, Any]]:
        """How close each picture is to its original, and what the net sees in it.

        Returns:
            For each: psnr_db, ms_ssim in [0, 1] (None below 176 px), distance; agrees: 1 where the first guess is
            that for the original, else 0. With a label also correct: 1 where the first guess is the label; and, if
            the label is one of IMAGENETTE, correct_10: 1 where the likeliest of these ten is.
        """
        if not images:
            return []
        features = self.features(images)
        references = torch.stack([original.features for original in originals])
        distances = (1 - F.cosine_similarity(features, references, dim=1)).tolist()
        truths = [original.image for original in originals]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            similarities = list(pool.map(ms_ssim, truths, images))
        seen = [self._seen(original, logits) for original, logits in zip(originals, self.logits(features), strict=True)]
        return [
            {"psnr_db": psnr_db(truth, image), "ms_ssim": similarity, "distance": distance} | classes
            for truth, image, similarity, distance, classes in zip(
                truths, images, similarities, distances, seen, strict=True
            )
        ]

    def _seen(self, original: Original, logits: Tensor) -> dict[str, int]:
        """Logits [1000] of a reconstruction -> agrees, and what its label allows to say."""
        guess = self.guess(logits)
        found = {"agrees": int(guess == original.guess)}
        if original.label is not None:
            found["correct"] = int(guess == original.label)
        if original.label in IMAGENETTE:
            found["correct_10"] = int(IMAGENETTE[int(logits[list(IMAGENETTE)].argmax())] == original.label)
        return found
