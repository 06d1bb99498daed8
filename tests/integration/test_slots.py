"""A stream holds a slot of its service, and gives it back however it ends."""

import asyncio
import contextlib
import time

import grpc
import pytest
from toy_world import opening, png, refused, request, toy_round

import gocom.channel_emulator.service
from gocom.common.rpc.call_status import CallStatus
from gocom.common.settings import ChannelSettings
from gocom.v1 import channel_pb2, channel_pb2_grpc, link_pb2_grpc, receiver_pb2

STREAMS = 3


def really(error, status):
    """The error with the status that the server sent: see call_status.py."""
    code, details, trailing = status.of(error)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details)


class Slots:
    """Streams of one kind at one service: how to open one, and to know that it was taken."""

    def __init__(self, method, first):
        self.method, self.first, self.count = method, first, 0

    async def open(self):
        """An open stream. Raises AioRpcError when it is refused."""
        self.count += 1
        message = self.first(f"slot{self.count}")
        endless = isinstance(message, receiver_pb2.SubscribeRequest | channel_pb2.WatchStatisticsRequest)
        call = self.method(message, timeout=100) if endless else self.method(timeout=100)
        status = CallStatus(call)
        try:
            if endless:
                await call.initial_metadata()
                if call.done():
                    await call.read()
            else:
                await call.write(message)
                await call.read()
        except grpc.aio.AioRpcError as error:
            raise really(error, status) from error
        return call

    async def all_free(self, streams=STREAMS, seconds=5):
        """As many as are allowed can be opened, and no more. A call that was cancelled ends a moment later."""
        until, held = time.monotonic() + seconds, []
        while len(held) < streams:
            try:
                held.append(await self.open())
            except grpc.aio.AioRpcError as error:
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
                assert time.monotonic() < until, f"only {len(held)} of {streams} streams are free"
                await asyncio.sleep(0.02)
        code, details = await refused(self.open())
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "taken" in details
        for call in held:
            call.cancel()
        await asyncio.gather(*(call.code() for call in held))


@pytest.fixture
async def full(world):
    """The whole stack, each service with a few streams; kinds of slots by name."""
    limits = {"max_streams": STREAMS}
    await world.receiver(keep_sessions=256, **limits)
    emulator = await world.start(
        gocom.channel_emulator.service, ChannelSettings(port=0, next_hop=world.receiving.address, **limits)
    )
    await world.transmitter(emulator.address, outbox="off", **limits)
    channel = await world.channel(emulator.address)
    world.emulator_link = link_pb2_grpc.LinkServiceStub(channel)
    control = channel_pb2_grpc.ChannelControlServiceStub(channel)
    world.slots = {
        "transmit": Slots(world.images.Transmit, lambda name: request(0, session=name)),
        "send": Slots(world.link.Send, opening),
        "send through the emulator": Slots(world.emulator_link.Send, opening),
        "subscribe": Slots(world.pictures.Subscribe, lambda name: receiver_pb2.SubscribeRequest(session_id=name)),
        "watch": Slots(control.WatchStatistics, lambda name: channel_pb2.WatchStatisticsRequest()),
    }
    return world


@pytest.mark.parametrize("kind", ["transmit", "send", "send through the emulator", "subscribe", "watch"])
async def test_too_many_streams(full, kind):
    await full.slots[kind].all_free()
    await full.slots[kind].all_free()


def images(count=1, **options):
    """By a session's name: requests of images, the first of which takes a while to arrive whole."""
    return lambda name: [request(i, session=name, options=options, image=png(512)) for i in range(count)]


def items(*more):
    """By a session's name: its opening, and items of it."""
    return lambda name: [opening(name), *more]


def nothing(name):
    return []


HEADER, *BATCHES, _END = toy_round(0)
EMULATED = "send through the emulator"
STAGES = {
    "before the first image": ("transmit", nothing, None),
    "with an image half read": ("transmit", images(), None),
    "between images": ("transmit", images(), "completed"),
    "while encoding": ("transmit", images(3, seconds=0.3), "accepted"),
    "while decoding": ("transmit", images(3, decode="slow"), "sent"),
    "before it is opened": ("send", nothing, None),
    "once it is open": ("send", items(), "accepted"),
    "within a frame": ("send", items(HEADER, BATCHES[0]), "accepted"),
    "while a frame is decoded": ("send", items(*toy_round(0, decode="slow")), "ack"),
    "before it is opened, emulated": (EMULATED, nothing, None),
    "within a frame, emulated": (EMULATED, items(HEADER, *BATCHES), "accepted"),
    "while a frame is decoded, emulated": (EMULATED, items(*toy_round(0, decode="slow")), "ack"),
}


ENDS = {
    "cancelled": {grpc.StatusCode.CANCELLED},
    # grpc.aio says INTERNAL where the deadline comes in the middle of a write.
    "deadline": {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL},
}


async def play(call, messages, sign):
    """Write messages, and read until the sign that the stage is reached."""
    for message in messages:
        await call.write(message)
    while sign is not None:
        response = await call.read()
        if response is grpc.aio.EOF or sign in (field.name for field, _ in response.ListFields()):
            return


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_call_that_is_given_up_frees_its_slot(full, stage, how):
    kind, messages, sign = STAGES[stage]
    slots = full.slots[kind]
    for number in range(STREAMS):
        call = slots.method(timeout=0.3 if how == "deadline" else 100)
        with contextlib.suppress(grpc.aio.AioRpcError):  # the deadline may be sooner than the stage
            await play(call, messages(f"gone{number}"), sign)
        if how == "cancelled":
            call.cancel()
        assert await call.code() in ENDS[how]
    await slots.all_free()


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
@pytest.mark.parametrize("kind", ["subscribe", "watch"])
async def test_a_reader_that_goes_away_frees_its_slot(full, kind, how):
    slots = full.slots[kind]
    for _ in range(STREAMS):
        call = slots.method(slots.first("gone"), timeout=0.2 if how == "deadline" else 100)
        await call.initial_metadata()
        if how == "cancelled":
            call.cancel()
        await call.code()
    await slots.all_free()


@pytest.mark.parametrize("kind", ["transmit", "send", "send through the emulator"])
async def test_a_stream_on_which_nothing_comes_frees_its_slot(world, kind):
    await world.receiver(first_item_s=0.3)
    emulator = await world.start(
        gocom.channel_emulator.service, ChannelSettings(port=0, next_hop=world.receiving.address)
    )
    await world.transmitter(emulator.address, outbox="off", first_item_s=0.3)
    through = link_pb2_grpc.LinkServiceStub(await world.channel(emulator.address))
    method = {"transmit": world.images.Transmit, "send": world.link.Send}.get(kind, through.Send)
    call = method(timeout=100)
    code, details = await refused(call.read())
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "missing; no" in details and "came within 0.3 s" in details
