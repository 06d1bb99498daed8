"""Conversion of goals and task results between Python types and protobuf messages."""

from __future__ import annotations

from gocom.common.goals import ConsumerGoal, GoalState
from gocom.common.tasks import LabelConfidence, TaskResult
from gocom.v1 import receiver_pb2


def goal_to_proto(goal: ConsumerGoal) -> receiver_pb2.Goal:
    """Return a goal as a message."""
    return receiver_pb2.Goal(
        task=goal.task or "",
        labels=goal.labels,
        text=goal.text or "",
        target=goal.target,
        max_rounds=goal.max_rounds or 0,
        round_budget_bytes=goal.round_budget_bytes or 0,
    )


def goal_from_proto(message: receiver_pb2.Goal) -> ConsumerGoal:
    """Return the goal of a message. Raises InvalidInput, see ConsumerGoal; whether the task exists is not checked."""
    return ConsumerGoal(
        task=message.task or None,
        labels=tuple(message.labels),
        text=message.text or None,
        target=message.target,
        max_rounds=message.max_rounds or None,
        round_budget_bytes=message.round_budget_bytes or None,
    )


def goal_state_to_proto(state: GoalState) -> receiver_pb2.GoalState:
    """Return the goal of a session as a message."""
    goal = None if state.goal is None else goal_to_proto(state.goal)
    return receiver_pb2.GoalState(goal=goal, revision=state.revision)


def goal_state_from_proto(message: receiver_pb2.GoalState) -> GoalState:
    """Return the goal of a session. Raises InvalidInput, see ConsumerGoal."""
    return GoalState(goal_from_proto(message.goal) if message.HasField("goal") else None, message.revision)


def task_result_to_proto(result: TaskResult) -> receiver_pb2.TaskResult:
    """Return the result of a task as a message."""
    labels = [
        receiver_pb2.LabelConfidence(index=label.index, name=label.name, confidence=label.confidence)
        for label in result.labels
    ]
    return receiver_pb2.TaskResult(task=result.task, labels=labels, confidence=result.confidence, reason=result.reason)


def task_result_from_proto(message: receiver_pb2.TaskResult) -> TaskResult:
    """Return the result of a task. Raises InvalidInput if a confidence is out of range."""
    labels = tuple(LabelConfidence(label.index, label.name, label.confidence) for label in message.labels)
    return TaskResult(message.task, labels, message.confidence, message.reason)
