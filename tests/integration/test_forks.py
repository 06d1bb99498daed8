"""Clients and stacks in a fork of the process that made them: an error instead of a wait for ever, and no harm done."""

import asyncio
import multiprocessing
import os
import re
import time

import numpy as np
import pytest

from gocom.client import AsyncClient, Client, LocalStack
from gocom.client.service_health import is_serving

SECONDS = 30
"""Limit on what a fork does; it takes less than a second."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path_factory.mktemp("logs")) as running:
        yield running


def in_a_fork(work):
    """Return what a function returns in a fork of this process, or its exception as text; None if it hung."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    deadline = time.monotonic() + SECONDS
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.01)
    with os.fdopen(ours) as pipe:
        return pipe.read() or f"ended by signal {ended[1]}"


FORK = r'InvalidInput: (client|gRPC|stack): belongs to process \d+, of which this one is a fork.*get_context\("spawn"\)'


def picture():
    return np.full((64, 64, 3), 90, np.uint8)


def sent(client):
    return [result.outcome for result in client.send([picture()] * 2, "jpeg")]


def test_a_client_in_a_fork_says_so_and_goes_on_in_its_own_process(stack):
    with stack.client() as client:
        assert sent(client) == ["reconstructed"] * 2
        begun = client.send([picture()] * 2, "jpeg")
        next(begun)
        counts = client.watch_channel(50)
        next(counts)
        recording = client.record_channel()
        uses = (
            lambda: sent(client), lambda: next(begun), lambda: next(counts), lambda: next(iter(recording)),
            client.get_channel, client.record_channel, lambda: client.get_goal("s"), lambda: sent(stack.client()),
            lambda: stack.kill("channel"), lambda: stack.start_one("channel"), stack.start,
            lambda: is_serving(stack.addresses["channel"]),
        )  # fmt: skip
        for number, use in enumerate(uses):
            said = in_a_fork(use)
            assert said is not None and re.match(FORK, said), (number, said)
        closings = (client.close, begun.close, counts.close, recording.close, stack.stop)
        assert [in_a_fork(close) for close in closings] == ["None"] * len(closings)
        assert next(begun).outcome == "reconstructed"
        next(counts)
        recording.close()
        assert sent(client) == ["reconstructed"] * 2
    stack.check()


def test_an_asynchronous_client_in_a_fork_says_so(stack):
    async def use():
        addresses = dict(stack.addresses)
        async with AsyncClient(**addresses) as client:
            transfer = client.open_transfer([picture()], "jpeg")
            assert (await transfer.next()).outcome == "reconstructed"
            recording = await client.record_channel()
            works = (
                lambda: anext(client.send([picture()], "jpeg")), transfer.next, recording.next, client.get_channel,
                lambda: client.label_names("classify"), client.record_channel,
            )  # fmt: skip
            said = [in_a_fork(lambda work=work: asyncio.run(awaited(work))) for work in works]
            closings = (transfer.close, recording.close, client.close)
            said_closing = [in_a_fork(lambda work=work: asyncio.run(awaited(work))) for work in closings]
            await recording.close()
            await transfer.close()
        return said, said_closing

    said, said_closing = asyncio.run(use())
    assert all(text is not None and re.match(FORK, text) for text in said), said
    assert said_closing == ["None"] * 3
    stack.check()


async def awaited(work):
    return await work()


def test_a_process_that_was_spawned_has_a_client_of_its_own(stack):
    with stack.client() as client, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert sent(client) == ["reconstructed"] * 2
        assert pool.apply(sent_by_a_new_client, (dict(stack.addresses),)) == ["reconstructed"] * 2


def sent_by_a_new_client(addresses):
    with Client(**addresses) as client:
        return sent(client)
