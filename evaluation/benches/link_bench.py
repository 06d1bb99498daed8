"""Packets a second through client -> emulator -> sink, beside a relay that only parses and forwards.

    python -m gocom.evaluation.benches.link_bench

Four processes: this one sends, and one each are the sink, the relay and the emulator. A pair is one run through each of
the two, one after the other and in turns first, so that what else the machine does meets both alike. The ratio is taken
pair by pair; the median and an interval of it are reported.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import quantile_test

from gocom.client.client import AsyncClient
from gocom.client.command_process import run_command
from gocom.client.local_stack import LocalStack
from gocom.common.crc32c import checksums
from gocom.common.packet_batch import PacketBatch
from gocom.common.rpc.client_channels import open_channel
from gocom.common.wire.frame_headers import WIRE_VERSION
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.evaluation.report.tables import Table, to_markdown, words
from gocom.v1 import link_pb2, link_pb2_grpc

PAYLOAD_BYTES, BATCH_PACKETS, FRAME_PACKETS = 1200, 128, 8192
PROFILES = {
    "clean": "clean",
    "erasure": "packet_erasure:rate=0.2",
    "bit flips": "bit_flip:rate=1e-3",
    "bit flips, delivered": "bit_flip:rate=1e-3,damage=deliver",
    "bursts of flips": "burst_bit_flip:p=1e-4,r=0.05,rate_bad=0.1",
    "Gilbert-Elliott": "gilbert_elliott:p=0.02,r=0.25",
    "block fading": "block_fading:snr_db=20,coherence=8",
    "block fading, delivered": "block_fading:snr_db=30,coherence=8,damage=deliver",
    "coded fading": "coded_fading:snr_db=10,code_rate=1,coherence=8",
    "periodic outage": "periodic_outage:period=100,length=5",
    "order and copies": "reorder:rate=0.02,distance=3+duplicate:rate=0.02",
    "rate limit": "rate_limit:rate_kbps=1e9",
    "delay": "delay:delay_ms=20,jitter_ms=5",
}
GOALS = {
    "erasure": 0.85,
    "Gilbert-Elliott": 0.80,
    "bit flips": 0.70,
    "block fading": 0.60,
    "block fading, delivered": 0.60,
}
"""Share of the relay's packets a second that the emulator must keep."""
GOAL_PACKETS_PER_S = 50_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class LinkResult:
    """One profile.

    Attributes:
        profile: as the channel reads it.
        relay_packets_per_s, emulator_packets_per_s: median over runs, packets sent.
        ratio: median over pairs; ratio_low, ratio_high: interval of that median.
        delivered: share of packets that reached the sink through the emulator.
        pairs: how many.
    """

    profile: str
    relay_packets_per_s: float
    emulator_packets_per_s: float
    ratio: float
    ratio_low: float
    ratio_high: float
    delivered: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run: packets a second, and the share that arrived."""

    packets_per_s: float
    delivered: float


def measure(profiles: Sequence[str], pairs: int, frames: int) -> list[LinkResult]:
    """Run all profiles; a run is so many frames of FRAME_PACKETS packets. One pair of each goes ahead uncounted."""
    return asyncio.run(_measure(profiles, pairs, frames))


async def _measure(profiles: Sequence[str], pairs: int, frames: int) -> list[LinkResult]:
    batches = make_batches()
    results = []
    async with hops() as (relay, emulator, control):
        first = 0
        for profile in profiles:
            await control.set_channel(profile, seed=1)
            runs: dict[str, list[Run]] = {relay: [], emulator: []}
            for pair in range(pairs + 1):
                for address in (relay, emulator) if pair % 2 else (emulator, relay):
                    runs[address].append(await send(address, batches, frames, first))
                first += frames
            results.append(_result(profile, runs[relay][1:], runs[emulator][1:]))
    return results


def make_batches() -> list[link_pb2.SendRequest]:
    """The batches of a frame, random payloads."""
    rng, ones = np.random.default_rng(0), np.ones(BATCH_PACKETS, np.int64)
    items = []
    for start in range(0, FRAME_PACKETS, BATCH_PACKETS):
        payload = rng.integers(0, 256, BATCH_PACKETS * PAYLOAD_BYTES, dtype=np.uint8)
        sequence = np.arange(start, start + BATCH_PACKETS)
        batch = PacketBatch(
            payload, ones * PAYLOAD_BYTES, sequence, sequence * PAYLOAD_BYTES, ones * PAYLOAD_BYTES,
            np.zeros(BATCH_PACKETS, np.uint32), np.ones(BATCH_PACKETS, np.float32), np.zeros(BATCH_PACKETS, bool),
        )  # fmt: skip
        batch.checksum = checksums(batch, 0, 0)
        items.append(link_pb2.SendRequest(batch=batch_to_proto(batch)))
    return items


async def send(address: str, batches: Sequence[link_pb2.SendRequest], frames: int, first_index: int) -> Run:
    """One session of so many frames, from the first packet to the last acknowledgement."""
    segment = link_pb2.SegmentHeader(kind=0, damage_tolerant=True)
    header = link_pb2.FrameHeader(segments=[segment], source_packets=[FRAME_PACKETS])
    end = link_pb2.SendRequest(end=link_pb2.FrameEnd())
    async with open_channel(address) as channel:
        call: Any = link_pb2_grpc.LinkServiceStub(channel).Send(timeout=600)
        await call.write(link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id="bench", wire_version=WIRE_VERSION)))
        acks = asyncio.create_task(_read_acks(call, frames))
        began = time.perf_counter()
        for index in range(first_index, first_index + frames):
            header.frame_index = index
            await call.write(link_pb2.SendRequest(header=header))
            for item in batches:
                await call.write(item)
            await call.write(end)
        arrived = await acks
        seconds = time.perf_counter() - began
        await call.done_writing()
    return Run(frames * FRAME_PACKETS / seconds, arrived / (frames * FRAME_PACKETS))


async def _read_acks(call: Any, frames: int) -> int:
    """Packets that arrived, when all frames are acknowledged."""
    return sum([(await call.read()).ack.packets_received for _ in range(frames)])


@asynccontextmanager
async def hops() -> AsyncIterator[tuple[str, str, AsyncClient]]:
    """Addresses of the relay and the emulator, each before the same sink, and control of the emulator."""
    async with AsyncExitStack() as stack:
        sink = stack.enter_context(_process())
        relay = stack.enter_context(_process("--next-hop", sink))
        emulator = stack.enter_context(LocalStack(services=("channel",), outside={"receiver": sink}))
        address = emulator.addresses["channel"]
        yield relay, address, await stack.enter_async_context(AsyncClient(channel=address))


@contextmanager
def _process(*words: str) -> Iterator[str]:
    """Address of evaluation/benches/relay.py, a relay or a sink."""
    command = [sys.executable, "-m", "gocom.evaluation.benches.relay", *words]
    # In a session of its own, as LocalStack starts the emulator: the scheduler shares the cores between sessions.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"


def _result(profile: str, relay: Sequence[Run], emulator: Sequence[Run]) -> LinkResult:
    ratios = [e.packets_per_s / r.packets_per_s for r, e in zip(relay, emulator, strict=True)]
    low, high = median_interval(ratios)
    return LinkResult(
        profile, median(r.packets_per_s for r in relay), median(e.packets_per_s for e in emulator), median(ratios),
        low, high, float(np.mean([e.delivered for e in emulator])), len(ratios),
    )  # fmt: skip


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median by order statistics, whatever the distribution; where values are too few, all."""
    found = quantile_test(values, q=0, p=0.5).confidence_interval(CONFIDENCE)
    return (min(values), max(values)) if math.isnan(found.low) else (found.low, found.high)


