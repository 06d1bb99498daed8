"""What is measured: a `Work` of tasks that do not depend on each other. `measure.measure` does them over processes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

Row = dict[str, Any]
"""One line of results: JSON values by column."""


class Task(Protocol):
    """What a worker does in one go."""

    @property
    def name(self) -> str:
        """Unique in its work, and fit for a file's name."""

    @property
    def cases(self) -> int:
        """How many rows it will have; for the progress bar."""

    @property
    def weight(self) -> float:
        """The time it takes beside other tasks, in any unit."""


T = TypeVar("T", bound=Task)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)


@dataclass(frozen=True, slots=True)
class Done:
    """What a task came to.

    Attributes:
        rows: the same on every run.
        timings: what a clock says, apart for that reason.
        arrays: what is no row; any shape and dtype.
    """

    rows: list[Row] = field(default_factory=list)
    timings: list[Row] = field(default_factory=list)
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)


Results = Generator[tuple[T, Done], None, None]
"""Tasks as they get done."""


class Worker(Protocol[T_contra]):
    """Does tasks, one after another, in one process."""

    def run(self, task: T_contra) -> Done:
        """All of a task. What comes of it depends on nothing but the work and the task."""


class Work(Protocol[T]):
    """All that is to be measured. It is pickled, as its tasks are: both go to the processes."""

    def tasks(self) -> Sequence[T]:
        """In the order of the results."""

    def worker(self, device: str) -> Worker[T]:
        """Opened once in each process; it loads the nets, on a device that torch knows ("cpu", "cuda")."""

    def record(self) -> dict[str, Any]:
        """What results depend on, plain JSON; nothing where a folder of results need not be checked."""
