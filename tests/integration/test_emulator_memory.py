"""What the emulator's process holds: no nets, little memory, and no more of it after a million packets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from gocom.client.local_stack import LocalStack
from gocom.common.packet_batch import PacketBatch
from gocom.common.rpc.client_channels import open_channel
from gocom.common.wire.frame_headers import WIRE_VERSION
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2, link_pb2_grpc

PROFILE = (
    "gilbert_elliott:p=0.02,r=0.25+bit_flip:rate=1e-4,damage=deliver"
    "+block_fading:snr_db=30,coherence=8,damage=deliver+coded_fading:snr_db=20,code_rate=1"
)
PACKETS, BATCH, PAYLOAD_BYTES = 8192, 1024, 105
MILLION = 1_000_000 // PACKETS + 1
READINGS = 15
MOST_MIB, MOST_GROWTH_MIB = 150, 8
"""Of the emulator, and of its growth over a third of the packets: 25 bytes for each of them."""


class Sink(link_pb2_grpc.LinkServiceServicer):
    """Acknowledges."""

    async def Send(self, request_iterator: Any, context: Any) -> AsyncIterator[link_pb2.SendResponse]:
        async for request in request_iterator:
            if request.HasField("end"):
                yield link_pb2.SendResponse(ack=link_pb2.FrameAck())


def batches() -> list[link_pb2.SendRequest]:
    """The packets of a frame."""
    rng, ones = np.random.default_rng(0), np.ones(BATCH, np.int64)
    result = []
    for start in range(0, PACKETS, BATCH):
        sequence = np.arange(start, start + BATCH)
        batch = PacketBatch(
            rng.integers(0, 256, BATCH * PAYLOAD_BYTES, dtype=np.uint8), ones * PAYLOAD_BYTES, sequence,
            sequence, ones, np.zeros(BATCH, np.uint32), np.ones(BATCH, np.float32), np.zeros(BATCH, bool),
        )  # fmt: skip
        result.append(link_pb2.SendRequest(batch=batch_to_proto(batch)))
    return result


async def send(address: str, first: int, frames: int) -> None:
    parts, end = batches(), link_pb2.SendRequest(end=link_pb2.FrameEnd())

    def items() -> Any:
        defaults = link_pb2.FrameDefaults(segments=[link_pb2.SegmentHeader(damage_tolerant=True)])
        opening = link_pb2.SessionOpen(session_id="memory", wire_version=WIRE_VERSION, defaults=defaults)
        yield link_pb2.SendRequest(open=opening)
        for index in range(first, first + frames):
            yield link_pb2.SendRequest(header=link_pb2.FrameHeader(frame_index=index, source_packets=[PACKETS]))
            yield from parts
            yield end

    async with open_channel(address) as channel:
        call: Any = link_pb2_grpc.LinkServiceStub(channel).Send(items(), timeout=300)
        assert len([response async for response in call]) == frames


def resident_mib(pid: int) -> float:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024


@pytest.mark.timeout(300)
async def test_a_million_packets_leave_nothing_behind() -> None:
    server = grpc.aio.server()
    link_pb2_grpc.add_LinkServiceServicer_to_server(Sink(), server)
    sink = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        with LocalStack(PROFILE, services=("channel",), outside={"receiver": sink}) as stack:
            address, pid = stack.addresses["channel"], stack.pid("channel")
            readings, bounds = [], np.linspace(0, MILLION, READINGS + 1).astype(int).tolist()
            for first, end in itertools.pairwise(bounds):
                await send(address, first, end - first)
                readings.append(resident_mib(pid))
            # Mapped files name what is loaded, however it was imported.
            assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()
    finally:
        await server.stop(0)
    # What is in flight as it is read comes and goes by some MiB: only what stays lifts the lowest of several readings.
    # The first third is warm-up: allocators and gRPC keep some MiB of what they once needed, more on a busy machine.
    third = READINGS // 3
    growth = min(readings[-third:]) - min(readings[third : 2 * third])
    assert max(readings) < MOST_MIB and growth < MOST_GROWTH_MIB, f"grew by {growth:.1f} MiB: {readings}"
