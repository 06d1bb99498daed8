"""The emulator as a service, between a sender and a sink that keeps what arrives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.channel_emulator.service import serve
from gocom.common.channel_spec import parse_spec
from gocom.common.crc32c import checksums
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.server import RunningServer
from gocom.common.settings import ChannelSettings
from gocom.common.wire.frame_headers import WIRE_VERSION
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import channel_pb2, channel_pb2_grpc, codecs_pb2, link_pb2, link_pb2_grpc

PACKETS = 300
OPEN = link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id="s1", wire_version=WIRE_VERSION))


class Sink(link_pb2_grpc.LinkServiceServicer):
    """Keeps what arrives, acknowledges frames, and fails when told to."""

    def __init__(self) -> None:
        self.items: list[link_pb2.SendRequest] = []
        self.came_at: list[float] = []
        self.ended = asyncio.Event()
        self.fail_at_header = False

    async def Send(self, request_iterator: Any, context: Any) -> AsyncIterator[link_pb2.SendResponse]:
        frame = link_pb2.FrameHeader()
        try:
            async for request in request_iterator:
                self.items.append(request)
                self.came_at.append(time.monotonic())
                item = request.WhichOneof("item")
                if item == "open":
                    yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted(feedback_timeout_seconds=2.5))
                elif item == "header":
                    frame = request.header
                    if self.fail_at_header:
                        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "codebooks differ", (("why", "x"),))
                elif item == "end":
                    yield link_pb2.SendResponse(ack=link_pb2.FrameAck(frame_index=frame.frame_index, round=frame.round))
        finally:
            self.ended.set()

    def frames(self) -> list[PacketBatch]:
        """The packets of each frame."""
        result: list[list[PacketBatch]] = []
        for request in self.items:
            if request.HasField("header"):
                result.append([])
            elif request.HasField("batch"):
                result[-1].append(batch_from_proto(request.batch))
        return [join_batches(parts) for parts in result]


@dataclass
class Net:
    """A sink, an emulator before it, and stubs to the emulator."""

    sink: Sink
    emulator: RunningServer
    channel: grpc.aio.Channel
    link: Any = field(init=False)
    control: Any = field(init=False)

    def __post_init__(self) -> None:
        self.link = link_pb2_grpc.LinkServiceStub(self.channel)
        self.control = channel_pb2_grpc.ChannelControlServiceStub(self.channel)

    async def set(self, text: str, seed: int = 0) -> int:
        request = channel_pb2.UpdateProfileRequest(profile=parse_spec(text, seed))
        return int((await self.control.UpdateProfile(request, timeout=100)).revision)

    async def send(self, *items: link_pb2.SendRequest) -> list[link_pb2.SendResponse]:
        call = self.link.Send(iter(items), timeout=100)
        status = CallStatus(call)
        try:
            return [response async for response in call]
        except grpc.aio.AioRpcError as error:
            # A refusal while items are still being written would show as INTERNAL: see call_status.py.
            code, details, metadata = status.of(error)
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details) from error


async def rest_of(call: Any) -> list[Any]:
    """What is still to be read of a call that was begun with read()."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


