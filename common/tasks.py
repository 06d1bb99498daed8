"""Tasks: what a picture is for, such as to tell what it shows. A task is run on a reconstruction and rates it.

The tasks themselves are in receiver/tasks/, one file each. The receiver, the pipeline in one process and the evaluation
run the same objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gocom.common.errors import GoComError, InvalidInput
from gocom.common.image_files import ImageArray
from gocom.common.logs import get_logger

log = get_logger("task")


@dataclass(frozen=True, slots=True)
class LabelConfidence:
    """A label that a task found in a picture.

    Attributes:
        index: index of the label among those of the task.
        name: name of the label.
        confidence: confidence of the task that the label is right, in [0, 1].

    Raises:
        InvalidInput: the confidence is out of range.
    """

    index: int
    name: str
    confidence: float

    def __post_init__(self) -> None:
        _check_confidence("label", self.confidence)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a task on one picture.

    Attributes:
        task: name of the task.
        labels: labels with their confidences, the most confident first.
        confidence: confidence of the task in its whole result, in [0, 1]; a goal's target is compared with it. 0 if the
            task failed.
        reason: why the task failed; empty if it did not.

    Raises:
        InvalidInput: the confidence is out of range.
    """

    task: str
    labels: tuple[LabelConfidence, ...] = ()
    confidence: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        _check_confidence(self.task, self.confidence)


def _check_confidence(of: str, value: float) -> None:
    if not 0 <= value <= 1:  # false for NaN as well
        raise InvalidInput(f"confidence: {value:g} of {of} is not in 0 to 1")


class Task(Protocol):
    """A task with its nets on one device. It need not be thread-safe."""

    @property
    def label_names(self) -> Sequence[str]:
        """Names of the task's labels, by index."""

    def run(self, image: ImageArray, labels: Sequence[int] = ()) -> TaskResult:
        """Run the task on a picture.

        Args:
            image: float32 [3, H, W] in [0, 1].
            labels: indices of the labels that the consumer wants to know about; none: the task decides by itself.
        """


LoadTask = Callable[[str], Task]
"""Function from the name of a task to the task, which is loaded at its first use."""


def run_task(load: LoadTask, name: str, image: ImageArray, labels: Sequence[int]) -> TaskResult:
    """Run a task on a picture. A task that cannot be loaded, or fails, gives a result with the reason.

    Args:
        load: loads the task.
        name: name of the task.
        image: float32 [3, H, W] in [0, 1].
        labels: indices of the wanted labels.
    """
    try:
        return load(name).run(image, labels)
    except GoComError as error:
        return TaskResult(name, reason=str(error))
    except Exception as error:  # the task may be that of a plug-in; the picture must not be lost with it
        log.error("task failed", task=name, exc_info=error)
        return TaskResult(name, reason=f"internal error ({type(error).__name__})")
