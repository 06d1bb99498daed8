"""The consumer's goal: what it may say, which policy follows from it, and how it is written."""

import numpy as np
import pytest

from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal, GoalState, Round, append_round
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.tasks import LabelConfidence, TaskResult, run_task
from gocom.common.types import (
    ElementCoding,
    Feedback,
    FeedbackPolicy,
    FrameHeader,
    LinkSettings,
    ReceivedMessage,
    ReceivedSegment,
    Reconstruction,
    RoundSettings,
    SegmentHeader,
)
from gocom.common.wire.feedback import counted_message, feedback_to_proto
from gocom.common.wire.goals import (
    goal_from_proto,
    goal_state_from_proto,
    goal_state_to_proto,
    goal_to_proto,
    task_result_from_proto,
    task_result_to_proto,
)
from gocom.common.zoo import open_zoo
from gocom.receiver.feedback_policy import policy_for
from gocom.receiver.tasks import TASKS, LoadedTasks
from gocom.transmitter.feedback_handling import check_feedback

SURE, UNSURE = (
    TaskResult("look", (LabelConfidence(7, "cock", c), LabelConfidence(8, "hen", 1 - c)), c) for c in (0.9, 0.6)
)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "goal: has neither a task nor a text"),
        ({"target": 0.5}, "goal: has neither"),
        ({"text": ""}, "goal.text: 0 bytes"),
        ({"text": "é" * 101}, "goal.text: 202 bytes of UTF-8 are not in 1 to 200"),
        ({"text": "\udc80"}, "goal.text: is not valid Unicode"),
        ({"text": "cars", "labels": (1,)}, "goal.labels: needs a task"),
        ({"text": "cars", "target": 0.5}, "goal.target: needs a task"),
        ({"task": "look", "target": 1.5}, "goal.target: 1.5 is not in 0 to 1"),
        ({"task": "look", "target": float("nan")}, "goal.target: nan"),
        ({"task": "look", "labels": (3, 3)}, "goal.labels: 3, 3 repeats"),
        ({"task": "look", "labels": tuple(range(17))}, "goal.labels: 17 labels are more than 16"),
        ({"task": "look", "labels": (-1,)}, "goal.labels: -1"),
        ({"task": "look", "max_rounds": 0}, "goal.max_rounds: 0 is not in 1"),
        ({"task": "look", "round_budget_bytes": 1 << 32}, "goal.round_budget_bytes: 4294967296"),
    ],
)
def test_what_a_goal_may_not_say(fields, message):
    with pytest.raises(InvalidInput, match=message):
        ConsumerGoal(**fields)


@pytest.mark.parametrize(
    "goal",
    [
        ConsumerGoal("look", (3, 1), "é" * 100, 0.1, 4, 90),
        ConsumerGoal(text="a car"),
        ConsumerGoal("look"),
    ],
)
def test_goals_and_results_survive_the_wire(goal):
    assert goal_from_proto(goal_to_proto(goal)) == goal
    for state in (GoalState(goal, 3), GoalState(None, 4), GoalState()):
        assert goal_state_from_proto(goal_state_to_proto(state)) == state
    for result in (SURE, TaskResult("look", reason="no net")):
        assert task_result_from_proto(task_result_to_proto(result)) == result


def test_the_smaller_limit_holds():
    sender = RoundSettings(4, 200, FeedbackPolicy.UNCERTAIN, 0.7)
    held = ConsumerGoal("look", max_rounds=2, round_budget_bytes=300).within(sender)
    assert held == RoundSettings(2, 200, FeedbackPolicy.UNCERTAIN, 0.0)
    held = ConsumerGoal("look", max_rounds=9, round_budget_bytes=30).within(sender)
    assert (held.max_rounds, held.round_budget_bytes) == (4, 30)
    held = ConsumerGoal("look").within(RoundSettings(4))
    assert (held.max_rounds, held.round_budget_bytes) == (4, 0)
    assert ConsumerGoal("look", round_budget_bytes=30).within(RoundSettings(4)).round_budget_bytes == 30


