"""The capacity of a round against closed forms, and that rounds of that size get through as often as was asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import ncx2, norm

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.evaluation.channel.trial import batch_of

SNR_DB = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0]
TARGETS = [0.01, 0.1, 0.5]
SYMBOLS, PAYLOAD = 200_000, 1200
ONE_GAIN = f"code_rate=auto,coherence=65536,symbols_per_round={SYMBOLS}"


def chain_of(text: str, seed: int = 7) -> Chain:
    return Chain.from_profile(parse_spec(text, seed))


def capacity(text: str, target: float = 0.1, payload: int = PAYLOAD, query: InstantaneousCsiQuery | None = None) -> int:
    found = compute_csi(chain_of(text), payload, query, outage_target=target).capacity_bytes
    assert found is not None
    return found


def filled(size_bytes: int, payload: int = PAYLOAD) -> PacketBatch:
    """A round of whole packets, and a last one with what is left."""
    packets, rest = divmod(size_bytes, payload)
    parts = [batch_of(packets, payload)] if packets else []
    return join_batches([*parts, *([batch_of(1, rest, packets)] if rest else [])])


def linear(db: float) -> float:
    return float(10 ** (db / 10))


@pytest.mark.parametrize("snr_db", SNR_DB)
@pytest.mark.parametrize("target", TARGETS)
def test_rayleigh_outage(snr_db: float, target: float) -> None:
    """P_out(R) = 1 - exp(-(2^R - 1) / snr)."""
    rate = math.log2(1 - linear(snr_db) * math.log(1 - target))
    told = capacity(f"coded_fading:snr_db={snr_db},limit=outage,{ONE_GAIN}", target)
    assert told == pytest.approx(SYMBOLS * rate / 8, rel=0.01)
    # One byte more, and the probability is above the target.
    assert told == math.floor(SYMBOLS * rate / 8 + 1e-6)


@pytest.mark.parametrize("snr_db", SNR_DB)
def test_rician_outage_and_white_noise(snr_db: float) -> None:
    k = linear(6.0)
    gain = ncx2.ppf(0.1, 2, 2 * k) / (2 * (1 + k))
    told = capacity(f"coded_fading:snr_db={snr_db},fading=rician,k_factor_db=6,limit=outage,{ONE_GAIN}")
    assert told == pytest.approx(SYMBOLS * math.log2(1 + linear(snr_db) * gain) / 8, rel=0.01)
    for target in TARGETS:
        told = capacity(f"coded_fading:snr_db={snr_db},fading=none,limit=outage,{ONE_GAIN}", target)
        assert told == pytest.approx(SYMBOLS * math.log2(1 + linear(snr_db)) / 8, rel=0.01)


def block_error_rate(snr: float, rate: float, length: float) -> float:
    """Q((nC - k + log2(n) / 2) / sqrt(nV))."""
    margin = length * (math.log2(1 + snr) - rate) + math.log2(length) / 2
    return float(norm.sf(margin / math.sqrt(length * snr * (snr + 2) / (snr + 1) ** 2 / math.log(2) ** 2)))


@pytest.mark.parametrize("snr_db", SNR_DB)
@pytest.mark.parametrize("target", [1e-3, 0.1])
def test_finite_length_over_white_noise(snr_db: float, target: float) -> None:
    """A round of one packet in one block: the textbook's n, k and error rate."""
    symbols = 8000
    spec = f"coded_fading:snr_db={snr_db},fading=none,code_rate=auto,code_length={symbols},symbols_per_round={symbols}"
    rate = brentq(lambda rate: block_error_rate(linear(snr_db), rate, symbols) - target, 1e-3, 12)
    assert capacity(spec, target, 65_000) == pytest.approx(symbols * rate / 8, rel=0.01)


@pytest.mark.parametrize("snr_db", SNR_DB)
def test_finite_length_over_rayleigh_fading(snr_db: float) -> None:
    """E_h[1 - (1 - e(h))^blocks] = target, of a round of one packet in blocks of at most 500 symbols."""
    symbols, target = 20_000, 0.1
    spec = f"coded_fading:snr_db={snr_db},code_rate=auto,symbols_per_round={symbols}"

    def excess(rate: float) -> float:
        def integrand(log_gain: float) -> float:
            gain = math.exp(log_gain)
            error = block_error_rate(gain * linear(snr_db), rate, 500)
            return float(-math.expm1(40 * math.log1p(-min(error, 1 - 1e-15))) * math.exp(-gain) * gain)

        middle = math.log((2**rate - 1) / linear(snr_db))
        return quad(integrand, -30, 5, points=[middle - 0.2, middle, middle + 0.2], limit=500)[0] - target

    rate = brentq(excess, 0.05, 12, xtol=1e-5)
    assert capacity(spec, target, 65_000) == pytest.approx(symbols * rate / 8, rel=0.01)


