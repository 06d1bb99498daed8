"""Measured points and the curves they should lie on: error rates, outage, fading, bursts, interleaving, RaptorQ.

Every measured point comes out of the faults that the emulator runs; every curve out of a textbook formula that is
written here, on its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, ive
from scipy.stats import binom

from gocom.channel_emulator.chain import Chain, NamedFault
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.channel_emulator.impairments.block_fading import BlockFading
from gocom.channel_emulator.impairments.coded_fading import CodedFading
from gocom.evaluation.channel.trial import batches
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]

SNR_DB = np.arange(0.0, 20.1, 2.0)
FINE_DB = np.linspace(0, 20, 201)
MIN_EVENTS = 100
"""A point is a point when so many errors were counted."""
ENOUGH = 30_000
"""Beyond so many a point would not move by a line's width."""
PAYLOAD_BYTES = 105


@dataclass(frozen=True, slots=True)
class Series:
    """A curve and the points on it.

    Attributes:
        label: of both.
        x, y: the curve.
        points: (x, measured, z) of each point.
    """

    label: str
    x: Doubles
    y: Doubles
    points: tuple[tuple[float, float, float], ...]


def q(x: npt.ArrayLike) -> Doubles:
    """Gaussian tail."""
    return np.asarray(erfc(np.asarray(x) / math.sqrt(2)) / 2)


def awgn_ber(modulation: str, snr: Doubles) -> Doubles:
    """Textbook forms, over all bits of a symbol; snr is Es/N0."""
    if modulation == "bpsk":
        return q(np.sqrt(2 * snr))
    if modulation == "qpsk":
        return q(np.sqrt(snr))
    if modulation == "qam16":
        d = np.sqrt(snr / 5)
        return np.asarray((3 * q(d) + 2 * q(3 * d) - q(5 * d)) / 4)
    d = np.sqrt(snr / 21)
    return np.asarray((7 * q(d) + 6 * q(3 * d) - q(5 * d) + q(9 * d) - q(13 * d)) / 12)


def rayleigh_ber(modulation: str, snr: Doubles) -> Doubles:
    """Each Q(sqrt(2 a snr)) above becomes (1 - sqrt(a snr / (1 + a snr))) / 2."""

    def mean(a: float) -> Doubles:
        return np.asarray((1 - np.sqrt(a * snr / (1 + a * snr))) / 2)

    if modulation == "bpsk":
        return mean(1)
    if modulation == "qpsk":
        return mean(1 / 2)
    if modulation == "qam16":
        return np.asarray((3 * mean(1 / 10) + 2 * mean(9 / 10) - mean(25 / 10)) / 4)
    a = 1 / 42
    return np.asarray((7 * mean(a) + 6 * mean(9 * a) - mean(25 * a) + mean(81 * a) - mean(169 * a)) / 12)


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
    trials = events = 0
    expected = variance = 0.0
    for frame, round_ in batches(packets, PAYLOAD_BYTES):
        impairer = chain.impairer(FrameInfo(frame, 0, (True,)))
        for batch in round_:
            impairer.apply(batch)
        (score,) = impairer.event_counts()
        trials, events = trials + score.trials, events + score.events
        expected, variance = expected + score.expected, variance + score.variance
    z = (events - expected) / math.sqrt(variance) if variance else 0.0
    return events / trials, z, events


def points(make: Callable[[float], Fault], packets: int, seed: int) -> Iterator[tuple[float, float, float]]:
    """(SNR, rate, z) wherever enough errors were counted."""
    for i, snr_db in enumerate(SNR_DB):
        rate, z, events = measure(make(float(snr_db)), packets, seed + i)
        if events >= MIN_EVENTS:
            yield float(snr_db), rate, z


def bit_error_rates(fading: str, packets: int, seed: int, noise: str = "flips") -> list[Series]:
    """BER of each modulation, delivered bits."""
    curve = awgn_ber if fading == "none" else rayleigh_ber
    found = []
    for name in ("bpsk", "qpsk", "qam16", "qam64"):

        def make(snr_db: float, name: str = name) -> Fault:
            return BlockFading(snr_db, 1, fading, None, name, "deliver", noise)

        y = curve(name, 10 ** (FINE_DB / 10))
        found.append(Series(name, FINE_DB, y, tuple(points(make, packets, seed))))
    return found


def rician_error_rates(packets: int, seed: int) -> list[Series]:
    """BPSK over Rician fading."""
    found = []
    for k_db in (0.0, 5.0, 10.0):

        def make(snr_db: float, k_db: float = k_db) -> Fault:
            return BlockFading(snr_db, 1, "rician", k_db, "bpsk", "deliver")

        y = rician_ber(10 ** (k_db / 10), 10 ** (FINE_DB / 10))
        found.append(Series(f"K = {k_db:g} dB", FINE_DB, y, tuple(points(make, packets, seed))))
    return found


def packet_error_rates(packets: int, seed: int) -> list[Series]:
    """Packets of 105 bytes, uncoded, over AWGN and Rayleigh: E[1 - (1-p(h))^L], by a sum over |h|^2."""
    bits = 8 * PAYLOAD_BYTES
    found = []
    for name, fading in (("bpsk", "none"), ("bpsk", "rayleigh"), ("qpsk", "rayleigh")):

        def make(snr_db: float, name: str = name, fading: str = fading) -> Fault:
            return BlockFading(snr_db, 4, fading, None, name)

        gains, weights = exponential() if fading == "rayleigh" else (np.ones(1), np.ones(1))
        lost = -np.expm1(bits * np.log1p(-awgn_ber(name, 10 ** (FINE_DB[:, None] / 10) * gains)))
        label = f"{name}, {'Rayleigh' if fading == 'rayleigh' else 'AWGN'}"
        found.append(Series(label, FINE_DB, lost @ weights, tuple(points(make, packets, seed))))
    return found


def outages(packets: int, seed: int) -> list[Series]:
    """coded_fading, limit=outage: 1 - exp(-(2^R - 1) / snr)."""
    found = []
    for rate in (0.5, 1.0, 2.0, 4.0):

        def make(snr_db: float, rate: float = rate) -> Fault:
            return CodedFading(snr_db, rate, 4, limit="outage")

        y = -np.expm1(-(2**rate - 1) / 10 ** (FINE_DB / 10))
        found.append(Series(f"R = {rate:g} bit/symbol", FINE_DB, y, tuple(points(make, packets, seed))))
    return found


def coded_error_rates(packets: int, seed: int) -> list[Series]:
    """coded_fading, R = 1 over AWGN: the normal approximation, of blocks that hold a packet each."""
    found = []
    snr_db = np.linspace(-1, 3, 201)
    for length in (100, 840, 4000):

        def make(at: float, length: int = length) -> Fault:
            return CodedFading(at, 1.0, 1, "none", None, length)

        blocks = math.ceil(8 * PAYLOAD_BYTES / length)
        snr = 10 ** (snr_db / 10)
        spare = length * (np.log2(1 + snr) - 1) + math.log2(length) / 2
        width = np.sqrt(length * snr * (snr + 2)) / (snr + 1) / math.log(2)
        y = 1 - (1 - q(spare / width)) ** blocks
        at = [(x, *measure(make(float(x)), packets, seed)) for x in np.arange(-1, 3.1, 0.5)]
        label = f"n = {length}, {blocks} block{'s' if blocks > 1 else ''}"
        found.append(Series(label, snr_db, y, tuple((x, r, z) for x, r, z, n in at if n >= MIN_EVENTS)))
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


def all_z(series: Sequence[Series]) -> list[float]:
    """Of all points."""
    return [z for one in series for _, _, z in one.points]
