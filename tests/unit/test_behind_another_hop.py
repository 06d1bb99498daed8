"""Counts of an emulator that gets packets with gaps in their numbers, or more than once, from one before it."""

from __future__ import annotations

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch

PACKETS, ROUNDS = 400, 12


def batch_of(sequence: np.ndarray) -> PacketBatch:
    count = len(sequence)
    ones = np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(20 * count, np.uint8), ones * 20, sequence, sequence, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def scores(spec: str, come: object, seeds: int, parts: int = 3) -> np.ndarray:
    """z of each seed, of rounds whose packets `come(rng)` says."""
    rng, found = np.random.default_rng(5), []
    for seed in range(seeds):
        chain = Chain.from_profile(parse_spec(spec, seed))
        statistics = Statistics(chain)
        for index in range(ROUNDS):
            info, counts = FrameInfo(index, 0, (True,)), RoundCounts()
            impairer = chain.impairer(info, stream="hop 1/", copies=True)
            for part in np.array_split(come(rng), parts):  # type: ignore[operator]
                batch = batch_of(part)
                counts.add(batch, impairer.apply(batch))
            statistics.add(info, counts, impairer.event_counts())
        found.append(statistics.report(1).impairments[0].z_score)
    return np.array(found)


def thinned(rng: np.random.Generator) -> np.ndarray:
    return np.flatnonzero(rng.random(PACKETS) > 0.2)


def copied(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(np.arange(PACKETS), 1 + 4 * (rng.random(PACKETS) < 0.5))


def shuffled(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(copied(rng))


@pytest.mark.parametrize("come", [thinned, copied, shuffled])
@pytest.mark.parametrize(
    "spec",
    [
        "periodic_outage:period=7,length=1",
        "periodic_outage:period=37,length=20",
        "packet_erasure:rate=0.2",
        "bit_flip:rate=1e-3,damage=deliver",
        "reorder:rate=0.3",
        "block_fading:snr_db=15,coherence=4",
    ],
)
def test_z_has_a_spread_of_one(spec: str, come: object) -> None:
    z = scores(spec, come, 16)
    # Of 16 standard normal values: sd within 0.35 to 1.7, and the mean within 4/sqrt(16), nearly always.
    assert 0.35 < z.std() < 1.7 and abs(z.mean()) < 1, (z.std(), z.mean())


def test_copies_take_their_time_on_a_link() -> None:
    chain = Chain.from_profile(parse_spec("rate_limit:rate_kbps=8,queue_ms=48,overhead_bytes=0"))
    impairer = chain.impairer(FrameInfo(), stream="hop 1/", copies=True)
    left = impairer.apply(batch_of(np.array([0, 0, 0, 1, 2])))
    # 20 ms a packet: the fourth would wait 60 ms.
    assert left.erased.tolist() == [False, False, False, True, True]
    assert (impairer.event_counts()[0].trials, impairer.event_counts()[0].events) == (5, 2)


def test_an_empty_packet_of_a_code_is_never_lost() -> None:
    chain = Chain.from_profile(parse_spec("coded_fading:snr_db=-40,code_rate=1,fading=none"))
    impairer = chain.impairer(FrameInfo())
    batch = batch_of(np.arange(3))
    batch.length, batch.payload = np.array([0, 20, 0]), np.zeros(20, np.uint8)
    assert impairer.apply(batch).erased.tolist() == [False, True, False]
    score = impairer.event_counts()[0]
    assert (score.trials, score.events, score.expected) == (3, 1, pytest.approx(1))
