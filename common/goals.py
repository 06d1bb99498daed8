"""The consumer's goal, and the policy by which a receiver asks for further rounds to reach it.

The goal is said where the pictures are consumed, at the receiver. The transmitter learns of it through feedback alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gocom.common.errors import InvalidInput, abbreviate
from gocom.common.number_checks import UINT32_MAX, real_number, whole_number
from gocom.common.tasks import TaskResult
from gocom.common.types import Feedback, ReceivedMessage, Reconstruction, RoundSettings

MAX_TEXT_BYTES = 200
"""Limit on the UTF-8 bytes of a text in a goal or in feedback, and of the name of a task."""
MAX_LABELS = 16
"""Limit on the labels of a goal or of feedback."""


def check_text(text: str, field: str) -> None:
    """Raise InvalidInput, which names the field, unless the text is 1 to MAX_TEXT_BYTES bytes of UTF-8."""
    if not isinstance(text, str):
        raise InvalidInput(f"{field}: {abbreviate(text)} is not text")
    try:
        count = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{field}: is not valid Unicode") from None
    if not 1 <= count <= MAX_TEXT_BYTES:
        raise InvalidInput(f"{field}: {count} bytes of UTF-8 are not in 1 to {MAX_TEXT_BYTES}")


def check_labels(labels: Sequence[int], field: str) -> None:
    """Raise InvalidInput, which names the field, unless there are at most MAX_LABELS labels, all different."""
    if len(labels) > MAX_LABELS:
        raise InvalidInput(f"{field}: {len(labels)} labels are more than {MAX_LABELS}")
    if len(set(labels)) != len(labels):
        raise InvalidInput(f"{field}: {', '.join(map(str, labels))} repeats")


@dataclass(frozen=True, slots=True)
class ConsumerGoal:
    """What the consumer of the pictures wants them for. A goal has a task, a text or both.

    Attributes:
        task: name of the task that the receiver runs on each picture, at most MAX_TEXT_BYTES bytes of UTF-8; None: it
            runs none.
        labels: labels of the task that the consumer wants to know about, by index; empty: the task decides.
        text: what the consumer wants to see, in words, at most MAX_TEXT_BYTES bytes of UTF-8; None: not given.
        target: confidence of the task, in [0, 1], at which the receiver stops asking; 0: it does not stop for that.
        max_rounds: largest number of rounds, the first one included; None: the sender's limit holds.
        round_budget_bytes: bytes that a later round may cost; None: the sender's limit holds.

    Raises:
        InvalidInput: a value is out of range, or needs another one; the message names the field.
    """

    task: str | None = None
    labels: tuple[int, ...] = ()
    text: str | None = None
    target: float = 0.0
    max_rounds: int | None = None
    round_budget_bytes: int | None = None

    def __post_init__(self) -> None:
        if not self.task and self.text is None:
            raise InvalidInput("goal: has neither a task nor a text; it needs one of them")
        for name, words in (("task", self.task or None), ("text", self.text)):
            if words is not None:
                check_text(words, f"goal.{name}")
        if not isinstance(self.labels, Iterable):
            raise InvalidInput(f"goal.labels: {abbreviate(self.labels)} is not a sequence of whole numbers")
        labels = tuple(whole_number("goal.labels", label, 0, UINT32_MAX) for label in self.labels)
        check_labels(labels, "goal.labels")
        object.__setattr__(self, "labels", labels)  # frozen, and numpy's numbers become Python's
        target = real_number("goal.target", self.target, 0, 1)
        for name, given in (("labels", labels), ("target", target)):
            if given and not self.task:
                raise InvalidInput(f"goal.{name}: needs a task, which is not given")
        for name, count in (("max_rounds", self.max_rounds), ("round_budget_bytes", self.round_budget_bytes)):
            if count is not None:
                whole_number(f"goal.{name}", count, 1, UINT32_MAX)

    def check_labels_among(self, label_names: Sequence[str]) -> None:
        """Raise InvalidInput if the task, whose labels have these names by index, lacks one of the goal's labels."""
        for label in self.labels:
            if label >= len(label_names):
                choices = f"0 to {len(label_names) - 1}" if label_names else "none"
                raise InvalidInput(f"goal.labels: no {label}; task {self.task!r} has {choices}")

    def within(self, sender: RoundSettings) -> RoundSettings:
        """Return the settings of further rounds that hold with this goal: the smaller limits of both ends.

        The sender's quality target does not hold, since the goal's target takes its place.
        """
        rounds = [sender.max_rounds, *([self.max_rounds] if self.max_rounds else [])]
        budgets = [budget for budget in (sender.round_budget_bytes, self.round_budget_bytes) if budget]
        return replace(sender, max_rounds=min(rounds), round_budget_bytes=min(budgets, default=0), quality_target=0.0)


@dataclass(frozen=True, slots=True)
class GoalState:
    """The goal of a session.

    Attributes:
        goal: the goal; None: there is none, and the sender's policy holds.
        revision: number of the last change, from 1; 0: the session never had a goal.
    """

    goal: ConsumerGoal | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a frame, and what became of it.

    Attributes:
        received: the round as received.
        reconstruction: the picture made from this round and those before it; None: there is none, or a later round has
            replaced it.
        task_result: result of the goal's task on that picture; None: there is no picture, or the goal had no task.
    """

    received: ReceivedMessage
    reconstruction: Reconstruction | None
    task_result: TaskResult | None = None


def append_round(history: list[Round], round_: Round) -> None:
    """Append a round. The picture of the round before it is dropped: 64 pictures of a frame would take much memory."""
    if history:
        history[-1] = replace(history[-1], reconstruction=None)
    history.append(round_)


class Policy(Protocol):
    """A feedback policy: whether to ask for a further round, and for what."""

    def next(self, history: Sequence[Round]) -> Feedback | None:
        """Return the request for the next round of a frame; None ends the frame.

        Args:
            history: all rounds of the frame so far, at least one.
        """


PolicyFor = Callable[[RoundSettings, ConsumerGoal | None], Policy]
"""Function from the sender's settings of further rounds and the consumer's goal, if any, to the policy that holds."""
