"""What an emulator did is recorded through its service, and done again by another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image
from test_channel_service import OPEN, PACKETS, Net, frame, header, packets, rest_of, start_net

from gocom.channel_emulator import trace_recording as recording
from gocom.channel_emulator.trace_recording import MAX_READERS
from gocom.client.channel_recording import FileRecording, PendingTrace
from gocom.client.client import AsyncClient
from gocom.client.local_stack import LocalStack
from gocom.common.crc32c import checksums
from gocom.common.errors import Busy, InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch
from gocom.common.packet_trace_file import TraceWriter, read_trace_file
from gocom.common.packet_traces import erased_mask
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import channel_pb2, link_pb2

PROFILES = [
    "gilbert_elliott:p=0.1,r=0.3",
    "bit_flip:rate=5e-3,damage=deliver",
    "block_fading:snr_db=8,coherence=4,modulation=qam16,damage=deliver",
    "packet_erasure:rate=0.2+burst_bit_flip:p=1e-3,r=0.1,damage=deliver+bit_flip:rate=1e-4",
    "packet_erasure:rate=1",
    "clean",
]


async def record(net: Net, *items: link_pb2.SendRequest) -> list[channel_pb2.TraceRound]:
    """Send, and what RecordTrace says of it."""
    call = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
    await call.initial_metadata()
    await net.send(*items)
    ended = sum(item.HasField("end") for item in items)
    rounds = [(await asyncio.wait_for(call.read(), 60)).round for _ in range(ended)]
    call.cancel()
    return rounds


def other_frame(frame_index: int, payload_bytes: int, count: int) -> list[link_pb2.SendRequest]:
    """What another codec may send: fewer packets, of another size, all in one batch."""
    like = packets(frame_index, count)
    payload = np.arange(count * payload_bytes).astype(np.uint8)
    batch = PacketBatch(
        payload, np.full(count, payload_bytes), like.sequence, like.first_element, like.element_count,
        like.checksum, like.power, like.erased,
    )  # fmt: skip
    batch.checksum = checksums(batch, frame_index, 0)
    return [
        link_pb2.SendRequest(header=header(frame_index, count)),
        link_pb2.SendRequest(batch=batch_to_proto(batch)),
        link_pb2.SendRequest(end=link_pb2.FrameEnd()),
    ]


@pytest.mark.parametrize("profile", PROFILES)
async def test_what_was_recorded_happens_again_byte_for_byte(profile: str, tmp_path: Path) -> None:
    items = [OPEN, *frame(0), *frame(1, batch_packets=7), *frame(9)]
    async with start_net(profile, seed=5) as net:
        rounds = await record(net, *items)
        before = list(net.sink.items)
    assert [(r.frame_index, r.packets) for r in rounds] == [(0, PACKETS), (1, PACKETS), (9, PACKETS)]
    path = tmp_path / "run.trace"
    with TraceWriter(path) as writer:
        assert all([writer.write(message) for message in rounds])
    async with start_net(f"trace_replay:file={path}") as net:
        again = await record(net, *items)
        assert net.sink.items == before and again == rounds
        assert rounds == read_trace_file(path)
        report = await net.control.WatchStatistics(channel_pb2.WatchStatisticsRequest(), timeout=100).read()
        (entry,) = report.impairments
        assert (entry.trials, entry.z_score, entry.expected_rate) == (3 * PACKETS, 0, entry.measured_rate)
        # Another codec, with other packets: the same ones are lost, and what it has of the bits flips.
        other = await record(net, OPEN, *other_frame(1, 11, 200))
        tolerant = np.arange(200) < 100
        damaged = np.isin(np.arange(200), [p for p, b in flips_of(rounds[1]) if b < 88])
        assert np.array_equal(erased_mask(other[0]), erased_mask(rounds[1])[:200] | (damaged & ~tolerant))
        assert flips_of(other[0]) == [(p, b) for p, b in flips_of(rounds[1]) if b < 88 and p < 200 and tolerant[p]]


def flips_of(message: channel_pb2.TraceRound) -> list[tuple[int, int]]:
    return list(zip(message.flip_packet, message.flip_bit, strict=True))


async def test_packets_lost_before_count_as_erased_and_rounds_that_began_before_are_left_out() -> None:
    async with start_net() as net:
        first, second = frame(0), frame(1)
        call = net.link.Send(timeout=100)
        for item in [OPEN, *first[:2]]:
            await call.write(item)
        while len(net.sink.items) < 3:
            await asyncio.sleep(0.01)
        trace = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
        await trace.initial_metadata()
        for item in [*first[2:], second[0], *second[2:]]:  # without its first batch
            await call.write(item)
        await call.done_writing()
        await rest_of(call)
        message = (await trace.read()).round
        assert message.frame_index == 1 and np.flatnonzero(erased_mask(message)).tolist() == list(range(64))
        trace.cancel()


def announcing(items: list[link_pb2.SendRequest], count: int) -> list[link_pb2.SendRequest]:
    """A frame whose sender says that so many packets are sent."""
    frame_index = items[0].header.frame_index
    return [link_pb2.SendRequest(header=header(frame_index, count)), *items[1:]]


@pytest.mark.parametrize("profile", ["clean", "delay:delay_ms=1"])
async def test_a_sender_that_miscounts_is_refused_and_ends_no_record(profile: str) -> None:
    async with start_net(profile) as net:
        call = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
        await call.initial_metadata()
        many = "packets are more than 65536"
        for count, words in (
            (0, "batch.sequence: 63 is not below 0, the number of packets that the header announced"),
            (PACKETS - 1, "batch.sequence: 299 is not below 299, the number of packets that the header announced"),
            (MAX_PACKETS + 1, f"header: {MAX_PACKETS + 1} {many}"), (2**32 - 1, f"header: {2**32 - 1} {many}"),
        ):  # fmt: skip
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await net.send(OPEN, *announcing(frame(0), count))
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert (refused.value.details() or "").startswith(words)
        first, *parts, end = frame(2)
        empty = [link_pb2.SendRequest(header=header(3, 0)), link_pb2.SendRequest(end=link_pb2.FrameEnd())]
        # The last batch of the second was lost on its way.
        await net.send(OPEN, *announcing(frame(1), MAX_PACKETS), first, *parts[:-1], end, *empty, *frame(4))
        rounds = [(await asyncio.wait_for(call.read(), 60)).round for _ in range(3)]
        call.cancel()
    assert [(r.frame_index, r.packets) for r in rounds] == [(1, MAX_PACKETS), (2, PACKETS), (4, PACKETS)]


async def test_a_record_ends_with_the_service_and_a_reader_may_go_away() -> None:
    async with start_net() as net:
        gone = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
        await gone.initial_metadata()
        gone.cancel()
        trace = net.control.RecordTrace(channel_pb2.RecordTraceRequest(), timeout=100)
        await trace.initial_metadata()
        await net.send(OPEN, *frame(0))
        stopping = asyncio.create_task(net.emulator.stop(15))
        assert [r.round.frame_index for r in await rest_of(trace)] == [0]
        await asyncio.wait_for(stopping, 5)


async def test_recorders_are_few_and_places_are_given_back() -> None:
    async with start_net() as net, AsyncClient(channel=net.emulator.address) as client:
        recordings = [await client.record_channel() for _ in range(MAX_READERS)]
        with pytest.raises(Busy, match="all 8 places for those who record are taken"):
            await client.record_channel()
        await recordings[0].close()
        for _ in range(100):
            try:
                recordings.append(await client.record_channel())
                break
            except Busy:
                await asyncio.sleep(0.02)
        assert len(recordings) == MAX_READERS + 1
        await net.send(OPEN, *frame(0))
        message = await recordings[-1].next()
        assert message is not None and message.packets == PACKETS


async def test_a_reader_that_is_too_slow_is_told_after_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 4)
    # A round of its own takes more than gRPC keeps for a reader that does not read.
    bits = np.arange(60_000)
    big = channel_pb2.TraceRound(packets=1, erased=b"\0", flip_packet=bits * 0, flip_bit=bits)
    monkeypatch.setattr(recording.RoundLog, "message", lambda log, packets: big)
    async with start_net() as net, AsyncClient(channel=net.emulator.address) as client:
        reader = await client.record_channel()
        items = [item for index in range(40) for item in other_frame(index, 4, 1)]
        assert len(await net.send(OPEN, *items)) == 41
        got = 0
        with pytest.raises(TooLarge, match="4 rounds wait to be read; a reader must keep up"):
            while await reader.next() is not None:
                got += 1
        assert 4 <= got < 40
        # Everybody else goes on.
        assert len(await net.send(OPEN, *frame(0))) == 2


async def test_errors_in_traces_are_named_through_the_service() -> None:
    async with start_net() as net, AsyncClient(channel=net.emulator.address) as client:
        for fields, words in (
            ({"packets": 9, "erased": b"\0"}, r"impairments\[1\]\.trace_replay\.rounds\[1\]\.erased: 1 bytes for 9"),
            ({"packets": 0}, r"impairments\[1\]\.trace_replay\.rounds\[1\]\.packets: 0 is not in 1 to 65536"),
        ):
            profile = channel_pb2.ChannelProfile()
            profile.impairments.add().packet_erasure.rate = 0.1
            profile.impairments.add().trace_replay.rounds.add(packets=1, erased=b"\1", round=4)
            profile.impairments[1].trace_replay.rounds.add(**fields)
            with pytest.raises(InvalidInput, match=words):
                await client.set_channel(profile)
        with pytest.raises(InvalidInput, match="profile: 2.* bytes with its traces, more than a message may have"):
            long = channel_pb2.TraceRound(packets=65536, erased=bytes(8192))
            replay = channel_pb2.Impairment(trace_replay=channel_pb2.TraceReplay(rounds=[long] * 80))
            await client.set_channel(channel_pb2.ChannelProfile(impairments=[replay] * 32))
        largest = [channel_pb2.TraceRound(frame_index=i, packets=65536, erased=bytes(8192)) for i in range(64)]
        replay = channel_pb2.Impairment(trace_replay=channel_pb2.TraceReplay(rounds=largest))
        profile = channel_pb2.ChannelProfile(impairments=[replay] * 20)
        await client.set_channel(profile)
        assert await client.get_channel() == profile


@pytest.fixture(scope="module")
def stack() -> Any:
    with LocalStack("packet_erasure:rate=0.2+bit_flip:rate=1e-4", seed=3, codecs=("jpeg",)) as started:
        yield started


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    image = Image.fromarray(rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)).resize((160, 120))
    image.save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def gocom(*words: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gocom.client.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def output(*words: object) -> str:
    out, errors = gocom(*words).communicate(timeout=60)
    assert not errors, errors
    return out


def addresses(stack: LocalStack) -> list[str]:
    names = {"transmitter": "--transmitter", "receiver": "--receiver", "channel": "--channel-address"}
    return [word for name, flag in names.items() for word in (flag, stack.addresses[name])]


def test_the_command_records_until_ctrl_c_and_sets_what_it_recorded(
    stack: LocalStack, photo: Path, tmp_path: Path
) -> None:
    out, channel = tmp_path / "run.trace", ("--channel-address", stack.addresses["channel"])
    recorder = gocom("channel", "record", "--out", out, *channel)
    while not out.exists():
        assert recorder.poll() is None, recorder.communicate()
    sent, again = tmp_path / "sent.trace", ["send", photo, "--codec", "jpeg", "--json", *addresses(stack)]
    first = output(*again, "--record", sent)
    output(*again)  # the same frame: it is not recorded twice
    recorder.send_signal(signal.SIGINT)
    _, said = recorder.communicate(timeout=100)
    (message,) = read_trace_file(out)
    assert read_trace_file(sent) == [message] and erased_mask(message).any()
    assert recorder.returncode == 0
    assert f"1 rounds, {message.packets} packets; 1 came again" in said
    text = output("channel", "set", f"trace_replay:file={out}", *channel)
    assert text == f"trace_replay:rounds=1,packets={message.packets}   seed 0\n"
    record = json.loads(output(*again))
    assert record["packets_received"] == json.loads(first)["packets_received"] == int((~erased_mask(message)).sum())


def test_a_local_stack_takes_a_trace_and_records(photo: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "loss.txt", tmp_path / "out.trace"
    source.write_text("0100100\n")
    with LocalStack(f"trace_replay:file={source}", codecs=("jpeg",)) as stack, stack.client() as client:
        with FileRecording(client.record_channel(), PendingTrace(out)) as file:
            (result,) = client.send([photo], "jpeg", options={"repair_overhead": 0.5})
            file.wait_for_rounds(result.rounds)
        (message,) = read_trace_file(out)
    lost = erased_mask(message)
    assert lost.tolist() == [bool(i % 7 in (1, 4)) for i in range(len(lost))]
    assert result.packets_received == int((~lost).sum())


def test_what_cannot_be_recorded_overwrites_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run.trace"
    out.write_text("kept")
    recorder = gocom("channel", "record", "--out", out, "--channel-address", "127.0.0.1:1", env=dict(os.environ))
    _, said = recorder.communicate(timeout=60)
    assert recorder.returncode == 1 and "channel at 127.0.0.1:1" in said and out.read_text() == "kept"
