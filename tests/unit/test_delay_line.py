"""What is under way: what keeping it takes, how long taking a batch takes, and how it goes in parts of a round."""

from __future__ import annotations

import gc
import time
import tracemalloc

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.delay_line import _PacketGroup
from gocom.channel_emulator.proxy.delayed_batch import DelayedBatch, messages
from gocom.channel_emulator.proxy.wire_items import read_item
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2

FRAME = FrameInfo(0, 0, (True,))


def packets(first: int, count: int, payload_bytes: int = 40) -> PacketBatch:
    index, ones = np.arange(first, first + count), np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(count * payload_bytes, np.uint8), ones * payload_bytes, index, index, ones,
        index.astype(np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def timed_batches(spec: str, count: int, size: int) -> list[TimedBatch]:
    """Batches of a round, as they come from a sender."""
    impairer = Chain.from_profile(parse_spec(spec, 3)).impairer(FRAME)
    made = []
    for first in range(0, count, size):
        item = link_pb2.SendRequest(batch=batch_to_proto(packets(first, size)))
        made.append(impairer.apply_timed(read_item(item.SerializeToString()).batch()))
    return made


@pytest.mark.parametrize("spec", ["delay:delay_ms=1000,jitter_ms=1000", "delay:delay_ms=50000,jitter_ms=50000"])
@pytest.mark.parametrize(("count", "size"), [(1000, 1), (2000, 4), (8192, 64), (32768, 8192)])
def test_what_is_under_way_takes_no_more_than_is_counted(spec: str, count: int, size: int) -> None:
    timed_batches(spec, size, size)
    gc.collect()
    tracemalloc.start()
    try:
        part, counted = _PacketGroup(0.0), 0
        for timed_batch in timed_batches(spec, count, size):
            delayed = DelayedBatch(timed_batch)
            part.add(delayed, timed_batch, 0.0)
            counted += delayed.size
        del timed_batch, delayed
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert counted / 8 < kept < counted


def seconds(spec: str) -> float:
    """The least that taking a batch of 20,000 took, after one that leaves most of it held back."""
    part, taken = _PacketGroup(0.0), []
    for timed_batch in timed_batches(spec, 60_000, 20_000):
        delayed, began = DelayedBatch(timed_batch), time.thread_time()
        part.add(delayed, timed_batch, 0.0)
        taken.append(time.thread_time() - began)
    return min(taken[1:])


def test_thousands_held_back_do_not_stop_the_event_loop() -> None:
    # 1 ms, and 2 to 5 ms; one after the other they took 45 to 490.
    none = seconds("delay:delay_ms=5")
    for rate in (0.5, 0.97):
        assert seconds(f"reorder:rate={rate},distance=1024") < 15 * none


def left(part: _PacketGroup, now: float) -> list[int]:
    """Sequence numbers of what may go by then, in order."""
    pieces = part.take_due(now)
    found = [link_pb2.SendRequest.FromString(raw).batch for raw in messages(pieces, 1 << 20)] if pieces else []
    return [number for batch in found for number in batch.sequence]


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("between_ms", [0.0, 0.3])
@pytest.mark.parametrize(
    "spec",
    [
        "reorder:rate=0.3,distance=3+rate_limit:rate_kbps=500",
        "rate_limit:rate_kbps=50000+reorder:rate=0.9,distance=40+reorder:rate=0.5,distance=9+delay:delay_ms=7.3",
    ],
)
def test_order_in_a_queue_does_not_depend_on_when_batches_come(spec: str, between_ms: float, size: int) -> None:
    impairer = Chain.from_profile(parse_spec(spec, 3)).impairer(FRAME)
    expected = impairer.apply_timed(packets(0, 2100)).in_arrival_order().sequence.tolist()
    assert (np.diff(expected) < 0).any()
    part, now, arrived = _PacketGroup(1000.7), 1000.7, []
    for timed_batch in timed_batches(spec, 2100, size):
        part.add(DelayedBatch(timed_batch), timed_batch, now)
        now += between_ms
        arrived += left(part, now)
    part.release_all(now)
    assert arrived + left(part, now + 1e6) == expected


def test_in_one_batch_the_order_of_different_delays_is_that_in_process() -> None:
    (timed_batch,) = timed_batches("rate_limit:rate_kbps=90000+delay:delay_ms=4,jitter_ms=4", 2000, 2000)
    part = _PacketGroup(1000.7)
    part.add(DelayedBatch(timed_batch), timed_batch, 1000.7)
    arrived = [number for tick in range(30) for number in left(part, 1000.7 + tick)]
    assert arrived == timed_batch.in_arrival_order().sequence.tolist() != sorted(arrived)
