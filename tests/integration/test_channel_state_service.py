"""What the emulator's service says of the channel, and what then happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from test_channel_service import OPEN, PACKETS, Net, frame, start_net

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
        state = await net.control.GetChannelState(request, timeout=10)
        told.append(np.array(state.snr_db) >= state.threshold_snr_db)
        assert state.mean_snr_db == 6.0 and len(state.snr_db) == PACKETS
    await net.send(OPEN, *(item for number in range(4) for item in frame(number)))
    for arrives, arrived in zip(told, net.sink.frames(), strict=True):
        assert 0 < len(arrived) < PACKETS
        assert np.flatnonzero(arrives).tolist() == arrived.sequence.tolist()


async def test_the_statistical_state_is_for_the_size_asked_for(net: Net) -> None:
    await net.set("bit_flip:rate=1e-3")
    for size, bits in ((0, 840), (10, 80), (65_000, 520_000)):
        state = await net.control.GetChannelState(channel_pb2.GetChannelStateRequest(payload_bytes=size), timeout=10)
        assert state.packet_erasure_rate == pytest.approx(1 - 0.999**bits)
        assert not state.HasField("mean_snr_db") and not state.HasField("threshold_snr_db") and not state.snr_db


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
        ({"kind": channel_pb2.CSI_KIND_STATISTICAL, "nmse_db": 0.0}, "nmse_db"),
    ],
)
async def test_states_that_cannot_be_told(net: Net, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await net.control.GetChannelState(channel_pb2.GetChannelStateRequest(**fields), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert str(caught.value.details()).startswith(f"{field}: ")
