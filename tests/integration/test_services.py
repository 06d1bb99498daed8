"""The services over real gRPC on this machine, with a toy codec: what each promises to its callers."""

import asyncio
import io
import threading
from collections import Counter

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from toy_codec import ToyDecoder
from toy_world import SEND, free_port, kinds, opening, png, refused, request, toy_round

from gocom.common.entropy.element_set_code import pack_spans
from gocom.receiver.frame_table import FrameTable
from gocom.v1 import (
    feedback_pb2,
    feedback_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    transmitter_pb2,
)


async def test_a_frame_goes_all_the_way(world):
    await world.all()
    events = await world.transmit(request(0), request(1))
    for index in (0, 1):
        assert kinds(events, index) == ["accepted", "sent", "received", "completed"]
    sent = next(e.sent for e in events if e.WhichOneof("event") == "sent")
    assert sent.bytes.total_bytes == sent.bytes.header_bytes + sum(s.bytes for s in sent.bytes.segments)
    first, second = await world.subscribe(2)
    assert second.cursor == first.cursor + 1
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
    events = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for event in world.images.Transmit(iter(requests), timeout=20):
            events.append(event)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT and caught.value.details().startswith(field)
    # What was taken before the stream was refused still ends, and once.
    taken = [e.frame_index for e in events if e.HasField("accepted")]
    assert [e.frame_index for e in events if e.HasField("completed")] == taken == [0] * (len(requests) > 1)


async def test_a_dead_link_fails_frames_not_the_stream(world):
    await world.transmitter(f"127.0.0.1:{free_port()}", link_patience_s=0.3)
    events = await world.transmit(request(0), request(1))
    for index in (0, 1):
        assert [kind for kind in kinds(events, index) if kind != "retried"] == ["accepted", "failed"]
    reasons = [event.retried.reason for event in events if event.HasField("retried")]
    assert 1 <= len(reasons) <= 2 and all(reason.startswith("link: 127.0.0.1:") for reason in reasons)
    assert all(e.failed.kind == transmitter_pb2.FAILURE_KIND_LINK for e in events if e.HasField("failed"))


async def test_a_link_that_goes_away_fails_what_is_open(world):
    await world.all("packet_erasure:rate=0.9", link_patience_s=0.3)

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
    ask.wanted.add(kind=0, elements=pack_spans(np.array([[0, 5]])))
    beyond = feedback_pb2.SendFeedbackRequest(session_id="s", frame_index=0, round=0)
    beyond.wanted.add(kind=0, elements=pack_spans(np.array([[(1 << 24) - 1, 2]])))

    assert not (await world.feedback.SendFeedback(ask)).will_send
    call = world.images.Transmit(timeout=20)
    await call.write(request(0, max_rounds=2))
    events = []
    while "sent" not in kinds(events):
        events.append(await call.read())
    code, details = await refused(world.feedback.SendFeedback(beyond))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("wanted.elements")
    answers = await asyncio.gather(*(world.feedback.SendFeedback(ask) for _ in range(3)))
    answers.append(await world.feedback.SendFeedback(ask))
    assert all(a.will_send for a in answers)
    ask.round = 1
    assert "2 rounds at most" in (await world.feedback.SendFeedback(ask)).reason
    await call.done_writing()
    while (event := await call.read()) is not grpc.aio.EOF:
        events.append(event)
    assert kinds(events) == ["accepted", "sent", "feedback", "sent", "failed"]


