"""What a stream survives: links that are cut, services that come back, clients that go and return."""

import asyncio

import grpc
import pytest
from toy_codec import NAME
from toy_world import free_port, kinds, opening, png, refused, request, toy_round

from gocom.client.client import AsyncClient
from gocom.common.errors import NotReady
from gocom.common.image_files import png_bytes
from gocom.common.wire.frame_headers import frame_index_of
from gocom.transmitter.frame_admission import MAX_STARTS
from gocom.transmitter.outbox import Outbox
from gocom.v1 import link_pb2, link_pb2_grpc, transmitter_pb2

RESUME, REPEAT = transmitter_pb2.RESUMPTION_RESUME, transmitter_pb2.RESUMPTION_REPEAT


class Breaker(link_pb2_grpc.LinkServiceServicer):
    """A link that ends every session at the end of its first frame, for the first `times` sessions; then it answers."""

    def __init__(self, times):
        self.left, self.headers = times, []

    async def Send(self, requests, context):
        last_frame = -1
        async for item in requests:
            kind = item.WhichOneof("item")
            if kind == "open":
                yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted())
            elif kind == "header":
                last_frame = frame_index_of(item.header, last_frame)
                self.headers.append((last_frame, item.header.repeated))
            elif kind == "end":
                if self.left:
                    self.left -= 1
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the lights went out")
                done = link_pb2.FRAME_STATUS_RECONSTRUCTED
                outcome = link_pb2.FrameOutcome(frame_index=self.headers[-1][0], status=done, rounds=1)
                yield link_pb2.SendResponse(outcome=outcome)


async def broken(world, times, **settings):
    breaker = Breaker(times)
    address = await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, breaker)
    await world.transmitter(address, **settings)
    return breaker


async def read_until(call, kind):
    events = []
    while kind not in kinds(events):
        events.append(await call.read())
    return events


async def test_a_link_that_is_cut_is_opened_again(world):
    breaker = await broken(world, 2)
    events = await world.transmit(request(0))
    assert kinds(events) == ["accepted", "sent", "retried", "sent", "retried", "sent", "completed"]
    assert "the lights went out" in events[2].retried.reason
    assert breaker.headers == [(0, False), (0, True), (0, True)]
    first, last = events[1].sent.bytes, events[5].sent.bytes
    assert last.header_bytes == first.header_bytes + 2, "the mark of a repeated frame is counted"


async def test_a_frame_on_which_the_link_always_dies_fails(world, monkeypatch):
    monkeypatch.setattr("gocom.transmitter.transmit_session.MAX_CUTS", 2)
    await broken(world, 99)
    events = await world.transmit(request(0))
    assert kinds(events)[-1] == "failed" and kinds(events).count("retried") == 2
    assert events[-1].failed.kind == transmitter_pb2.FAILURE_KIND_LINK
    assert "cut 3 times" in events[-1].failed.reason


async def test_a_refusal_is_not_tried_again(world):
    class Strict(link_pb2_grpc.LinkServiceServicer):
        calls = 0

        async def Send(self, requests, context):
            self.calls += 1
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "knowledge: differs")

    strict = Strict()
    address = await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, strict)
    await world.transmitter(address)
    events = await world.transmit(request(0))
    assert kinds(events) == ["accepted", "failed"] and strict.calls == 1
    assert "knowledge: differs" in events[-1].failed.reason


async def test_frames_wait_for_a_receiver_that_comes_late(world):
    port = free_port()
    await world.transmitter(f"127.0.0.1:{port}")
    call = world.images.Transmit(timeout=100)
    await call.write(request(0))
    await call.done_writing()
    assert kinds(await read_until(call, "accepted")) == ["accepted"]
    await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, Breaker(0), port)
    events = kinds(await read_until(call, "completed"))
    # A frame that begins before the first attempt to connect has failed begins again.
    assert [kind for kind in events if kind != "retried"] == ["sent", "completed"]


async def test_a_restarted_transmitter_goes_on_with_what_it_had_accepted(world, tmp_path):
    outbox = str(tmp_path / "outbox.sqlite")
    await world.receiver()
    await world.transmitter(f"127.0.0.1:{free_port()}", outbox=outbox)
    call = world.images.Transmit(timeout=100)
    for index in range(3):
        await call.write(request(index))
        await read_until(call, "accepted")
    await world.transmitting.stop(0)
    code, _ = await refused(call.read())
    assert code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

    await world.transmitter(world.receiving.address, outbox=outbox)
    pictures = await world.subscribe(3)
    assert [p.reconstruction.frame_index for p in pictures] == [0, 1, 2]
    events = await world.transmit(request(0, resumption=RESUME), request(2, resumption=RESUME))
    for index in (0, 2):
        assert kinds(events, index) == ["accepted", "sent", "received", "completed"]
    assert all(e.accepted.resumed for e in events if e.HasField("accepted"))


