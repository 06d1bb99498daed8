"""Measured points and the curves they should lie on: error rates, outage, fading, bursts, interleaving, RaptorQ.

Every measured point comes out of the faults that the emulator runs; every curve out of a textbook formula that is
written here, on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, ive
from scipy.stats import binom

from gocom.channel_emulator.chain import Chain, NamedFault
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.channel_emulator.impairments.coded_fading import CodedFading
from gocom.evaluation.channel.drawing import Series
from gocom.evaluation.channel.trial import batches, total, z_score
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]

SNR_DB = np.arange(0.0, 20.1, 2.0)
FINE_DB = np.linspace(0, 20, 201)
MIN_EVENTS = 100
"""A point is a point when so many errors were counted."""
ENOUGH = 30_000
"""Beyond so many a point would not move by a line's width."""
PAYLOAD_BYTES = 105
BIT_ERRORS = {
    "bpsk": ((1, 1),),
    "qpsk": ((1, 1 / 2),),
    "qam16": ((3 / 4, 1 / 10), (2 / 4, 9 / 10), (-1 / 4, 25 / 10)),
    "qam64": ((7 / 12, 1 / 42), (6 / 12, 9 / 42), (-1 / 12, 25 / 42), (1 / 12, 81 / 42), (-1 / 12, 169 / 42)),
}
"""Modulation -> (c, a) of textbook forms, over all bits of a symbol: the sum of c Q(sqrt(2 a snr)), snr as Es/N0."""


def q(x: npt.ArrayLike) -> Doubles:
    """Gaussian tail."""
    return np.asarray(erfc(np.asarray(x) / math.sqrt(2)) / 2)


def ber(modulation: str, fading: str, snr: Doubles) -> Doubles:
    """Bit error rate. Rayleigh fading makes (1 - sqrt(a snr / (1 + a snr))) / 2 of each Q(sqrt(2 a snr))."""

    def term(at: Doubles) -> Doubles:
        return q(np.sqrt(2 * at)) if fading == "none" else np.asarray((1 - np.sqrt(at / (1 + at))) / 2)

    return np.asarray(sum(c * term(a * snr) for c, a in BIT_ERRORS[modulation]))


def block_error_rate(length: float, rate: float, snr: Doubles) -> Doubles:
    """Normal approximation of a code of so many symbols a block and bits a symbol."""
    spare = length * (np.log2(1 + snr) - rate) + math.log2(length) / 2
    width = np.sqrt(length * snr * (snr + 2)) / (snr + 1) / math.log(2)
    return q(spare / width)


def rician_ber(k: float, snr: Doubles) -> Doubles:
    """BPSK, in moment form (Simon and Alouini), by the midpoint rule, whose integrand is smooth and periodic."""
    sine = np.sin((np.arange(2000) + 0.5) * (math.pi / 2 / 2000)) ** 2
    s = snr[:, None]
    form = (1 + k) / (1 + k + s / sine) * np.exp(-k * s / ((1 + k) * sine + s))
    return np.asarray(form.mean(axis=1) / 2)


def measure(fault: Fault, packets: int, seed: int) -> tuple[float, float, int]:
    """Measured rate, z, and events of a fault, from so many packets, or from fewer where ENOUGH events are expected."""
    chain = Chain([NamedFault("x", fault)], seed)
    if fault.unit == channel_pb2.TRIAL_UNIT_BIT:
        packets = min(packets, max(2_000, math.ceil(ENOUGH / (8 * PAYLOAD_BYTES * fault.expected_rate + 1e-300))))
    rounds = []
    for frame, round_ in batches(packets, PAYLOAD_BYTES):
        impairer = chain.impairer(FrameInfo(frame, 0, (True,)))
        for batch in round_:
            impairer.apply(batch)
        rounds += impairer.event_counts()
    score = total(rounds)
    return score.events / score.trials, z_score(score.events, score.expected, score.variance), score.events


def against(
    label: str, fault: Callable[[float], Fault], curve: Callable[[Doubles], Doubles], packets: int, seed: int,
    fine_db: Doubles = FINE_DB, at_db: Doubles = SNR_DB,
) -> Series:  # fmt: skip
    """The curve of the SNR as a ratio, and faults of an SNR in dB wherever enough errors were counted."""
    found = [(float(snr_db), *measure(fault(float(snr_db)), packets, seed + i)) for i, snr_db in enumerate(at_db)]
    points = tuple((snr_db, rate, z) for snr_db, rate, z, events in found if events >= MIN_EVENTS)
    return Series(label, fine_db, curve(10 ** (fine_db / 10)), points)


def bit_error_rates(fading: str, packets: int, seed: int, noise: str = "flips") -> list[Series]:
    """BER of each modulation, delivered bits."""
    fault = partial(BlockFading, fading=fading, damage="deliver", noise=noise)
    return [
        against(name, partial(fault, modulation=name), partial(ber, name, fading), packets, seed) for name in BIT_ERRORS
    ]