async def test_items_of_no_frame_end_the_stream(world):
    await world.receiver()
    header, *batches, end = toy_round()
    bad = {
        "open": [header],
        "batch": [opening(), batches[0]],
        "end": [opening(), end],
        "end: missing": [opening(), header],
        "item": [opening(), link_pb2.SendRequest()],
    }
    for field, items in bad.items():
        code, details = await refused(world.send(*items))
        assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith(field), (field, code, details)
    code, _ = await refused(world.send(opening(session="x" * 65)))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    further = link_pb2.SendRequest(header=link_pb2.FrameHeader(round=1, rounds={"max_rounds": 2}))
    code, details = await refused(world.send(opening("t"), *toy_round(), further))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("header.frame_index: missing in round 1")


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_another_version_of_the_wire_is_refused_by_name(world, version):
    await world.receiver()
    code, details = await refused(world.send(opening(wire_version=version), *toy_round()))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert details.startswith(f"wire_version: the transmitter speaks 0.{version or 1}, this end 0.2; run the same")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width_px": 63}, "width_px: 63 is not in 64 to 1024"),
        ({"codec": {"extension": {"codec": "nobody"}}}, "codec: no 'nobody'"),
        ({"segments": [{}, {}]}, "segments: 2, toy has 1"),
        ({"segments": [{"as_requested": True}]}, "defaults.segments: hold kind, coding and damage_tolerant only"),
        ({"rounds": {"max_rounds": 65}}, "max_rounds: 65 is more than 64"),
    ],
)
async def test_an_opening_that_is_not_valid_is_refused_by_name(world, change, words):
    await world.receiver()
    good = opening()
    for field in change:
        good.open.defaults.ClearField(field)
    good.open.defaults.MergeFrom(link_pb2.FrameDefaults(**change))
    code, details = await refused(world.send(good, *toy_round()))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED) and details.startswith(words)


async def test_frames_follow_one_another_without_being_named(world):
    """A frame that is refused counts, and a further round, or the end of another frame, does not."""
    await world.receiver()
    rounds = [toy_round(index) for index in range(4)]
    rounds[1][0].header.rounds.max_rounds = 65
    for header, *_ in rounds:
        header.header.ClearField("frame_index")
    responses = await world.send(opening(), *(item for items in rounds for item in items), *toy_round(9))
    told = {r.outcome.frame_index: r.outcome.status for r in responses if r.HasField("outcome")}
    assert told.pop(1) == link_pb2.FRAME_STATUS_REFUSED
    assert told == dict.fromkeys((0, 2, 3, 9), link_pb2.FRAME_STATUS_RECONSTRUCTED)


async def test_no_frame_follows_the_last_one_that_there_can_be(world):
    await world.receiver()
    last, following = (1 << 32) - 1, toy_round(0)
    following[0].header.ClearField("frame_index")
    code, details = await refused(world.send(opening(), *toy_round(last), *following))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("header.frame_index: missing after frame 4294967295")
    responses = await world.send(opening("t"), *toy_round(last))
    assert responses[-1].outcome.frame_index == last
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED


async def test_a_frame_that_is_not_valid_is_refused_alone(world):
    await world.receiver()
    header, *batches, end = toy_round()
    more, unknown, nameless = link_pb2.SendRequest(), link_pb2.SendRequest(), link_pb2.SendRequest()
    for message in (more, unknown, nameless):
        message.CopyFrom(header)
    more.header.source_packets[:] = [300]
    unknown.header.codec.extension.codec = "nobody"
    nameless.header.round, nameless.header.rounds.max_rounds = 1, 2
    bad = {
        "header.source_packets: 300 of 'values'": [more, *batches, end],
        "header: comes before the end": [header],
        "header.round: 1 is not below": toy_round(round_=1),
        "header.round: 1 of frame 0": [nameless, *batches, end],
        "codec: no 'nobody'": [unknown, *batches, end],
    }
    for number, (field, items) in enumerate(bad.items()):
        responses = await world.send(opening(session=f"s{number}"), *items, *toy_round(5))
        outcomes = [r.outcome for r in responses if r.HasField("outcome")]
        assert [o.frame_index for o in outcomes] == [0, 5]
        assert outcomes[0].status == link_pb2.FRAME_STATUS_REFUSED and outcomes[0].reason.startswith(field)
        assert outcomes[1].status == link_pb2.FRAME_STATUS_RECONSTRUCTED
        told = await world.subscribe(2, session=f"s{number}")
        assert [p.reconstruction.status for p in told] == [o.status for o in outcomes]


