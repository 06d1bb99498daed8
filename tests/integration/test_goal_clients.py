"""The consumer's goal as the Python client and the command line say it."""

import asyncio
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
import toy_tasks
from PIL import Image
from test_goals import WHOLE, get_goal
from toy_codec import NAME
from toy_world import free_port, png

from gocom.client.client import AsyncClient
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.goals import ConsumerGoal, GoalState
from gocom.v1 import receiver_pb2, receiver_pb2_grpc

PAGE = Path(__file__).resolve().parents[2] / "docs" / "goals.md"


async def all_with_client(world, profile="clean"):
    """The three services and a client of them."""
    port = free_port()
    world.feedback_address = f"127.0.0.1:{port}"
    await world.receiver(feedback_address=world.feedback_address)
    emulator = await world.emulator(profile)
    await world.transmitter(emulator.address, port=port)
    return await world.stack.enter_async_context(AsyncClient(world.transmitting.address, world.receiving.address))


async def test_the_client_says_and_changes_the_goal(world, asked):
    client = await all_with_client(world)
    pixels = np.asarray(Image.open(io.BytesIO(png())))
    goal = ConsumerGoal("lit", (1,), target=0.99)
    results = []

    async def images():
        yield pixels
        while not results:
            await asyncio.sleep(0.01)
        yield pixels

    async for result in client.send(images(), NAME, max_rounds=2, goal=goal):
        results.append(result)
        if len(results) == 1:
            assert await client.get_goal(result.session_id) == GoalState(goal, 1)
            changed = await client.set_goal(result.session_id, ConsumerGoal(text="now"))
            assert changed.revision == 2
    assert [(f.labels, f.text) for f in asked] == [((1,), None), ((), "now")]
    first, second = results
    assert first.goal_revision == 1 and second.goal_revision == 2
    assert first.task_result.task == "lit" and first.task_result.labels[0].name == "something"
    assert first.task_result.confidence == pytest.approx(WHOLE) and second.task_result is None
    record = first.as_record()
    assert record["goal_revision"] == 1 and json.loads(json.dumps(record["task_result"]))["confidence"] > 0.9
    assert first.seconds["task"] >= 0 and "task" not in second.seconds
    assert await client.label_names("lit") == toy_tasks.LABELS
    assert await client.set_goal(first.session_id, None) == GoalState(None, 3)


async def test_the_client_is_told_of_a_goal_that_cannot_be(world):
    client = await all_with_client(world)
    with pytest.raises(InvalidInput, match="task: no 'none'; there are"):
        async for _ in client.send([png()], NAME, goal=ConsumerGoal("none")):
            pass
    with pytest.raises(InvalidInput, match="task: no 'none'; there are"):
        await client.set_goal("s", ConsumerGoal("none"))
    with pytest.raises(InvalidInput, match="task: no 'none'; there are"):
        await client.label_names("none")


async def test_pictures_wait_for_a_receiver_that_comes_late(world):
    """The goal holds before the first picture is sent, although the first subscriptions have reached nobody."""
    port = free_port()
    await world.transmitter(f"127.0.0.1:{port}")
    addresses = world.transmitting.address, f"127.0.0.1:{port}"
    client = await world.stack.enter_async_context(AsyncClient(*addresses))
    transfer = client.open_transfer([png()], NAME, goal=ConsumerGoal("lit", (1,)))
    stream, attempts = transfer._subscribe_stream, []
    subscribe = stream._stream

    async def counted():
        attempts.append(None)
        return await subscribe()

    stream._stream = counted
    try:
        async with asyncio.timeout(20):
            while len(attempts) < 3 or not transfer._frames:
                await asyncio.sleep(0.01)
            assert not stream.subscribed.is_set()
            assert not any(frame.handed_over for frame in transfer._frames.values())
            await world.receiver(port)
            result = await transfer.next()
            assert await transfer.next() is None
    finally:
        await transfer.close()
    assert result.outcome == "reconstructed" and result.goal_revision == 1 and result.task_result.task == "lit"


@pytest.mark.parametrize("there", [True, False])
async def test_what_keeps_a_goal_from_holding_is_told_within_the_patience(world, there):
    """A receiver without the net of the task, or none at all."""
    receiver, words = f"127.0.0.1:{free_port()}", "receiver at "
    if there:
        await world.receiver()
        receiver, words = world.receiving.address, "receiver at .*: task missing: its net is not installed"
    await world.transmitter(receiver)
    client = await world.stack.enter_async_context(AsyncClient(world.transmitting.address, receiver))
    transfer = client.open_transfer([png()], NAME, goal=ConsumerGoal("missing"), patience_s=0.5)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(NotReady, match=words):
                await transfer.next()
        assert not any(frame.handed_over for frame in transfer._frames.values())
    finally:
        await transfer.close()


class LateReceiver(receiver_pb2_grpc.ReceiverServiceServicer):
    """Refuses two subscriptions, cuts the third, and keeps the fourth."""

    def __init__(self):
        self.requests = []

    async def Subscribe(self, request, context):
        self.requests.append(request)
        number = len(self.requests)
        if number < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        yield receiver_pb2.SubscribeResponse(goal=receiver_pb2.GoalState(goal=request.goal, revision=1))
        if number == 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        await asyncio.sleep(60)