def goals(results: Sequence[LinkResult]) -> dict[str, bool]:
    """What was to be reached, in words, and whether it was."""
    by_profile = {result.profile: result for result in results}
    found = {}
    for name, share in GOALS.items():
        if (result := by_profile.get(PROFILES[name])) is not None:
            found[f"{name}: at least {share:.0%} of the relay's packets a second"] = result.ratio >= share
    if results:
        least = min(result.emulator_packets_per_s for result in results)
        found[f"at least {GOAL_PACKETS_PER_S} packets a second through the emulator, every profile"] = (
            least >= GOAL_PACKETS_PER_S
        )
    return found


def rates(results: Sequence[LinkResult], pairs: int, frames: int) -> Table:
    """Packets a second, with what was to be reached as its notes."""
    lines = tuple(
        (
            f"`{r.profile}`", f"{r.relay_packets_per_s:,.0f}", f"{r.emulator_packets_per_s:,.0f}",
            words((r.ratio, r.ratio_low, r.ratio_high)), f"{r.delivered:.1%}",
        )
        for r in results
    )  # fmt: skip
    sizes = f"{PAYLOAD_BYTES}-byte payloads, {BATCH_PACKETS} packets a batch, {pairs} pairs of {frames} frames."
    reached = tuple(f"{'met' if met else 'MISSED'}: {text}" for text, met in goals(results).items())
    head = "profile", "relay, packets/s", "emulator, packets/s", "ratio (95 % interval of the median)", "delivered"
    return Table("Client -> emulator or relay -> sink", (sizes, *reached), head, lines)


def main(
    pairs: Annotated[int, typer.Option(min=1, help="Pairs of runs a profile.")] = 15,
    frames: Annotated[int, typer.Option(min=1, help="Frames a run, of 8192 packets.")] = 8,
    profile: Annotated[list[str] | None, typer.Option(help="Channel; may be repeated; default: all faults.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Measure, and print a table."""
    results = measure(profile or list(PROFILES.values()), pairs, frames)
    print(to_markdown(rates(results, pairs, frames)))
    if out:
        out.write_text(json.dumps({"profiles": [asdict(r) for r in results], "goals": goals(results)}, indent=1))


if __name__ == "__main__":
    run_command(main)
