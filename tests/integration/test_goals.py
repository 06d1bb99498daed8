"""The consumer's goal through the services: who says it, what reaches the encoder, and when the receiver stops."""

import asyncio
import io
import threading

import grpc
import numpy as np
import pytest
import toy_tasks
from PIL import Image
from toy_world import kinds, opening, refused, request, toy_round

from gocom.common.errors import InvalidInput, NotReady
from gocom.v1 import feedback_pb2, feedback_pb2_grpc, link_pb2, receiver_pb2

Goal = receiver_pb2.Goal
WHOLE = 15 / 16
"""What the task `lit` says of the whole ramp."""


def set_goal(world, session="s", **goal):
    message = receiver_pb2.SetGoalRequest(session_id=session, goal=Goal(**goal) if goal else None)
    return world.pictures.SetGoal(message, timeout=100)


async def get_goal(world, session="s"):
    return (await world.pictures.GetGoal(receiver_pb2.GetGoalRequest(session_id=session), timeout=100)).state


async def picture(world, session="s"):
    """The latest picture that the receiver keeps of a session."""
    call = world.pictures.Subscribe(receiver_pb2.SubscribeRequest(session_id=session), timeout=100)
    found = None
    while found is None:
        response = await call.read()
        found = response.reconstruction if response.HasField("reconstruction") else None
    call.cancel()
    return found


async def test_labels_and_a_text_reach_the_encoder(world, asked):
    await world.all()
    await set_goal(world, task="lit", labels=[2, 1], text="a car", target=0.99)
    events = await world.transmit(request(0, max_rounds=2))
    (feedback,) = asked
    assert feedback.labels == (2, 1) and feedback.text == "a car" and not feedback.wanted
    assert kinds(events) == ["accepted", "sent", "received", "feedback", "sent", "received", "completed"]
    named = next(e.feedback for e in events if e.HasField("feedback"))
    assert named.elements_named == 0
    cost = events[-1].completed.feedback_bytes
    assert cost > len("a car") + 2 + 4, "label and text are counted"
    got = await picture(world)
    assert got.rounds == 2 and got.goal_revision == 1


async def test_without_labels_the_likeliest_one_is_asked_for(world, asked):
    await world.all()
    await set_goal(world, task="lit", target=0.99)
    await world.transmit(request(0, max_rounds=2))
    assert [f.labels for f in asked] == [(1,)]
    result = (await picture(world)).task_result
    assert result.task == "lit" and result.confidence == pytest.approx(WHOLE)
    assert [(label.index, label.name) for label in result.labels] == [(1, "something"), (0, "nothing")]


async def test_a_target_that_is_reached_needs_no_feedback(world, asked):
    await world.all()
    await set_goal(world, task="lit", labels=[1], text="a car", target=0.9)
    events = await world.transmit(request(0, max_rounds=5))
    assert kinds(events) == ["accepted", "sent", "received", "completed"] and not asked
    assert events[-1].completed.feedback_bytes == 0
    got = await picture(world)
    stages = [stage.stage for stage in got.stages]
    assert stages.count("task") == 1 and got.task_result.confidence == pytest.approx(WHOLE)


async def test_it_stops_as_soon_as_the_target_is_reached(world, asked):
    await world.all("packet_erasure:rate=0.6")
    await set_goal(world, task="lit", target=0.7)
    await world.transmit(request(0, max_rounds=30), request(1, session="s", max_rounds=30))
    (goal_rounds,), result = {(await picture(world)).rounds}, (await picture(world)).task_result
    assert result.confidence >= 0.7
    assert all(f.wanted for f in asked), "elements are named too, as the sender's policy names them"
    await world.transmit(request(0, session="free", max_rounds=30))
    free = await picture(world, "free")
    assert free.rounds > goal_rounds and not free.HasField("task_result") and free.goal_revision == 0


