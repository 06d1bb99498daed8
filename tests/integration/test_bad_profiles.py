"""A profile that cannot be is refused alike through gRPC, the command line and YAML, and the one in force stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner
from yaml_text import as_yaml

from gocom.channel_emulator.service import serve
from gocom.client.cli import app
from gocom.common.channel_spec import MAX_IMPAIRMENTS, parse_spec
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.server import RunningServer
from gocom.common.settings import ChannelSettings
from gocom.common.wire.enums import enum_from_name
from gocom.v1 import channel_pb2, channel_pb2_grpc

NAN, INF = float("nan"), float("inf")
GILBERT, FADING = "gilbert_elliott", "block_fading"
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    # fault, parameters, field that is named, what is allowed
    ("packet_erasure", {"rate": 1.01}, "rate", "0 to 1"),
    ("packet_erasure", {"rate": -0.1}, "rate", "0 to 1"),
    ("packet_erasure", {"rate": NAN}, "rate", "finite"),
    ("bit_flip", {"rate": 0.6}, "rate", "0 to 0.5"),
    ("bit_flip", {"rate": 0.1, "damage": "maybe"}, "damage", "erase, deliver"),
    (GILBERT, {"p": 0.7, "r": 0.5}, "p", "p + r may not exceed 1"),
    (GILBERT, {"p": 0.0, "r": 0.5}, "p", "above 0"),
    (GILBERT, {"p": 0.1, "r": INF}, "r", "finite"),
    (GILBERT, {"p": 0.1, "r": 0.1, "loss_bad": 1.5}, "loss_bad", "0 to 1"),
    ("burst_bit_flip", {"p": 0.1, "r": 0.95}, "p", "p + r may not exceed 1"),
    (FADING, {}, "snr_db", "not set"),
    (FADING, {"snr_db": 61.0}, "snr_db", "-40 to 60"),
    (FADING, {"snr_db": 10.0, "coherence": 0}, "coherence", "1 to 65536"),
    (FADING, {"snr_db": 10.0, "fading": "rician"}, "k_factor_db", "not set"),
    (FADING, {"snr_db": 10.0, "modulation": "qam8"}, "modulation", "bpsk, qpsk, qam16, qam64"),
    ("coded_fading", {"snr_db": 10.0, "code_rate": 13.0}, "code_rate", "to 12"),
    ("coded_fading", {"snr_db": 10.0, "code_rate": 1.0, "code_length": 49}, "code_length", "50 to 10000"),
    ("reorder", {"rate": 0.1, "distance": 1025}, "distance", "1 to 1024"),
    ("duplicate", {"rate": 0.1, "copies": 9}, "copies", "1 to 8"),
    ("delay", {"delay_ms": 60001.0}, "delay_ms", "0 to 60000"),
    ("delay", {"delay_ms": 10.0, "jitter_ms": 11.0}, "jitter_ms", "0 to 10"),
    ("rate_limit", {"rate_kbps": 0.0}, "rate_kbps", "0.001 to 1e+09"),
    ("periodic_outage", {"period": 10, "length": 11}, "length", "0 to 10"),
    ("periodic_outage", {"period": 0, "length": 0}, "period", "1 to 1048576"),
]
IDS = [f"{name}-{field}-{next(iter(values.values()), None)}" for name, values, field, _ in CASES]


@pytest.fixture
async def emulator() -> AsyncIterator[RunningServer]:
    running = await serve(ChannelSettings(port=0, next_hop="127.0.0.1:1", profile="light", grace_s=0.1))
    yield running
    await running.stop()


def as_message(name: str, values: dict[str, Any]) -> channel_pb2.ChannelProfile:
    """The profile, past all checks of the client."""
    profile = channel_pb2.ChannelProfile()
    fault = getattr(profile.impairments.add(), name)
    fault.SetInParent()
    for field, value in values.items():
        enum = fault.DESCRIPTOR.fields_by_name[field].enum_type
        known = enum is None or any(one.name.endswith(f"_{value}".upper()) for one in enum.values)
        setattr(fault, field, value if enum is None else enum_from_name(enum, value, field) if known else 99)
    return profile


async def said_by_grpc(
    address: str, profile: channel_pb2.ChannelProfile, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
) -> str:
    async with open_channel(address) as channel:
        stub: Any = channel_pb2_grpc.ChannelControlServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UpdateProfile(channel_pb2.UpdateProfileRequest(profile=profile), timeout=100)
        assert caught.value.code() is code
        in_force = await stub.GetProfile(channel_pb2.GetProfileRequest(), timeout=100)
        assert (in_force.revision, in_force.profile) == (1, parse_spec("light", 0))
        return str(caught.value.details())


async def said_by_command(address: str, spec: str) -> str:
    words = ["channel", "set", spec, "--channel-address", address]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize(("name", "values", "field", "allowed"), CASES, ids=IDS)
async def test_a_parameter_out_of_range(
    emulator: RunningServer, tmp_path: Path, name: str, values: dict[str, Any], field: str, allowed: str
) -> None:
    where = f"impairments[0].{name}.{field}"
    details = await said_by_grpc(emulator.address, as_message(name, values))
    # A number that no enum has cannot be written as a word.
    assert where in details and (allowed in details or field in ("damage", "modulation")), details
    spec = f"{name}:" + ",".join(f"{key}={value}" for key, value in values.items())
    file = tmp_path / "channel.yml"
    file.write_text(as_yaml({"impairments": [{name: values}]}))
    for text in (spec, str(file)):
        said = await said_by_command(emulator.address, text)
        assert where in said and allowed in said, said


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("block_fading:snr=10", "impairments[0].block_fading.snr: no such parameter; there are snr_db"),
        ("block_fading:snr_db=10dB", "impairments[0].block_fading.snr_db: '10dB' is not a number"),
        ("packet_erasure:rate=20%", "impairments[0].packet_erasure.rate: '20%' is not a number"),
        ("no_such_fault:rate=0.1", "no_such_fault"),
        ("lossyy", "lossy"),
        ("trace_replay:file=/nowhere/x.trace", "impairments[0].trace_replay.file: cannot read"),
        ("netem:loss state 1%", "state"),
        ("+".join(["packet_erasure:rate=0.1"] * 10_000), f"impairments: more than {MAX_IMPAIRMENTS}"),
    ],
)
async def test_a_text_that_is_no_profile(emulator: RunningServer, tmp_path: Path, spec: str, said: str) -> None:
    assert said in await said_by_command(emulator.address, spec)


async def test_what_only_a_message_can_say(emulator: RunningServer) -> None:
    long = channel_pb2.ChannelProfile()
    for _ in range(10_000):
        long.impairments.add().packet_erasure.rate = 0.1
    assert f"impairments: 10000, more than {MAX_IMPAIRMENTS}" in await said_by_grpc(emulator.address, long)
    nothing = channel_pb2.ChannelProfile(impairments=[channel_pb2.Impairment()])
    # As of a newer protocol: what this emulator does not have.
    missing = grpc.StatusCode.UNIMPLEMENTED
    assert "impairments[0].kind" in await said_by_grpc(emulator.address, nothing, missing)
    unknown = channel_pb2.ChannelProfile()
    unknown.impairments.add().extension.name = "quantum_foam"
    assert "packet_erasure" in await said_by_grpc(emulator.address, unknown, missing)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "rounds: 0, and not 1 to 65536"),
        ({"packets": 0}, "rounds[0].packets"),
        ({"packets": 9, "erased": b"\1"}, "rounds[0].erased"),
        ({"packets": 3, "erased": b"\xff"}, "rounds[0].erased"),
        ({"packets": 3, "erased": b"\0", "flip_packet": [1]}, "rounds[0].flip_"),
        ({"packets": 3, "erased": b"\0", "flip_packet": [3], "flip_bit": [0]}, "rounds[0].flip_packet"),
        ({"packets": 3, "erased": b"\0", "flip_packet": [2, 1], "flip_bit": [0, 0]}, "rounds[0].flip_"),
    ],
)
async def test_a_broken_trace(emulator: RunningServer, broken: dict[str, Any], said: str) -> None:
    profile = channel_pb2.ChannelProfile()
    trace = profile.impairments.add().trace_replay
    trace.SetInParent()
    if broken:
        trace.rounds.add(**broken)
    details = await said_by_grpc(emulator.address, profile)
    assert details.startswith("impairments[0].trace_replay.") and said in details, details
