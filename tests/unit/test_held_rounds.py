"""A round that is held until its end: how much of it there may be, what is counted for it, and where it is impaired."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gocom.channel_emulator.active_profile import ProfileRevision
from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.proxy.round_in_transit import MAX_HELD_BYTES, MAX_HELD_PACKETS, RoundInTransit
from gocom.channel_emulator.proxy.wire_items import WireItem, read_item
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2

LINK = "coded_fading:snr_db=12,code_rate=auto,coherence=8,symbols_per_round=50000"
PROFILES = [LINK, f"delay:delay_ms=20,jitter_ms=10+{LINK}"]


def begin(profile: str = LINK, packets: int = MAX_PACKETS) -> RoundInTransit:
    parsed = parse_spec(profile, 3)
    chain, info = Chain.from_profile(parsed), FrameInfo(0, 0, (True,), (packets,))
    assert chain.needs_whole_round
    revision = ProfileRevision(1, parsed, chain, Statistics(chain))
    return RoundInTransit(info, revision, chain.impairer(info), RoundCounts(), "", None)


def message(first: int, count: int, payload_bytes: int = 0) -> bytes:
    index, ones = np.arange(first, first + count), np.ones(count, np.int64)
    batch = PacketBatch(
        np.zeros(count * payload_bytes, np.uint8), ones * payload_bytes, index, index, ones,
        index.astype(np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip
    return link_pb2.SendRequest(batch=batch_to_proto(batch)).SerializeToString()


def hold(current: RoundInTransit, count: int, size: int, payload_bytes: int = 0) -> None:
    """Hold so many packets in batches of a size, each of them read anew as it comes from the wire."""
    for first in range(0, count, size):
        current.hold(read_item(message(first, min(size, count - first), payload_bytes)))


@pytest.mark.parametrize("size", [128, 32768])
def test_the_longest_round_that_a_header_can_announce_is_held(size: int) -> None:
    current = begin()
    hold(current, MAX_PACKETS, size, 105)
    assert sum(len(batch) for _, batch in current.held) == MAX_PACKETS


def test_packets_are_counted_even_if_they_are_copies_without_bytes() -> None:
    current = begin()
    for _ in range(4):
        hold(current, 32768, 32768)
    assert MAX_HELD_PACKETS == 4 * 32768 == 2 * MAX_PACKETS
    for count in (1, 32768):
        with pytest.raises(TooLarge, match="^batch: the channel needs the whole round, and holds 131072 packets of it"):
            hold(current, count, count)


@pytest.mark.parametrize(("count", "size", "payload_bytes"), [(65536, 1, 0), (65536, 16, 1000), (65536, 1024, 1000)])
def test_a_round_of_too_many_bytes_is_refused(count: int, size: int, payload_bytes: int) -> None:
    current = begin()
    with pytest.raises(TooLarge, match=f"^batch: the channel needs the whole round, and holds {MAX_HELD_BYTES} bytes"):
        hold(current, count, size, payload_bytes)
    assert sum(len(item.raw) for item, _ in current.held) < MAX_HELD_BYTES


@pytest.mark.parametrize(("count", "size", "payload_bytes"), [(2000, 1, 0), (8192, 128, 0), (65536, 32768, 0)])
def test_what_is_held_takes_no_more_than_is_counted(count: int, size: int, payload_bytes: int) -> None:
    hold(begin(), size, size, payload_bytes)
    gc.collect()
    tracemalloc.start()
    try:
        current = begin()
        hold(current, count, size, payload_bytes)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # The columns as protobuf holds them are not traced.
    assert current._held_bytes / 8 < kept < current._held_bytes


def test_a_packet_that_the_header_did_not_announce_is_not_held() -> None:
    current = begin(packets=64)
    hold(current, 64, 32)
    with pytest.raises(InvalidInput, match="batch.sequence: 64 is not below 64"):
        current.hold(read_item(message(64, 1)))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("count", "size", "in_thread"), [(200, 10, False), (200, 1, False), (600, 1, True)])
async def test_a_large_round_is_impaired_and_serialized_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, profile: str, count: int, size: int, in_thread: bool
) -> None:
    """Many small batches are much work, however few their packets are."""
    threads = set()
    serialize, add = WireItem.serialize_with, RoundCounts.add

    def noted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            threads.add(threading.get_ident())
            return function(*arguments)

        return call

    monkeypatch.setattr(WireItem, "serialize_with", noted(serialize))
    monkeypatch.setattr(RoundCounts, "add", noted(add))
    current = begin(profile)
    hold(current, count, size)
    left = await current.impair_held()
    assert 0 < len(left) <= -(-count // size)
    assert current.counts.packets_in == count
    assert len(threads) == 1 and (threading.get_ident() not in threads) == in_thread