async def test_the_smaller_limits_hold(world, asked):
    await world.all("packet_erasure:rate=0.7")
    await set_goal(world, task="lit", target=1, max_rounds=3, round_budget_bytes=110)
    events = await world.transmit(request(0, max_rounds=9, round_budget_bytes=200))
    assert kinds(events).count("sent") == 3
    assert [f.budget_bytes for f in asked] == [110, 110]
    later = [e.sent.bytes.total_bytes for e in events if e.HasField("sent") and e.sent.round]
    assert later and all(size <= 110 for size in later)
    asked.clear()
    await set_goal(world, task="lit", target=1, max_rounds=9, round_budget_bytes=900)
    events = await world.transmit(request(1, max_rounds=2, round_budget_bytes=150))
    assert kinds(events).count("sent") == 2 and [f.budget_bytes for f in asked] == [150]
    # The task is run although the sender allows no feedback at all.
    asked.clear()
    await world.transmit(request(2))
    assert not asked and (await picture(world)).HasField("task_result")


async def test_a_goal_changed_in_mid_stream_changes_the_next_feedback(world, asked):
    await world.all()
    await set_goal(world, task="lit", labels=[1], target=0.99)

    async def images():
        yield request(0, max_rounds=2)
        while not asked:
            await asyncio.sleep(0.01)
        await world.subscribe(2)  # the goal, and the picture
        assert (await set_goal(world, task="lit", labels=[2], text="now", target=0.99)).state.revision == 2
        yield request(1, max_rounds=2)

    events = [event async for event in world.images.Transmit(images(), timeout=100)]
    assert kinds(events, 1)[-1] == "completed"
    assert [(f.frame_index, f.labels, f.text) for f in asked] == [(0, (1,), None), (1, (2,), "now")]
    got = await world.subscribe(3)
    assert [p.WhichOneof("event") for p in got] == ["goal", "reconstruction", "reconstruction"]
    assert [p.reconstruction.goal_revision for p in got[1:]] == [1, 2]


class Taker(feedback_pb2_grpc.FeedbackServiceServicer):
    """Takes feedback, and lets the next round come when the test says so."""

    def __init__(self):
        self.arrived, self.proceed = [], asyncio.Queue()

    async def SendFeedback(self, request, context):
        self.arrived.append(request)
        self.proceed.put_nowait(len(self.arrived))
        return feedback_pb2.SendFeedbackResponse(will_send=True)


async def test_a_goal_changed_in_mid_frame_holds_from_the_next_round(world):
    taker = Taker()
    address = await world.bare(feedback_pb2_grpc.add_FeedbackServiceServicer_to_server, taker)
    await world.receiver(feedback_address=address)
    await set_goal(world, task="lit", labels=[1], target=1)

    async def items():
        yield opening()
        for item in toy_round(max_rounds=3):
            yield item
        await taker.proceed.get()
        await set_goal(world, text="now")
        for round_ in (1, 2):
            for item in toy_round(0, round_, max_rounds=3, count=5, spans=np.array([[0, 5]])):
                yield item
            if round_ == 1:
                await taker.proceed.get()

    got = [response async for response in world.link.Send(items(), timeout=100)]
    assert got[-1].outcome.rounds == 3
    assert [(list(f.labels), f.text, f.round) for f in taker.arrived] == [([1], "", 0), ([], "now", 1)]
    end = await picture(world)
    assert end.goal_revision == 2 and not end.HasField("task_result")


async def test_two_subscribers_see_one_goal_and_the_last_writer_wins(world):
    await world.receiver()
    first = Goal(task="lit", labels=[1], target=0.5)

    def subscribe(**fields):
        return world.pictures.Subscribe(receiver_pb2.SubscribeRequest(session_id="s", **fields), timeout=100)

    one = subscribe(goal=first)
    assert (await one.read()).goal == receiver_pb2.GoalState(goal=first, revision=1)
    two = subscribe()
    assert (await two.read()).goal == receiver_pb2.GoalState(goal=first, revision=1), "first of all"
    three = subscribe(goal=Goal(text="a car"))
    expected = receiver_pb2.GoalState(goal=Goal(text="a car"), revision=2)
    assert [(await call.read()).goal for call in (one, two, three)] == [expected] * 3
    assert await get_goal(world) == expected
    # The same goal again is no change.
    assert (await set_goal(world, text="a car")).state.revision == 2
    assert (await set_goal(world)).state == receiver_pb2.GoalState(revision=3)
    assert [(await call.read()).goal for call in (one, two, three)] == [receiver_pb2.GoalState(revision=3)] * 3
    await world.send(opening(), *toy_round())
    for call in (one, two, three):
        response = await call.read()
        assert response.reconstruction.final and response.reconstruction.goal_revision == 3
        call.cancel()


