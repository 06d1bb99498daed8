"""The services over real gRPC on this machine, with a toy codec: what each promises to its callers."""

import asyncio
import contextlib
import io
import socket
from collections import Counter

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from toy_codec import NAME, ToyHeader

import channel_emulator.service
import receiver.service
import transmitter.service
from common.account import frame_items
from common.errors import Mismatch
from common.models import knowledge_hash
from common.packetizer import packetize
from common.rpc.channels import open_channel
from common.rpc.status import error_from_rpc
from common.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from common.types import ElementCoding, GoMessage, LinkSettings, Segment
from common.wire import link_to_proto
from gocom.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    receiver_pb2,
    receiver_pb2_grpc,
    transmitter_pb2,
    transmitter_pb2_grpc,
)

LINK = LinkSettings(max_payload_bytes=32)
SEND = "/gocom.v1.LinkService/Send"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def png(size=128):
    out = io.BytesIO()
    row = np.linspace(0, 255, size).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(row, (size, 1))] * 3, -1)).save(out, "PNG")
    return out.getvalue()


def request(index=0, *, session="s", image=None, codec=NAME, options=None, **fields):
    message = transmitter_pb2.TransmitRequest(
        session_id=session,
        frame_index=index,
        image=png() if image is None else image,
        link=link_to_proto(LINK),
        **fields,
    )
    message.extension.codec = codec
    message.extension.fields.update(options or {})
    return message


def toy_round(index=0, round_=0, max_rounds=1, count=256, decode="picture", spans=None):
    elements = np.arange(count, dtype=np.int64) % 256
    segment = Segment(0, elements, np.ones(count, np.float32), ElementCoding.FIXED, spans=spans)
    message = GoMessage(NAME, ToyHeader(decode=decode), 128, 128, (segment,), index, round_, max_rounds)
    header, batch = packetize(message, LINK)
    return frame_items(header, batch, 4)


def opening(session="s", **fields):
    return link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id=session, link=link_to_proto(LINK), **fields))


class World:
    """Receiver, emulator, transmitter; each with channels to it."""

    def __init__(self, stack):
        self.stack = stack

    async def channel(self, address):
        channel = open_channel(address)
        self.stack.push_async_callback(channel.close)
        return channel

    async def start(self, module, settings):
        running = await module.serve(settings)
        self.stack.push_async_callback(running.stop, 0)
        return running

    async def receiver(self, **settings):
        settings = {"feedback_address": f"127.0.0.1:{free_port()}", "feedback_timeout_s": 3, **settings}
        self.receiving = await self.start(receiver.service, ReceiverSettings(port=0, warm_codecs=(NAME,), **settings))
        channel = await self.channel(self.receiving.address)
        self.link, self.pictures = (
            link_pb2_grpc.LinkServiceStub(channel),
            receiver_pb2_grpc.ReceiverServiceStub(channel),
        )
        self.link_channel = channel
        return self

    async def all(self, profile="clean", receiver=None, link=None, **settings):
        port = free_port()
        await self.receiver(feedback_address=f"127.0.0.1:{port}", **(receiver or {}))
        emulator = await self.start(
            channel_emulator.service, ChannelSettings(port=0, next_hop=self.receiving.address, profile=profile)
        )
        return await self.transmitter(link or emulator.address, port=port, **settings)

    async def transmitter(self, link_address, port=0, **settings):
        self.transmitting = await self.start(
            transmitter.service,
            TransmitterSettings(port=port, link_address=link_address, warm_codecs=(NAME,), **settings),
        )
        channel = await self.channel(self.transmitting.address)
        self.images = transmitter_pb2_grpc.TransmitterServiceStub(channel)
        self.feedback = feedback_pb2_grpc.FeedbackServiceStub(channel)
        return self

    async def bare(self, add, servicer):
        """A server without anything of ours around the servicer; returns its address."""
        server = grpc.aio.server()
        add(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        self.stack.push_async_callback(server.stop, 0)
        return f"127.0.0.1:{port}"

    async def transmit(self, *requests):
        return [event async for event in self.images.Transmit(iter(requests), timeout=20)]

    async def subscribe(self, count, session="s", cursor=0, previews=False):
        call = self.pictures.Subscribe(
            receiver_pb2.SubscribeRequest(session_id=session, cursor=cursor, previews=previews), timeout=20
        )
        got = [await call.read() for _ in range(count)]
        call.cancel()
        return got

    async def send(self, *items):
        return [response async for response in self.link.Send(iter(items), timeout=20)]


@pytest.fixture
async def world():
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)