def history(result, *, missing=(2,), rounds=1, wanted=True, picture=True, **limits):
    """Rounds of a file of 8 bytes, of which some are missing; the last one with a picture and a result."""
    made, received = [], np.ones(8, bool)
    received[list(missing)] = False
    settings = RoundSettings(**{"max_rounds": 4} | limits)
    for number in range(rounds):
        segment = SegmentHeader(0, 8, ElementCoding.FIXED, 1)
        frame = FrameHeader("jpeg", ClassicalHeader(), 64, 64, (segment,), 5, number, settings)
        message = ReceivedMessage(frame, (ReceivedSegment(0, np.zeros(8, np.int64), received),), 1, 1)
        spans = np.array([[i, 1] for i in missing], np.int64).reshape(-1, 2)
        shown = Reconstruction(
            np.zeros((3, 64, 64), np.float32), np.zeros((64, 64), np.uint8), wanted={0: spans} if wanted else {},
            quality_estimate=0.5,
        )  # fmt: skip
        append_round(made, Round(message, shown if picture else None, result if picture else None))
    return made


def ask(goal, rounds):
    return policy_for(rounds[0].received.frame.rounds, goal).next(rounds)


def test_without_a_goal_the_policy_of_the_sender_holds():
    feedback = ask(None, history(UNSURE, round_budget_bytes=70))
    assert feedback.wanted[0].tolist() == [[2, 1]] and feedback.budget_bytes == 70
    assert feedback.labels == () and feedback.text is None
    assert ask(None, history(UNSURE, missing=())) is None
    assert ask(None, history(UNSURE, quality_target=0.4)) is None
    assert ask(None, history(None, picture=False)).wanted[0].tolist() == [[2, 1]]


def test_a_goal_asks_until_its_target_is_reached():
    goal = ConsumerGoal("look", (3, 1), target=0.8)
    assert ask(goal, history(SURE)) is None, "although an element is missing"
    feedback = ask(goal, history(UNSURE))
    assert feedback.labels == (3, 1) and feedback.wanted[0].tolist() == [[2, 1]]
    assert (feedback.frame_index, feedback.round) == (5, 0)
    assert ask(goal, history(UNSURE, rounds=3)).round == 2
    assert ask(goal, history(UNSURE, rounds=4)) is None, "the sender allows four rounds"
    assert ask(ConsumerGoal("look", target=0.8, max_rounds=2), history(UNSURE, rounds=2)) is None
    assert ask(ConsumerGoal("look", target=0.9), history(SURE)) is None
    assert ask(ConsumerGoal("look", target=0.91), history(SURE)) is not None
    assert ask(ConsumerGoal("look"), history(SURE)) is not None, "without a target it goes on"


def test_without_elements_a_label_or_a_text_is_asked_for():
    complete = history(UNSURE, missing=(), round_budget_bytes=70)
    feedback = ask(ConsumerGoal("look", target=0.8, round_budget_bytes=60), complete)
    assert feedback.labels == (7,), "what the task finds likeliest"
    assert not feedback.wanted and feedback.text is None and feedback.budget_bytes == 60
    feedback = ask(ConsumerGoal(text="a car"), history(None, missing=()))
    assert feedback.text == "a car" and feedback.labels == ()
    assert ask(ConsumerGoal("look", target=0.8), history(TaskResult("look", reason="broken"), missing=())) is None


def test_the_target_of_a_goal_takes_the_place_of_the_senders():
    assert ask(ConsumerGoal("look", target=0.8), history(UNSURE, quality_target=0.4)).wanted
    assert ask(ConsumerGoal(text="a car"), history(None, quality_target=0.4)).wanted


def test_a_task_that_failed_has_not_reached_the_target():
    failed = TaskResult("look", reason="broken")
    feedback = ask(ConsumerGoal("look", (3,), target=0.1), history(failed))
    assert feedback.labels == (3,) and feedback.wanted
    feedback = ask(ConsumerGoal("look", (3,), target=0.1), history(None, picture=False))
    assert feedback.labels == (3,) and feedback.wanted[0].tolist() == [[2, 1]]


