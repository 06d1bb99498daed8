"""Time, order and copies with a real emulator between a sender and a sink that notes when things arrive."""

from __future__ import annotations

import asyncio
import time

import grpc
import numpy as np
import pytest
from test_channel_service import OPEN, PACKETS, Net, frame, info, packets, rest_of, start_net

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy import delay_line, delayed_batch
from gocom.common.channel_spec import parse_spec
from gocom.common.crc32c import checksums
from gocom.common.packet_batch import PacketBatch
from gocom.common.rpc.call_status import CallStatus
from gocom.common.service_metrics import PACKETS as COUNTER
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import channel_pb2, link_pb2

SLACK_S = 5.0
"""What a busy machine may add, in seconds."""


def kinds(net: Net) -> list[str]:
    """Of what came, batches in a row as one."""
    all_ = [str(item.WhichOneof("item")) for item in net.sink.items]
    return [kind for i, kind in enumerate(all_) if kind != "batch" or all_[i - 1] != "batch"]


def batches(net: Net) -> list[tuple[float, PacketBatch]]:
    """When each batch came, and the batch."""
    pairs = zip(net.sink.came_at, net.sink.items, strict=True)
    return [(at, batch_from_proto(item.batch)) for at, item in pairs if item.HasField("batch")]


def expected(spec: str, seed: int, index: int) -> TimedBatch:
    chain = Chain.from_profile(parse_spec(spec, seed))
    return chain.impairer(info(index)).apply_timed(packets(index))


async def test_packets_take_the_time_drawn_for_them() -> None:
    spec = "delay:delay_ms=300,jitter_ms=200,deadline_ms=450"
    async with start_net(spec, 5) as net:
        began = time.monotonic()
        await net.send(OPEN, *frame(0))
        timed_batch = expected(spec, 5, 0)
        assert 0.05 < timed_batch.batch.erased.mean() < 0.2
        for at, batch in batches(net):
            for sequence in batch.sequence.tolist():
                late = at - began - timed_batch.delay_ms[sequence] / 1000
                assert -0.001 < late < SLACK_S
        arrived = net.sink.frames()[0].sequence
        assert set(arrived.tolist()) == set(np.flatnonzero(~timed_batch.batch.erased).tolist())
        # Those that drew less went ahead; a busy machine sends more of them together, in their order.
        assert len(batches(net)) > 10 and (np.diff(arrived) < 0).sum() > 10
        assert kinds(net) == ["open", "header", "batch", "end"]
        assert net.sink.came_at[1] - began < 0.1 + SLACK_S and net.sink.came_at[-1] - began > 0.4


async def test_a_link_of_finite_rate_is_no_quicker_than_that() -> None:
    # 300 packets of 40 + 28 bytes: 163,200 bits, 0.6 s at this rate.
    rate = 272.0
    async with start_net(f"rate_limit:rate_kbps={rate}") as net:
        began = time.monotonic()
        await net.send(OPEN, *frame(0))
        bits = 0
        for at, batch in batches(net):
            bits += 8 * int(batch.length.sum() + 28 * len(batch))
            assert bits / rate / 1000 < at - began + 0.001
        assert bits == PACKETS * 68 * 8
        assert 0.6 <= net.sink.came_at[-1] - began < 0.6 + SLACK_S
        assert net.sink.frames()[0].sequence.tolist() == list(range(PACKETS))


@pytest.mark.parametrize("size", [300, 64, 7])
@pytest.mark.parametrize(
    "spec",
    [
        "reorder:rate=0.3,distance=20",
        "packet_erasure:rate=0.2+reorder:rate=1,distance=1024",
        "reorder:rate=0.3,distance=3+rate_limit:rate_kbps=500",
        "rate_limit:rate_kbps=500+reorder:rate=0.3,distance=3",
    ],
)
async def test_order_is_what_it_is_in_process_in_any_batching(spec: str, size: int) -> None:
    async with start_net(spec, 3) as net:
        await net.send(OPEN, *frame(0, size), *frame(1, size))
        for index, arrived in enumerate(net.sink.frames()):
            left = expected(spec, 3, index).in_arrival_order()
            assert np.array_equal(arrived.sequence, left.sequence)
            assert np.array_equal(arrived.payload, left.payload)
            assert np.array_equal(arrived.checksum, checksums(arrived, index, 0))
        assert kinds(net) == ["open", "header", "batch", "end", "header", "batch", "end"]


async def test_copies_come_and_are_counted() -> None:
    erased = COUNTER.labels("channel_emulator", "erased")
    before = erased._value.get()
    spec = "duplicate:rate=0.5,copies=3+packet_erasure:rate=0.1"
    async with start_net(spec, 4) as net:
        await net.send(OPEN, *frame(0))
        timed_batch = expected(spec, 4, 0)
        times = np.bincount(net.sink.frames()[0].sequence, minlength=PACKETS)
        assert np.array_equal(times, np.where(timed_batch.batch.erased, 0, 1 + timed_batch.copies))
        report = await net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(), timeout=100).read()
        assert (report.packets_in, report.packets_out) == (PACKETS, times.sum())
        assert report.packets_out > PACKETS
        copied = report.impairments[0]
        assert (
            copied.trials == PACKETS
            and copied.events == np.count_nonzero(timed_batch.copies)
            and abs(copied.z_score) < 4
        )
    assert erased._value.get() - before == timed_batch.batch.erased.sum() > 0