def rician_error_rates(packets: int, seed: int) -> list[Series]:
    """BPSK over Rician fading."""
    fault = partial(BlockFading, fading="rician", damage="deliver")
    return [
        against(f"K = {k:g} dB", partial(fault, k_factor_db=k), partial(rician_ber, 10 ** (k / 10)), packets, seed)
        for k in (0.0, 5.0, 10.0)
    ]


def packet_error_rates(packets: int, seed: int) -> list[Series]:
    """Packets of 105 bytes, uncoded, over AWGN and Rayleigh: E[1 - (1-p(h))^L], by a sum over |h|^2."""

    def lost(name: str, fading: str, snr: Doubles) -> Doubles:
        gains, weights = exponential() if fading == "rayleigh" else (np.ones(1), np.ones(1))
        whole = 8 * PAYLOAD_BYTES * np.log1p(-ber(name, "none", snr[:, None] * gains))
        return np.asarray(-np.expm1(whole) @ weights)

    found = []
    for name, fading, words in (
        ("bpsk", "none", "AWGN"),
        ("bpsk", "rayleigh", "Rayleigh"),
        ("qpsk", "rayleigh", "Rayleigh"),
    ):
        fault = partial(BlockFading, coherence=4, fading=fading, modulation=name)
        found.append(against(f"{name}, {words}", fault, partial(lost, name, fading), packets, seed))
    return found


def outages(packets: int, seed: int) -> list[Series]:
    """coded_fading, limit=outage: 1 - exp(-(2^R - 1) / snr)."""

    def lost(rate: float, snr: Doubles) -> Doubles:
        return np.asarray(-np.expm1(-(2**rate - 1) / snr))

    fault = partial(CodedFading, coherence=4, limit="outage")
    return [
        against(f"R = {rate:g} bit/symbol", partial(fault, code_rate=rate), partial(lost, rate), packets, seed)
        for rate in (0.5, 1.0, 2.0, 4.0)
    ]


def coded_error_rates(packets: int, seed: int) -> list[Series]:
    """coded_fading, R = 1 over AWGN: the normal approximation, of blocks that hold a packet each."""

    def lost(length: int, blocks: int, snr: Doubles) -> Doubles:
        return np.asarray(1 - (1 - block_error_rate(length, 1.0, snr)) ** blocks)

    found, fine_db, at_db = [], np.linspace(-1, 3, 201), np.arange(-1, 3.1, 0.5)
    for length in (100, 840, 4000):
        blocks = math.ceil(8 * PAYLOAD_BYTES / length)
        fault = partial(CodedFading, code_rate=1.0, fading="none", code_length=length)
        label = f"n = {length}, {blocks} block{'s' if blocks > 1 else ''}"
        found.append(against(label, fault, partial(lost, length, blocks), packets, seed, fine_db, at_db))
    return found


def exponential() -> tuple[Doubles, Doubles]:
    """Nodes and weights for a mean over |h|^2 of Rayleigh fading: midpoints of equal steps of ln |h|^2."""
    x = np.exp(np.linspace(-30, 4.5, 6000))
    weights = x * np.exp(-x) * (math.log(x[1]) - math.log(x[0]))
    return x, weights / weights.sum()


def gains(fading: str, k_db: float | None, count: int, seed: int) -> Doubles:
    """float64 [count]: |h| of so many blocks, as block_fading draws them."""
    fault: FadingFault = BlockFading(10.0, 1, fading, k_db)
    chain = Chain([NamedFault("x", fault)], seed)
    return np.asarray(np.abs(fault.gains(np.arange(count), chain.impairer(FrameInfo()).rngs[0])))


def amplitude_density(k: float, r: Doubles) -> Doubles:
    """Rice's density of |h|, E|h|^2 = 1."""
    bend = 2 * np.sqrt(k * (1 + k)) * r
    return np.asarray(2 * (1 + k) * r * ive(0, bend) * np.exp(-((np.sqrt(1 + k) * r - math.sqrt(k)) ** 2)))


def run_lengths(lost: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Lengths of the runs of True that end before the last trial."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost.astype(np.int8), [0]))))
    return (edges[1::2] - edges[::2]).astype(np.int64)


def burst_lengths(p: float, r: float, loss_bad: float, loss_good: float, most: int) -> Doubles:
    """float64 [most]: share of bursts of n = 1 ... losses. (r (1-r)^(n-1) where all of the bad state is lost.)

    The state at a burst's first loss is that of a loss after none; then losses go on with the chain: rows of P = [[1-p,
    p], [r, 1-r]] weighted by what is lost in each state.
    """
    lose, keep = np.diag([loss_good, loss_bad]), np.diag([1 - loss_good, 1 - loss_bad])
    move = np.array([[1 - p, p], [r, 1 - r]])
    state = np.array([r, p]) / (p + r) @ keep @ move @ lose
    state /= state.sum()
    tail = []
    for _ in range(most + 1):
        tail.append(state.sum())
        state = state @ move @ lose
    return -np.diff(tail)


def mds_success(need: int, sent: int, loss: float) -> float:
    """Probability that at least so many of the packets sent arrive."""
    return float(binom.sf(need - 1, sent, 1 - loss))