def test_a_history_keeps_the_last_picture_and_all_results():
    rounds = history(UNSURE, rounds=3)
    assert [r.reconstruction is not None for r in rounds] == [False, False, True]
    assert [r.task_result for r in rounds] == [UNSURE] * 3


def test_labels_and_text_cross_the_feedback_and_cost_bytes():
    rounds = history(UNSURE)
    first, link = rounds[0].received.frame, LinkSettings()
    plain = feedback_to_proto(Feedback(5, 0, {}), [first], link)
    request = feedback_to_proto(Feedback(5, 0, {}, (207, 3), "a car"), [first], link)
    assert len(counted_message(request)) - len(counted_message(plain)) == 2 + 3 + 2 + 5
    read = check_feedback(request, [first], link)
    assert read.labels == (207, 3) and read.text == "a car"
    read = check_feedback(plain, [first], link)
    assert read.labels == () and read.text is None
    request.text = "é" * 100
    assert check_feedback(request, [first], link).text == "é" * 100
    request.text = "é" * 101
    with pytest.raises(InvalidInput, match="^text: 202 bytes of UTF-8 are not in 1 to 200"):
        check_feedback(request, [first], link)
    request.text = ""
    request.labels.extend(range(300, 315))
    with pytest.raises(InvalidInput, match="^labels: 17 labels are more than 16"):
        check_feedback(request, [first], link)


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan")])
def test_a_confidence_is_a_share(confidence):
    with pytest.raises(InvalidInput, match="confidence"):
        TaskResult("look", confidence=confidence)
    with pytest.raises(InvalidInput, match="confidence"):
        LabelConfidence(0, "cock", confidence)


def test_a_task_that_fails_says_why():
    class Fails:
        label_names = ()

        def run(self, image, labels=()):
            raise self.error

    task, image = Fails(), np.zeros((3, 64, 64), np.float32)
    task.error = RuntimeError("secret detail")
    assert run_task(lambda name: task, "look", image, ()) == TaskResult("look", reason="internal error (RuntimeError)")
    task.error = InvalidInput("confidence: 2 of look is not in 0 to 1")
    assert run_task(lambda name: task, "look", image, ()).reason == "confidence: 2 of look is not in 0 to 1"
    assert "no 'look'; there are" in run_task(LoadedTasks(open_zoo("cpu")).get, "look", image, ()).reason


def test_an_unknown_task_is_refused_with_the_choices():
    assert "classify" in TASKS
    with pytest.raises(InvalidInput, match="task: no 'segmentation'; there are .*classify"):
        LoadedTasks(open_zoo("cpu")).get("segmentation")


def test_classify_rates_wanted_labels_together():
    from gocom.receiver.tasks.classify import ClassifyTask

    task = ClassifyTask.__new__(ClassifyTask)
    task.classifier = type("Net", (), {"names": tuple(f"class {i}" for i in range(10))})
    logits = np.log(np.array([0.02, 0.3, 0.01, 0.2, 0.15, 0.1, 0.08, 0.07, 0.04, 0.03], np.float32))
    result = task.rate(logits)
    assert [label.index for label in result.labels] == [1, 3, 4, 5, 6] and result.labels[0].name == "class 1"
    assert result.confidence == pytest.approx(0.3) == result.labels[0].confidence
    result = task.rate(logits, (2, 3, 9))
    assert result.confidence == pytest.approx(0.01 + 0.2 + 0.03, abs=1e-6)
    assert [label.index for label in result.labels] == [1, 3, 4, 5, 6, 9, 2]


def test_classify_knows_a_cat(photo):
    task = LoadedTasks(open_zoo("cpu")).get("classify")
    result = task.run(photo("chelsea", 256))
    assert len(task.label_names) == 1000 and len(result.labels) == 5
    assert {"tabby", "Egyptian cat", "tiger cat"} & {label.name for label in result.labels[:3]}
    cats = [label.index for label in result.labels if label.name in ("tabby", "Egyptian cat", "tiger cat")]
    assert task.run(photo("chelsea", 256), cats).confidence > 0.5 > task.run(photo("chelsea", 256), (0,)).confidence
