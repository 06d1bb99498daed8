"""Frames decoded together: which, in what order, what becomes of them, and what a bad one does to the others."""

import asyncio
import contextlib
from collections import Counter

import numpy as np
import pytest
from toy_codec import ToyDecoder
from toy_world import DEFAULTS, LINK, opening, toy_round

from gocom.common.codec_worker import CodecWorker
from gocom.common.settings import ReceiverSettings
from gocom.common.zoo import open_zoo
from gocom.receiver.decode_loop import decode_all
from gocom.receiver.decoders import DECODERS
from gocom.receiver.link_session import LinkSession
from gocom.receiver.link_state import LinkDependencies
from gocom.receiver.session_pictures import SessionStore
from gocom.receiver.tasks import LoadedTasks
from gocom.v1 import link_pb2


@pytest.fixture
def batches(monkeypatch):
    """Frame indices of each batch and each single frame that the toy decoder is given, once it can do batches."""
    seen = []
    single = ToyDecoder.reconstruct

    def reconstruct(self, rounds, *, generator, previews=False):
        seen.append(rounds[-1].frame.frame_index)
        yield from single(self, rounds, generator=generator, previews=previews)

    def reconstruct_batch(self, frames, *, generators):
        seen.append([rounds[-1].frame.frame_index for rounds in frames])
        assert len({g.initial_seed() for g in generators}) == len(frames), "each frame has its own randomness"
        return [picture for rounds, g in zip(frames, generators, strict=True)
                for picture in single(self, rounds, generator=g)]  # fmt: skip

    monkeypatch.setattr(ToyDecoder, "reconstruct", reconstruct)
    monkeypatch.setattr(ToyDecoder, "reconstruct_batch", reconstruct_batch, raising=False)
    return seen


class Ends:
    """Link streams, a queue and, once started, the decode loop; no network."""

    def __init__(self, **settings):
        self.dependencies = LinkDependencies(
            ReceiverSettings(**{"queue_frames": 8} | settings), CodecWorker(DECODERS, open_zoo("cpu"), "decode"),
            LoadedTasks(open_zoo("cpu")), None, asyncio.Queue(settings.get("queue_frames", 8)),
        )  # fmt: skip
        self.store = SessionStore(8, 64, 1 << 28)
        self.tasks = []

    def stream(self, items, name="s"):
        """Reads a stream to its end; (session, record)."""

        async def requests():
            for item in items:
                yield item

        record = self.store.hold(name, writer=True)
        session = LinkSession(name, LINK, DEFAULTS, 0, record, self.dependencies)
        self.tasks.append(asyncio.create_task(session.read(requests())))
        return session, record

    async def waiting(self, count):
        """Let streams run until so many rounds wait for the decoder."""
        async with asyncio.timeout(5):
            while self.dependencies.decode_queue.qsize() < count:
                assert not any(task.done() for task in self.tasks), self.tasks
                await asyncio.sleep(0)

    async def decode(self):
        """Run the decode loop until all streams are through."""
        loop = asyncio.create_task(decode_all(self.dependencies))
        async with asyncio.timeout(20):
            await asyncio.gather(*self.tasks)
        loop.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loop
        await self.dependencies.decoders.close()


def responses(session):
    """(item, frame index) of each, in order; without the end mark."""
    got = []
    while not session.frames.responses.empty():
        if (response := session.frames.responses.get_nowait()) is not None:
            item = response.WhichOneof("item")
            got.append((item, getattr(response, item).frame_index))
    return got


def outcomes(session):
    got = []
    while not session.frames.responses.empty():
        if (response := session.frames.responses.get_nowait()) is not None and response.HasField("outcome"):
            got.append((response.outcome.frame_index, response.outcome.status, response.outcome.reason))
    return sorted(got)


MADE, FAILED = link_pb2.FRAME_STATUS_RECONSTRUCTED, link_pb2.FRAME_STATUS_FAILED


async def test_frames_that_wait_are_decoded_together_and_all_are_told(batches):
    ends = Ends(batch_frames=3)
    one, _ = ends.stream([item for i in range(4) for item in toy_round(i)], "one")
    two, _ = ends.stream(toy_round(9), "two")
    await ends.waiting(5)
    await ends.decode()
    assert [len(b) for b in batches] == [3, 2] and sorted([*batches[0], *batches[1]]) == [0, 1, 2, 3, 9]
    assert Counter(responses(one)) == Counter((item, i) for item in ("ack", "outcome") for i in range(4))
    assert responses(two) == [("ack", 9), ("outcome", 9)]


async def test_one_by_one_unless_the_settings_say_so(batches):
    ends = Ends()
    session, _ = ends.stream([item for i in range(3) for item in toy_round(i)])
    await ends.waiting(3)
    await ends.decode()
    assert batches == [0, 1, 2]
    assert responses(session) == [(item, i) for i in range(3) for item in ("ack", "outcome")]