FRAMES = 2000


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("limit", ["outage", "normal"])
def test_filled_rounds_get_through_as_often_as_was_asked_for(snr_db: float, target: float, limit: str) -> None:
    spec = f"coded_fading:snr_db={snr_db},limit={limit},{ONE_GAIN}"
    chain, batch = chain_of(spec, 11), filled(capacity(spec, target))
    assert len(batch) >= 1
    lost = sum(bool(chain.apply(batch, FrameInfo(frame)).erased.any()) for frame in range(FRAMES))
    assert abs(lost - FRAMES * target) / math.sqrt(FRAMES * target * (1 - target)) < 4


@pytest.mark.parametrize("limit", ["outage", "normal"])
def test_with_several_gains_a_round_the_target_is_for_the_packets_of_a_gain(limit: str) -> None:
    coherence, payload, target = 4, 105, 0.2
    spec = f"coded_fading:snr_db=10,limit={limit},code_rate=auto,coherence={coherence},symbols_per_round=40000"
    chain, size = chain_of(spec, 3), capacity(spec, target, payload)
    batch = filled(size, payload)
    gains = len(batch) // coherence
    assert gains > 5
    outages = 0
    for frame in range(1500):
        erased = chain.apply(batch, FrameInfo(frame)).erased[: gains * coherence]
        outages += int(erased.reshape(gains, coherence).any(axis=1).sum())
    trials = 1500 * gains
    assert abs(outages - trials * target) / math.sqrt(trials * target * (1 - target)) < 4
    if limit == "outage":
        one_gain = spec.replace(f"coherence={coherence}", "coherence=65536")
        assert size == capacity(one_gain, target, payload)


def test_rates_of_a_channel_whose_rate_follows_from_the_round_are_those_of_filled_rounds() -> None:
    for target in TARGETS:
        csi = compute_csi(chain_of(f"coded_fading:snr_db=10,limit=outage,{ONE_GAIN}"), PAYLOAD, outage_target=target)
        assert csi.packet_erasure_rate == pytest.approx(target, rel=1e-3) and csi.capacity_bytes is not None
        rate = 8 * csi.capacity_bytes / SYMBOLS
        assert csi.threshold_snr_db == pytest.approx(10 * math.log10(2**rate - 1), abs=1e-6)


@pytest.mark.parametrize("snr_db", SNR_DB)
@pytest.mark.parametrize("limit", ["outage", "normal"])
def test_known_gains_say_exactly_what_gets_through(snr_db: float, limit: str) -> None:
    spec = f"coded_fading:snr_db={snr_db},limit={limit},{ONE_GAIN}"
    chain = chain_of(spec)
    came = 0
    for frame in range(40):
        csi = compute_csi(chain, PAYLOAD, InstantaneousCsiQuery(frame, 0, 64), outage_target=1e-3)
        assert csi.capacity_bytes is not None
        if limit == "outage":
            rate = math.log2(1 + linear(csi.snr_db[0]))
            assert csi.capacity_bytes == pytest.approx(SYMBOLS * rate / 8, rel=1e-4, abs=1)
            assert chain.apply(filled(csi.capacity_bytes + 2), FrameInfo(frame)).erased.all()
        came += not chain.apply(filled(csi.capacity_bytes), FrameInfo(frame)).erased.any()
    assert came == 40 if limit == "outage" else came >= 38


