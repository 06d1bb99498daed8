"""What the recorder makes of batches, and what it does with readers that are slow."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from gocom.channel_emulator import trace_recording as module
from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.trace_recording import (
    MAX_READERS,
    MAX_WAITING,
    RoundLog,
    TraceRecorder,
    TraceRecordingChannel,
)
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import Busy, TooLarge
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packet_traces import MAX_FLIPS, erased_mask, trace_from_proto
from gocom.common.types import FrameHeader
from gocom.v1 import channel_pb2


def batch_of(count: int, payload_bytes: int = 8, first: int = 0) -> PacketBatch:
    index, ones = np.arange(first, first + count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        np.arange(count * payload_bytes).astype(np.uint8), ones * payload_bytes, index, index, ones,
        np.zeros(count, np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def flipped(batch: PacketBatch, *bits: int) -> PacketBatch:
    """With these bits of the whole payload flipped."""
    payload = batch.payload.copy()
    for bit in bits:
        payload[bit >> 3] ^= 0x80 >> (bit & 7)
    return replace(batch, payload=payload)


def flips_of(message: channel_pb2.TraceRound) -> list[tuple[int, int]]:
    return list(zip(message.flip_packet, message.flip_bit, strict=True))


def test_erased_flipped_and_never_there() -> None:
    log, batch = RoundLog(3, 1), batch_of(10, first=2)
    erased = batch.sequence == 5
    log.add(batch, replace(flipped(batch, 0, 64 * 3, 64 * 9 + 63), erased=erased))
    message = log.message(14)
    # 0, 1, 12 and 13 were lost on their way here.
    assert np.flatnonzero(erased_mask(message)).tolist() == [0, 1, 5, 12, 13]
    assert (message.frame_index, message.round, flips_of(message)) == (3, 1, [(2, 0), (11, 63)])
    trace_from_proto([message])
    # Beyond what the sender says it sent.
    assert flips_of(log.message(11)) == [(2, 0)]


def test_order_and_copies_are_not_recorded() -> None:
    log, batch = RoundLog(0, 0), batch_of(6)
    left = flipped(batch, 64 * 1, 64 * 4 + 9)
    order = [4, 4, 0, 1, 5]
    mixed = join_batches([left.select(np.arange(6) == i) for i in order])
    log.add(batch, flipped(mixed, 64 + 8))  # the second copy of 4 is damaged further
    message = log.message(6)
    assert (flips_of(message), np.flatnonzero(erased_mask(message)).tolist()) == ([(1, 0), (4, 9)], [2, 3])


def test_payloads_of_all_lengths() -> None:
    rng = np.random.default_rng(0)
    batch = batch_of(40)
    batch.length = rng.integers(0, 5, 40)
    batch.payload = rng.integers(0, 256, int(batch.length.sum())).astype(np.uint8)
    chain = Chain.from_profile(parse_spec("bit_flip:rate=0.1,damage=deliver", 3))
    left = chain.apply(batch, FrameInfo(0, 0, (True,)))
    log = RoundLog(0, 0)
    log.add(batch, left)
    expected = [
        (i, bit)
        for i, (one, other) in enumerate(zip(batch.payloads(), left.payloads(), strict=True))
        for bit in range(8 * len(one))
        if (one[bit // 8] ^ other[bit // 8]) >> 7 - bit % 8 & 1
    ]
    assert expected and flips_of(log.message(40)) == expected


def test_what_no_trace_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    log = RoundLog(0, 0)
    log.add(batch_of(1, first=1 << 20), batch_of(1, first=1 << 20))
    assert erased_mask(log.message(1)).all()
    with pytest.raises(TooLarge, match="a round of 65537 packets; a trace has rounds of 65536 at most"):
        log.message(65537)
    monkeypatch.setattr(module, "MAX_FLIPS", 63)
    batch = batch_of(8)
    for begin in (0, 4):
        part = batch.select((batch.sequence >= begin) & (batch.sequence < begin + 4))
        log.add(part, flipped(part, *range(32)))
    with pytest.raises(TooLarge, match="more than 63 flipped bits"):
        log.message(8)


@pytest.mark.parametrize("moved", [False, True])
def test_payloads_are_compared_in_slices(monkeypatch: pytest.MonkeyPatch, moved: bool) -> None:
    rng = np.random.default_rng(1)
    batch = batch_of(50)
    batch.length = rng.integers(0, 9, 50)
    batch.payload = rng.integers(0, 256, int(batch.length.sum())).astype(np.uint8)
    left = replace(batch, payload=rng.integers(0, 256, len(batch.payload)).astype(np.uint8))
    if moved:
        left = join_batches([left.select(np.arange(50) == i) for i in rng.permutation(50)])
    messages = []
    for size in (1 << 18, 7):
        monkeypatch.setattr(module, "_SLICE_BYTES", size)
        log = RoundLog(0, 0)
        log.add(batch, left)
        messages.append(log.message(50))
    assert messages[0] == messages[1] and len(messages[0].flip_bit) > 500
    of = dict(zip(left.sequence.tolist(), left.payloads(), strict=True))
    changed = {i: int.from_bytes(b, "big") ^ int.from_bytes(of[i], "big") for i, b in enumerate(batch.payloads())}
    assert len(messages[0].flip_bit) == sum(bits.bit_count() for bits in changed.values())


def test_many_flips_take_little_memory() -> None:
    """Of 33 million the first million is looked at: it is more than a trace holds already."""
    batch = batch_of(1 << 13, 1 << 10)
    noise = np.frombuffer(np.random.default_rng(0).bytes(1 << 23), np.uint8)
    left = replace(batch, payload=batch.payload ^ noise)
    log = RoundLog(0, 0)
    tracemalloc.start()
    log.add(batch, left)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert log.flips == MAX_FLIPS + 1
    with pytest.raises(TooLarge, match="more than 1048576 flipped bits"):
        log.message(1 << 13)


async def test_the_loop_goes_on_while_a_round_of_many_flips_is_written() -> None:
    recording, batch = TraceRecorder(), batch_of(1 << 10)
    reader = recording.open()
    first, second = recording.begin(0, 0), recording.begin(1, 0)
    assert first is not None and second is not None
    first.add(batch, replace(batch, payload=~batch.payload))
    ended = asyncio.create_task(first.end(1 << 10))
    await asyncio.sleep(0)
    assert not ended.done()
    await ended
    await second.end(1)
    recording.drain()
    assert [(m.frame_index, len(m.flip_bit)) async for m in reader] == [(0, 1 << 16), (1, 0)]


async def test_readers_are_few_and_hear_of_what_begins_after_them() -> None:
    recording = TraceRecorder()
    assert recording.begin(0, 0) is None
    reader = recording.open()
    first = recording.begin(1, 0)
    late = recording.open()
    assert first is not None
    first.add(batch_of(2), batch_of(2))
    await first.end(2)
    second = recording.begin(2, 0)
    assert second is not None
    await second.end(0)  # no packets, nothing to tell
    await second.end(1)
    others = [recording.open() for _ in range(MAX_READERS - 2)]
    with pytest.raises(Busy, match="all 8 places for those who record are taken"):
        recording.open()
    recording.drain()
    assert [m.frame_index async for m in reader] == [1, 2] and [m.frame_index async for m in late] == [2]
    for one in (reader, late, *others):
        recording.close(one)
    assert recording.begin(3, 0) is None
    assert [m async for m in recording.open()] == []  # shutting down


async def test_a_slow_reader_gets_what_waits_and_is_ended() -> None:
    recording = TraceRecorder()
    reader = recording.open()
    for frame_index in range(MAX_WAITING + 2):
        current = recording.begin(frame_index, 0)
        if current is not None:
            await current.end(1)
    assert not reader.open
    got = []
    with pytest.raises(TooLarge, match="1024 rounds wait to be read; a reader must keep up"):
        async for message in reader:
            got.append(message.frame_index)
    assert got == list(range(MAX_WAITING))


async def test_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 20_000)
    recording = TraceRecorder()
    reader = recording.open()
    for frame_index in range(4):
        current = recording.begin(frame_index, 0)
        if current is not None:
            await current.end(65536)  # a bit a packet
    read = asyncio.create_task(anext(aiter(reader)))
    assert (await read).packets == 65536
    assert not reader.open


async def test_a_round_that_no_trace_holds_ends_the_record() -> None:
    recording = TraceRecorder()
    reader = recording.open()
    current = recording.begin(0, 0)
    assert current is not None
    await current.end(65537)
    with pytest.raises(TooLarge, match="65537 packets"):
        await anext(aiter(reader))


def test_a_channel_in_process_is_recorded_and_replayed() -> None:
    def header(frame_index: int, round_: int) -> FrameHeader:
        return FrameHeader("jpeg", {}, 64, 64, (), frame_index, round_)  # type: ignore[arg-type]

    chain = Chain.from_profile(parse_spec("packet_erasure:rate=0.4", 5))
    channel = TraceRecordingChannel(chain)
    keys = [(0, 0), (0, 1), (1, 0), (1, 0)]  # the last is the same frame, sent again
    for key in keys:
        for first in (0, 30):
            channel(header(*key), batch_of(30, first=first))
    rounds = channel.rounds
    assert [(m.frame_index, m.round, m.packets) for m in rounds] == [(*key, 60) for key in keys]
    assert rounds[2] == rounds[3] and channel.rounds == rounds
    for message in rounds:
        erased = chain(header(message.frame_index, message.round), batch_of(60)).erased
        assert np.array_equal(erased_mask(message), erased) and erased.any()