async def test_only_a_goal_that_has_held_gives_way_to_that_of_others(world):
    late = LateReceiver()
    address = await world.bare(receiver_pb2_grpc.add_ReceiverServiceServicer_to_server, late)
    client = await world.stack.enter_async_context(AsyncClient(f"127.0.0.1:{free_port()}", address))
    transfer = client.open_transfer([], NAME, goal=ConsumerGoal(text="a car"))
    try:
        async with asyncio.timeout(20):
            while len(late.requests) < 4:
                await asyncio.sleep(0.01)
    finally:
        await transfer.close()
    assert [request.goal_if_none for request in late.requests] == [False, False, False, True]


async def test_a_restarted_receiver_gets_the_goal_again(world, asked):
    client = await all_with_client(world)
    port, results = world.receiving.port, []

    async def images():
        yield png()
        while not results:
            await asyncio.sleep(0.01)
        changed = await client.set_goal(results[0].session_id, ConsumerGoal("lit", (2,), target=0.99))
        while transfer._subscribe_stream._goal != changed.goal:
            await asyncio.sleep(0.01)
        await world.receiving.stop(0)
        await world.receiver(port, feedback_address=world.feedback_address)
        while not (await client.get_goal(results[0].session_id)).revision:
            await asyncio.sleep(0.02)
        yield png()

    goal = ConsumerGoal("lit", (1,), target=0.99)
    transfer = client.open_transfer(images(), NAME, max_rounds=2, goal=goal)
    try:
        while (result := await transfer.next()) is not None:
            results.append(result)
    finally:
        await transfer.close()
    assert [f.labels for f in asked] == [(1,), (2,)], "the goal that held last, not that of the send"
    assert [r.task_result.task for r in results] == ["lit", "lit"]


def gocom(folder, *words):
    environment = {
        **os.environ, "GOCOM_PLUGINS": "my_plugins", "GOCOM_TRANSMITTER_WARM_CODECS": "[]",
        "PYTHONPATH": os.pathsep.join([str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
        "GOCOM_RECEIVER_WARM_CODECS": "[]",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", *words], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    ((name, code),) = re.findall(r"```python file=(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    path = folder / "my_plugins" / name
    path.parent.mkdir(parents=True)
    path.write_text(code)
    return folder


@pytest.mark.timeout(200)
def test_the_task_from_the_page_by_the_command_line(plugin, tmp_path):
    Image.fromarray(np.full((96, 96, 3), 51, np.uint8)).save(tmp_path / "dim.png")
    words = ["send", str(tmp_path / "dim.png"), "--codec", "jpeg", "--local", "--task", "bright", "--target", "0.5"]
    status, output, errors = gocom(plugin, *words, "--label-name", "Bright", "--out", str(tmp_path / "out"), "--json")
    assert status == 0, errors + output
    (line,) = map(json.loads, output.splitlines())
    found = line["task_result"]
    assert found["task"] == "bright" and found["confidence"] == pytest.approx(0.2, abs=0.02)
    assert [label["name"] for label in found["labels"]] == ["dark", "bright"] and not found["reason"]
    # The label was asked for, and jpeg has no answer to it: one round, and feedback that was paid for.
    assert line["rounds"] == 1 and line["bytes_by_segment"]["feedback"] > 0 and line["seconds"]["task"] >= 0
    assert (tmp_path / "out" / "dim.jpeg.compare.png").exists()
    status, output, _ = gocom(plugin, *words, "--label-name", "brigth", "--json")
    assert status == 2 and "label-name: no 'brigth'; similar are bright" in json.loads(output)["error"]


async def test_the_goal_command_on_running_services(world):
    await world.receiver()
    address = ["--receiver", world.receiving.address]

    async def run(*words):
        environment = os.environ | {"COLUMNS": "200"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gocom.client.cli", "goal", *words, *address, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        return process.returncode, output.decode(), errors.decode()

    status, output, _ = await run("set", "s", "--task", "lit", "--label-name", "anything", "--target", "0.7",
                                  "--rounds", "4", "--round-budget-bytes", "90", "--json")  # fmt: skip
    goal = {"task": "lit", "labels": [2], "text": None, "target": 0.7, "max_rounds": 4, "round_budget_bytes": 90}
    assert status == 0 and json.loads(output) == {"session_id": "s", "revision": 1, "goal": goal}
    assert (await get_goal(world)).goal.labels == [2]
    status, output, _ = await run("get", "s")
    assert output.split("   ")[0] == "task lit, labels 2, target 0.7, rounds 4, bytes a round 90"
    status, output, errors = await run("set", "s", "--task", "none")
    assert status == 2 and "task: no 'none'; there are" in errors
    status, output, _ = await run("clear", "s", "--json")
    assert json.loads(output) == {"session_id": "s", "revision": 2, "goal": None}
