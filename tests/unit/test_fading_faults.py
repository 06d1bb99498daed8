"""block_fading and coded_fading: against theory, for a wrong model, blocks, power, injected gains, bad parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain, NamedFault
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.channel_emulator.impairments.coded_fading import CodedFading
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.v1 import channel_pb2


def batch_of(length: np.ndarray | int, count: int, power: np.ndarray | float = 1.0) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    size = ones * length
    return PacketBatch(
        np.zeros(int(size.sum()), np.uint8), size, index, index, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32) * np.float32(power), np.zeros(count, bool),
    )  # fmt: skip


RNG = np.random.default_rng(0)
SIZES = RNG.choice(np.arange(20, 300, 7), 1500)
POWERS = RNG.choice([0.5, 1, 3], 1500)
FAULTS: list[FadingFault] = [
    *(BlockFading(20.0, 8, modulation=name) for name in ("bpsk", "qpsk", "qam16", "qam64")),
    BlockFading(12.0, 4, "rician", 6.0),
    BlockFading(7.0, 4, "none", modulation="qpsk"),
    BlockFading(14.0, 4, damage="deliver", modulation="qam64"),
    BlockFading(14.0, 4, damage="deliver", modulation="qam64", noise="symbols"),
    BlockFading(9.0, 4, "none", damage="deliver", modulation="qam16"),
    CodedFading(10.0, 1.0, 8),
    CodedFading(10.0, 1.5, 4, limit="outage"),
    CodedFading(0.3, 1.0, 4, "none"),
]


def z_of(fault: FadingFault, batch: PacketBatch, frames: int, model: FadingFault | None = None) -> float:
    chain, judge = Chain([NamedFault("x", fault)], 5), Chain([NamedFault("x", model or fault)], 5)
    statistics = Statistics(judge)
    for frame in range(frames):
        info, counts = FrameInfo(frame, 0, (True,)), RoundCounts()
        impairer = chain.impairer(info, judge)
        for part in batch.slices(200):
            counts.add(part, impairer.apply(part))
        statistics.add(info, counts, impairer.event_counts())
    return statistics.report(1).impairments[0].z_score


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_counts_are_as_theory_says(fault: FadingFault) -> None:
    delivered = getattr(fault, "damage", "") == "deliver"
    frames = 4 if delivered else 40
    assert abs(z_of(fault, batch_of(105, 1500), frames)) < 4
    assert abs(z_of(fault, batch_of(SIZES, 1500, POWERS), 1 if delivered else 8)) < 4


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_wrong_snr_shows(fault: FadingFault) -> None:
    quicker = replace(fault, coherence=1)
    wrong = replace(quicker, snr_db=fault.snr_db + 1.5)
    frames = 4 if getattr(fault, "damage", "") == "deliver" else 40
    assert abs(z_of(quicker, batch_of(105, 1500), frames, wrong)) > 6


def test_scores_have_deviation_one() -> None:
    """Fates of a block hang together: counted as independent the scores would be twice as wide and more."""
    for fault in (BlockFading(18.0, 20), CodedFading(8.0, 1.0, 20), BlockFading(18.0, 20, damage="deliver")):
        scores = []
        for seed in range(120):
            impairer = Chain([NamedFault("x", fault)], seed).impairer(FrameInfo(seed, 0, (True,)))
            for part in batch_of(60, 300).slices(128):
                impairer.apply(part)
            (score,) = impairer.event_counts()
            scores.append((score.events - score.expected) / math.sqrt(score.variance))
        assert np.std(scores) == pytest.approx(1, abs=0.3), fault


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_fate_does_not_depend_on_batching_or_order(fault: FadingFault) -> None:
    chain, batch = Chain([NamedFault("x", fault)], 3), batch_of(SIZES[:400], 400, POWERS[:400])
    info = FrameInfo(2, 1, (True,))
    whole, impairer = chain.apply(batch, info), chain.impairer(info)
    parts = join_batches([impairer.apply(part) for part in batch.slices(37)])
    assert np.array_equal(parts.erased, whole.erased) and np.array_equal(parts.payload, whole.payload)
    one = np.arange(400) == 333
    alone = chain.apply(batch.select(one), info)
    assert alone.erased == whole.erased[one] and (alone.payload == whole.select(one).payload).all()


def test_packets_of_a_block_share_a_gain_and_blocks_do_not() -> None:
    fault = BlockFading(10.0, 16)
    rng = Chain([NamedFault("x", fault)], 1).impairer(FrameInfo()).rngs[0]
    h = fault.gains(np.arange(1600), rng).reshape(100, 16)
    assert (h == h[:, :1]).all() and len(np.unique(h)) == 100
    assert abs(np.corrcoef(np.abs(h[:-1, 0]), np.abs(h[1:, 0]))[0, 1]) < 0.4


def test_gains_can_be_injected(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = BlockFading(6.0, damage="deliver")
    deep = np.where(np.arange(200) < 100, 0.0, 100.0).astype(complex)
    monkeypatch.setattr(BlockFading, "gains", lambda self, sequence, rng: deep[sequence])
    drawn = fault.draw(batch_of(100, 200), Chain([NamedFault("x", fault)]).impairer(FrameInfo()).rngs[0])
    assert drawn.max() < 100 * 800, "no flip where the gain is large"
    assert len(drawn) == pytest.approx(40_000, abs=4 * math.sqrt(80_000 / 4)), "half of all bits where there is none"


def test_noise_is_not_scaled_by_the_gain() -> None:
    """Where it is, "Rayleigh" never fades: as good as no fading at the same SNR."""
    fading = BlockFading(15.0).packet_erasure_rate(840)
    still = BlockFading(15.0, fading="none").packet_erasure_rate(840)
    assert fading > 0.1 and still < 1e-10


def test_the_mean_is_over_the_gain_of_packets_and_not_of_bits() -> None:
    """PER = E[1 - (1-p(h))^L]; 1 - (1-E[p])^L would be far more."""
    fault = BlockFading(15.0)
    averaged_first = 1 - (1 - fault.expected_rate) ** 840
    assert fault.packet_erasure_rate(840) < 0.25 and averaged_first > 0.98


def test_more_power_is_as_more_snr() -> None:
    strong, loud = batch_of(105, 4000, 4.0), batch_of(105, 4000)
    one = Chain([NamedFault("x", BlockFading(10.0))], 1).apply(strong, FrameInfo()).erased
    other = Chain([NamedFault("x", BlockFading(10.0 + 10 * math.log10(4)))], 1).apply(loud, FrameInfo()).erased
    assert np.array_equal(one, other)
    silent = Chain([NamedFault("x", BlockFading(30.0))], 1).apply(batch_of(105, 50, 0.0), FrameInfo())
    assert silent.erased.all()


def test_csi_of_a_block() -> None:
    for fault in (BlockFading(15.0, 8), CodedFading(10.0, 1.0, 8, limit="outage")):
        chain = Chain([NamedFault("x", fault)], 7)
        csi = chain.csi(105)
        lost = np.concatenate([chain.apply(batch_of(105, 4000), FrameInfo(i)).erased for i in range(40)])
        starts = np.count_nonzero(lost[1:] & ~lost[:-1])
        assert lost.mean() == pytest.approx(csi.packet_erasure_rate, rel=0.1)
        assert lost.sum() / starts == pytest.approx(csi.mean_burst_packets, rel=0.1)
        assert csi.mean_burst_packets > 4
    delivered = Chain([NamedFault("x", BlockFading(10.0, damage="deliver"))]).csi(105)
    assert delivered.packet_erasure_rate == 0
    assert delivered.bit_error_rate == pytest.approx((1 - math.sqrt(10 / 11)) / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("block_fading", InvalidInput, r"block_fading.snr_db: not set"),
        ("block_fading:snr=10", InvalidInput, r"block_fading.snr: no such parameter; there are snr_db, "),
        ("block_fading:snr_db=100", InvalidInput, r"snr_db: 100.0 is not in -40 to 60"),
        ("block_fading:snr_db=9,coherence=0", InvalidInput, r"coherence: 0 is not in 1 to 65536"),
        ("block_fading:snr_db=9,coherence=1.5", InvalidInput, r"coherence: '1.5' is not a whole number"),
        ("block_fading:snr_db=9,fading=rice", InvalidInput, r"fading: 'rice' is none of none, rayleigh, rician"),
        ("block_fading:snr_db=9,fading=rician", InvalidInput, r"k_factor_db: not set; fading=rician needs it"),
        ("block_fading:snr_db=9,k_factor_db=3", InvalidInput, r"k_factor_db: 3 is for fading=rician, and this is ray"),
        ("block_fading:snr_db=9,modulation=qam256", InvalidInput, r"'qam256' is none of bpsk, qpsk, qam16, qam64"),
        ("block_fading:snr_db=9,noise=symbols", InvalidInput, r"noise: symbols is for damage=deliver"),
        ("coded_fading:snr_db=9", InvalidInput, r"coded_fading.code_rate: not set"),
        ("coded_fading:snr_db=9,code_rate=0", InvalidInput, r"code_rate: 0.0 is not in above 0, to 12"),
        ("coded_fading:snr_db=9,code_rate=1,code_length=5", InvalidInput, r"code_length: 5 is not in 50 to 10000"),
    ],
)
def test_bad_parameters_are_named(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        Chain.from_profile(parse_spec(text))


def test_numbers_that_only_code_can_get_wrong() -> None:
    with pytest.raises(InvalidInput, match="coherence: 1.5 is not a whole number"):
        BlockFading(9.0, 1.5)  # type: ignore[arg-type]
    with pytest.raises(UnknownName, match="fading: no 'rice'; there are none, rayleigh, rician"):
        BlockFading(9.0, fading="rice")
    with pytest.raises(UnknownName, match="limit: no 'x'; there are normal, outage"):
        CodedFading(9.0, 1.0, limit="x")
    with pytest.raises(InvalidInput, match="snr_db: nan"):
        BlockFading(math.nan)


def test_from_text_and_back() -> None:
    text = "block_fading:snr_db=10.0,coherence=8,fading=rician,k_factor_db=6.0,modulation=qam16,damage=deliver"
    link = Chain.from_profile(parse_spec(text)).faults[0]
    assert link.fault == BlockFading(10.0, 8, "rician", 6.0, "qam16", "deliver")
    assert link.fault.unit == channel_pb2.TRIAL_UNIT_BIT
    coded = Chain.from_profile(parse_spec("coded_fading:snr_db=0,code_rate=0.5"))
    assert coded.faults[0].fault == CodedFading(0.0, 0.5)


def test_a_round_of_packets_that_are_all_different_costs_nothing_and_is_not_scored() -> None:
    batch = batch_of(20, 4000, np.linspace(0.1, 10, 4000))
    impairer = Chain([NamedFault("x", BlockFading(10.0))], 1).impairer(FrameInfo())
    assert 0 < impairer.apply(batch).erased.sum() < 4000
    assert impairer.event_counts()[0].trials == 0


def test_long_and_short_packets_are_simulated_apart() -> None:
    """Laid out side by side with the longest they would fill the memory."""
    length = np.where(np.arange(3000) == 10, 60_000, 2)
    fault = BlockFading(3.0, 1, "none", damage="deliver", noise="symbols")
    drawn = fault.draw(batch_of(length, 3000), Chain([NamedFault("x", fault)], 2).impairer(FrameInfo()).rngs[0])
    bits = 8 * length.sum()
    rate = fault.expected_rate
    assert abs(len(drawn) - bits * rate) < 4 * math.sqrt(bits * rate * (1 - rate))
    assert (np.diff(drawn) > 0).all() and drawn[-1] < bits
