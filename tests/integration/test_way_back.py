"""Feedback across the emulator: lost, sent again, counted, and what its callers are told."""

import asyncio
import time
from collections import Counter

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from toy_world import free_port, kinds, opening, refused, request, toy_round

import gocom.channel_emulator.service
import gocom.receiver.feedback_client
from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.proxy import feedback_proxy
from gocom.channel_emulator.proxy.feedback_as_packets import arrives
from gocom.channel_emulator.proxy.hops import hop_stream
from gocom.client.client import AsyncClient
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.rpc.client_channels import open_channel
from gocom.common.settings import ChannelSettings
from gocom.common.wire.feedback import MAX_ATTEMPTS, answer_waits, counted_message
from gocom.v1 import channel_pb2, channel_pb2_grpc, feedback_pb2, feedback_pb2_grpc, link_pb2

TRY_S, PATIENCE_S = 0.15, 4.0
ATTEMPTS = len(answer_waits(TRY_S, PATIENCE_S))
REVERSE = channel_pb2.DIRECTION_REVERSE
ADD = feedback_pb2_grpc.add_FeedbackServiceServicer_to_server


def feedback(frame=0, round_=0, attempt=0, session="s"):
    return feedback_pb2.SendFeedbackRequest(session_id=session, frame_index=frame, round=round_, attempt=attempt)


class Transmitter(feedback_pb2_grpc.FeedbackServiceServicer):
    """Keeps what arrives; `answer` says what becomes of it."""

    def __init__(self, answer=None):
        self.arrived, self.metadata, self.answer = [], [], answer

    async def SendFeedback(self, request, context):
        self.arrived.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.answer is not None:
            return await self.answer(request, context)
        return feedback_pb2.SendFeedbackResponse(will_send=True, reason=request.session_id)


async def emulator(world, address, reverse="clean", **settings):
    """An emulator on the way back alone; stubs of its two services."""
    settings = ChannelSettings(port=0, feedback_address=address, reverse_profile=reverse, **settings)
    world.emulating = await world.start(gocom.channel_emulator.service, settings)
    channel = await world.channel(world.emulating.address)
    return feedback_pb2_grpc.FeedbackServiceStub(channel), channel_pb2_grpc.ChannelControlServiceStub(channel)


async def start_all(world, forth, back, seed=0, try_s=TRY_S, patience_s=PATIENCE_S):
    """The three services, feedback across the emulator; its control."""
    emulating, port = free_port(), free_port()
    limits = {"feedback_timeout_s": patience_s, "feedback_try_s": try_s}
    await world.receiver(feedback_address=f"127.0.0.1:{emulating}", **limits)
    settings = ChannelSettings(
        port=emulating, next_hop=world.receiving.address, profile=forth, seed=seed,
        feedback_address=f"127.0.0.1:{port}", reverse_profile=back,
    )  # fmt: skip
    await world.start(gocom.channel_emulator.service, settings)
    await world.transmitter(f"127.0.0.1:{emulating}", port=port)
    return channel_pb2_grpc.ChannelControlServiceStub(await world.channel(f"127.0.0.1:{emulating}"))


async def counts(control, direction=REVERSE):
    call = control.WatchStatistics(channel_pb2.WatchStatisticsRequest(direction=direction), timeout=100)
    report = await call.read()
    call.cancel()
    return report


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_without_a_way_back_a_frame_ends_with_its_first_round(world):
    control = await start_all(world, "packet_erasure:rate=0.3", "outage")
    began = time.monotonic()
    events = await world.transmit(request(0, max_rounds=3))
    seconds = time.monotonic() - began
    assert kinds(events) == ["accepted", "sent", "received", "completed"]
    assert PATIENCE_S <= seconds < 2 * PATIENCE_S, "the wait for a round that was never promised is none"
    plain = await world.transmit(request(0, session="t"))
    assert kinds(plain)[-1] == "completed"
    (asked,), (alone,) = await world.subscribe(1), await world.subscribe(1, session="t")
    assert asked.reconstruction.rounds == 1 and asked.reconstruction.image_png == alone.reconstruction.image_png
    stages = {stage.stage: stage.seconds for stage in asked.reconstruction.stages}
    assert PATIENCE_S - 0.1 <= stages["feedback"] < 2 * PATIENCE_S
    report = await counts(control)
    assert (report.frames, report.packets_in, report.packets_out) == (ATTEMPTS, ATTEMPTS, 0)
    assert events[-1].completed.feedback_bytes == 0  # nobody there knows of it; the receiver and the channel do


