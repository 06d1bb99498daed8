"""Bit flips in bursts, and the two-state chain's formulas: against enumeration, and against 1e6 bits and more."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.channel_emulator.impairments.bit_flip import BitFlip
from gocom.channel_emulator.impairments.burst_bit_flip import BurstBitFlip
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools

RNG = CounterRng(77, "0:burst_bit_flip", 3, 0)
SOFT = BurstBitFlip(2e-3, 0.02, 0.5, 1e-3)


def batch_of(length: npt.ArrayLike) -> PacketBatch:
    length = np.asarray(length, np.int64)
    index, ones = np.arange(len(length)), np.ones(len(length), np.int64)
    return PacketBatch(
        np.zeros(length.sum(), np.uint8), length, index, index, ones,
        np.zeros(len(length), np.uint32), np.ones(len(length), np.float32), np.zeros(len(length), bool),
    )  # fmt: skip


def flips_of(fault: BurstBitFlip, packets: int, payload_bytes: int) -> Bools:
    """bool [packets, bits]: True where a bit is flipped."""
    bits = np.zeros(packets * payload_bytes * 8, bool)
    bits[fault.draw(batch_of([payload_bytes] * packets), RNG)] = True
    return bits.reshape(packets, -1)


def test_formulas_are_those_of_all_ways_through_the_chain() -> None:
    chain, n = TwoStateChain(0.2, 0.3, 0.7, 0.1), 5
    ways = []
    for states in itertools.product((0, 1), repeat=n):
        weight = (1 - chain.bad_share, chain.bad_share)[states[0]]
        for before, after in itertools.pairwise(states):
            weight *= ((0.8, 0.2), (0.3, 0.7))[before][after]
        events = np.array([(0.1, 0.7)[state] for state in states])
        ways.append((weight, events.sum(), (events * (1 - events)).sum(), np.prod(1 - events), events[0] * events[1]))
    weight, mean, spread, quiet, pair = np.array(ways).T
    assert weight.sum() == pytest.approx(1)
    assert chain.rate * n == pytest.approx(weight @ mean)
    assert chain.count_variance(n) == pytest.approx(weight @ (spread + mean**2) - (weight @ mean) ** 2)
    assert chain.quiet_probability(n) == pytest.approx(weight @ quiet)
    assert chain.pair_rate == pytest.approx(weight @ pair)
    assert (chain.count_variance(0), chain.quiet_probability(0)) == (0, 1)


@pytest.mark.parametrize("scale", [1e-3, 1e-6, 1e-9, 1e-12, 1e-300])
def test_the_variance_of_slow_chains_does_not_cancel_out(scale: float) -> None:
    n, chain = 840, TwoStateChain(0.2 * scale, 0.8 * scale, 0.5, 0.0)
    pairs = math.fsum((n - k) * math.exp(k * math.log1p(-scale)) for k in range(1, n))
    expected = n * 0.1 * 0.9 + 2 * 0.2 * 0.8 * 0.25 * pairs
    assert chain.count_variance(n) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("fault", "packets"), [(SOFT, 3000), (BurstBitFlip(4e-5, 0.02), 10_000), (BurstBitFlip(0.3, 0.7), 300)]
)
def test_rate_and_z_over_packets_of_all_lengths(fault: BurstBitFlip, packets: int) -> None:
    batch = batch_of(np.random.default_rng(1).integers(0, 2000, packets))
    drawn = fault.draw(batch, RNG)
    trials, events = fault.count(batch, drawn)
    assert trials == 8 * batch.length.sum() > 2e6
    assert len(np.unique(drawn)) == events and 0 <= drawn.min() <= drawn.max() < trials
    deviation = math.sqrt(fault.batch_variance(batch))
    assert abs(events - trials * fault.expected_rate) < 4 * deviation
    wrong = replace(fault, rate_bad=fault.rate_bad * 0.8)
    assert abs(events - trials * wrong.expected_rate) > 4 * deviation


@pytest.mark.parametrize(("p", "r"), [(2e-3, 0.02), (0.05, 0.2), (0.5, 0.5)])
def test_stays_are_geometric_with_mean_one_over_r(p: float, r: float) -> None:
    packets, bits = 80, 40_000
    stays = BurstBitFlip(p, r).state_runs(np.full(packets, bits), np.arange(packets), RNG)
    assert np.array_equal(np.bincount(stays.packet, weights=stays.length), np.full(packets, bits))
    alternate = stays.bad[1:] != stays.bad[:-1]
    assert alternate[stays.packet[1:] == stays.packet[:-1]].all()
    # Early ones, so that none is missing because it was too long.
    for bad, rate in ((True, r), (False, p)):
        length = stays.length[(stays.bad == bad) & (stays.start < bits // 2)]
        assert abs(length.mean() - 1 / rate) < 4 * math.sqrt(1 - rate) / rate / math.sqrt(len(length))
        singles = float((length == 1).mean())
        assert abs(singles - rate) < 4 * math.sqrt(rate * (1 - rate) / len(length))


def test_flips_hang_together_as_far_as_bursts_are_long() -> None:
    flips = flips_of(SOFT, 1000, 1250)
    for lag in (1, 10, 50, 200):
        both = (flips[:, lag:] & flips[:, :-lag]).mean(1)
        chain = TwoStateChain(SOFT.p, SOFT.r, SOFT.rate_bad, SOFT.rate_good)
        decay = (1 - SOFT.p - SOFT.r) ** lag
        closed = chain.rate**2 + chain.bad_share * (1 - chain.bad_share) * (SOFT.rate_bad - SOFT.rate_good) ** 2 * decay
        assert abs(both.mean() - closed) < 4 * both.std() / math.sqrt(len(both))
        assert lag > 100 or closed > 1.5 * chain.rate**2


def test_flips_cluster_in_packets_as_computed() -> None:
    packets, bits = 10_000, 840
    count = flips_of(SOFT, packets, bits // 8).sum(1)
    rate = SOFT.expected_rate
    assert count.var() == pytest.approx(SOFT.count_variance(bits), rel=0.1)
    assert count.var() > 10 * bits * rate * (1 - rate)
    # A packet of the independent flips of the same rate is all but never whole; of bursts, every fifth is.
    whole = (flips_of(replace(SOFT, rate_good=0), packets, bits // 8).sum(1) == 0).mean()
    assert whole > 0.1
    assert BitFlip(rate).packet_erasure_rate(bits) > 0.999


def test_every_bit_of_a_packet_is_as_likely_as_the_next() -> None:
    packets = 40_000
    places = flips_of(SOFT, packets, 25).mean(0)
    rate = SOFT.expected_rate
    deviation = math.sqrt(rate * (1 - rate) / packets)
    assert abs(places[0] - rate) < 4 * deviation and abs(places[-1] - rate) < 4 * deviation
    assert np.abs(places - rate).max() < 5 * deviation


@pytest.mark.parametrize("payload_bytes", [1, 32, 105, 1200])
def test_packets_are_erased_at_the_closed_rate(payload_bytes: int) -> None:
    fault, packets = BurstBitFlip(4e-4, 0.02, 0.5, 1e-5), 20_000
    closed, batch = fault.packet_erasure_rate(8 * payload_bytes), batch_of([payload_bytes] * packets)
    erased = fault.apply(batch, fault.draw(batch, RNG), FrameInfo()).erased.mean()
    assert abs(erased - closed) <= 4 * math.sqrt(closed * (1 - closed) / packets)
    # Fewer than if as many flips were spread evenly.
    assert closed < 0.99 * BitFlip(fault.expected_rate).packet_erasure_rate(8 * payload_bytes)
    assert (fault.bit_error_rate, replace(fault, damage="deliver").bit_error_rate) == (0, fault.expected_rate)
    assert replace(fault, damage="deliver").packet_erasure_rate(8 * payload_bytes) == 0


@pytest.mark.parametrize("state", ["bad", "good"])
def test_a_state_without_flips_is_still(state: str) -> None:
    fault = BurstBitFlip(0.01, 0.01, **{f"rate_{state}": 0.0, f"rate_{'good' if state == 'bad' else 'bad'}": 0.5})
    bits, packets = 800, 50
    flips = flips_of(fault, packets, bits // 8)
    stays = fault.state_runs(np.full(packets, bits), np.arange(packets), RNG.substream("state"))
    bad = np.repeat(stays.bad, stays.length).reshape(packets, bits)
    assert not flips[bad == (state == "bad")].any()
    assert flips[bad != (state == "bad")].mean() == pytest.approx(0.5, abs=0.02)


def test_nothing_to_flip() -> None:
    for batch in (batch_of([]), batch_of([0, 0]), replace(batch_of([5, 5]), erased=np.ones(2, bool))):
        drawn = SOFT.draw(batch, RNG)
        assert SOFT.count(batch, drawn) == (0, 0) and SOFT.batch_variance(batch) == 0
    assert len(BurstBitFlip(0.1, 0.1, 0, 0).draw(batch_of([100] * 20), RNG)) == 0
    assert len(BurstBitFlip(1e-300, 1.0 - 1e-9).draw(batch_of([100] * 20), RNG)) == 0