def kinds(events, index=None):
    return [e.WhichOneof("event") for e in events if index is None or e.frame_index == index]


async def refused(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details()


async def test_a_frame_goes_all_the_way(world):
    await world.all()
    events = await world.transmit(request(0), request(1))
    for index in (0, 1):
        assert kinds(events, index) == ["accepted", "sent", "received", "completed"]
    sent = next(e.sent for e in events if e.WhichOneof("event") == "sent")
    assert sent.bytes.total_bytes == sent.bytes.header_bytes + sum(s.bytes for s in sent.bytes.segments)
    first, second = await world.subscribe(2)
    assert (first.cursor, second.cursor) == (1, 2)
    picture = first.reconstruction
    assert picture.final and picture.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    assert Image.open(io.BytesIO(picture.image_png)).size == (128, 128)
    assert not np.asarray(Image.open(io.BytesIO(picture.provenance_png))).any()


@pytest.mark.parametrize("decode", ["picture", "all"])
async def test_feedback_brings_back_what_was_erased(world, decode):
    await world.all("packet_erasure:rate=0.3")
    events = await world.transmit(request(0, max_rounds=20, options={"decode": decode}))
    (picture,) = await world.subscribe(1)
    rounds = picture.reconstruction.rounds
    assert rounds > 1 and picture.reconstruction.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    counts = Counter(kinds(events))
    assert counts["sent"] == counts["received"] == rounds == events[-1].completed.rounds
    assert counts["feedback"] == rounds - 1 and counts["completed"] == 1
    assert events[-1].completed.feedback_bytes > 0
    row = np.asarray(Image.open(io.BytesIO(picture.reconstruction.image_png)))[0, ::8, 0]
    assert (np.diff(row.astype(int)) > 0).all(), "every patch must be there in the end"


async def test_a_round_budget_is_kept(world):
    await world.all("packet_erasure:rate=0.5")
    events = await world.transmit(request(0, max_rounds=3, round_budget_bytes=120))
    later = [e.sent for e in events if e.WhichOneof("event") == "sent" and e.sent.round]
    assert later and all(s.bytes.total_bytes <= 120 for s in later)
    assert kinds(events)[-1] == "completed"


async def test_a_bad_frame_fails_alone(world):
    await world.all()
    bad = [
        (request(1, image=b"not an image"), transmitter_pb2.FAILURE_KIND_INVALID, "image"),
        (request(2, image=png(32)), transmitter_pb2.FAILURE_KIND_INVALID, "64 to 1024"),
        (request(3, codec="nobody"), transmitter_pb2.FAILURE_KIND_INVALID, "jpeg"),
        (request(4, options={"colour": "red"}), transmitter_pb2.FAILURE_KIND_INVALID, "encode"),
        (request(5, budget_bytes=3), transmitter_pb2.FAILURE_KIND_INVALID, "at least 100"),
        (request(6, options={"encode": "crash"}), transmitter_pb2.FAILURE_KIND_INTERNAL, "RuntimeError"),
        (request(7, options={"decode": "crash"}), transmitter_pb2.FAILURE_KIND_UNDECODABLE, "RuntimeError"),
    ]
    events = await world.transmit(request(0), *(b[0] for b in bad), request(8))
    terminal = {e.frame_index: e for e in events if e.WhichOneof("event") in ("completed", "failed")}
    assert Counter(kinds(events))["completed"] == 2 and Counter(kinds(events))["failed"] == len(bad)
    assert kinds(events, 0)[-1] == kinds(events, 8)[-1] == "completed"
    for message, kind, reason in bad:
        failed = terminal[message.frame_index].failed
        assert failed.kind == kind and reason in failed.reason


@pytest.mark.parametrize(
    "requests, field",
    [
        ([request(session="no spaces")], "session_id"),
        ([request(0), request(1, session="t")], "session_id"),
        ([request(0), request(1, seed=3)], "seed"),
        ([request(0), request(0)], "frame_index"),
    ],
)
async def test_a_contradictory_stream_is_refused(world, requests, field):
    await world.all()
    code, details = await refused(world.transmit(*requests))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith(field)


async def test_a_dead_link_fails_frames_not_the_stream(world):
    await world.transmitter(f"127.0.0.1:{free_port()}")
    events = await world.transmit(request(0), request(1))
    for index in (0, 1):
        assert kinds(events, index) == ["accepted", "failed"]
    assert all(e.failed.kind == transmitter_pb2.FAILURE_KIND_LINK for e in events if e.HasField("failed"))


async def test_a_link_that_goes_away_fails_what_is_open(world):
    await world.all("packet_erasure:rate=0.9")

    async def slow():
        yield request(0, options={"decode": "picture"})
        await asyncio.sleep(0.3)
        await world.receiving.stop(0)
        yield request(1)

    events = [event async for event in world.images.Transmit(slow(), timeout=20)]
    assert kinds(events, 0)[-1] == "completed" and kinds(events, 1)[-1] == "failed"
    assert events[-1].failed.kind == transmitter_pb2.FAILURE_KIND_LINK


class Silent(link_pb2_grpc.LinkServiceServicer):
    """Accepts sessions, and says no more."""

    async def Send(self, requests, context):
        async for item in requests:
            if item.WhichOneof("item") == "open":
                yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted())