@asynccontextmanager
async def start_net(profile: str = "clean", seed: int = 0) -> AsyncIterator[Net]:
    sink, server = Sink(), grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(sink, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = ChannelSettings(port=0, next_hop=f"127.0.0.1:{port}", profile=profile, seed=seed, grace_s=0.5)
    emulator = await serve(settings)
    channel = open_channel(emulator.address)
    try:
        yield Net(sink, emulator, channel)
    finally:
        await channel.close()
        await emulator.stop()
        await server.stop(0)


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with start_net() as started:
        yield started


def packets(frame_index: int, count: int = PACKETS) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    batch = PacketBatch(
        (np.arange(count * 40) % 256).astype(np.uint8), ones * 40, index, index, ones,
        np.zeros(count, np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip
    batch.checksum = checksums(batch, frame_index, 0)
    return batch


def header(frame_index: int, count: int = PACKETS) -> link_pb2.FrameHeader:
    """Of two segments, the first of which tolerates damage, with half of the packets each."""
    segments = [link_pb2.SegmentHeader(kind=0, damage_tolerant=True), link_pb2.SegmentHeader(kind=1)]
    # A codec the emulator has never heard of.
    codec = codecs_pb2.CodecHeader(extension={"codec": "somebody_elses"})
    packets = [count // 2, count - count // 2]
    return link_pb2.FrameHeader(frame_index=frame_index, segments=segments, codec=codec, source_packets=packets)


def info(frame_index: int) -> FrameInfo:
    """What faults know of such a frame."""
    return HeaderReader(OPEN.open).read(header(frame_index))


def frame(frame_index: int, batch_packets: int = 64) -> list[link_pb2.SendRequest]:
    parts = packets(frame_index).slices(batch_packets)
    return [
        link_pb2.SendRequest(header=header(frame_index)),
        *(link_pb2.SendRequest(batch=batch_to_proto(part)) for part in parts),
        link_pb2.SendRequest(end=link_pb2.FrameEnd()),
    ]


async def test_a_clean_channel_changes_nothing(net: Net) -> None:
    items = [OPEN, *frame(0), *frame(1)]
    responses = await net.send(*items)
    assert net.sink.items == items
    assert responses[0].accepted.feedback_timeout_seconds == 2.5
    assert [r.ack.frame_index for r in responses[1:]] == [0, 1]
    health = health_pb2_grpc.HealthStub(net.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == 1


@pytest.mark.parametrize("profile", ["lossy", "bursty", "noisy", "bit_flip:rate=1e-3", "packet_erasure:rate=1"])
async def test_wire_and_in_process_chain_agree_whatever_the_batching(profile: str) -> None:
    async with start_net(profile, seed=5) as net:
        await net.send(OPEN, *frame(0), *frame(1, batch_packets=7))
        chain = Chain.from_profile(parse_spec(profile, 5))
        for index, arrived in enumerate(net.sink.frames()):
            left = chain.apply(packets(index), info(index))
            expected = left.select(~left.erased)
            assert np.array_equal(arrived.sequence, expected.sequence)
            assert np.array_equal(arrived.payload, expected.payload)
            assert np.array_equal(arrived.checksum, checksums(arrived, index, 0))
        kinds = [item.WhichOneof("item") for item in net.sink.items if not item.HasField("batch")]
        assert kinds == ["open", "header", "end", "header", "end"]


async def test_a_frame_keeps_the_profile_it_began_with(net: Net) -> None:
    call = net.link.Send(timeout=100)
    await call.write(OPEN)
    await call.read()
    first, second = frame(0), frame(1)
    for item in first[:3]:
        await call.write(item)
    while len(net.sink.items) < 4:
        await asyncio.sleep(0.01)
    assert await net.set("packet_erasure:rate=1") == 2
    for item in [*first[3:], *second]:
        await call.write(item)
    await call.done_writing()
    assert [r.ack.frame_index for r in await rest_of(call)] == [0, 1]
    assert [len(batch) for batch in net.sink.frames()] == [PACKETS, 0]
    profile = await net.control.GetProfile(channel_pb2.GetProfileRequest(), timeout=100)
    assert (profile.revision, profile.profile) == (2, parse_spec("packet_erasure:rate=1"))
    report = await net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(), timeout=100).read()
    assert (report.revision, report.frames, report.packets_in, report.packets_out) == (2, 1, PACKETS, 0)


HEADER, BATCH, *_, END = frame(0)


def with_packets(count: int) -> link_pb2.SendRequest:
    """A header that announces so many packets."""
    return link_pb2.SendRequest(header=header(0, count))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "open: missing"),
        ([HEADER], "header: comes before open"),
        ([OPEN, OPEN], "open: the session is open already"),
        ([OPEN, BATCH], "batch: comes before the frame's header"),
        ([OPEN, END], "end: comes before the frame's header"),
        ([OPEN, HEADER, HEADER], "header: comes before the end of frame 0"),
        ([OPEN, HEADER, BATCH], "end: missing; the stream ended within frame 0"),
        ([OPEN, link_pb2.SendRequest()], "item: not set; there are open, header, batch, end"),
        (
            [OPEN, HEADER, link_pb2.SendRequest(batch=link_pb2.PacketBatch(payload=b"x", length_bytes=[1]))],
            "batch.length_bytes: 1 entries for 0 packets",
        ),
        (
            [OPEN, with_packets(PACKETS - 1), *frame(0)[1:]],
            "batch.sequence: 299 is not below 299, the number of packets",
        ),
        ([OPEN, with_packets(0), *frame(0)[1:]], "batch.sequence: 63 is not below 0, the number of packets that the"),
        ([OPEN, with_packets(65_537)], "header: 65537 packets are more than 65536"),
        ([OPEN, with_packets(2**32)], "header: 4294967296 packets are more than 65536"),
        (
            [OPEN, link_pb2.SendRequest(header=link_pb2.FrameHeader(source_packets=[1]))],
            "header.source_packets: 1 entries for 0 segments",
        ),
        (
            [OPEN, link_pb2.SendRequest(header=link_pb2.FrameHeader(round=3))],
            "header.frame_index: missing in round 3; only a first round may leave it out",
        ),
        (
            [OPEN, link_pb2.SendRequest(header=link_pb2.FrameHeader(segments=257 * [{}]))],
            "header.segments: 257 are more than 256",
        ),
    ],
)
async def test_items_out_of_order_are_named(net: Net, items: list[link_pb2.SendRequest], message: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match=message) as caught:
        await net.send(*items)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("version", [0, 1, 3])
async def test_another_version_of_the_wire_is_refused_by_name(net: Net, version: int) -> None:
    opening = link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id="s1", wire_version=version))
    words = f"wire_version: the transmitter speaks 0.{version or 1}, this end 0.2; run the same version of gocom"
    with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
        await net.send(opening, *frame(0))
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert not net.sink.items


