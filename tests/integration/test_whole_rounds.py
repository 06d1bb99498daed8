"""An emulator whose channel needs whole rounds: it holds their packets, shares the symbols, and refuses too much."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import numpy as np
import pytest
from test_channel_service import OPEN, PACKETS, frame, header, info, packets, rest_of, start_net

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy import round_in_transit
from gocom.channel_emulator.proxy.delay_line import DelayLine
from gocom.common.channel_spec import parse_spec
from gocom.common.crc32c import checksums
from gocom.common.packet_batch import join_batches
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import channel_pb2, link_pb2

AUTO = "coded_fading:snr_db=10,code_rate=auto,coherence=8,symbols_per_round=60000"
PROFILES = [
    AUTO,
    f"packet_erasure:rate=0.2+{AUTO}+bit_flip:rate=1e-3,damage=deliver",
    "coded_fading:snr_db=12,code_rate=1,symbols_per_round=100000",
    "block_fading:snr_db=8,damage=deliver,symbols_per_round=50000",
]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("batch_packets", [PACKETS, 64, 7, 1])
async def test_wire_and_in_process_chain_agree_whatever_the_batching(profile: str, batch_packets: int) -> None:
    async with start_net(profile, seed=5) as net:
        await net.send(OPEN, *frame(0, batch_packets), *frame(1, batch_packets))
        chain = Chain.from_profile(parse_spec(profile, 5))
        for index, arrived in enumerate(net.sink.frames()):
            left = chain.apply(packets(index), info(index))
            expected = left.select(~left.erased)
            assert 0 < len(expected) < PACKETS
            assert np.array_equal(arrived.sequence, expected.sequence)
            assert np.array_equal(arrived.payload, expected.payload)
            assert np.array_equal(arrived.checksum, checksums(arrived, index, 0))
        sizes = [len(item.batch.sequence) for item in net.sink.items if item.HasField("batch")]
        assert max(sizes) <= batch_packets, "in batches no larger than those of the sender"
        report = await net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(), timeout=100).read()
        assert (report.frames, report.packets_in) == (2, 2 * PACKETS)
        assert report.packets_out == sum(len(arrived) for arrived in net.sink.frames())
        assert all(abs(item.z_score) < 4 for item in report.impairments)


@pytest.mark.parametrize(
    "profile", [f"{AUTO}+delay:delay_ms=20,jitter_ms=10+duplicate:rate=0.3", f"reorder:rate=0.2+{AUTO}"]
)
async def test_packets_that_take_time_are_held_too(profile: str) -> None:
    async with start_net(profile, seed=5) as net:
        await net.send(OPEN, *frame(0), *frame(1))
        chain = Chain.from_profile(parse_spec(profile, 5))
        for index, arrived in enumerate(net.sink.frames()):
            timed_batch = chain.impairer(info(index)).apply_timed(packets(index))
            kept = ~timed_batch.batch.erased
            expected = np.repeat(timed_batch.batch.sequence[kept], 1 + timed_batch.copies[kept])
            assert sorted(arrived.sequence.tolist()) == expected.tolist()
        assert [len(i.batch.sequence) > 0 for i in net.sink.items if i.HasField("batch")].count(False) == 0


async def test_nothing_of_a_round_leaves_before_its_end() -> None:
    async with start_net(AUTO, seed=5) as net:
        call = net.link.Send(timeout=100)
        first = frame(0)
        for item in [OPEN, *first[:-1]]:
            await call.write(item)
        await call.read()
        while len(net.sink.items) < 2:
            await asyncio.sleep(0.01)
        # A profile for later rounds does not touch this one.
        await net.set("clean")
        assert [item.WhichOneof("item") for item in net.sink.items] == ["open", "header"]
        await call.write(first[-1])
        for item in frame(1):
            await call.write(item)
        await call.done_writing()
        assert [r.ack.frame_index for r in await rest_of(call)] == [0, 1]
        assert 0 < len(net.sink.frames()[0]) < PACKETS == len(net.sink.frames()[1])


async def test_a_round_without_packets_and_one_of_which_none_is_left() -> None:
    async with start_net("block_fading:snr_db=60,symbols_per_round=1", seed=5) as net:
        end = link_pb2.SendRequest(end=link_pb2.FrameEnd())
        responses = await net.send(OPEN, link_pb2.SendRequest(header=header(0, 0)), end, *frame(1))
        assert [r.ack.frame_index for r in responses[1:]] == [0, 1]
        assert [item.WhichOneof("item") for item in net.sink.items] == ["open", "header", "end", "header", "end"]


@pytest.mark.parametrize(
    ("limit", "largest", "words"),
    [("MAX_HELD_BYTES", 20_000, "20000 bytes"), ("MAX_HELD_PACKETS", PACKETS - 1, f"{PACKETS - 1} packets")],
)
async def test_a_round_that_is_too_long_to_be_held_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: str, largest: int, words: str
) -> None:
    monkeypatch.setattr(round_in_transit, limit, largest)
    async with start_net(AUTO) as net:
        with pytest.raises(grpc.aio.AioRpcError, match=f"needs the whole round, and holds {words}") as caught:
            await net.send(OPEN, *frame(0))
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        await net.set("clean")
        assert len(await net.send(OPEN, *frame(0))) == 2


async def test_a_held_round_gives_way_while_it_goes_into_the_delay_line(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, seen, put = 0, [], DelayLine.put

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def noted(line: DelayLine, item: bytes | TimedBatch) -> None:
        if isinstance(item, TimedBatch):
            seen.append(turns)
        await put(line, item)

    monkeypatch.setattr(DelayLine, "put", noted)
    async with start_net(f"{AUTO}+delay:delay_ms=20", seed=5) as net:
        counting = asyncio.create_task(count_turns())
        await net.send(OPEN, *frame(0, 3))
        counting.cancel()
    assert len(seen) == PACKETS // 3
    assert all(before < after for before, after in itertools.pairwise(seen))


async def test_a_trace_of_a_held_round_is_complete() -> None:
    async with start_net(AUTO, seed=5) as net:
        call = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
        await call.initial_metadata()
        await net.send(OPEN, *frame(0))
        recorded = (await call.read()).round
        call.cancel()
        left = Chain.from_profile(parse_spec(AUTO, 5)).apply(packets(0), info(0))
        lost = np.unpackbits(np.frombuffer(recorded.erased, np.uint8), bitorder="little")[:PACKETS]
        assert (recorded.packets, lost.tolist()) == (PACKETS, left.erased.astype(int).tolist())


async def test_copies_of_an_earlier_hop_take_no_symbols() -> None:
    """The order and the copies in which packets come change nothing."""
    async with start_net("block_fading:snr_db=60,symbols_per_round=32000", seed=5) as net:
        parts = packets(0).slices(50)
        items = [
            link_pb2.SendRequest(header=header(0)),
            *(link_pb2.SendRequest(batch=batch_to_proto(part)) for part in [*parts[::-1], *parts[::2]]),
            link_pb2.SendRequest(end=link_pb2.FrameEnd()),
        ]
        call = net.link.Send(iter([OPEN, *items]), timeout=100, metadata=(("gocom-hop", "1"),))
        assert len([response async for response in call]) == 2
        arrived = join_batches(net.sink.frames())
        assert sorted(set(arrived.sequence.tolist())) == list(range(100))
