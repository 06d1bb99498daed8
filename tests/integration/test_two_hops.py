"""Emulators in a row: transmitter -> emulator -> emulator -> receiver, and what theory says of both together."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.proxy.hops import HOP
from gocom.channel_emulator.service import serve
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import open_channel
from gocom.common.settings import ChannelSettings
from gocom.common.wire.frame_headers import WIRE_VERSION
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import channel_pb2, channel_pb2_grpc, link_pb2, link_pb2_grpc

PACKETS, FRAMES, PAYLOAD_BYTES = 4000, 10, 8
OPEN = link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id="s1", wire_version=WIRE_VERSION))


class Sink(link_pb2_grpc.LinkServiceServicer):
    """Keeps what arrives of each frame."""

    def __init__(self) -> None:
        self.arrived: dict[int, list[PacketBatch]] = {}

    async def Send(self, request_iterator: Any, context: Any) -> AsyncIterator[link_pb2.SendResponse]:
        frame_index = 0
        async for request in request_iterator:
            if request.HasField("header"):
                frame_index = request.header.frame_index
                self.arrived[frame_index] = []
            elif request.HasField("batch"):
                self.arrived[frame_index].append(batch_from_proto(request.batch))
            elif request.HasField("end"):
                yield link_pb2.SendResponse(ack=link_pb2.FrameAck(frame_index=frame_index))

    def sequences(self) -> list[set[int]]:
        """Packets of each frame that arrived."""
        return [{int(s) for batch in parts for s in batch.sequence} for _, parts in sorted(self.arrived.items())]

    def wrong_bits(self) -> tuple[int, int]:
        """(flipped bits, bits) of all that arrived; zeros were sent."""
        payloads = [batch.payload for parts in self.arrived.values() for batch in parts]
        data = np.concatenate(payloads)
        return int(np.unpackbits(data).sum()), 8 * len(data)


@asynccontextmanager
async def hops(*profiles: str, seed: int = 0) -> AsyncIterator[tuple[Sink, list[grpc.aio.Channel]]]:
    """A sink behind emulators of these profiles, all of the same seed, and a channel to each, the first hop first."""
    sink, server = Sink(), grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(sink, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    channels: list[grpc.aio.Channel] = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.stop, 0)
        for profile in reversed(profiles):
            settings = ChannelSettings(port=0, next_hop=address, profile=profile, seed=seed, grace_s=0.5)
            emulator = await serve(settings)
            stack.push_async_callback(emulator.stop)
            address = emulator.address
            channels.insert(0, open_channel(address))
            stack.push_async_callback(channels[0].close)
        yield sink, channels


def items() -> list[link_pb2.SendRequest]:
    """FRAMES frames of PACKETS packets of zeros."""
    index, ones = np.arange(PACKETS, dtype=np.int64), np.ones(PACKETS, np.int64)
    batch = PacketBatch(
        np.zeros(PACKETS * PAYLOAD_BYTES, np.uint8), ones * PAYLOAD_BYTES, index, index, ones,
        np.zeros(PACKETS, np.uint32), np.ones(PACKETS, np.float32), np.zeros(PACKETS, bool),
    )  # fmt: skip
    message = batch_to_proto(batch)
    result = [OPEN]
    for frame_index in range(FRAMES):
        segments = [link_pb2.SegmentHeader(damage_tolerant=True)]
        head = link_pb2.FrameHeader(frame_index=frame_index, segments=segments, source_packets=[PACKETS])
        end = link_pb2.FrameEnd()
        result.append(link_pb2.SendRequest(header=head))
        result += [link_pb2.SendRequest(batch=message), link_pb2.SendRequest(end=end)]
    return result


async def send_all(channel: grpc.aio.Channel) -> None:
    call: Any = link_pb2_grpc.LinkServiceStub(channel).Send(iter(items()), timeout=60)
    assert len([response async for response in call]) == FRAMES


async def z_scores(channel: grpc.aio.Channel) -> list[float]:
    """Of each fault of an emulator, by its own account."""
    stub: Any = channel_pb2_grpc.ChannelControlServiceStub(channel)
    report = await stub.WatchStatistics(channel_pb2.WatchStatisticsRequest(), timeout=100).read()
    return [one.z_score for one in report.impairments]


async def test_hops_of_the_same_seed_lose_packets_independently_of_each_other() -> None:
    """Of the same stream both would lose the same ones, and the second hop would change nothing."""
    async with hops("packet_erasure:rate=0.3", "packet_erasure:rate=0.3", seed=7) as (sink, channels):
        await send_all(channels[0])
        arrived, trials = sum(len(s) for s in sink.sequences()), PACKETS * FRAMES
        expected = 0.7 * 0.7 * trials
        assert abs(arrived - expected) / math.sqrt(expected * 0.51) < 4
        for channel in channels:
            assert abs((await z_scores(channel))[0]) < 4


async def test_two_hops_are_a_chain_in_closed_form() -> None:
    """Loss, bursts and flips of two emulators, beside those of one chain with the faults of both."""
    first, second = "gilbert_elliott:p=0.05,r=0.3", "packet_erasure:rate=0.1"
    csi = Chain.from_profile(parse_spec(f"{first}+{second}")).csi(PAYLOAD_BYTES)
    assert csi.packet_erasure_rate == pytest.approx(1 - (1 - 0.05 / 0.35) * 0.9)
    async with hops(first, second) as (sink, channels):
        await send_all(channels[0])
        lost = np.ones((FRAMES, PACKETS), bool)
        for row, arrived in zip(lost, sink.sequences(), strict=True):
            row[list(arrived)] = False
    # Frames are independent of each other, packets of one are not: the spread of frames is the yardstick.
    for measured, expected in (
        (lost.mean(1), csi.packet_erasure_rate),
        ((lost[:, 1:] & lost[:, :-1]).mean(1), csi.packet_erasure_rate * (1 - 1 / csi.mean_burst_packets)),
    ):
        assert abs(measured.mean() - expected) / (measured.std(ddof=1) / math.sqrt(FRAMES)) < 5
        assert measured.mean() == pytest.approx(expected, rel=0.1)


async def test_a_bit_that_is_flipped_twice_is_right_again() -> None:
    flips = ("bit_flip:rate=0.2,damage=deliver", "bit_flip:rate=0.1,damage=deliver")
    async with hops(*flips) as (sink, channels):
        await send_all(channels[0])
        wrong, bits = sink.wrong_bits()
    rate = 0.2 * 0.9 + 0.8 * 0.1
    assert rate == pytest.approx(Chain.from_profile(parse_spec("+".join(flips))).csi(PAYLOAD_BYTES).bit_error_rate)
    assert abs(wrong - rate * bits) / math.sqrt(bits * rate * (1 - rate)) < 4


async def test_the_first_hop_does_what_a_single_one_does() -> None:
    """A run through one emulator does not change when another is put behind it."""
    async with hops("packet_erasure:rate=0.2", "clean", seed=3) as (sink, channels):
        await send_all(channels[0])
        two = sink.sequences()
    async with hops("packet_erasure:rate=0.2", seed=3) as (sink, channels):
        await send_all(channels[0])
        assert sink.sequences() == two


@pytest.mark.parametrize("hop", ["17", "-1", "many", "9" * 5000])
async def test_a_circle_of_emulators_ends(hop: str) -> None:
    async with hops("clean") as (_, channels):
        call: Any = link_pb2_grpc.LinkServiceStub(channels[0]).Send(iter([OPEN]), timeout=100, metadata=((HOP, hop),))
        status = CallStatus(call)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            [response async for response in call]
        code, details = status.of(caught.value)[:2]
        assert code is grpc.StatusCode.INVALID_ARGUMENT and "gocom-hop" in details
