"""What a client is told of services that are not there, or are others, and of code of its own that fails."""

import asyncio
import functools

import grpc
import numpy as np
import pytest
from toy_codec import NAME
from toy_world import free_port, png

from gocom.client.client import AsyncClient, Client
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.rpc.client_channels import open_channel
from gocom.v1 import channel_pb2_grpc, receiver_pb2_grpc, transmitter_pb2_grpc

SECONDS = 40
"""Limit on what must not wait; most of it takes a second or less."""


async def results(client, images, **arguments):
    async def collect():
        return [result async for result in client.send(images, NAME, **arguments)]

    return await asyncio.wait_for(collect(), SECONDS)


@pytest.mark.parametrize("name", ["transmitter", "receiver"])
@pytest.mark.parametrize("goal", [False, True])
async def test_a_service_out_of_reach_is_named_within_the_patience(world, name, goal):
    await world.all()
    address = f"127.0.0.1:{free_port()}"
    addresses = {"transmitter": world.transmitting.address, "receiver": world.receiving.address, name: address}
    async with AsyncClient(**addresses) as client:
        with pytest.raises(NotReady, match=rf"^{name} at {address}: connection refused; is the service up"):
            await results(client, [png()], patience_s=0.5)


async def test_a_channel_out_of_reach_is_named():
    address = f"127.0.0.1:{free_port()}"
    async with AsyncClient(channel=address) as client:
        for work in (client.set_channel("clean"), client.get_channel(), client.record_channel()):
            with pytest.raises(NotReady, match=rf"^channel at {address}: connection refused"):
                await asyncio.wait_for(work, SECONDS)


async def test_a_timeout_says_what_the_transmitter_waits_for(world):
    await world.receiver()
    link = f"127.0.0.1:{free_port()}"
    await world.transmitter(link)
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        sent = await results(client, [png()] * 2, timeout_s=10)
    assert [result.failure for result in sent] == ["timeout"] * 2
    for result in sent:
        assert f"within 10 s; the transmitter reports link: {link}: connection refused" in result.reason


async def test_addresses_that_were_swapped_are_said_to_be(world):
    await world.all()
    first, second = world.transmitting.address, world.receiving.address
    async with AsyncClient(second, first, channel=first) as client:
        with pytest.raises(InvalidInput, match=r"^(receiver|transmitter) at .*: another service is there"):
            await results(client, [png()])
        with pytest.raises(InvalidInput, match=rf"^channel at {first}: another service is there"):
            await client.set_channel("clean")
        with pytest.raises(InvalidInput, match=rf"^receiver at {first}: another service is there"):
            await client.get_goal("s")


class Stumbling(receiver_pb2_grpc.ReceiverServiceServicer):
    """A receiver that takes every subscription, and ends it at once."""

    async def Subscribe(self, request, context):
        await context.send_initial_metadata(())
        await context.abort(grpc.StatusCode.INTERNAL, "stumbled")
        yield


async def test_a_service_that_fails_again_and_again_is_lost_in_the_end(world):
    await world.all()
    address = await world.bare(receiver_pb2_grpc.add_ReceiverServiceServicer_to_server, Stumbling())
    async with AsyncClient(world.transmitting.address, address) as client:
        with pytest.raises(Exception, match="INTERNAL: stumbled"):
            await results(client, [png()], patience_s=1)


async def test_what_making_a_request_raises_reaches_the_caller(world, monkeypatch):
    await world.all()

    def fall_over(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gocom.client.transfer.Transfer._request", fall_over)
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await results(client, [png()])


@pytest.mark.parametrize("kind", [LookupError, SystemExit, KeyboardInterrupt, asyncio.CancelledError])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_the_iterator_raises_comes_after_the_results_before_it(world, kind, asynchronous):
    await world.all()

    def broken():
        yield png()
        raise kind("no more")

    async def broken_later():
        for image in broken():
            yield image

    def collect():
        found = []
        with Client(world.transmitting.address, world.receiving.address) as client:
            try:
                for result in client.send(broken_later() if asynchronous else broken(), NAME):
                    found.append(result.outcome)
            except BaseException as error:
                found.append(error)
        return found

    outcome, error = await asyncio.wait_for(asyncio.to_thread(collect), SECONDS)
    assert outcome == "reconstructed" and type(error) is kind and error.args == ("no more",)


@pytest.mark.parametrize("kind", [LookupError, SystemExit])
async def test_what_a_callback_raises_reaches_the_caller(world, kind):
    await world.all()

    def callback(preview):
        raise kind("not so")

    def collect():
        with Client(world.transmitting.address, world.receiving.address) as client:
            try:
                return list(client.send([png()], NAME, on_preview=callback))
            except BaseException as error:
                return error

    error = await asyncio.wait_for(asyncio.to_thread(collect), SECONDS)
    assert type(error) is kind and error.args == ("not so",)


async def test_a_callback_that_waits_for_its_own_client_is_told(world):
    await world.all()

    def collect():
        with Client(world.transmitting.address, world.receiving.address) as client:
            list(client.send([png()], NAME, on_preview=lambda preview: client.get_goal("s")))

    with pytest.raises(InvalidInput, match="client: on_preview must not call the client"):
        await asyncio.wait_for(asyncio.to_thread(collect), SECONDS)


@pytest.mark.parametrize("patience", [{}, {"patience_s": 0}])
async def test_a_slow_iterator_outlives_the_patience_of_the_transmitter(world, patience):
    await world.all(first_item_s=0.2)

    async def slowly():
        for _ in range(2):
            await asyncio.sleep(0.7)
            yield png()

    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        sent = await results(client, slowly(), **patience)
    assert [result.outcome for result in sent] == ["reconstructed"] * 2


class Silent(
    transmitter_pb2_grpc.TransmitterServiceServicer,
    receiver_pb2_grpc.ReceiverServiceServicer,
    channel_pb2_grpc.ChannelControlServiceServicer,
):
    """Services that take every call, and never answer it."""

    def __init__(self):
        self.calls = 0

    async def wait(self, request, context):
        self.calls += 1
        await asyncio.sleep(3600)

    async def wait_on_a_stream(self, request, context):
        await context.send_initial_metadata(())
        await self.wait(request, context)
        yield

    GetProfile = GetGoal = wait
    Transmit = Subscribe = WatchStatistics = RecordTrace = wait_on_a_stream


async def silent_client(world):
    silent = Silent()

    def add(servicer, server):
        transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server(servicer, server)
        receiver_pb2_grpc.add_ReceiverServiceServicer_to_server(servicer, server)
        channel_pb2_grpc.add_ChannelControlServiceServicer_to_server(servicer, server)

    address = await world.bare(add, silent)
    return silent, AsyncClient(address, address, address)


async def next_round(client):
    return await (await client.record_channel()).next()


USES = {
    "send": lambda client: results(client, [png()]),
    "goal": lambda client: client.get_goal("s"),
    "channel": lambda client: client.get_channel(),
    "counts": lambda client: anext(client.watch_channel()),
    "recording": next_round,
}


async def use_until(world, use, end):
    """Start a use of a client, call a function with its task and the client, and return what the task has raised."""
    silent, client = await silent_client(world)
    task = asyncio.create_task(USES[use](client))
    while silent.calls < (2 if use == "send" else 1):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await end(task, client)
    (error,) = await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), SECONDS)
    await client.close()
    return task, error


