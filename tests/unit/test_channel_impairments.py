"""Each fault against its closed form over 1e6 packets, with tests that show a wrong parameter would be caught."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gocom.channel_emulator.fault_bases import bit_fault as bit_faults
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.channel_emulator.impairments import IMPAIRMENTS, burst_bit_flip
from gocom.channel_emulator.impairments.bit_flip import BitFlip
from gocom.channel_emulator.impairments.burst_bit_flip import BurstBitFlip
from gocom.channel_emulator.impairments.gilbert_elliott import GilbertElliott
from gocom.channel_emulator.impairments.packet_erasure import PacketErasure
from gocom.common.counter_rng import CounterRng, philox4x32
from gocom.common.crc32c import checksums
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.types import Bools

PACKETS = 1_000_000
RNG = CounterRng(2024, "0:test", 5, 1)


def make_batch(count: int, payload_bytes: int = 8) -> PacketBatch:
    index = np.arange(count, dtype=np.int64)
    batch = PacketBatch(
        payload=(np.arange(count * payload_bytes) % 251).astype(np.uint8),
        length=np.full(count, payload_bytes, np.int64),
        sequence=index,
        first_element=index,
        element_count=np.ones(count, np.int64),
        checksum=np.zeros(count, np.uint32),
        power=np.ones(count, np.float32),
        erased=np.zeros(count, bool),
    )
    if count < 10_000:
        batch.checksum = checksums(batch, RNG.frame_index, RNG.round)
    # As from the wire: payloads cannot be written to.
    batch.payload.flags.writeable = False
    return batch


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "packet_erasure": (PacketErasure(0.2), PacketErasure(0.205)),
    "gilbert_elliott": (GilbertElliott(0.02, 0.25), GilbertElliott(0.0225, 0.25)),
    "gilbert_elliott_soft": (GilbertElliott(0.05, 0.2, 0.7, 0.1), GilbertElliott(0.05, 0.2, 0.75, 0.1)),
    "packet_erasure_of_a_segment": (PacketErasure(0.2, 1), PacketErasure(0.208, 1)),
    "bit_flip": (BitFlip(1e-3), BitFlip(1.05e-3)),
    "burst_bit_flip": (BurstBitFlip(1e-4, 0.02), BurstBitFlip(1.15e-4, 0.02)),
    "burst_bit_flip_soft": (BurstBitFlip(1e-3, 0.1, 0.2, 1e-3), BurstBitFlip(1e-3, 0.1, 0.23, 1e-3)),
}
"""A fault and the same one with a parameter off by a few per cent (enough for |z| > 8 at this size)."""


def z_of(fault: Fault, batch: PacketBatch, counted: tuple[int, int]) -> float:
    trials, events = counted
    variance = fault.batch_variance(batch)
    variance = fault.count_variance(trials) if variance is None else variance
    return (events - trials * fault.expected_rate) / math.sqrt(variance)


@pytest.mark.parametrize("name", FAULTS)
def test_agrees_with_closed_form_and_notices_a_wrong_parameter(name: str) -> None:
    frame = FrameInfo(segment_ends=(PACKETS // 2, PACKETS))
    right, wrong = (fault.for_frame(frame) for fault in FAULTS[name])
    batch = make_batch(PACKETS)
    counted = right.count(batch, right.draw(batch, RNG))
    assert counted[0] >= PACKETS / 2
    assert abs(z_of(right, batch, counted)) < 4
    assert abs(z_of(wrong, batch, counted)) > 8


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("seed", [0, 1])
def test_fate_does_not_depend_on_batching_or_order(name: str, seed: int) -> None:
    batch = make_batch(4000, payload_bytes=40)
    frame = FrameInfo(RNG.frame_index, RNG.round, segment_ends=(1234, 4000))
    fault = FAULTS[name][0].for_frame(frame)
    whole = fault.apply(batch, fault.draw(batch, RNG), frame)
    order = np.random.default_rng(seed).permutation(len(batch))
    parts = []
    for chunk in np.array_split(order, 37):
        part = take(batch, chunk)
        parts.append(fault.apply(part, fault.draw(part, RNG), frame))
    joined = join_batches(parts)
    assert 0 < whole.erased.sum() < len(batch)
    assert np.array_equal(joined.erased, whole.erased[order])


def take(batch: PacketBatch, index: np.ndarray) -> PacketBatch:  # type: ignore[type-arg]
    """Packets in any order."""
    return join_batches([batch.select(np.arange(len(batch)) == i) for i in index])


BIT_FAULTS = [BitFlip(0.01, "deliver"), BurstBitFlip(1e-3, 0.02, 0.4, 1e-3, "deliver")]


@pytest.mark.parametrize("fault", BIT_FAULTS)
def test_flips_do_not_depend_on_batching_or_blocks(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(600, payload_bytes=100)
    frame = FrameInfo(RNG.frame_index, RNG.round, (True,))
    whole = fault.apply(batch, fault.draw(batch, RNG), frame)
    monkeypatch.setattr(bit_faults, "_MAX_DRAWS", 4)
    monkeypatch.setattr(burst_bit_flip, "_GROUP_BITS", 2000)
    parts = [fault.apply(part, fault.draw(part, RNG), frame) for part in batch.slices(7)]
    assert np.array_equal(join_batches(parts).payload, whole.payload)
    assert not np.array_equal(batch.payload, whole.payload)


def runs(lost: Bools) -> np.ndarray:  # type: ignore[type-arg]
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost.astype(np.int8), [0]))))
    return edges[1::2] - edges[::2]


@pytest.mark.parametrize(("p", "r"), [(0.02, 0.25), (0.01, 0.1), (0.5, 0.5)])
def test_gilbert_bursts_are_geometric_with_mean_one_over_r(p: float, r: float) -> None:
    lost = GilbertElliott(p, r).draw(make_batch(PACKETS, 0), RNG)
    lengths, gaps = runs(lost), runs(~lost)
    for measured, rate in ((lengths, r), (gaps, p)):
        sigma = math.sqrt(1 - rate) / rate / math.sqrt(len(measured))
        assert abs(measured.mean() - 1 / rate) < 4 * sigma
    singles = float((lengths == 1).mean())
    assert abs(singles - r) < 4 * math.sqrt(r * (1 - r) / len(lengths))


def test_gilbert_elliott_general_burst_length() -> None:
    fault = GilbertElliott(0.05, 0.2, 0.7, 0.1)
    rate, pair = fault.expected_rate, fault.pair_erasure_rate(0)
    lost = fault.draw(make_batch(PACKETS, 0), RNG)
    assert runs(lost).mean() == pytest.approx(rate / (rate - pair), rel=0.01)
    assert (lost[1:] & lost[:-1]).mean() == pytest.approx(pair, rel=0.02)


def test_gilbert_elliott_starts_stationary_and_its_finite_variance_holds() -> None:
    fault, rounds, packets = GilbertElliott(0.02, 0.1), 4000, 20
    batch = make_batch(packets, 0)
    lost = np.array([fault.draw(batch, RNG.at(frame, 0)) for frame in range(rounds)])
    rate = fault.expected_rate
    first = lost[:, 0].mean()
    assert abs(first - rate) < 4 * math.sqrt(rate * (1 - rate) / rounds)
    totals = lost.sum(1)
    assert totals.var() == pytest.approx(fault.count_variance(packets), rel=0.1)
    assert fault.count_variance(packets) > 3 * packets * rate * (1 - rate)


def test_gilbert_elliott_looks_back_across_windows() -> None:
    fault = GilbertElliott(2e-5, 1e-4)
    whole = fault.draw(make_batch(100_000, 0), RNG)
    late = make_batch(100_000, 0).select(np.arange(100_000) >= 99_990)
    assert np.array_equal(fault.draw(late, RNG), whole[99_990:])
    assert whole.any() and not whole.all()


def test_a_segment_filter_leaves_the_fate_of_its_own_packets_as_it_is() -> None:
    batch, frame = make_batch(3000), FrameInfo(segment_ends=(500, 500, 1500, 3000))
    everywhere = PacketErasure(0.4).draw(batch, RNG)
    chosen = PacketErasure(0.4, 2).for_frame(frame)
    drawn = chosen.draw(batch, RNG)
    assert np.array_equal(drawn, everywhere & (batch.sequence >= 500) & (batch.sequence < 1500))
    assert chosen.count(batch, drawn) == (1000, drawn.sum())
    for segment, packets in ((0, 500), (1, 0), (2, 1000), (3, 1500), (4, 0), (7, 0)):
        one = PacketErasure(1, segment).for_frame(frame)
        assert one.count(batch, one.draw(batch, RNG)) == (packets, packets)
    # Of what is no frame of segments, such as feedback, all is of the first.
    for segment, packets in ((0, 3000), (1, 0)):
        one = PacketErasure(1, segment).for_frame(FrameInfo())
        assert one.count(batch, one.draw(batch, RNG)) == (packets, packets)
    # What is to be expected of packets that are none of the segment's: the traffic is not known.
    assert (chosen.packet_erasure_rate(840), chosen.pair_erasure_rate(840)) == (0, 0)


def test_flip_count_of_packets_is_binomial() -> None:
    fault, bits, count = BitFlip(0.02), 105 * 8, 20_000
    batch = make_batch(count, 105)
    drawn = fault.draw(batch, RNG)
    assert len(np.unique(drawn)) == len(drawn)
    flips = np.bincount(drawn // bits, minlength=count)
    sigma = math.sqrt(bits * 0.02 * 0.98)
    assert abs(flips.mean() - bits * 0.02) < 4 * sigma / math.sqrt(count)
    assert flips.var() == pytest.approx(sigma**2, rel=0.05)
    # Every bit position is as likely as the next.
    places = np.bincount(drawn % bits, minlength=bits)
    chi2 = float(((places - places.mean()) ** 2 / places.mean()).sum())
    assert abs(chi2 - (bits - 1)) < 5 * math.sqrt(2 * bits)


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-300, 0.5])
def test_flip_rates_at_the_ends(rate: float) -> None:
    batch = make_batch(200, 500)
    drawn = BitFlip(rate).draw(batch, RNG)
    bits = 200 * 500 * 8
    assert abs(len(drawn) - rate * bits) <= 4 * math.sqrt(bits * rate * (1 - rate))


@pytest.mark.parametrize(("rate", "expected"), [(1e-5, 0.0084), (1e-4, 0.081), (1e-3, 0.57), (1e-2, 0.9998)])
def test_flips_erase_packets_at_the_reference_rate(rate: float, expected: float) -> None:
    fault = BitFlip(rate)
    closed = fault.packet_erasure_rate(840)
    assert closed == pytest.approx(expected, rel=0.02)
    batch, frame = make_batch(20_000, 105), FrameInfo()
    erased = fault.apply(batch, fault.draw(batch, RNG), frame).erased.mean()
    assert abs(erased - closed) <= 4 * math.sqrt(closed * (1 - closed) / 20_000)


@pytest.mark.parametrize("fault", BIT_FAULTS)
def test_damage_is_delivered_only_where_it_is_tolerated(fault: Fault) -> None:
    frame = FrameInfo(RNG.frame_index, RNG.round, (True, False), (100, 200))
    batch = make_batch(300, 50)  # those from 200 on are of none of the header's segments
    before = batch.payload.copy()
    out = fault.apply(batch, fault.draw(batch, RNG), frame)
    hit = np.array([a != b for a, b in zip(batch.payloads(), out.payloads(), strict=True)])
    assert 0 < hit.sum() < 300
    assert np.array_equal(out.erased, hit & (batch.sequence >= 100))
    arrived = out.select(~out.erased)
    assert np.array_equal(arrived.checksum, checksums(arrived, frame.frame_index, frame.round))
    assert np.array_equal(batch.payload, before) and not batch.erased.any()


def test_injected_flips_hit_the_bits_that_were_named() -> None:
    batch, frame = make_batch(3, 2), FrameInfo(0, 0, (True,))
    out = BitFlip(0.1, "deliver").apply(batch, np.array([0, 17, 17 + 6]), frame)
    assert (out.payload ^ batch.payload).tolist() == [0x80, 0, 0b01000001, 0, 0, 0]
    empty = replace(batch, length=np.array([0, 6, 0]))
    erased = BitFlip(0.1).apply(empty, np.array([0]), frame).erased
    assert erased.tolist() == [False, True, False]


def test_erased_packets_are_not_flipped() -> None:
    batch = make_batch(10, 100)
    batch.erased[:5] = True
    for fault in (BitFlip(0.5), BurstBitFlip(0.5, 0.5)):
        drawn = fault.draw(batch, RNG)
        assert drawn.min() >= 5 * 800
        assert fault.count(batch, drawn) == (5 * 800, len(drawn))
    assert BurstBitFlip(0.5, 0.5).batch_variance(batch) == pytest.approx(5 * BurstBitFlip(0.5, 0.5).count_variance(800))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("packet_erasure", {"rate": 1.1}, "rate: 1.1 is not in 0 to 1"),
        ("packet_erasure", {"rate": math.nan}, "rate: nan is not finite"),
        ("packet_erasure", {"rat": 0.1}, "rat: no such parameter; there are rate"),
        ("packet_erasure", {}, "rate: not set"),
        ("gilbert_elliott", {"p": 0.0, "r": 0.5}, "p: 0.0 is not in above 0, to 1"),
        ("gilbert_elliott", {"p": 0.5, "r": 0.6}, r"p: p \+ r may not exceed 1, got 0.5 \+ 0.6"),
        ("gilbert_elliott", {"p": 0.5, "r": 0.5, "loss_bad": 2.0}, "loss_bad"),
        ("packet_erasure", {"rate": 0.1, "segment": 1.5}, "segment: 1.5 is not a whole number in 0 to"),
        ("packet_erasure", {"rate": 0.1, "segment": -1.0}, "segment: -1.0 is not a whole number in 0 to"),
        ("burst_bit_flip", {"p": 0.5, "r": 0.6}, r"p: p \+ r may not exceed 1, got 0.5 \+ 0.6"),
        ("burst_bit_flip", {"p": 0.5, "r": 0.0}, "r: 0.0 is not in above 0, to 1"),
        ("burst_bit_flip", {"p": 0.1, "r": 0.5, "rate_bad": 0.6}, "rate_bad: 0.6 is not in 0 to 0.5"),
        ("burst_bit_flip", {"p": 0.1, "r": 0.5, "rate_good": -0.1}, "rate_good: -0.1 is not in 0 to 0.5"),
        ("burst_bit_flip", {"p": 0.1, "r": 0.5, "damage": "eat"}, "damage: 'eat' is none of erase, deliver"),
        ("bit_flip", {"rate": 0.6}, "rate: 0.6 is not in 0 to 0.5"),
        ("bit_flip", {"rate": 0.1, "damage": "eat"}, "damage: 'eat' is none of erase, deliver"),
    ],
)
def test_parameters_are_checked(name: str, parameters: dict[str, float | str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        IMPAIRMENTS.get(name).build(parameters)


def test_philox_known_answers() -> None:
    """From the authors' known-answer file, kat_vectors of Random123: philox4x32-10."""
    ones = 0xFFFFFFFF
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    answers = {
        ((0, 0, 0, 0), (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ((ones,) * 4, (ones, ones)): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        (pi, (0xA4093822, 0x299F31D0)): (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    }
    for (counter, key), expected in answers.items():
        words = philox4x32(tuple(np.array([c], np.uint64) for c in counter), key)  # type: ignore[arg-type]
        assert tuple(int(w[0]) for w in words) == expected