async def test_a_frame_index_serves_once_in_a_stream(world):
    await world.receiver()

    async def twice():
        yield opening()
        for item in toy_round():
            yield item
        await world.subscribe(1)
        for item in toy_round():
            yield item

    outcomes = [r.outcome async for r in world.link.Send(twice(), timeout=20) if r.HasField("outcome")]
    assert [o.status for o in outcomes] == [link_pb2.FRAME_STATUS_RECONSTRUCTED, link_pb2.FRAME_STATUS_REFUSED]
    assert "sent before" in outcomes[1].reason
    responses = await world.send(opening(), *toy_round())  # a new stream of the same name begins anew
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED


async def test_a_second_header_does_no_harm_to_a_frame_in_work(world):
    await world.receiver()
    responses = await world.send(opening(), *toy_round(), *toy_round())
    outcomes = [r.outcome.status for r in responses if r.HasField("outcome")]
    assert outcomes[0] == link_pb2.FRAME_STATUS_RECONSTRUCTED


async def test_a_repeated_frame_is_not_decoded_again(world):
    await world.receiver()
    await world.send(opening(), *toy_round())
    (picture,) = await world.subscribe(1)
    header, *rest = toy_round()
    header.header.repeated = True
    responses = await world.send(opening(), header, *rest)
    assert [r.WhichOneof("item") for r in responses] == ["accepted", "outcome"]
    assert responses[1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    await world.send(opening(), *toy_round(1))
    assert [p.reconstruction.frame_index for p in await world.subscribe(2)] == [0, 1], "one picture of each"
    assert (await world.subscribe(1))[0].cursor == picture.cursor


async def test_limits_of_the_receiver(world):
    await world.receiver(max_frame_packets=4, max_frame_bytes=300)
    for items, word in ((toy_round(), "packets"), (toy_round(count=400), "are more than")):
        responses = await world.send(opening(), *items)
        assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_REFUSED and word in responses[-1].outcome.reason


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc"])
async def test_malformed_bytes_are_a_bad_request(world, data):
    await world.all()
    for channel, method in [(world.link_channel, SEND), (world.link_channel, "/gocom.v1.ReceiverService/Subscribe")]:
        raw = channel.stream_stream(method) if method == SEND else channel.unary_stream(method)
        call = raw(iter([data]) if method == SEND else data, timeout=10)
        code, _ = await refused(call.read())
        assert code == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_subscriber_goes_on_from_its_cursor(world):
    await world.receiver(keep_frames=3)
    await world.send(opening(), *toy_round(0), *toy_round(1))
    first, second = await world.subscribe(2)
    assert [p.reconstruction.frame_index for p in (first, second)] == [0, 1]
    await world.send(opening(), *(item for i in range(2, 7) for item in toy_round(i)))
    got = await world.subscribe(3, cursor=second.cursor)
    assert [(p.cursor - first.cursor + 1, p.missed) for p in got] == [(5, 2), (6, 0), (7, 0)]
    code, details = await refused(world.subscribe(1, cursor=second.cursor + 99))
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


async def test_a_later_round_of_another_size_is_none_of_the_frame(world):
    asked = asyncio.Event()

    class Promising(feedback_pb2_grpc.FeedbackServiceServicer):
        async def SendFeedback(self, request, context):
            asked.set()
            return feedback_pb2.SendFeedbackResponse(will_send=True)

    address = await world.bare(feedback_pb2_grpc.add_FeedbackServiceServicer_to_server, Promising())
    await world.receiver(feedback_address=address, feedback_timeout_s=20)
    header, _lost, *rest = toy_round(max_rounds=3)
    later = toy_round(round_=1, max_rounds=3, count=5, spans=np.array([[0, 5]]))
    later[0].header.width_px = 256
    call = world.link.Send(timeout=20)
    for item in (opening(), header, *rest):
        await call.write(item)
    assert [(await call.read()).WhichOneof("item") for _ in range(2)] == ["accepted", "ack"]
    await asked.wait()  # a round that comes before the first one is decoded does not end the frame
    for item in later:
        await call.write(item)
    outcome = (await call.read()).outcome
    assert (outcome.status, outcome.rounds) == (link_pb2.FRAME_STATUS_RECONSTRUCTED, 1), "by what there is without it"
    call.cancel()


async def test_a_round_too_many_does_no_harm_to_the_one_in_work(world, monkeypatch):
    asked, noted, errors = asyncio.Event(), threading.Event(), []
    refuse, reconstruct = FrameTable.refuse, ToyDecoder.reconstruct

    class Once(feedback_pb2_grpc.FeedbackServiceServicer):
        async def SendFeedback(self, request, context):
            asked.set()
            return feedback_pb2.SendFeedbackResponse(will_send=request.round == 0)

    def note(self, index, error):
        refuse(self, index, error)
        errors.append(str(error))
        noted.set()

    def wait(self, rounds, *, generator, previews=False):
        assert len(rounds) == 1 or noted.wait(20)
        yield from reconstruct(self, rounds, generator=generator, previews=previews)

    async def items():
        header, _lost, *rest = toy_round(max_rounds=4)
        for item in (opening(), header, *rest):
            yield item
        await asked.wait()
        for round_ in (1, 2):
            for item in toy_round(0, round_, max_rounds=4, count=5, spans=np.array([[0, 5]])):
                yield item

    monkeypatch.setattr(FrameTable, "refuse", note)
    monkeypatch.setattr(ToyDecoder, "reconstruct", wait)
    address = await world.bare(feedback_pb2_grpc.add_FeedbackServiceServicer_to_server, Once())
    await world.receiver(feedback_address=address, feedback_timeout_s=20)
    responses = [response async for response in world.link.Send(items(), timeout=20)]
    assert [r.WhichOneof("item") for r in responses] == ["accepted", "ack", "ack", "outcome"]
    assert (responses[-1].outcome.status, responses[-1].outcome.rounds) == (link_pb2.FRAME_STATUS_RECONSTRUCTED, 2)
    assert errors == ["header.round: 2 of frame 0 was not asked for"]


async def test_frames_of_a_session_may_differ_from_its_first(world):
    """In size, codec, options, rounds and order of their indices; the toy's encoder knows nothing of the session."""
    await world.all()
    jpeg = request(9, image=png(192))
    jpeg.codec.jpeg.quality = 30
    requests = [
        request(4), request(5), request(2, image=png(64)), jpeg, request(10, options={"decode": "all"}),
        request(11, max_rounds=3), request(12, image=png(200)), request(3),
    ]  # fmt: skip
    events = await world.transmit(*requests)
    indices = [r.frame_index for r in requests]
    assert [e.frame_index for e in events if e.HasField("completed")] == indices, events
    pictures = [p.reconstruction for p in await world.subscribe(len(requests))]
    sides = {p.frame_index: Image.open(io.BytesIO(p.image_png)).size for p in pictures}
    assert sides == dict(zip(indices, [(n, n) for n in (128, 128, 64, 192, 128, 128, 200, 128)], strict=True))
    sent = {e.frame_index: e.sent.bytes for e in events if e.HasField("sent")}
    # The opening says what the first frame is like: of those alike, only the index is said where it does not follow.
    assert [sent[index].header_bytes for index in (4, 5, 3)] == [13, 11, 13]
    assert min(sent[index].header_bytes for index in (2, 9, 10, 11, 12)) > 13
    assert len({b.handshake_bytes for b in sent.values()}) == 1 and sent[4].handshake_bytes > 20
    for cost in sent.values():
        assert cost.total_bytes == cost.header_bytes + sum(s.bytes for s in cost.segments)
        assert 0 < cost.payload_bytes < cost.total_bytes


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
