"""What a client is told of services that are not there, or are others, and of code of its own that fails."""

import asyncio

import grpc
import pytest
from toy_codec import NAME
from toy_world import free_port, png

from gocom.client.client import AsyncClient, Client
from gocom.common.errors import InvalidInput, NotReady
from gocom.v1 import receiver_pb2_grpc

SECONDS = 20
"""Limit on what must not wait; it takes a second or less."""


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
        sent = await results(client, [png()] * 2, timeout_s=1)
    assert [result.failure for result in sent] == ["timeout"] * 2
    for result in sent:
        assert f"within 1 s; the transmitter reports link: {link}: connection refused" in result.reason


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


async def test_a_slow_iterator_outlives_the_patience_of_the_transmitter(world):
    await world.all(first_item_s=0.2)

    async def slowly():
        for _ in range(2):
            await asyncio.sleep(0.7)
            yield png()

    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        sent = await results(client, slowly())
    assert [result.outcome for result in sent] == ["reconstructed"] * 2


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
