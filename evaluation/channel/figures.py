"""Figures of measured points over theory; each returns the z of its points, for the page to judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.integrate import cumulative_trapezoid

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common import fec
from gocom.common.channel_spec import parse_spec
from gocom.common.counter_rng import CounterRng
from gocom.evaluation.channel import capacity_figure, curves
from gocom.evaluation.channel.curves import Doubles
from gocom.evaluation.channel.drawing import Graph, Point, Series, draw
from gocom.evaluation.channel.power_figure import power
from gocom.evaluation.channel.trial import batch_of

SEED = 2026
SNR = "SNR Es/N0, dB"


def bit_errors(path: Path) -> list[float]:
    """BER against SNR: AWGN and Rayleigh, flips and simulated symbols."""
    graphs = []
    for fading, title in (("none", "white Gaussian noise"), ("rayleigh", "Rayleigh fading")):
        flips = curves.bit_error_rates(fading, 400_000, SEED)
        symbols = curves.bit_error_rates(fading, 6_000, SEED + 100, "symbols")
        series = [*flips, *(replace(one, marker="x") for one in symbols)]
        graphs.append(Graph(SNR, "bit error rate", series, title, low=1e-6))
    title = "Bit error rate: curves are closed forms, points were counted (crosses: noise=symbols)"
    return draw(title, graphs, path)


def rician(path: Path) -> list[float]:
    """BPSK over Rician fading."""
    graph = Graph(SNR, "bit error rate", curves.rician_error_rates(400_000, SEED), low=1e-6)
    return draw("BPSK over Rician fading", [graph], path)


def packet_errors(path: Path) -> list[float]:
    """Packets of 105 bytes, uncoded and coded."""
    uncoded, coded = curves.packet_error_rates(300_000, SEED), curves.coded_error_rates(300_000, SEED)
    y, of_coded = "packet erasure rate", "R = 1 bit a symbol, white Gaussian noise, normal approximation"
    graphs = [
        Graph(SNR, y, uncoded, "uncoded, 840 bits, coherence 4", low=1e-4), Graph(SNR, y, coded, of_coded, low=1e-4)
    ]  # fmt: skip
    return draw("Packet erasure rate", graphs, path)


def outage(path: Path) -> list[float]:
    """Rayleigh outage."""
    graph = Graph(SNR, "outage", curves.outages(400_000, SEED), low=1e-4)
    return draw("Outage over Rayleigh fading, coherence 4", [graph], path)


def amplitudes(path: Path) -> list[float]:
    """Histogram of |h|; z of the share in each bin that holds enough."""
    count, r, bins, series = 400_000, np.linspace(0, 2.6, 1041), np.linspace(0, 2.6, 53), []
    kinds = (("Rayleigh", "rayleigh", None), ("Rician, K = 3 dB", "rician", 3.0), ("Rician, K = 10 dB", "rician", 10.0))
    for number, (label, fading, k_db) in enumerate(kinds):
        density = curves.amplitude_density(0.0 if k_db is None else 10 ** (k_db / 10), r)
        mass = np.diff(np.interp(bins, r, cumulative_trapezoid(density, r, initial=0)))
        drawn, _ = np.histogram(curves.gains(fading, k_db, count, SEED + number), bins)
        points = _points((bins[1:] + bins[:-1]) / 2, drawn / count, mass, count)
        series.append(Series(label, r, density, [(x, share / (bins[1] - bins[0]), z) for x, share, z in points]))
    graph = Graph("|h|", "density", series, log="")
    return draw("Gains of blocks, E|h|² = 1: densities, and points of a histogram", [graph], path)


def bursts(path: Path) -> list[float]:
    """Burst lengths of Gilbert-Elliott erasures, simple and general."""
    graphs, n = [], np.arange(1.0, 26.0)
    for text, model in (
        ("p=0.02,r=0.25", (0.02, 0.25, 1.0, 0.0)),
        ("p=0.05,r=0.2,loss_bad=0.8,loss_good=0.1", (0.05, 0.2, 0.8, 0.1)),
    ):
        runs = np.concatenate([curves.run_lengths(lost) for lost in _lost(f"gilbert_elliott:{text}", 40)])
        expected = curves.burst_lengths(*model, len(n))
        shares = np.array([(runs == length).mean() for length in n])
        series = [Series("closed form and count", n, expected, _points(n, shares, expected, len(runs)))]
        title = f"{text}: {len(runs):,} bursts"
        graphs.append(Graph("packets lost in a row", "share of bursts", series, title))
    return draw("Burst lengths of gilbert_elliott", graphs, path)


def interleaver(path: Path) -> list[float]:
    """Runs of lost elements, in raster order and permuted. Permuted: N elements with m lost have m(N-m+1)/N runs."""
    per_packet, packets = 10, 100
    count = per_packet * packets
    raster, permuted, expected, variance = [], [], 0.0, 0.0
    for frame in range(400):
        (lost,) = _lost("gilbert_elliott:p=0.02,r=0.25", 1, packets, frame)
        elements = np.repeat(lost, per_packet)
        # Another permutation each time: theory is a mean over all of them.
        spread = elements[CounterRng(SEED + frame, "interleaver").permutation(count)]
        raster.append(curves.run_lengths(elements))
        permuted.append(curves.run_lengths(spread))
        m = int(elements.sum())
        expected += m * (count - m + 1) / count
        # Wald and Wolfowitz (1940), of the runs of one kind.
        variance += m * (m - 1) * (count - m) * (count - m + 1) / (count**2 * (count - 1)) if m else 0.0
    series = []
    for label, runs in (("raster order", np.concatenate(raster)), ("interleaved", np.concatenate(permuted))):
        lengths, times = np.unique(runs, return_counts=True)
        share = times[::-1].cumsum()[::-1] / len(runs)
        series.append(Series(f"{label}, mean {runs.mean():.1f}", lengths, share, style=".-"))
    found = sum(map(len, permuted))
    title = f"{found:,} interleaved runs, {expected:,.0f} by theory"
    graph = Graph("elements lost in a row", "share of runs at least so long", series, title, log="xy")
    draw("What the interleaver does to bursts of 4 packets, 10 elements each", [graph], path)
    return [(found - expected) / math.sqrt(variance)]


def raptorq(path: Path) -> list[float]:
    """Success of RaptorQ blocks against the bound that no code can beat (MDS)."""
    series = []
    for number, (need, tries) in enumerate(((10, 300), (40, 150))):
        for loss in (0.1, 0.3):
            sent = np.arange(need, math.ceil(need / (1 - loss)) + max(8, need // 3), max(1, need // 12))
            bound = [curves.mds_success(need, int(n), loss) for n in sent]
            points = []
            for n, share in zip(sent, bound, strict=True):
                hits = _recovered(need, int(n) - need, loss, tries, number)
                points.append((n / need - 1, hits / tries, _bound_z(hits, tries, share)))
            series.append(Series(f"K = {need}, {loss:.0%} lost", sent / need - 1, bound, points))
    graph = Graph("repair packets / source packets", "share of blocks recovered whole", series, log="")
    return draw("RaptorQ (points) against the MDS bound (lines)", [graph], path)


def _points(x: Doubles, shares: Doubles, expected: Doubles, count: int) -> list[Point]:
    """Shares of so many trials, where enough are expected."""
    z = (shares - expected) / np.sqrt(expected * (1 - expected) / count)
    enough = expected * count >= curves.MIN_EVENTS
    return list(zip(x[enough].tolist(), shares[enough].tolist(), z[enough].tolist(), strict=True))


def _bound_z(hits: int, tries: int, share: float) -> float:
    """Of hits against the bound; only beyond it is a mistake, and RaptorQ fails once in a hundred at K packets."""
    near = share * 0.99
    deviation = math.sqrt(max(near * (1 - near), 1e-4) / tries)
    return (hits / tries - near) / deviation


def _recovered(need: int, repair: int, loss: float, tries: int, seed: int) -> int:
    """How many of so many blocks come back whole when packets are lost at random."""
    rng = np.random.default_rng([seed, need, repair, int(loss * 100)])
    size = 32
    source = [(i, 1, bytes(rng.integers(0, 256, 16, dtype=np.uint8))) for i in range(need)]
    packets = fec.make_repair(source, repair, size) if repair else []
    hits = 0
    for _ in range(tries):
        arrived = rng.random(need + repair) >= loss
        left = {i: source[i] for i in range(need) if arrived[i]}
        parity = {i: packet for i, packet in enumerate(packets) if arrived[need + i]}
        hits += len(fec.recover(left, parity, need, size)) == need
    return hits


def _lost(spec: str, rounds: int, packets: int = 65_536, first: int = 0) -> list[Any]:
    """bool [packets] of each round."""
    chain, batch = Chain.from_profile(parse_spec(spec, SEED)), batch_of(packets, 1)
    return [chain.apply(batch, FrameInfo(first + i, 0)).erased for i in range(rounds)]


FIGURES: dict[str, Callable[[Path], list[float]]] = {
    "bit_errors": bit_errors,
    "rician": rician,
    "packet_errors": packet_errors,
    "outage": outage,
    "capacity": capacity_figure.figure,
    "amplitudes": amplitudes,
    "bursts": bursts,
    "interleaver": interleaver,
    "raptorq": raptorq,
    "power": power,
}
"""By name of the file."""