async def test_a_silent_receiver_is_given_up(world):
    address = await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, Silent())
    await world.transmitter(address, outcome_timeout_s=0.5)
    events = await world.transmit(request(0))
    assert kinds(events) == ["accepted", "sent", "failed"] and "0.5 s" in events[-1].failed.reason


async def test_feedback_is_idempotent(world):
    address = await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, Silent())
    await world.transmitter(address, outcome_timeout_s=1)
    ask = feedback_pb2.SendFeedbackRequest(session_id="s", frame_index=0, round=0)
    ask.wanted.add(kind=0, spans=[0, 5])
    beyond = feedback_pb2.SendFeedbackRequest(session_id="s", frame_index=0, round=0)
    beyond.wanted.add(kind=0, spans=[250, 7])

    assert not (await world.feedback.SendFeedback(ask)).will_send
    call = world.images.Transmit(timeout=20)
    await call.write(request(0, max_rounds=2))
    events = []
    while "sent" not in kinds(events):
        events.append(await call.read())
    code, details = await refused(world.feedback.SendFeedback(beyond))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("wanted.spans")
    answers = await asyncio.gather(*(world.feedback.SendFeedback(ask) for _ in range(3)))
    answers.append(await world.feedback.SendFeedback(ask))
    assert all(a.will_send for a in answers)
    ask.round = 1
    assert "2 rounds at most" in (await world.feedback.SendFeedback(ask)).reason
    await call.done_writing()
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event)
    assert kinds(events) == ["accepted", "sent", "feedback", "sent", "failed"]


