"""What the emulator's service says of the channel, and what then happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from test_channel_service import OPEN, PACKETS, Net, frame, start_net
from typer.testing import CliRunner

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi
from gocom.client.cli import app
from gocom.common.channel_spec import parse_spec
from gocom.v1 import channel_pb2


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with start_net() as started:
        yield started


OUTAGE = "coded_fading:snr_db=6,code_rate=1.5,coherence=8,limit=outage"


async def test_the_state_of_a_round_to_come_is_what_happens_to_its_packets(net: Net) -> None:
    await net.set(f"packet_erasure:rate=0+{OUTAGE}", seed=5)
    request = channel_pb2.GetChannelStateRequest(
        kind=channel_pb2.CSI_KIND_INSTANTANEOUS, payload_bytes=40, packets=PACKETS
    )
    told = []
    for request.frame_index in range(4):
        state = await net.control.GetChannelState(request, timeout=100)
        told.append(np.array(state.snr_db) >= state.threshold_snr_db)
        assert state.mean_snr_db == 6.0 and len(state.snr_db) == PACKETS
    await net.send(OPEN, *(item for number in range(4) for item in frame(number)))
    for arrives, arrived in zip(told, net.sink.frames(), strict=True):
        assert 0 < len(arrived) < PACKETS
        assert np.flatnonzero(arrives).tolist() == arrived.sequence.tolist()


async def test_the_statistical_state_is_for_the_size_asked_for(net: Net) -> None:
    await net.set("bit_flip:rate=1e-3")
    for size, bits in ((0, 840), (10, 80), (65_000, 520_000)):
        state = await net.control.GetChannelState(channel_pb2.GetChannelStateRequest(payload_bytes=size), timeout=100)
        assert state.packet_erasure_rate == pytest.approx(1 - 0.999**bits)
        assert not state.HasField("mean_snr_db") and not state.HasField("threshold_snr_db") and not state.snr_db


async def test_the_capacity_of_a_round_is_for_the_target_and_the_gains_asked_for(net: Net) -> None:
    spec = "coded_fading:snr_db=6,code_rate=auto,coherence=4,limit=outage,symbols_per_round=20000"
    await net.set(spec, seed=5)
    chain, told = Chain.from_profile(parse_spec(spec, 5)), []
    for target in (None, 0.1, 0.3):
        request = channel_pb2.GetChannelStateRequest(payload_bytes=40, outage_target=target)
        told.append((await net.control.GetChannelState(request, timeout=100)).capacity_bytes)
    assert told[0] == told[1] < told[2]
    assert told[1] == int(20_000 * np.log2(1 - 10**0.6 * np.log(0.9)) / 8)
    request = channel_pb2.GetChannelStateRequest(
        kind=channel_pb2.CSI_KIND_INSTANTANEOUS, payload_bytes=40, packets=PACKETS, frame_index=3, outage_target=0.3
    )
    state = await net.control.GetChannelState(request, timeout=100)
    query = InstantaneousCsiQuery(3, 0, PACKETS)
    assert state.capacity_bytes == compute_csi(chain, 40, query, outage_target=0.3).capacity_bytes != told[2]
    await net.set("lossy")
    assert not (await net.control.GetChannelState(request, timeout=100)).HasField("capacity_bytes")


async def test_the_command_prints_the_state(net: Net) -> None:
    await net.set("rate_limit:rate_kbps=800,queue_ms=100,overhead_bytes=0+packet_erasure:rate=0.25")
    words = ["channel", "state", "--channel-address", net.emulator.address]
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
    assert json.loads(result.stdout) == {
        "packet_erasure_rate": 0.25, "bit_error_rate": 0.0, "mean_burst_packets": pytest.approx(4 / 3),
        "mean_snr_db": None, "threshold_snr_db": None, "capacity_bytes": 10_000,
    }  # fmt: skip
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert ["capacity_bytes", "10000"] in [line.split() for line in result.stdout.splitlines()]
    await net.set("outage")
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
    assert json.loads(result.stdout)["mean_burst_packets"] is None
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--outage-target", "2", "--json"])
    assert result.exit_code == 2 and "outage_target: 2 is not in 0 to 1" in result.stdout


INSTANT = {"kind": channel_pb2.CSI_KIND_INSTANTANEOUS, "packets": 1}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": 9}, "kind"),
        ({"payload_bytes": 65_001}, "payload_bytes"),
        ({**INSTANT, "packets": 0}, "packets"),
        ({**INSTANT, "packets": 65_537}, "packets"),
        ({**INSTANT, "age_packets": 65_537}, "age_packets"),
        ({**INSTANT, "nmse_db": 20.5}, "nmse_db"),
        ({**INSTANT, "nmse_db": float("nan")}, "nmse_db"),
        ({"packets": 1}, "packets"),
        ({"outage_target": 0.0}, "outage_target"),
        ({"outage_target": 1.0}, "outage_target"),
        ({**INSTANT, "outage_target": float("nan")}, "outage_target"),
        ({"kind": channel_pb2.CSI_KIND_STATISTICAL, "nmse_db": 0.0}, "nmse_db"),
    ],
)
async def test_states_that_cannot_be_told(net: Net, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await net.control.GetChannelState(channel_pb2.GetChannelStateRequest(**fields), timeout=100)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith(f"{field}: ")
