"""The feedback policy that holds for a frame: that of the consumer's goal, or the sender's where there is no goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gocom.common.goals import ConsumerGoal, Policy, Round
from gocom.common.tasks import TaskResult
from gocom.common.types import Feedback, RoundSettings
from gocom.receiver.element_policy import feedback_for
from gocom.receiver.policies import POLICIES


def policy_for(settings: RoundSettings, goal: ConsumerGoal | None) -> Policy:
    """Return the policy that holds for a frame.

    Args:
        settings: the sender's limits and policy, from the header of the frame's first round.
        goal: the consumer's goal; None: there is none.
    """
    return sender_policy(settings) if goal is None else GoalPolicy(goal, settings)


def sender_policy(settings: RoundSettings) -> Policy:
    """Return the policy that the sender has chosen."""
    return POLICIES.get(settings.feedback_policy.value)(settings)


class GoalPolicy:
    """Asks until the goal's task reaches its target, by labels and text.

    The feedback names elements as well if the sender's policy names some. The limits on rounds and bytes are the
    smaller ones of both ends.

    Args:
        goal: the consumer's goal.
        settings: the sender's limits and policy.
    """

    def __init__(self, goal: ConsumerGoal, settings: RoundSettings) -> None:
        self._goal, self._settings = goal, goal.within(settings)
        self._elements = sender_policy(self._settings)

    def next(self, history: Sequence[Round]) -> Feedback | None:
        """Return the request for the next round; None if no round is left, the target is reached or nothing is asked.

        Its labels are those of the goal; if the goal has none, the one that the task finds likeliest.
        """
        last = history[-1]
        if last.received.frame.round + 1 >= self._settings.max_rounds or self._reached(last.task_result):
            return None
        feedback = self._elements.next(history) or feedback_for(history, {}, self._settings.round_budget_bytes)
        feedback = replace(feedback, labels=self._labels(last.task_result), text=self._goal.text)
        return feedback if feedback.wanted or feedback.labels or feedback.text else None

    def _reached(self, result: TaskResult | None) -> bool:
        target = self._goal.target
        return bool(target) and result is not None and not result.reason and result.confidence >= target

    def _labels(self, result: TaskResult | None) -> tuple[int, ...]:
        if self._goal.labels or result is None:
            return self._goal.labels
        return tuple(label.index for label in result.labels[:1])