async def test_items_out_of_order_are_refused(world):
    await world.receiver()
    header, *batches, end = toy_round()
    wrong_end = link_pb2.SendRequest(end=link_pb2.FrameEnd(packet_count=99))
    bad = {
        "open": [header],
        "batch": [opening(), batches[0]],
        "end": [opening(), end],
        "end.packet_count": [opening(), header, *batches, wrong_end],
        "header: comes before the end": [opening(), header, header],
        "header.round": [opening(), *toy_round(round_=1)],
        "header": [opening(), *toy_round(), *toy_round()],
        "item": [opening(), link_pb2.SendRequest()],
    }
    for field, items in bad.items():
        code, details = await refused(world.send(*items))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith(field), (field, code, details)
    code, _ = await refused(world.send(opening(session="x" * 65)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_limits_of_the_receiver(world):
    await world.receiver(max_frame_packets=4, max_frame_bytes=300)
    code, details = await refused(world.send(opening(), *toy_round()))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "packets" in details
    code, details = await refused(world.send(opening(), *toy_round(count=400)))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc"])
async def test_malformed_bytes_are_a_bad_request(world, data):
    await world.all()
    for channel, method in [(world.link_channel, SEND), (world.link_channel, "/gocom.v1.ReceiverService/Subscribe")]:
        raw = channel.stream_stream(method) if method == SEND else channel.unary_stream(method)
        call = raw(iter([data]) if method == SEND else data, timeout=10)
        code, _ = await refused(call.read())
        assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_other_models_are_refused_by_name(world, tmp_path, monkeypatch):
    (tmp_path / "vq_tokenizer").mkdir()
    (tmp_path / "vq_tokenizer" / "config.json").write_text("{}")
    monkeypatch.setenv("GOCOM_MODELS", str(tmp_path))
    knowledge_hash.cache_clear()
    await world.receiver()
    mine = link_pb2.KnowledgeHash(name="vq_tokenizer", sha256=knowledge_hash("vq_tokenizer"))
    other = link_pb2.KnowledgeHash(name="vq_tokenizer", sha256=b"\0" * 32)
    unknown = link_pb2.KnowledgeHash(name="../../etc", sha256=b"\0" * 32)
    assert (await world.send(opening(knowledge=[mine, unknown])))[0].HasField("accepted")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await world.send(opening(knowledge=[other]))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert isinstance(error := error_from_rpc(caught.value), Mismatch) and "vq_tokenizer" in str(error)
    knowledge_hash.cache_clear()


async def test_a_subscriber_goes_on_from_its_cursor(world):
    await world.receiver(keep_frames=3)
    await world.send(opening(), *toy_round(0), *toy_round(1))
    assert [p.reconstruction.frame_index for p in await world.subscribe(2)] == [0, 1]
    await world.send(opening(), *(item for i in range(2, 7) for item in toy_round(i)))
    got = await world.subscribe(3, cursor=2)
    assert [(p.cursor, p.missed) for p in got] == [(5, 2), (6, 0), (7, 0)]
    code, details = await refused(world.subscribe(1, cursor=99))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("cursor")


async def test_previews_only_for_those_who_ask(world):
    await world.receiver()
    wants, plain = (asyncio.create_task(world.subscribe(n, previews=p)) for n, p in ((2, True), (1, False)))
    await asyncio.sleep(0.3)
    await world.send(opening(), *toy_round())
    assert [p.reconstruction.final for p in await wants] == [False, True]
    assert [p.reconstruction.final for p in await plain] == [True]


async def test_a_promise_that_is_not_kept_ends_in_what_there_is(world):
    class Liar(feedback_pb2_grpc.FeedbackServiceServicer):
        calls = 0

        async def SendFeedback(self, request, context):
            self.calls += 1
            return feedback_pb2.SendFeedbackResponse(will_send=True)

    liar = Liar()
    address = await world.bare(feedback_pb2_grpc.add_FeedbackServiceServicer_to_server, liar)
    await world.receiver(feedback_address=address, feedback_timeout_s=0.3)
    header, _lost, *rest = toy_round(max_rounds=2)
    responses = await world.send(opening(), header, *rest)
    assert [r.WhichOneof("item") for r in responses] == ["accepted", "ack", "outcome"]
    assert responses[-1].outcome.rounds == 1 and liar.calls == 1
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED


async def test_drain_lets_frames_finish(world):
    await world.all()
    call = world.images.Transmit(timeout=20)
    await call.write(request(0, options={"seconds": 0.5}))
    assert (await call.read()).HasField("accepted")
    stopping = asyncio.create_task(world.transmitting.stop(5))
    events = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while True:
            events.append(await call.read())
    assert kinds(events)[-1] == "completed" and caught.value.code() == grpc.StatusCode.UNAVAILABLE
    await stopping


async def test_health_and_too_many_streams(world):
    await world.receiver(max_streams=1)
    health = health_pb2_grpc.HealthStub(world.link_channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=""))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    held = world.link.Send(timeout=20)
    await held.write(opening())
    await held.read()
    code, _ = await refused(world.subscribe(1))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    held.cancel()