async def test_what_is_lost_is_sent_again_and_the_seed_says_how_often(world):
    forth, seed = "packet_erasure:rate=0.6", 7
    # Patient: an answer that is late would be asked for again.
    control = await start_all(world, forth, "heavy", seed, try_s=1, patience_s=7)
    most = len(answer_waits(1, 7))
    events = await world.transmit(*(request(i, max_rounds=2) for i in range(6)))
    assert Counter(kinds(events))["completed"] == 6
    chain = Chain.from_profile(parse_spec("heavy", seed))
    sent = {i: 1 + [arrives(chain, feedback(i, 0, n)) for n in range(most)].index(True) for i in range(6)}
    assert set(sent.values()) == {1, 2, 3}
    for index, attempts in sent.items():
        assert kinds(events, index).count("sent") == 2
        (end,) = [e.completed for e in events if e.HasField("completed") and e.frame_index == index]
        # Bytes of all attempts, of which those after the first name themselves in two, and of the answer.
        fixed = end.feedback_bytes - 2 - 2 * (attempts - 1)
        assert fixed > 0 and fixed % attempts == 0
    report = await counts(control)
    assert report.frames == report.packets_in == sum(sent.values())
    assert report.packets_out == len(sent)
    (entry,) = report.impairments
    assert (entry.trials, entry.events) == (report.packets_in, report.packets_in - report.packets_out)


async def test_the_profile_of_each_way_is_set_alone_and_live(world):
    taker = Transmitter()
    stub, control = await emulator(world, await world.bare(ADD, taker), "lossy", seed=3)
    set_to = channel_pb2.UpdateProfileRequest(profile=parse_spec("outage", 9), direction=REVERSE)
    assert (await control.UpdateProfile(set_to)).revision == 2
    back = await control.GetProfile(channel_pb2.GetProfileRequest(direction=REVERSE))
    assert (back.revision, back.profile) == (2, parse_spec("outage", 9))
    for direction in (channel_pb2.DIRECTION_UNSPECIFIED, channel_pb2.DIRECTION_FORWARD):
        forth = await control.GetProfile(channel_pb2.GetProfileRequest(direction=direction))
        assert (forth.revision, forth.profile) == (1, parse_spec("clean", 3))
    code, _ = await refused(stub.SendFeedback(feedback(), timeout=0.2))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED and not taker.arrived
    async with AsyncClient(channel=world.emulating.address) as client:
        assert await client.set_channel("clean", reverse=True) == 3
        assert (await client.get_channel(reverse=True), await client.get_channel()) == (
            parse_spec("clean"), parse_spec("clean", 3),
        )  # fmt: skip
        sent = feedback(2, 1, 3)
        assert (await stub.SendFeedback(sent, timeout=5)).reason == "s"
        assert taker.arrived == [sent]
        report = await anext(client.watch_channel(reverse=True))
        assert (report.frames, report.revision, report.payload_bytes_in) == (1, 3, len(counted_message(sent)))
        assert (await anext(client.watch_channel())).frames == 0


