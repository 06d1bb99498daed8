"""symbols_per_round: what fits, the rate of a round, whatever the batches, and counts against theory."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from gocom.channel_emulator.chain import Chain, NamedFault
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.channel_emulator.impairments.coded_fading import CodedFading
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import format_spec, parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, join_batches

FRAME = FrameInfo(3, 1, (True,))
STRONG = "snr_db=60,fading=none"
"""No packet is lost on such a link for want of power."""


def chain_of(text: str, seed: int = 7) -> Chain:
    return Chain.from_profile(parse_spec(text, seed))


def batch_of(length: np.ndarray | int, count: int, power: np.ndarray | float = 1.0) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    size = ones * length
    return PacketBatch(
        np.zeros(int(size.sum()), np.uint8), size, index, index, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32) * np.float32(power), np.zeros(count, bool),
    )  # fmt: skip


SIZES = np.random.default_rng(0).choice(np.arange(20, 300, 7), 400)


@pytest.mark.parametrize(
    ("spec", "length", "arrive"),
    [
        # 840 bits: 840, 420, 210, 140 symbols; with rate 2: 420; in blocks of 500 with rate 1: 1000.
        (f"block_fading:{STRONG},symbols_per_round=84000", 105, 100),
        (f"block_fading:{STRONG},symbols_per_round=83999", 105, 99),
        (f"block_fading:{STRONG},modulation=qpsk,symbols_per_round=42000", 105, 100),
        (f"block_fading:{STRONG},modulation=qam16,symbols_per_round=20999", 105, 99),
        (f"block_fading:{STRONG},modulation=qam64,symbols_per_round=14000", 105, 100),
        # 8 bits are one symbol of 6 bits and a part of another.
        (f"block_fading:{STRONG},modulation=qam64,symbols_per_round=25", 1, 12),
        (f"coded_fading:{STRONG},code_rate=2,limit=outage,symbols_per_round=42000", 105, 100),
        (f"coded_fading:{STRONG},code_rate=0.3,limit=outage,symbols_per_round=280000", 105, 100),
        (f"coded_fading:{STRONG},code_rate=2,limit=outage,symbols_per_round=41999", 105, 99),
        (f"coded_fading:{STRONG},code_rate=1,symbols_per_round=100000", 105, 100),
        (f"coded_fading:{STRONG},code_rate=1,symbols_per_round=99999", 105, 99),
        (f"coded_fading:{STRONG},code_rate=auto,symbols_per_round=10000", 105, 200),
    ],
)
def test_packets_from_the_first_that_does_not_fit_on_are_lost(spec: str, length: int, arrive: int) -> None:
    left = chain_of(spec).apply(batch_of(length, 200), FRAME)
    assert np.flatnonzero(~left.erased).tolist() == list(range(arrive))


def test_a_small_packet_behind_a_large_one_that_does_not_fit_is_lost_too() -> None:
    spec = f"block_fading:{STRONG},symbols_per_round=1000"
    left = chain_of(spec).apply(batch_of(np.array([100, 30, 1, 1]), 4), FRAME)
    assert left.erased.tolist() == [False, True, True, True]


def test_packets_that_are_lost_before_take_no_symbols_and_copies_none_of_their_own() -> None:
    before = batch_of(105, 200)
    before.erased = before.sequence % 2 == 0
    left = chain_of(f"block_fading:{STRONG},symbols_per_round=42000").apply(before, FRAME)
    assert np.flatnonzero(~left.erased).tolist() == list(range(1, 100, 2))
    copied = batch_of(105, 200)
    copied.sequence = np.repeat(np.arange(50), 4)
    impairer = chain_of(f"block_fading:{STRONG},symbols_per_round=8400").impairer(FRAME, copies=True)
    assert sorted(set(copied.sequence[~impairer.apply(copied).erased])) == list(range(10))
    (counts,) = impairer.event_counts()
    assert (counts.trials, counts.events, counts.expected) == (50, 40, pytest.approx(40, abs=1e-9))


def test_the_rate_of_a_round_is_its_bits_over_its_symbols() -> None:
    """Without fading a long code lets all through up to capacity, log2(1 + 3) = 2 bits a symbol, and none beyond."""
    spec = f"coded_fading:snr_db={10 * math.log10(3)!r},code_rate=auto,fading=none,limit=outage,symbols_per_round=8000"
    for size, lost in ((2000, False), (2001, True)):
        sizes = np.array([size - 700, 100, 600])
        assert (chain_of(spec).apply(batch_of(sizes, 3), FRAME).erased == lost).all()
    # Not all of the power: packet 1 alone is below the rate.
    left = chain_of(spec).apply(batch_of(np.array([1000, 400, 600]), 3, np.array([1.001, 0.99, 1.001])), FRAME)
    assert left.erased.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("length", "symbols", "snr_db", "code_length", "blocks"),
    [
        (20, 4000, -1.3, 500, 1),
        (105, 9000, 4.2, 500, 1),
        (500, 76_000, 0.3, 4000, 1),
        (1000, 17_000, 28.3, 500, 2),
        (105, 9000, 4.2, 100, 5),
    ],
)
def test_packets_are_cut_into_equal_blocks_of_at_most_the_length_of_a_code(
    length: int, symbols: int, snr_db: float, code_length: int, blocks: int
) -> None:
    """The share of packets lost, without fading, is 1 - (1 - Q(...))^blocks with blocks of equal length."""
    count, snr, bits = 20, 10 ** (snr_db / 10), 8 * length
    rate = bits * count / symbols
    n = bits / rate / blocks
    assert n <= code_length < bits / rate / (blocks - 1) if blocks > 1 else n <= code_length
    margin = n * (math.log2(1 + snr) - rate) + math.log2(n) / 2
    spread = math.sqrt(n * snr * (snr + 2)) / (snr + 1) / math.log(2)
    expected = 1 - (1 - norm.sf(margin / spread)) ** blocks
    spec = (
        f"coded_fading:snr_db={snr_db},code_rate=auto,fading=none,code_length={code_length},symbols_per_round={symbols}"
    )
    chain, frames = chain_of(spec), 1000
    lost = sum(int(chain.apply(batch_of(length, count), FrameInfo(frame)).erased.sum()) for frame in range(frames))
    assert 0.02 < expected < 0.98
    z = (lost - frames * count * expected) / math.sqrt(frames * count * expected * (1 - expected))
    assert abs(z) < 4


BOUNDED: list[FadingFault] = [
    BlockFading(20.0, 4, modulation="qpsk", symbols_per_round=80_000),
    BlockFading(14.0, 4, damage="deliver", modulation="qam64", symbols_per_round=30_000),
    BlockFading(14.0, 4, damage="deliver", noise="symbols", symbols_per_round=200_000),
    CodedFading(10.0, 1.0, 8, symbols_per_round=300_000),
    CodedFading(10.0, 1.5, 4, limit="outage", symbols_per_round=200_000),
    CodedFading(10.0, None, 4, limit="outage", symbols_per_round=400_000),
    CodedFading(10.0, None, 4, symbols_per_round=400_000),
    CodedFading(3.0, None, 1, "rician", 3.0, symbols_per_round=400_000),
]


@pytest.mark.parametrize("fault", BOUNDED, ids=str)
def test_the_fate_of_a_round_does_not_depend_on_batches_or_their_order(fault: FadingFault) -> None:
    chain, batch = Chain([NamedFault("x", fault)], 3), batch_of(SIZES, 400)
    whole = chain.apply(batch, FRAME)
    assert 20 < whole.erased.sum() < 380
    for size in (400, 37, 5):
        parts = chain.impairer(FRAME).apply_each(batch.slices(size))
        again = join_batches(parts)
        assert np.array_equal(again.erased, whole.erased) and np.array_equal(again.payload, whole.payload)
    backwards = join_batches([batch.select(batch.sequence == number) for number in range(399, -1, -1)])
    left = chain.apply(backwards, FRAME)
    assert np.array_equal(left.erased[::-1], whole.erased)


def test_a_round_that_is_impaired_in_pieces_shares_its_symbols_as_a_whole() -> None:
    """Pieces of 256 KiB bound the memory; a round has 4 MiB here."""
    spec = f"bit_flip:rate=0+coded_fading:{STRONG},code_rate=8,limit=outage,symbols_per_round=2100000"
    left = chain_of(spec).apply(batch_of(65_000, 64), FRAME)
    assert np.flatnonzero(~left.erased).tolist() == list(range(32))


def test_a_second_call_for_the_same_round_is_a_mistake() -> None:
    impairer = chain_of(f"block_fading:{STRONG},symbols_per_round=100").impairer(FRAME)
    impairer.apply(batch_of(1, 2))
    with pytest.raises(AssertionError, match="gets each in one call"):
        impairer.apply(batch_of(1, 2))


def z_of(fault: FadingFault, batch: PacketBatch, frames: int, model: FadingFault | None = None) -> float:
    chain, judge = Chain([NamedFault("x", fault)], 5), Chain([NamedFault("x", model or fault)], 5)
    statistics = Statistics(judge)
    for frame in range(frames):
        info, counts = FrameInfo(frame, 0, (True,)), RoundCounts()
        impairer = chain.impairer(info, judge)
        counts.add(batch, impairer.apply(batch))
        statistics.add(info, counts, impairer.event_counts())
    return statistics.report(1).impairments[0].z_score


@pytest.mark.parametrize("fault", BOUNDED, ids=str)
def test_counts_are_as_theory_says(fault: FadingFault) -> None:
    frames = 8 if getattr(fault, "damage", "") == "deliver" else 60
    assert abs(z_of(fault, batch_of(SIZES, 400), frames)) < 4


@pytest.mark.parametrize("fault", [fault for fault in BOUNDED if getattr(fault, "damage", "") != "deliver"], ids=str)
def test_a_wrong_number_of_symbols_shows(fault: FadingFault) -> None:
    assert fault.symbols_per_round is not None
    wrong = replace(fault, symbols_per_round=int(1.3 * fault.symbols_per_round))
    assert abs(z_of(fault, batch_of(SIZES, 400), 60, wrong)) > 6


def test_scores_have_deviation_one() -> None:
    for fault in (CodedFading(8.0, None, 20, symbols_per_round=130_000), BOUNDED[0]):
        scores = []
        for seed in range(120):
            impairer = Chain([NamedFault("x", fault)], seed).impairer(FrameInfo(seed, 0, (True,)))
            impairer.apply_each(batch_of(60, 300).slices(128))
            (score,) = impairer.event_counts()
            scores.append((score.events - score.expected) / math.sqrt(score.variance))
        assert np.std(scores) == pytest.approx(1, abs=0.3), fault


def test_damaged_packets_are_delivered_as_far_as_they_fit() -> None:
    fault = BlockFading(6.0, damage="deliver", symbols_per_round=840 * 40)
    free = replace(fault, symbols_per_round=None)
    left, unbounded = (Chain([NamedFault("x", f)], 2).apply(batch_of(105, 100), FRAME) for f in (fault, free))
    assert left.erased.tolist() == [False] * 40 + [True] * 60
    assert not unbounded.erased.any() and unbounded.payload.any()
    assert np.array_equal(left.payload[: 40 * 105], unbounded.payload[: 40 * 105])


def test_an_empty_round_and_a_round_without_payload() -> None:
    for spec in (
        f"coded_fading:{STRONG},code_rate=auto,symbols_per_round=100",
        f"block_fading:{STRONG},symbols_per_round=1",
    ):
        assert len(chain_of(spec).apply(batch_of(1, 0), FRAME)) == 0
        assert not chain_of(spec).apply(batch_of(0, 3), FRAME).erased.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("coded_fading:snr_db=9", r"coded_fading.code_rate: not set"),
        ("coded_fading:snr_db=9,code_rate=auto", r"coded_fading.code_rate: not set; auto needs symbols_per_round"),
        ("coded_fading:snr_db=9,code_rate=automatic,symbols_per_round=9", r"code_rate: 'automatic' is not a number"),
        ("coded_fading:snr_db=auto,code_rate=1", r"snr_db: 'auto' is not a number"),
        (
            "coded_fading:snr_db=9,code_rate=1,symbols_per_round=0",
            r"symbols_per_round: 0 is not a whole number in 1 to",
        ),
        ("block_fading:snr_db=9,symbols_per_round=2000000000", r"symbols_per_round: 2000000000 is not a whole number"),
        ("block_fading:snr_db=9,symbols_per_round=2.5", r"symbols_per_round: '2.5' is not a whole number"),
    ],
)
def test_bad_parameters_are_named(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Chain.from_profile(parse_spec(text))


def test_from_text_and_back() -> None:
    text = "coded_fading:snr_db=10.0,symbols_per_round=5000,code_rate=auto"
    profile = parse_spec(text, 4)
    assert format_spec(profile) == text and parse_spec(text, 4) == profile
    assert Chain.from_profile(profile).faults[0].fault == CodedFading(10.0, symbols_per_round=5000)
    bounded = chain_of("block_fading:snr_db=10,symbols_per_round=5000")
    assert bounded.faults[0].fault == BlockFading(10.0, symbols_per_round=5000)
    assert bounded.needs_whole_round and not chain_of("block_fading:snr_db=10+lossy").needs_whole_round