async def test_what_headers_leave_out_is_in_the_opening(net: Net) -> None:
    """The fate of packets is that of frames whose headers say everything, and so is what is counted."""
    await net.set("bit_flip:rate=1e-3,damage=deliver+packet_erasure:rate=0.5,segment=1", 5)
    said = [OPEN, *frame(0), *frame(1), *frame(5)]
    await net.send(*said)
    expected = net.sink.frames()
    assert [len(batch) > PACKETS // 2 for batch in expected] == [True] * 3
    net.sink.items.clear()
    full = header(0)
    defaults = link_pb2.FrameDefaults(segments=full.segments, codec=full.codec)
    opening = link_pb2.SessionOpen(session_id="s1", wire_version=WIRE_VERSION, defaults=defaults)
    left_out = [link_pb2.SendRequest(open=opening)]
    for index in (0, 1, 5):
        short = link_pb2.FrameHeader(source_packets=full.source_packets)
        if index == 5:
            short.frame_index = 5
        left_out += [link_pb2.SendRequest(header=short), *frame(index)[1:]]
    responses = await net.send(*left_out)
    assert len(responses) == 4
    for one, other in zip(net.sink.frames(), expected, strict=True):
        assert np.array_equal(one.sequence, other.sequence) and np.array_equal(one.payload, other.payload)
        assert np.array_equal(one.checksum, other.checksum)


async def test_the_next_hops_error_comes_through(net: Net) -> None:
    """Also while the sender is writing, which makes grpc.aio forget the status (grpc/grpc issue 36066)."""
    net.sink.fail_at_header = True
    for _ in range(30):
        call = net.link.Send(iter([OPEN, *frame(0), *frame(1)]), timeout=100)
        status = CallStatus(call)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [response async for response in call]
        code, details, metadata = status.of(caught.value)
        assert (code, details) == (grpc.StatusCode.FAILED_PRECONDITION, "codebooks differ")
        assert ("why", "x") in metadata


async def test_no_next_hop_is_unavailable() -> None:
    emulator = await serve(ChannelSettings(port=0, next_hop="127.0.0.1:1"))
    async with open_channel(emulator.address) as channel:
        call = link_pb2_grpc.LinkServiceStub(channel).Send(iter([OPEN]), timeout=100)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [response async for response in call]
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    await emulator.stop(0)


async def test_a_cancelled_sender_cancels_the_next_hop(net: Net) -> None:
    call = net.link.Send(timeout=100)
    await call.write(OPEN)
    await call.read()
    call.cancel()
    await asyncio.wait_for(net.sink.ended.wait(), 5)
    # And the emulator lives on.
    assert len(await net.send(OPEN, *frame(0))) == 2


async def test_emulators_can_stand_in_a_row(net: Net) -> None:
    await net.set("lossy", 1)
    first = await serve(ChannelSettings(port=0, next_hop=net.emulator.address, profile="lossy", seed=2))
    async with open_channel(first.address) as channel:
        call = link_pb2_grpc.LinkServiceStub(channel).Send(iter([OPEN, *frame(0)]), timeout=100)
        assert len([response async for response in call]) == 2
    await first.stop(0)
    (arrived,) = net.sink.frames()
    assert 0.5 * PACKETS < len(arrived) < 0.78 * PACKETS


async def test_profiles_are_checked_and_the_old_one_stays(net: Net) -> None:
    update: Callable[..., Awaitable[Any]] = net.control.UpdateProfile
    cases = [
        (
            parse_spec("packet_erasure:rate=0+packet_erasure:rate=3"),
            "INVALID_ARGUMENT",
            "impairments[1].packet_erasure.rate: 3.0",
        ),
        (
            parse_spec("thunderstorm"),
            "UNIMPLEMENTED",
            "there are bit_flip, block_fading, burst_bit_flip, bursty, clean, coded_fading, ",
        ),
        (None, "INVALID_ARGUMENT", "profile: not set"),
    ]
    for profile, code, words in cases:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await update(channel_pb2.UpdateProfileRequest(profile=profile), timeout=100)
        assert caught.value.code().name == code
        assert words in (caught.value.details() or "")
    assert (await net.control.GetProfile(channel_pb2.GetProfileRequest(), timeout=100)).revision == 1


async def test_channel_state_is_what_the_profile_implies(net: Net) -> None:
    await net.set("gilbert_elliott:p=0.02,r=0.25+bit_flip:rate=1e-3,damage=deliver")
    state = await net.control.GetChannelState(channel_pb2.GetChannelStateRequest(), timeout=100)
    assert state.packet_erasure_rate == pytest.approx(0.02 / 0.27)
    assert (state.mean_burst_packets, state.bit_error_rate) == (pytest.approx(4), pytest.approx(1e-3))


async def test_statistics_come_at_the_interval_and_end_with_the_service() -> None:
    async with start_net("lossy") as net:
        call = net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(interval_ms=50), timeout=100)
        assert (await call.read()).frames == 0
        await net.send(OPEN, *frame(0), *frame(1))
        reports = [await call.read() for _ in range(3)]
        last = reports[-1]
        assert (last.frames, last.packets_in, last.payload_bytes_in) == (2, 2 * PACKETS, 2 * PACKETS * 40)
        (entry,) = last.impairments
        assert entry.events == last.packets_in - last.packets_out
        assert abs(entry.z_score) < 4 and entry.measured_rate == pytest.approx(0.2, abs=0.08)
        stopping = asyncio.create_task(net.emulator.stop(15))
        rest = await rest_of(call)
        await asyncio.wait_for(stopping, 5)
        assert all(report.frames == 2 for report in rest)


@pytest.mark.parametrize("interval_ms", [49, 60_001])
async def test_the_interval_has_limits(net: Net, interval_ms: int) -> None:
    call = net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(interval_ms=interval_ms), timeout=100)
    with pytest.raises(grpc.aio.AioRpcError, match="interval_ms") as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_wrong_profile_in_the_settings_stops_the_start() -> None:
    with pytest.raises(InvalidInput, match="rate"):
        await serve(ChannelSettings(port=0, profile="packet_erasure:rate=3"))