def test_of_several_known_gains_as_many_may_be_too_weak_as_was_asked_for() -> None:
    spec = "coded_fading:snr_db=10,limit=outage,code_rate=auto,coherence=2,symbols_per_round=30000"
    chain = chain_of(spec)
    for frame in range(30):
        for target in (0.05, 0.25, 0.5):
            csi = compute_csi(chain, 105, InstantaneousCsiQuery(frame, 0, 512), outage_target=target)
            assert csi.capacity_bytes is not None
            batch = filled(csi.capacity_bytes, 105)
            lost = chain.apply(batch, FrameInfo(frame)).erased
            gains = -(-len(batch) // 2)
            assert len(np.unique(np.flatnonzero(lost) // 2)) <= target * gains
            rates = np.sort(np.log2(1 + 10 ** (np.array(csi.snr_db[: len(batch) : 2]) / 10)))
            best = rates[math.floor(target * gains + 1e-9)]
            assert 8 * csi.capacity_bytes / 30000 <= best * (1 + 1e-6)


def test_age_and_errors_make_capacity_an_estimate() -> None:
    spec = f"coded_fading:snr_db=10,limit=outage,{ONE_GAIN}"
    chain = chain_of(spec)
    lost = {}
    for name, query in (("exact", {}), ("old", {"age_packets": 8}), ("noisy", {"nmse_db": -5.0})):
        lost[name] = 0
        for frame in range(100):
            csi = compute_csi(chain, PAYLOAD, InstantaneousCsiQuery(frame, 0, 1, **query))  # type: ignore[arg-type]
            assert csi.capacity_bytes is not None
            batch = filled(max(1, csi.capacity_bytes))
            lost[name] += bool(chain.apply(batch, FrameInfo(frame)).erased.any())
    assert lost["exact"] == 0 and 30 < lost["old"] < 70 and 30 < lost["noisy"] < 90


@pytest.mark.parametrize(
    ("spec", "payload", "expected"),
    [
        ("block_fading:snr_db=20,symbols_per_round=84000", 105, 10_500),
        ("block_fading:snr_db=20,modulation=qam16,symbols_per_round=1000", 105, 500),
        ("block_fading:snr_db=20,modulation=qam64,symbols_per_round=1000", 105, 750),
        ("coded_fading:snr_db=20,code_rate=1.5,limit=outage,symbols_per_round=80000", 105, 15_000),
        # Whole blocks: 1000 bits in two blocks of 500 symbols each; 199 packets, and one block with 62 bytes.
        ("coded_fading:snr_db=20,code_rate=1,symbols_per_round=199500", 125, 199 * 125 + 62),
        ("coded_fading:snr_db=20,code_rate=1,symbols_per_round=400", 125, 0),
        ("rate_limit:rate_kbps=800,queue_ms=100,overhead_bytes=0", 105, 10_000),
        ("rate_limit:rate_kbps=800,queue_ms=133,overhead_bytes=28", 105, 100 * 105),
        ("rate_limit:rate_kbps=800,queue_ms=134,overhead_bytes=28", 105, 100 * 105 + 72),
        ("rate_limit:rate_kbps=800,queue_ms=133.1,overhead_bytes=28", 105, 100 * 105),
        ("rate_limit:rate_kbps=800,queue_ms=0", 105, 0),
    ],
)
def test_capacity_at_a_fixed_rate(spec: str, payload: int, expected: int) -> None:
    assert capacity(spec, 0.1, payload) == capacity(spec, 0.4, payload) == expected
    if expected:
        batch = filled(expected, payload)
        left = chain_of(spec.replace("snr_db=20", "snr_db=60,fading=none")).impairer(FrameInfo()).apply(batch)
        assert not left.erased.any()


def test_of_several_faults_the_smallest_capacity_counts() -> None:
    one, other = "rate_limit:rate_kbps=800,queue_ms=100", "block_fading:snr_db=30,symbols_per_round=50000"
    fading = "coded_fading:snr_db=10,code_rate=auto,coherence=8,symbols_per_round=20000"
    alone = [capacity(spec, payload=105) for spec in (one, other, fading)]
    assert len(set(alone)) == 3
    assert capacity(f"lossy+{one}+{fading}+{other}", payload=105) == min(alone)
    query = InstantaneousCsiQuery(2, 0, 256)
    known = capacity(f"{one}+{fading}", payload=105, query=query)
    assert known == min(alone[0], capacity(f"packet_erasure:rate=0+{fading}", payload=105, query=query))


@pytest.mark.parametrize("spec", ["clean", "lossy", "coded_fading:snr_db=9,code_rate=1", "rate_limit:rate_kbps=9"])
def test_without_a_bound_there_is_no_capacity(spec: str) -> None:
    assert compute_csi(chain_of(spec), PAYLOAD).capacity_bytes is None
    assert compute_csi(chain_of(spec), PAYLOAD, InstantaneousCsiQuery(packets=9)).capacity_bytes is None


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, math.nan])
def test_targets_out_of_range(target: float) -> None:
    with pytest.raises(InvalidInput, match="^outage_target: "):
        compute_csi(Chain([]), PAYLOAD, outage_target=target)


def test_a_link_without_signal_carries_nothing() -> None:
    assert capacity("coded_fading:snr_db=-40,fading=none,limit=outage,code_rate=auto,symbols_per_round=500") == 0
    assert capacity("coded_fading:snr_db=-40,code_rate=auto,symbols_per_round=500") == 0
