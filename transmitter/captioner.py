"""Captions from EfficientNet-lite0's top label: "a photo of a golf ball". A modest captioner, and an honest one."""

from __future__ import annotations

import torch

from gocom.common.image_files import ImageArray
from gocom.common.nets.classifier import Classifier

SURE = 0.25
"""Probability from which one label is named alone; below it, the two best."""


class TagCaptioner:
    """Image to a short phrase."""

    def __init__(self, device: str = "cpu") -> None:
        self.classifier = Classifier("lite0", device)

    def __call__(self, image: ImageArray) -> str:
        """float32 [3, H, W] in [0, 1] -> text."""
        probabilities = self.classifier(torch.from_numpy(image)[None]).softmax(1)[0]
        best = probabilities.topk(2)
        names = [self.classifier.names[i] for i in best.indices.tolist()]
        named = names[:1] if float(best.values[0]) >= SURE else names
        return "a photo of " + " or ".join(named)