async def test_a_goal_for_the_case_that_there_is_none(world):
    await world.receiver()

    async def resume(text):
        call = world.pictures.Subscribe(
            receiver_pb2.SubscribeRequest(session_id="s", goal=Goal(text=text), goal_if_none=True), timeout=20
        )
        state = (await call.read()).goal
        call.cancel()
        return state.goal.text, state.revision

    assert await resume("mine") == ("mine", 1)
    await set_goal(world, text="theirs")
    assert await resume("mine") == ("theirs", 2)
    await set_goal(world)
    assert await resume("mine") == ("", 3), "cleared is not none"


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (Goal(task="segmentation"), "task: no 'segmentation'; there are broken, classify, lit, missing, slow"),
        (Goal(task="lit", labels=[3]), "goal.labels: no 3; task 'lit' has 0 to 2"),
        (Goal(), "goal: has neither a task nor a text"),
        (Goal(text="é" * 101), "goal.text: 202 bytes"),
        (Goal(task="x" * 20_000), "goal.task: 20000 bytes of UTF-8 are not in 1 to 200"),
        (Goal(task="x" * 200), f"task: no {'x' * 80!r}; there are"),
        (Goal(task="lit", target=1.1), "goal.target: 1.1"),
    ],
)
async def test_a_goal_that_cannot_be_is_refused(world, goal, words):
    await world.receiver()
    subscribing = world.pictures.Subscribe(receiver_pb2.SubscribeRequest(session_id="s", goal=goal), timeout=100)
    setting = world.pictures.SetGoal(receiver_pb2.SetGoalRequest(session_id="s", goal=goal), timeout=100)
    for call in (setting, subscribing.read()):
        code, details = await refused(call)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith(words), details
    assert await get_goal(world) == receiver_pb2.GoalState()


async def test_a_refused_subscription_changes_no_goal(world):
    await world.receiver()
    await set_goal(world, text="ours")
    ahead = receiver_pb2.SubscribeRequest(session_id="s", cursor=(1 << 64) - 1, goal=Goal(text="theirs"))
    code, details = await refused(world.pictures.Subscribe(ahead, timeout=100).read())
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("cursor: ")
    assert await get_goal(world) == receiver_pb2.GoalState(goal=Goal(text="ours"), revision=1)


@pytest.mark.parametrize("how", ["set", "subscribe"])
async def test_of_two_goals_that_which_came_last_holds(world, monkeypatch, how):
    """The first one has a task that takes its time to load; the second needs none."""
    loading, proceed = threading.Event(), threading.Event()
    monkeypatch.setattr(toy_tasks.SlowTask, "loading", loading)
    monkeypatch.setattr(toy_tasks.SlowTask, "proceed", proceed)
    await world.receiver()
    if how == "set":
        first = asyncio.ensure_future(set_goal(world, task="slow"))
    else:
        message = receiver_pb2.SubscribeRequest(session_id="s", goal=Goal(task="slow"))
        first = asyncio.ensure_future(world.pictures.Subscribe(message, timeout=100).read())
    assert await asyncio.to_thread(loading.wait, 20)
    expected = receiver_pb2.GoalState(goal=Goal(text="now"), revision=1)
    try:
        assert (await set_goal(world, text="now")).state == expected
    finally:
        proceed.set()
    answer = await first
    assert (answer.state if how == "set" else answer.goal) == expected
    assert await get_goal(world) == expected
    assert (await set_goal(world, task="slow")).state.revision == 2, "and a later one holds again"


async def test_frames_without_a_picture_tell_the_goal_that_held(world, monkeypatch):
    await world.receiver()
    await set_goal(world, text="a car")
    header, *rest = toy_round(0)
    header.header.codec.extension.codec = "nobody"
    await world.send(opening(), header, *rest)

    def fail(*_):
        raise RuntimeError("the packets fell over")

    await world.send(opening(), *toy_round(1, decode="crash"), *toy_round(2, decode="all", count=256)[:1],
                     *toy_round(2, decode="all")[2:])  # fmt: skip
    monkeypatch.setattr("gocom.receiver.link_session.unpack", fail)
    await world.send(opening(), *toy_round(3))
    told = {p.reconstruction.frame_index: p.reconstruction for p in (await world.subscribe(5))[1:]}
    assert told[0].status == link_pb2.FRAME_STATUS_REFUSED
    assert [told[index].status for index in (1, 2, 3)] == [link_pb2.FRAME_STATUS_FAILED] * 3
    assert [told[index].goal_revision for index in range(4)] == [1] * 4


