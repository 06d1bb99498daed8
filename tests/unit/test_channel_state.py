"""Channel state information: what it says is what happens; how it ages, how wrong it is, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi, estimated_gains
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import Csi, CsiSource
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch

OUTAGE = "coded_fading:snr_db=6,code_rate=1.5,limit=outage"


def chain_of(text: str, seed: int = 7) -> Chain:
    return Chain.from_profile(parse_spec(text, seed))


def batch_of(count: int, size: int = 40, power: np.ndarray | float = 1.0) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(count * size, np.uint8), ones * size, index, index, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32) * np.float32(power), np.zeros(count, bool),
    )  # fmt: skip


def gains(chain: Chain, instant: InstantaneousCsiQuery) -> np.ndarray:
    """complex128 [packets]: as they are known."""
    (link,) = chain.faults
    assert isinstance(link.fault, FadingFault)
    return estimated_gains(link.fault, chain.impairer(FrameInfo(instant.frame_index, instant.round)).rngs[0], instant)


def correlation_z(one: np.ndarray, other: np.ndarray) -> float:
    """Of two rows that ought to be independent: their correlation over its standard deviation."""
    return float(np.corrcoef(one, other)[0, 1] * math.sqrt(len(one)))


@pytest.mark.parametrize(
    "spec",
    [
        OUTAGE,
        f"{OUTAGE},coherence=8",
        f"{OUTAGE},coherence=5,fading=rician,k_factor_db=3",
        f"packet_erasure:rate=0+{OUTAGE},coherence=3",
    ],
)
def test_perfect_state_is_what_happens(spec: str) -> None:
    chain, power = chain_of(spec), np.random.default_rng(1).choice([0.5, 1, 3], 500)
    for frame, round_ in ((0, 0), (3, 0), (3, 2)):
        csi = compute_csi(chain, 40, InstantaneousCsiQuery(frame, round_, 500))
        assert csi.threshold_snr_db is not None and len(csi.snr_db) == 500
        told = np.array(csi.snr_db) + 10 * np.log10(power)
        happened = chain.apply(batch_of(500, power=power), FrameInfo(frame, round_)).erased
        assert 50 < happened.sum() < 450
        assert (happened == (told < csi.threshold_snr_db)).all()


def test_uncoded_links_tell_the_gains_they_draw() -> None:
    chain = chain_of("block_fading:snr_db=12,coherence=4,damage=deliver")
    (link,) = chain.faults
    assert isinstance(link.fault, BlockFading)
    drawn = link.fault.packet_snr(batch_of(3000), chain.impairer(FrameInfo(5, 1)).rngs[0])
    told = compute_csi(chain, 40, InstantaneousCsiQuery(5, 1, 3000)).snr_db
    assert told == pytest.approx(10 * np.log10(drawn), abs=1e-5)
    assert compute_csi(chain, 40, InstantaneousCsiQuery(5, 2, 3000)).snr_db != told


def test_statistical_state_has_no_packets_and_a_chain_without_fading_no_snr() -> None:
    chain = chain_of(f"bit_flip:rate=1e-4+{OUTAGE}")
    csi = compute_csi(chain, 40)
    plain = chain.csi(40)
    assert (csi.mean_snr_db, csi.snr_db, csi.source) == (6.0, (), CsiSource.EMULATOR)
    assert (csi.packet_erasure_rate, csi.mean_burst_packets) == (plain.packet_erasure_rate, plain.mean_burst_packets)
    assert compute_csi(chain, 400).packet_erasure_rate > csi.packet_erasure_rate
    erasing = chain_of("gilbert_elliott:p=0.02,r=0.2")
    for instant in (None, InstantaneousCsiQuery(packets=10)):
        csi = compute_csi(erasing, 40, instant)
        assert (csi.mean_snr_db, csi.threshold_snr_db, csi.snr_db) == (None, None, ())
        assert csi.mean_burst_packets == pytest.approx(5)
    assert compute_csi(Chain([]), 40) == Csi(source=CsiSource.EMULATOR)


def test_of_several_links_the_first_is_told() -> None:
    one, other = "coded_fading:snr_db=6,code_rate=1", "block_fading:snr_db=20"
    query = InstantaneousCsiQuery(packets=50)
    both, alone = (compute_csi(chain_of(spec), 40, query) for spec in (f"{one}+{other}", one))
    assert (both.mean_snr_db, both.threshold_snr_db, both.snr_db) == (6.0, alone.threshold_snr_db, alone.snr_db)
    assert both.packet_erasure_rate > alone.packet_erasure_rate


def test_thresholds() -> None:
    assert compute_csi(chain_of(OUTAGE), 40).threshold_snr_db == pytest.approx(10 * math.log10(2**1.5 - 1), abs=1e-9)
    half = norm.isf(1 - 0.5 ** (1 / 320)) ** 2 / 2  # BPSK: (1 - Q(sqrt(2 snr)))^320 = 1/2
    for damage in ("erase", "deliver"):
        told = compute_csi(chain_of(f"block_fading:snr_db=10,damage={damage}"), 40).threshold_snr_db
        assert told == pytest.approx(10 * math.log10(half), abs=1e-6)
    told = compute_csi(chain_of("coded_fading:snr_db=30,code_rate=2"), 100).threshold_snr_db
    at = chain_of(f"coded_fading:snr_db={told!r},code_rate=2,fading=none")
    assert at.csi(100).packet_erasure_rate == pytest.approx(0.5, abs=1e-6)
    # So short and slow that the approximation would lose nothing without any signal.
    with pytest.raises(InvalidInput, match="code_rate: 0.001 is not above 0.008966"):
        chain_of("coded_fading:snr_db=0,code_rate=1e-3")


def test_old_state_is_right_within_a_block_and_of_no_use_beyond() -> None:
    chain, coherence, age, packets = chain_of(f"{OUTAGE},coherence=16"), 16, 3, 4096
    new, old = [], []
    for frame in range(20):
        now = gains(chain, InstantaneousCsiQuery(frame, 0, packets))
        told = gains(chain, InstantaneousCsiQuery(frame, 0, packets, age))
        within = np.arange(packets) % coherence >= age
        assert (told[within] == now[within]).all()
        assert (told[age:] == now[:-age]).all()
        # One packet a block: packets that share both gains would count as if they were many.
        new.append(np.abs(now[coherence::coherence]) ** 2)
        old.append(np.abs(told[coherence::coherence]) ** 2)
    assert abs(correlation_z(np.concatenate(new), np.concatenate(old))) < 4


def test_state_of_before_the_round_is_a_draw_of_its_own() -> None:
    chain = chain_of(f"{OUTAGE},coherence=16")
    pairs = [[gains(chain, InstantaneousCsiQuery(frame, 0, 1, age))[0] for age in (0, 1, 40)] for frame in range(800)]
    now, before, long_before = (np.abs(np.array(column)) ** 2 for column in zip(*pairs, strict=True))
    for stale in (before, long_before):
        assert abs(correlation_z(now, stale)) < 4
        assert abs(stale.mean() - 1) * math.sqrt(len(stale)) < 4  # exponential: deviation 1
    old = gains(chain, InstantaneousCsiQuery(0, 0, 64, 65_536))
    assert len(np.unique(old)) == 4, "blocks of the round before stay blocks"


@pytest.mark.parametrize("nmse_db", [-20.0, -3.0, 5.0])
@pytest.mark.parametrize("spec", [f"{OUTAGE},coherence=8", f"{OUTAGE},fading=none"])
def test_estimates_are_as_wrong_as_was_asked_for(spec: str, nmse_db: float) -> None:
    chain, packets, nmse = chain_of(spec), 1 << 16, 10 ** (nmse_db / 10)
    exact = gains(chain, InstantaneousCsiQuery(1, 0, packets))
    told = gains(chain, InstantaneousCsiQuery(1, 0, packets, 0, nmse_db))
    error = told - exact
    square = np.abs(error) ** 2  # exponential: its deviation is its mean

    def z(of: float) -> float:
        return float((square.mean() - of) / (of / math.sqrt(packets)))

    assert abs(z(nmse)) < 4 < abs(z(1.05 * nmse))
    for part in (error.real, error.imag):
        assert abs(part.mean()) * math.sqrt(2 * packets / nmse) < 4
    assert abs(correlation_z(error.real[1:], error.real[:-1])) < 4


def test_noise_shows_in_the_snr_that_is_told() -> None:
    nmse, packets = 0.5, 1 << 16
    chain = chain_of(f"{OUTAGE},fading=none")
    query = InstantaneousCsiQuery(packets=packets, nmse_db=10 * math.log10(nmse))
    snr_db = np.array(compute_csi(chain, 40, query).snr_db)
    power = 10 ** ((snr_db - 6.0) / 10)  # |1 + e|^2: mean 1 + nmse, variance 2 nmse + nmse^2
    assert abs(power.mean() - 1 - nmse) / math.sqrt((2 * nmse + nmse**2) / packets) < 4


def test_the_same_question_has_the_same_answer_and_an_estimate_only_ages() -> None:
    chain = chain_of(f"{OUTAGE},coherence=8")
    asked = InstantaneousCsiQuery(2, 1, 300, 7, -10)
    assert compute_csi(chain, 40, asked) == compute_csi(chain, 40, asked)
    assert (gains(chain, asked)[7:] == gains(chain, InstantaneousCsiQuery(2, 1, 300, 0, -10))[:-7]).all()
    fewer = InstantaneousCsiQuery(2, 1, 100, 7, -10)
    assert compute_csi(chain, 40, fewer).snr_db == compute_csi(chain, 40, asked).snr_db[:100]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"packets": 0}, "packets"),
        ({"packets": 65_537}, "packets"),
        ({"packets": 1, "age_packets": 65_537}, "age_packets"),
        ({"packets": 1, "nmse_db": 20.1}, "nmse_db"),
        ({"packets": 1, "nmse_db": -61.0}, "nmse_db"),
        ({"packets": 1, "nmse_db": math.nan}, "nmse_db"),
    ],
)
def test_instants_out_of_range(wrong: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{field}: "):
        InstantaneousCsiQuery(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 65_001])
def test_sizes_out_of_range(size: int) -> None:
    with pytest.raises(InvalidInput, match="^payload_bytes: "):
        compute_csi(Chain([]), size)