async def test_who_answers_is_heard_as_it_is(world):
    async def fail(request, context):
        code = grpc.StatusCode.UNKNOWN if request.frame_index else grpc.StatusCode.FAILED_PRECONDITION
        await context.abort(code, f"frame {request.frame_index} is strange", (("why", "x"),))

    stub, _ = await emulator(world, await world.bare(ADD, Transmitter(fail)))
    for index, code in enumerate((grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNKNOWN)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SendFeedback(feedback(index), timeout=5)
        assert (caught.value.code(), caught.value.details()) == (code, f"frame {index} is strange")
        assert ("why", "x") in tuple(caught.value.trailing_metadata())
    stub, _ = await emulator(world, f"127.0.0.1:{free_port()}")
    code, details = await refused(stub.SendFeedback(feedback(), timeout=5))
    assert code == grpc.StatusCode.UNAVAILABLE and "127.0.0.1" in details


async def test_emulators_in_a_row(world):
    taker = Transmitter()
    await emulator(world, await world.bare(ADD, taker), "heavy", seed=1)
    first, _ = await emulator(world, world.emulating.address, "heavy", seed=1)
    chain = Chain.from_profile(parse_spec("heavy", 1))
    asked = [feedback(i) for i in range(24)]
    calls = [asyncio.ensure_future(first.SendFeedback(f, timeout=1)) for f in asked]
    await asyncio.gather(*calls, return_exceptions=True)
    through = [all(arrives(chain, f, hop_stream(hop)) for hop in (0, 1)) for f in asked]
    # Of the same seed, and yet what passes the first is not all that passes the second.
    assert through != [arrives(chain, f) for f in asked]
    assert [c.exception() is None for c in calls] == through and 0 < sum(through) < 24
    assert sorted(f.frame_index for f in taker.arrived) == np.flatnonzero(through).tolist()


async def test_a_stop_ends_the_calls_that_wait_for_nothing(world):
    answering = asyncio.Event()

    async def late(request, context):
        answering.set()
        await asyncio.sleep(0.3)
        return feedback_pb2.SendFeedbackResponse(will_send=True)

    stub, control = await emulator(world, await world.bare(ADD, Transmitter(late)), grace_s=10)
    arrived = asyncio.ensure_future(stub.SendFeedback(feedback(1), timeout=30))
    await answering.wait()
    await control.UpdateProfile(channel_pb2.UpdateProfileRequest(profile=parse_spec("outage"), direction=REVERSE))
    lost = asyncio.ensure_future(stub.SendFeedback(feedback(), timeout=30))
    while (await counts(control)).frames < 1:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(world.emulating.stop())
    code, details = await refused(lost)
    assert code == grpc.StatusCode.UNAVAILABLE and "shutting down" in details
    assert (await arrived).will_send, "what had arrived is answered"
    await asyncio.wait_for(stopping, 3)


async def test_calls_that_wait_are_bounded_and_leave_their_place(world, monkeypatch):
    monkeypatch.setattr(feedback_proxy, "MAX_UNANSWERED_CALLS", 2)
    stub, _ = await emulator(world, "127.0.0.1:1", "outage")
    held = [asyncio.ensure_future(stub.SendFeedback(feedback(i), timeout=30)) for i in range(2)]
    code, details = await refused(_after(0.2, lambda: stub.SendFeedback(feedback(2), timeout=30)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "2 others" in details
    held[0].cancel()
    code, _ = await refused(_after(0.2, lambda: stub.SendFeedback(feedback(2), timeout=0.2)))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED
    held[1].cancel()
    # Nor does a call that never wants to end.
    monkeypatch.setattr(feedback_proxy, "MAX_SILENCE_S", 0.1)
    code, details = await refused(stub.SendFeedback(feedback(3)))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED and "lost" in details


async def _after(seconds, call):
    await asyncio.sleep(seconds)
    return await call()


async def test_errors_name_the_field(world):
    stub, control = await emulator(world, "127.0.0.1:1", "outage")
    for message, words in (
        (feedback(attempt=32), "attempt: 32 is not in 0 to 31"),
        (feedback(session="no spaces"), "session_id"),
    ):
        code, details = await refused(stub.SendFeedback(message, timeout=5))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith(words)
    raw = (await world.channel(world.emulating.address)).unary_unary("/gocom.v1.FeedbackService/SendFeedback")
    assert (await refused(raw(b"\xff", timeout=5)))[0] == grpc.StatusCode.INVALID_ARGUMENT
    code, details = await refused(control.GetProfile(channel_pb2.GetProfileRequest(direction=7)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("direction: no value 7; choose forward")
    update = channel_pb2.UpdateProfileRequest(profile=parse_spec("packet_erasure:rate=2"), direction=REVERSE)
    code, details = await refused(control.UpdateProfile(update))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "packet_erasure.rate" in details


async def test_an_emulator_that_is_not_on_the_way_back_says_so(world):
    stub, control = await emulator(world, "")
    assert (await refused(stub.SendFeedback(feedback(), timeout=5)))[0] == grpc.StatusCode.UNIMPLEMENTED
    update = channel_pb2.UpdateProfileRequest(profile=parse_spec("lossy"), direction=REVERSE)
    code, details = await refused(control.UpdateProfile(update))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("direction: feedback does not cross")
    for settings, words in (
        ({"reverse_profile": "lossy"}, "reverse_profile: .*feedback_address"),
        ({"reverse_profile": "packet_erasure:rate=2", "feedback_address": "127.0.0.1:1"}, "reverse_profile: .*rate"),
    ):
        with pytest.raises(InvalidInput, match=words):
            await gocom.channel_emulator.service.serve(ChannelSettings(port=0, **settings))
    health = health_pb2_grpc.HealthStub(open_channel(world.emulating.address))
    assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1


@pytest.mark.parametrize("silent", [2, 0])
async def test_a_receiver_takes_the_first_answer_to_any_attempt(world, silent):
    """Also when it comes late, to an attempt that was given up for lost already."""
    cancelled = []

    async def answer(request, context):
        try:
            await asyncio.sleep(2.5 * TRY_S if request.attempt == silent == 0 else 60 * (request.attempt != silent))
        except asyncio.CancelledError:
            cancelled.append(request.attempt)
            raise
        return feedback_pb2.SendFeedbackResponse(will_send=False)

    taker = Transmitter(answer)
    address = await world.bare(ADD, taker)
    await world.receiver(feedback_address=address, feedback_timeout_s=30, feedback_try_s=TRY_S)
    header, _lost, *rest = toy_round(max_rounds=2)
    began = time.monotonic()
    responses = await world.send(opening(), header, *rest)
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    assert time.monotonic() - began < 15  # the patience is 30 s
    sent = [f.attempt for f in taker.arrived]
    assert sent == ([0, 1, 2] if silent else [0, 1])
    await until(lambda: sorted(cancelled) == [n for n in sent if n != silent])
    assert len({counted_message(f, 0) for f in taker.arrived}) == 1, "it says the same each time"


async def test_a_full_channel_and_a_transmitter_on_its_way_are_asked_again(world):
    failures = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED]

    async def answer(request, context):
        if failures:
            await context.abort(failures.pop(), "not now", (("gocom-error", "Busy"),))
        return feedback_pb2.SendFeedbackResponse(will_send=False)

    taker = Transmitter(answer)
    await world.receiver(feedback_address=await world.bare(ADD, taker), feedback_timeout_s=10)
    header, _lost, *rest = toy_round(max_rounds=2)
    await world.send(opening(), header, *rest)
    assert [f.attempt for f in taker.arrived] == [0, 1, 2]


async def test_no_message_is_sent_more_often_than_may_be(world, monkeypatch):
    monkeypatch.setattr(gocom.receiver.feedback_client, "FIRST_PAUSE_S", 1e-3)
    monkeypatch.setattr(gocom.receiver.feedback_client, "LONGEST_PAUSE_S", 1e-3)
    monkeypatch.setattr(gocom.receiver.feedback_client, "LONGEST_SHARE", 0.0)

    async def answer(request, context):
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not now", (("gocom-error", "Busy"),))

    taker = Transmitter(answer)
    await world.receiver(feedback_address=await world.bare(ADD, taker), feedback_timeout_s=100)
    header, _lost, *rest = toy_round(max_rounds=2)
    began = time.monotonic()
    responses = await world.send(opening(), header, *rest)
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    assert [f.attempt for f in taker.arrived] == list(range(MAX_ATTEMPTS))
    assert time.monotonic() - began < 10  # the patience is 20 s


async def test_a_way_back_that_loses_nothing_is_asked_once_however_slow(world):
    async def answer(request, context):
        await asyncio.sleep(2.5)
        return feedback_pb2.SendFeedbackResponse(will_send=False)

    taker = Transmitter(answer)
    await world.receiver(feedback_address=await world.bare(ADD, taker), feedback_timeout_s=10)
    header, _lost, *rest = toy_round(max_rounds=2)
    await world.send(opening(), header, *rest)
    assert [f.attempt for f in taker.arrived] == [0]