async def test_previews_tell_the_goal_too(world, monkeypatch):
    await world.receiver()
    previews = []
    monkeypatch.setattr("gocom.receiver.session_pictures.SessionRecord.preview", lambda _, p: previews.append(p))
    message = receiver_pb2.SubscribeRequest(session_id="s", previews=True, goal=Goal(text="a car"))
    call = world.pictures.Subscribe(message, timeout=100)
    await call.read()
    await world.send(opening(), *toy_round())
    call.cancel()
    assert [(p.final, p.goal_revision) for p in previews] == [(False, 1)]


async def test_the_policy_runs_beside_the_event_loop(world, monkeypatch):
    threads = []

    class Content:
        def next(self, history):
            threads.append(threading.current_thread())

    monkeypatch.setattr("gocom.receiver.frame_table.policy_for", lambda *_: Content())
    await world.receiver()
    await world.send(opening(), *toy_round())
    (thread,) = threads
    assert thread is not threading.current_thread() and thread.name.startswith("decode")


async def test_a_missing_net_and_bad_names(world):
    await world.receiver()
    code, details = await refused(set_goal(world, task="missing"))
    assert code == grpc.StatusCode.UNAVAILABLE and "its net is not installed" in details
    for call in (set_goal(world, session="no spaces", text="x"), get_goal(world, "no spaces")):
        code, details = await refused(call)
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("session_id")
    describe = world.pictures.DescribeTask
    code, details = await refused(describe(receiver_pb2.DescribeTaskRequest(task="none"), timeout=100))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("task: no 'none'; there are")
    code, details = await refused(describe(receiver_pb2.DescribeTaskRequest(task="x" * 20_000), timeout=100))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("task: 20000 bytes")
    answer = await describe(receiver_pb2.DescribeTaskRequest(task="lit"), timeout=100)
    assert list(answer.label_names) == list(toy_tasks.LABELS)


async def test_reading_the_goal_of_an_unknown_session_takes_no_record(world):
    await world.receiver(keep_sessions=1)
    await set_goal(world, text="kept")
    assert await get_goal(world, "other") == receiver_pb2.GoalState()
    assert (await get_goal(world)).revision == 1, "the one record is still that of the first session"


async def test_a_task_that_fails_costs_no_picture(world, asked):
    await world.all()
    await set_goal(world, task="broken", target=0.5)
    events = await world.transmit(request(0, max_rounds=3))
    assert kinds(events)[-1] == "completed" and not asked
    got = await picture(world)
    assert got.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    assert Image.open(io.BytesIO(got.image_png)).size == (128, 128)
    assert got.task_result == receiver_pb2.TaskResult(task="broken", reason="internal error (RuntimeError)")


async def test_frames_that_were_not_decoded_have_a_goal_too(world, asked):
    await world.all("packet_erasure:rate=0.3")
    await set_goal(world, task="lit", labels=[2], target=0.9)
    await world.transmit(request(0, max_rounds=20, options={"decode": "all"}))
    assert len(asked) > 0 and all(f.labels == (2,) and f.wanted for f in asked)
    got = await picture(world)
    assert got.task_result.confidence == pytest.approx(WHOLE), "in the round in which there was a picture"


async def test_tasks_in_a_batch(world):
    await world.receiver(batch_frames=4)
    await set_goal(world, task="lit")
    await world.send(opening(), *(item for index in range(4) for item in toy_round(index)))
    got = await world.subscribe(5)
    assert all(p.reconstruction.task_result.confidence == 255 / 256 for p in got[1:])


async def test_tasks_can_be_loaded_at_the_start(world):
    await world.receiver(warm_tasks=("lit",))
    with pytest.raises(InvalidInput, match="task: no 'none'; there are"):
        await world.receiver(warm_tasks=("none",))
    with pytest.raises(NotReady, match="its net is not installed"):
        await world.receiver(warm_tasks=("missing",))