async def test_a_frame_that_waits_alone_is_not_held_back(batches):
    ends = Ends(batch_frames=8)
    session, _ = ends.stream(toy_round())
    await ends.decode()
    assert batches == [0] and outcomes(session) == [(0, MADE, "")]


@pytest.mark.parametrize("decode, reason", [("crash", "RuntimeError"), ("all", "not all is there")])
async def test_a_frame_that_fails_leaves_its_companions_alone(batches, decode, reason):
    ends = Ends(batch_frames=4)
    header, _lost, *rest = toy_round(1, decode=decode)
    session, record = ends.stream([*toy_round(0), header, *rest, *toy_round(2)])
    await ends.waiting(3)
    await ends.decode()
    assert batches == [[0, 1, 2], 0, 1, 2], "then one by one"
    (first, bad, last) = outcomes(session)
    assert first == (0, MADE, "") and last == (2, MADE, "")
    assert bad[:2] == (1, FAILED) and reason in bad[2]
    pictures = [p async for p in _all(record, 3)]
    assert [(p.frame_index, bool(p.image_png)) for p in pictures] == [(0, True), (1, False), (2, True)]


async def _all(record, count):
    async with contextlib.aclosing(record.follow(0, False)) as follow:
        for _ in range(count):
            yield (await anext(follow)).reconstruction


async def test_a_round_that_cannot_be_unpacked_fails_alone(batches, monkeypatch):
    import gocom.receiver.link_session

    unpack = gocom.receiver.link_session.unpack
    monkeypatch.setattr(
        gocom.receiver.link_session,
        "unpack",
        lambda arrived, link: unpack(arrived, link if arrived.header.frame_index else None),
    )
    ends = Ends(batch_frames=4)
    session, _ = ends.stream([item for i in range(3) for item in toy_round(i)])
    await ends.waiting(3)
    await ends.decode()
    assert batches == [[1, 2]]
    assert [(i, status) for i, status, _ in outcomes(session)] == [(0, FAILED), (1, MADE), (2, MADE)]


async def test_frames_that_someone_watches_are_decoded_singly(batches):
    ends = Ends(batch_frames=4)
    watched, record = ends.stream([*toy_round(0), *toy_round(1)], "watched")
    record.preview_subscribers = 1
    other, _ = ends.stream([*toy_round(5), *toy_round(6)], "other")
    await ends.waiting(4)
    await ends.decode()
    assert Counter(map(str, batches)) == Counter(["0", "1", "[5, 6]"])
    assert len(outcomes(watched)) == len(outcomes(other)) == 2


async def test_a_round_that_was_not_asked_for_is_not_taken(batches):
    """It came before the first one was decoded. The frame ends by that one, as if the other had never come."""
    ends = Ends(batch_frames=4)
    early = toy_round(0, 1, max_rounds=2, count=5, spans=np.array([[0, 5]]))
    session, _ = ends.stream([*toy_round(0, max_rounds=2), *early, *toy_round(1)])
    await ends.waiting(2)
    await ends.decode()
    assert batches == [[0, 1]]
    told = responses(session)
    assert Counter(told) == Counter([("ack", 0), ("outcome", 0), ("ack", 1), ("outcome", 1)])


async def test_a_decoder_without_batches_goes_on_as_before(monkeypatch):
    assert not hasattr(ToyDecoder, "reconstruct_batch")
    ends = Ends(batch_frames=4)
    session, _ = ends.stream([item for i in range(4) for item in toy_round(i)])
    await ends.waiting(4)
    await ends.decode()
    assert [(i, status) for i, status, _ in outcomes(session)] == [(i, MADE) for i in range(4)]


async def test_the_queue_still_holds_back_the_sender(batches):
    ends = Ends(batch_frames=4, queue_frames=2)
    session, _ = ends.stream([item for i in range(7) for item in toy_round(i)])
    await ends.waiting(2)
    await asyncio.sleep(0.05)
    assert ends.dependencies.decode_queue.full() and not ends.tasks[0].done()
    await ends.decode()
    assert len(outcomes(session)) == 7
    assert batches[0] == [0, 1] and max(len(b) if isinstance(b, list) else 1 for b in batches) <= 3


async def test_the_service_takes_the_setting(world, batches):
    await world.receiver(batch_frames=8, queue_frames=8)
    got = await world.send(opening(), *(item for i in range(12) for item in toy_round(i)))
    assert [r.WhichOneof("item") for r in got].count("ack") == 12
    assert sorted(r.outcome.frame_index for r in got if r.HasField("outcome")) == list(range(12))
    assert {r.outcome.status for r in got if r.HasField("outcome")} == {MADE}
    assert [p.reconstruction.final for p in await world.subscribe(12)] == [True] * 12