@pytest.mark.parametrize("use", USES)
async def test_who_still_uses_a_client_that_is_closed_is_told(world, use):
    async def close(task, client):
        await client.close()

    task, error = await use_until(world, use, close)
    assert type(error) is InvalidInput and str(error) == "client: was closed meanwhile"
    assert not task.cancelled()


@pytest.mark.parametrize("use", USES)
async def test_a_task_that_is_cancelled_is_cancelled(world, use):
    async def cancel(task, client):
        task.cancel()

    task, error = await use_until(world, use, cancel)
    assert task.cancelled() and isinstance(error, asyncio.CancelledError)


async def test_a_client_that_is_closed_while_it_tries_again_is_said_to_be(world):
    there = await world.bare(transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server, Silent())
    nowhere = f"127.0.0.1:{free_port()}"
    client = AsyncClient(there, nowhere, nowhere)
    tasks = [asyncio.create_task(work) for work in (client.get_channel(), results(client, [png()]))]
    await asyncio.sleep(0.1)
    await client.close()
    errors = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), SECONDS)
    assert [type(error) for error in errors] == [InvalidInput] * 2, errors


async def test_a_picture_too_large_for_the_client_says_so_and_the_rest_is_sent(world, monkeypatch):
    await world.all()
    limited = functools.partial(open_channel, max_message_bytes=16384)
    monkeypatch.setattr("gocom.client.client.open_channel", limited)
    noise = np.random.default_rng(1).integers(0, 255, (176, 208, 3), np.uint8)
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        sent = await results(client, [png(), noise, png()])
    assert [result.failure for result in sent] == ["", "invalid", ""]
    assert "this client sends at most 16384" in sent[1].reason and "transmitter" not in sent[1].reason


async def test_a_closed_client_says_that_it_is_closed():
    client = Client(channel=f"127.0.0.1:{free_port()}")
    client.close()
    for use in (lambda: list(client.send([png()], "jpeg")), client.get_channel, client.record_channel):
        with pytest.raises(InvalidInput, match="client: is closed"):
            use()
    client.close()


async def test_a_closed_asynchronous_client_says_that_it_is_closed():
    client = AsyncClient(channel=f"127.0.0.1:{free_port()}")
    await client.close()
    for use in (lambda: anext(client.send([png()], "jpeg")), client.get_channel, lambda: client.get_goal("s")):
        with pytest.raises(InvalidInput, match="client: is closed"):
            await use()
    await client.close()


@pytest.mark.parametrize("address", ["foo", "foo:bar", ":50051", "127.0.0.1:0", "127.0.0.1:65536", 50051, b"a:1", ""])
def test_an_address_that_is_none_is_named(address):
    for name in ("transmitter", "receiver", "channel"):
        with pytest.raises(InvalidInput, match=f"^{name}: .* is not host:port"):
            Client(**{name: address})


async def test_what_is_no_grpc_service_is_said_to_be_none():
    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, AsyncClient(channel=address) as client:
        with pytest.raises(NotReady, match=f"^channel at {address}: what answers is no gRPC service$"):
            await client.get_channel()


async def test_goals_of_the_wrong_kind_are_named():
    async with AsyncClient() as client:
        for words, work in (
            ("session_id: '5' is not", client.get_goal(5)),
            ("goal: 'classify' is not a ConsumerGoal", client.set_goal("s", "classify")),
            ("task: 5 is not the name", client.label_names(5)),
        ):
            with pytest.raises(InvalidInput, match=words):
                await work
