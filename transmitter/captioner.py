"""Captions from the top labels of EfficientNet-lite0, such as "a photo of a golf ball"."""

from __future__ import annotations

import torch

from gocom.common.image_files import ImageArray
from gocom.common.nets.classifier import Classifier

CONFIDENT_PROBABILITY = 0.25
"""Probability from which the best label is used alone; below it the caption names the two best."""


class TagCaptioner:
    """Makes a short phrase for an image.

    Args:
        classifier: EfficientNet-lite0, whose labels are the tags.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def __call__(self, image: ImageArray) -> str:
        """Return the caption of an image, float32 [3, H, W] in [0, 1]."""
        probabilities = self.classifier(torch.from_numpy(image)[None]).softmax(1)[0]
        best = probabilities.topk(2)
        names = [self.classifier.names[i] for i in best.indices.tolist()]
        named = names[:1] if float(best.values[0]) >= CONFIDENT_PROBABILITY else names
        return "a photo of " + " or ".join(named)
