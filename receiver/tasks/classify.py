"""Task `classify`: what does the picture show, of the 1000 classes of ImageNet? EfficientNet-lite answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gocom.common.image_files import ImageArray
from gocom.common.tasks import LabelConfidence, TaskResult
from gocom.common.zoo import Zoo
from gocom.receiver.tasks import TASKS

if TYPE_CHECKING:
    from gocom.common.nets.classifier import Classifier

NAME = "classify"
SHOWN_LABELS = 5
"""Number of the likeliest labels in a result. Wanted labels that are not among them follow by their confidence."""


class ClassifyTask:
    """Image classification. A confidence is the probability by softmax of the net's logits, which is not calibrated.

    Args:
        classifier: the net.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    @classmethod
    def from_zoo(cls, zoo: Zoo) -> ClassifyTask:
        """Make the task with the zoo's classifier. Raises NotReady if it is not installed."""
        return cls(zoo.get("classifier"))

    @property
    def label_names(self) -> Sequence[str]:
        """Names of the 1000 classes, by index."""
        return self.classifier.names

    def run(self, image: ImageArray, labels: Sequence[int] = ()) -> TaskResult:
        """Classify a picture.

        Args:
            image: float32 [3, H, W] in [0, 1].
            labels: wanted classes, 0 to 999, each named once.

        Returns:
            see `rate`.
        """
        import torch  # noqa: PLC0415 - see receiver/tasks/__init__.py

        return self.rate(self.classifier(torch.from_numpy(np.ascontiguousarray(image))[None])[0].cpu().numpy(), labels)

    def rate(self, logits: npt.NDArray[Any], labels: Sequence[int] = ()) -> TaskResult:
        """Return the result for the logits of one picture.

        Args:
            logits: float32 [1000].
            labels: wanted classes.

        Returns:
            the SHOWN_LABELS likeliest classes and the wanted ones. The confidence of the result is that of the wanted
            classes together; if none is wanted, that of the likeliest class.
        """
        odds = np.exp(logits.astype(np.float64) - logits.max())
        shares = odds / odds.sum()
        order = np.argsort(-shares, kind="stable")
        shown = [index for rank, index in enumerate(order.tolist()) if rank < SHOWN_LABELS or index in labels]
        confidence = float(shares[list(labels)].sum()) if labels else float(shares[order[0]])
        found = tuple(LabelConfidence(index, self.label_names[index], float(shares[index])) for index in shown)
        return TaskResult(NAME, found, min(1.0, confidence))


TASKS.add(NAME, ClassifyTask.from_zoo)