async def test_a_delay_holds_up_a_stream_once_not_once_a_frame() -> None:
    async with start_net("delay:delay_ms=400") as net:
        began = time.monotonic()
        await net.send(OPEN, *(item for index in range(25) for item in frame(index)))
        # Once a frame would be 10 s.
        assert 0.4 <= time.monotonic() - began < 0.4 + SLACK_S
        assert kinds(net) == ["open", *25 * ["header", "batch", "end"]]
        assert [len(batch) for batch in net.sink.frames()] == 25 * [PACKETS]


async def test_packets_that_come_late_are_delayed_as_long() -> None:
    async with start_net("delay:delay_ms=300") as net:
        call = net.link.Send(timeout=100)
        first, second = frame(0, 150)[1:3]
        await call.write(OPEN)
        await call.write(frame(0)[0])
        await call.write(first)
        await asyncio.sleep(0.5)
        sent = time.monotonic()
        await call.write(second)
        await call.write(frame(0)[-1])
        await call.done_writing()
        await rest_of(call)
        (one, _), (other, _) = batches(net)
        assert one < sent < sent + 0.3 <= other + 0.001


async def test_a_clean_profile_afterwards_keeps_the_order() -> None:
    async with start_net("delay:delay_ms=200") as net:
        call = net.link.Send(timeout=100)
        for item in [OPEN, *frame(0)]:
            await call.write(item)
        while not len(net.sink.items) > 1:
            await asyncio.sleep(0.01)
        await net.set("clean")
        for item in frame(1):
            await call.write(item)
        await call.done_writing()
        assert len(await rest_of(call)) == 3
        assert kinds(net) == ["open", "header", "batch", "end", "header", "batch", "end"]
        assert [len(batch) for batch in net.sink.frames()] == [PACKETS, PACKETS]


async def test_a_drain_lets_go_what_is_under_way() -> None:
    async with start_net("delay:delay_ms=500") as net:
        call = net.link.Send(timeout=100)
        for item in [OPEN, *frame(0)]:
            await call.write(item)
        while kinds(net) != ["open", "header"]:
            await asyncio.sleep(0.01)
        await net.emulator.stop(10)
        assert kinds(net) == ["open", "header", "batch", "end"]
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down"):
            await rest_of(call)


async def test_who_goes_away_is_not_waited_for() -> None:
    async with start_net("delay:delay_ms=60000") as net:
        call = net.link.Send(timeout=100)
        for item in [OPEN, *frame(0)]:
            await call.write(item)
        while kinds(net) != ["open", "header"]:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait_for(net.sink.ended.wait(), 5)
        await net.set("clean")
        assert len(await net.send(OPEN, *frame(1))) == 2


async def test_the_next_hops_error_comes_through_a_delay() -> None:
    async with start_net("delay:delay_ms=20,jitter_ms=20") as net:
        net.sink.fail_at_header = True
        for _ in range(10):
            call = net.link.Send(iter([OPEN, *frame(0), *frame(1)]), timeout=100)
            status = CallStatus(call)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                _ = [response async for response in call]
            assert status.of(caught.value)[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "codebooks differ")


async def test_who_only_waits_hears_of_a_line_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no message can be made of it")

    async with start_net("delay:delay_ms=100") as net:
        monkeypatch.setattr(delay_line, "messages", fail)
        call, began = net.link.Send(timeout=100), time.monotonic()
        for item in [OPEN, *frame(0)]:
            await call.write(item)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest_of(call)
        assert caught.value.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK)
        assert time.monotonic() - began < 0.1 + SLACK_S
        monkeypatch.undo()
        assert len(await net.send(OPEN, *frame(1))) == 2


async def test_what_is_out_of_order_is_still_named() -> None:
    async with start_net("delay:delay_ms=100") as net:
        with pytest.raises(grpc.aio.AioRpcError, match="end: missing; the stream ended within frame 0"):
            await net.send(OPEN, *frame(0)[:-1])


async def test_no_more_than_a_bound_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delay_line, "MAX_BYTES", 3000)
    async with start_net("delay:delay_ms=100") as net:
        began = time.monotonic()
        await net.send(OPEN, *frame(0, 60))
        # Each batch of 60 fills the line, and the next one waits until it has gone.
        assert 0.5 <= time.monotonic() - began < 0.5 + SLACK_S
        # What is held back until others come must not keep those others out.
        await net.set("reorder:rate=1,distance=1024")
        await net.send(OPEN, *frame(1, 60))
        assert [len(batch) for batch in net.sink.frames()] == [PACKETS, PACKETS]


async def test_copies_of_large_batches_fit_the_next_hop() -> None:
    """grpc takes messages of 4 MiB at the sink; this one becomes 27 MB."""
    count, size = 46, 65_000
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    large = PacketBatch(
        np.zeros(count * size, np.uint8), ones * size, index, index, ones,
        np.ones(count, np.uint32), (index / 3).astype(np.float32), np.zeros(count, bool),
    )  # fmt: skip
    async with start_net("duplicate:rate=1,copies=8") as net:
        first, *_, end = frame(0)
        await net.send(OPEN, first, link_pb2.SendRequest(batch=batch_to_proto(large)), end)
        (arrived,) = net.sink.frames()
        assert np.array_equal(arrived.sequence, np.repeat(index, 9))
        assert np.array_equal(arrived.power, np.repeat(large.power, 9))
        assert max(item.ByteSize() for item in net.sink.items) <= 1 << 20


async def test_many_copies_of_many_packets_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delayed_batch, "_TOGETHER", 20)
    async with start_net("duplicate:rate=1,copies=8") as net:
        await net.send(OPEN, *frame(0))
        assert np.array_equal(net.sink.frames()[0].sequence, np.repeat(np.arange(PACKETS), 9))