async def test_a_frame_that_always_ends_the_transmitter_fails(world, tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite", 1 << 20)
    await outbox.open()
    for index, begun in ((0, MAX_STARTS), (1, MAX_STARTS - 1)):
        await outbox.accept("s", index, request(index))
        await outbox.record_start("s", index, begun)
    await outbox.close()
    await world.all(outbox=str(tmp_path / "outbox.sqlite"))
    events = await world.transmit(request(0, resumption=RESUME), request(1, resumption=RESUME))
    assert kinds(events, 0) == ["accepted", "failed"] and kinds(events, 1)[-1] == "completed"
    reason = next(e.failed.reason for e in events if e.HasField("failed"))
    assert reason == f"the transmitter stopped {MAX_STARTS} times after it had begun the frame"


async def test_a_refused_index_is_used_up(world):
    await world.all()
    bad = request(0)
    bad.image = b"no picture"
    call = world.images.Transmit(timeout=100)
    await call.write(bad)
    assert kinds(await read_until(call, "failed")) == ["failed"]
    await call.write(request(0))
    code, details = await refused(call.read())
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "0 was used before" in details


async def test_the_decode_loop_outlives_what_nobody_foresaw(world, monkeypatch):
    await world.all()

    def burst(*_):
        raise MemoryError("all gone")

    monkeypatch.setattr("gocom.receiver.decode_loop.decode", burst)
    events = await world.transmit(request(0))
    assert kinds(events)[-1] == "failed" and "MemoryError" in events[-1].failed.reason
    monkeypatch.undo()
    assert kinds(await world.transmit(request(0, session="t")))[-1] == "completed"


async def test_without_a_file_a_restart_forgets(world):
    await world.receiver()
    await world.transmitter(f"127.0.0.1:{free_port()}", outbox="off")
    call = world.images.Transmit(timeout=100)
    await call.write(request(0))
    await read_until(call, "accepted")
    await world.transmitting.stop(0)
    await world.transmitter(world.receiving.address, outbox="off")
    events = await world.transmit(request(0, resumption=RESUME))
    assert kinds(events) == ["accepted", "sent", "received", "completed"]
    assert not events[0].accepted.resumed, "an unknown frame is a new one"


async def test_a_session_goes_on_without_its_client(world):
    await world.all()
    call = world.images.Transmit(timeout=100)
    await call.write(request(0, options={"decode": "slow"}))
    await read_until(call, "accepted")
    call.cancel()
    (picture,) = await world.subscribe(1)
    assert picture.reconstruction.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    events = await world.transmit(request(0, resumption=RESUME))
    assert kinds(events) == ["accepted", "sent", "received", "completed"] and events[0].accepted.resumed


async def test_only_a_resuming_stream_takes_a_session_over(world):
    await broken(world, 0, link_patience_s=5)
    first = world.images.Transmit(timeout=100)
    await first.write(request(0))
    await read_until(first, "completed")
    code, details = await refused(world.transmit(request(1)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "in use" in details
    code, details = await refused(world.transmit(request(1, resumption=RESUME, seed=5)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("seed")
    assert kinds(await world.transmit(request(1, resumption=RESUME)))[-1] == "completed"
    code, details = await refused(first.read())
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "newer stream" in details


async def test_repeat_sends_what_was_completed_once_more(world):
    breaker = await broken(world, 0)
    await world.transmit(request(0))
    told = await world.transmit(request(0, resumption=RESUME))
    assert kinds(told) == ["accepted", "sent", "completed"] and breaker.headers == [(0, False)]
    again = await world.transmit(request(0, resumption=REPEAT))
    assert kinds(again)[-1] == "completed" and not again[0].accepted.resumed
    assert breaker.headers == [(0, False), (0, True)]
    code, details = await refused(world.transmit(request(0, resumption=RESUME), request(0)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "used before" in details


async def test_a_receiver_that_stops_finishes_what_it_has(world):
    await world.receiver()

    async def items():
        yield opening()
        for item in toy_round(0, decode="slow"):
            yield item
        await asyncio.sleep(20)

    call = world.link.Send(items(), timeout=100)
    responses = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            responses.append(response.WhichOneof("item"))
            if responses[-1] == "ack":
                stopping = asyncio.create_task(world.receiving.stop(10))
    assert responses == ["accepted", "ack", "outcome"]
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE and "shutting down" in caught.value.details()
    await asyncio.wait_for(stopping, 5)


async def test_the_client_hands_over_again_what_the_receiver_lost(world, monkeypatch):
    monkeypatch.setattr("gocom.client.transfer.LOST_S", 0.2)
    await world.all(receiver={"keep_frames": 1})
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        transfer = client.open_transfer([png(), png(96)], NAME)
        # Nobody listens while both pictures are made, and only the second is kept.
        await asyncio.sleep(0)
        transfer._tasks[2].cancel()
        while not all(f.completed for f in transfer._frames.values()) or len(transfer._frames) < 2:
            await asyncio.sleep(0.02)
        transfer._tasks.append(asyncio.create_task(transfer._subscribe_stream.run()))
        results = [await transfer.next(), await transfer.next()]
        await transfer.close()
    assert [r.outcome for r in results] == ["reconstructed"] * 2
    assert [(r.width_px, r.image.shape[1]) for r in results] == [(128, 128), (96, 96)]
    assert results[0].bytes_resent > 300 and results[1].bytes_resent == 0


async def test_a_picture_of_the_receiver_that_cannot_be_read_fails_its_frame_only(world, monkeypatch):
    files = []

    def every_second(pixels):
        files.append(b"no picture" if len(files) % 2 else png_bytes(pixels))
        return files[-1]

    monkeypatch.setattr("gocom.receiver.frame_decoding.png_bytes", every_second)
    await world.all()
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        results = [result async for result in client.send([png(), png(), png()], NAME)]
    assert [(r.frame_index, r.outcome) for r in results] == [
        (0, "reconstructed"), (1, "failed"), (2, "reconstructed"),
    ]  # fmt: skip
    assert results[1].failure == "internal" and "reconstruction.image_png: not a readable" in results[1].reason


async def test_a_preview_that_cannot_be_read_is_left_out(world, monkeypatch):
    files, previews = [], []

    def last_only(pixels):
        files.append(png_bytes(pixels))
        return files[-1] if len(files) == 2 else b"no picture"

    monkeypatch.setattr("gocom.receiver.frame_decoding.png_bytes", last_only)
    await world.all()
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        results = [result async for result in client.send([png()], NAME, on_preview=previews.append)]
    assert [r.outcome for r in results] == ["reconstructed"] and previews == []
    assert len(files) == 2


async def test_the_client_gives_up_after_its_patience(world):
    await world.all()
    async with AsyncClient(world.transmitting.address, world.receiving.address) as client:
        transfer = client.open_transfer(_then_wait(), NAME, patience_s=0.5)
        assert (await transfer.next()).outcome == "reconstructed"
        await world.transmitting.stop(0)
        with pytest.raises(NotReady, match="transmitter at"):
            await asyncio.wait_for(transfer.next(), 10)
        await transfer.close()


async def _then_wait():
    yield png()
    await asyncio.sleep(60)


async def test_an_emulator_that_stops_lets_pass_what_it_has(world):
    await world.receiver()
    emulator = await world.emulator()
    stub = link_pb2_grpc.LinkServiceStub(await world.channel(emulator.address))
    began = asyncio.Event()

    async def items():
        yield opening()
        header, *batches, end = toy_round(0, decode="slow")
        yield header
        began.set()
        await asyncio.sleep(0.2)  # the emulator is told to stop in the middle of the round
        for item in (*batches, end):
            yield item
        await asyncio.sleep(20)

    responses = []

    async def read():
        async for response in stub.Send(items(), timeout=100):
            responses.append(response.WhichOneof("item"))

    reading = asyncio.create_task(read())
    await began.wait()
    while not responses:
        await asyncio.sleep(0.01)
    stopping = asyncio.create_task(emulator.stop(10))
    code, details = await refused(reading)
    assert responses == ["accepted", "ack", "outcome"]
    assert code == grpc.StatusCode.UNAVAILABLE and "channel emulator: shutting down" in details
    await asyncio.wait_for(stopping, 5)
