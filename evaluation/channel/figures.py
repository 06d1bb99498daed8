"""Figures of measured points over theory; each returns the z of its points, for the page to judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common import fec
from gocom.common.channel_spec import parse_spec
from gocom.common.counter_rng import CounterRng
from gocom.evaluation.channel import capacity_figure, curves
from gocom.evaluation.channel.curves import Series
from gocom.evaluation.channel.power_figure import power
from gocom.evaluation.channel.trial import batch_of

SEED = 2026
DPI = 110


def bit_errors(path: Path) -> list[float]:
    """BER against SNR: AWGN and Rayleigh, flips and simulated symbols."""
    figure, axes = _axes(2)
    zs = []
    for axis, fading, title in ((axes[0], "none", "white Gaussian noise"), (axes[1], "rayleigh", "Rayleigh fading")):
        flips = curves.bit_error_rates(fading, 400_000, SEED)
        symbols = curves.bit_error_rates(fading, 6_000, SEED + 100, "symbols")
        _semilog(axis, flips, 1e-6, "SNR Es/N0, dB", "bit error rate")
        for number, one in enumerate(symbols):
            x, y = [p[0] for p in one.points], [p[1] for p in one.points]
            label = "noise=symbols" if not number else None
            axis.plot(x, y, "x", color=f"C{number}", markersize=8, label=label)
        axis.set_title(title, fontsize=10)
        axis.legend(fontsize=8, loc="lower left")
        zs += curves.all_z(flips) + curves.all_z(symbols)
    _save(figure, path, "Bit error rate: curves are closed forms, points were counted")
    return zs


def rician(path: Path) -> list[float]:
    """BPSK over Rician fading."""
    return _one(path, curves.rician_error_rates(400_000, SEED), 1e-6, "bit error rate", "BPSK over Rician fading")


def packet_errors(path: Path) -> list[float]:
    """Packets of 105 bytes, uncoded and coded."""
    figure, axes = _axes(2)
    uncoded, coded = curves.packet_error_rates(300_000, SEED), curves.coded_error_rates(300_000, SEED)
    _semilog(axes[0], uncoded, 1e-4, "SNR Es/N0, dB", "packet erasure rate")
    _semilog(axes[1], coded, 1e-4, "SNR Es/N0, dB", "packet erasure rate")
    axes[0].set_title("uncoded, 840 bits, coherence 4", fontsize=10)
    axes[1].set_title("R = 1 bit a symbol, white Gaussian noise, normal approximation", fontsize=10)
    for axis in axes:
        axis.legend(fontsize=8, loc="lower left")
    _save(figure, path, "Packet erasure rate")
    return curves.all_z(uncoded) + curves.all_z(coded)


def outage(path: Path) -> list[float]:
    """Rayleigh outage."""
    return _one(path, curves.outages(400_000, SEED), 1e-4, "outage", "Outage over Rayleigh fading, coherence 4")


def amplitudes(path: Path) -> list[float]:
    """Histogram of |h|; z of the share in each of 20 bins that hold 5 % each by theory."""
    figure, axes = _axes(1)
    count, r, zs = 400_000, np.linspace(0, 2.6, 400), []
    for number, (label, fading, k_db) in enumerate(
        (("Rayleigh", "rayleigh", None), ("Rician, K = 3 dB", "rician", 3.0), ("Rician, K = 10 dB", "rician", 10.0))
    ):
        k = 0.0 if k_db is None else 10 ** (k_db / 10)
        drawn = curves.gains(fading, k_db, count, SEED + number)
        axes[0].hist(drawn, bins=120, range=(0, 2.6), density=True, color=f"C{number}", alpha=0.35)
        density = curves.amplitude_density(k, r)
        axes[0].plot(r, density, color=f"C{number}", label=label)
        mass = np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(r))
        edges = np.interp(np.arange(1, 20) / 20, np.concatenate(([0], mass)), r)
        shares = np.diff(np.searchsorted(np.sort(drawn), edges), prepend=0) / count
        zs += [float(z) for z in (shares - 0.05) / math.sqrt(0.05 * 0.95 / count)]
    axes[0].set_xlabel("|h|")
    axes[0].set_ylabel("density")
    axes[0].legend(fontsize=8)
    _save(figure, path, "Gains of blocks, E|h|² = 1")
    return zs


def bursts(path: Path) -> list[float]:
    """Burst lengths of Gilbert-Elliott erasures, simple and general."""
    figure, axes = _axes(2)
    zs = []
    models = ((axes[0], "p=0.02,r=0.25", (0.02, 0.25, 1.0, 0.0)), (axes[1], None, (0.05, 0.2, 0.8, 0.1)))
    for axis, text, (p, r, bad, good) in models:
        text = text or f"p={p},r={r},loss_bad={bad},loss_good={good}"
        runs = np.concatenate([curves.run_lengths(lost) for lost in _lost(f"gilbert_elliott:{text}", 40)])
        most = 25
        expected = curves.burst_lengths(p, r, bad, good, most)
        n = np.arange(1, most + 1)
        shares = np.array([(runs == length).mean() for length in n])
        axis.bar(n, shares, color="C0", alpha=0.4, label=f"{len(runs):,} bursts")
        axis.plot(n, expected, "k.-", linewidth=1, label="closed form")
        axis.set_yscale("log")
        axis.set_xlabel("packets lost in a row")
        axis.set_ylabel("share of bursts")
        axis.set_title(text, fontsize=10)
        axis.legend(fontsize=8)
        enough = expected * len(runs) >= curves.MIN_EVENTS
        deviation = np.sqrt(expected * (1 - expected) / len(runs))
        zs += [float(z) for z in ((shares - expected) / deviation)[enough]]
    _save(figure, path, "Burst lengths of gilbert_elliott")
    return zs


def interleaver(path: Path) -> list[float]:
    """Runs of lost elements, in raster order and permuted. Permuted: N elements with m lost have m(N-m+1)/N runs."""
    figure, axes = _axes(1)
    per_packet, packets, zs = 10, 100, []
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
    for number, (label, runs) in enumerate((("raster order", raster), ("interleaved", permuted))):
        lengths = np.sort(np.concatenate(runs))
        share = 1 - np.arange(len(lengths)) / len(lengths)
        axes[0].step(lengths, share, where="post", color=f"C{number}", label=f"{label}, mean {lengths.mean():.1f}")
    found = sum(map(len, permuted))
    zs.append((found - expected) / math.sqrt(variance))
    axes[0].set_xscale("log")
    axes[0].set_yscale("log")
    axes[0].set_xlabel("elements lost in a row")
    axes[0].set_ylabel("share of runs at least so long")
    axes[0].legend(fontsize=8, title=f"{found:,} interleaved runs, {expected:,.0f} by theory", title_fontsize=8)
    _save(figure, path, "What the interleaver does to bursts of 4 packets, 10 elements each")
    return zs


def raptorq(path: Path) -> list[float]:
    """Success of RaptorQ blocks against the bound that no code can beat (MDS)."""
    figure, axes = _axes(1)
    zs = []
    for number, (need, tries) in enumerate(((10, 300), (40, 150))):
        for style, loss in (("-", 0.1), ("--", 0.3)):
            sent = np.arange(need, math.ceil(need / (1 - loss)) + max(8, need // 3), max(1, need // 12))
            bound = [curves.mds_success(need, int(n), loss) for n in sent]
            label = f"K = {need}, {loss:.0%} lost"
            axes[0].plot(sent / need - 1, bound, style, color=f"C{number}", label=label)
            won = [_recovered(need, int(n) - need, loss, tries, number) for n in sent]
            axes[0].plot(sent / need - 1, np.array(won) / tries, "o" if style == "-" else "s", color=f"C{number}")
            zs += [_bound_z(hits, tries, share) for hits, share in zip(won, bound, strict=True)]
    axes[0].set_xlabel("repair packets / source packets")
    axes[0].set_ylabel("share of blocks recovered whole")
    axes[0].legend(fontsize=8)
    _save(figure, path, "RaptorQ (points) against the MDS bound (lines)")
    return zs


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


def _one(path: Path, series: Sequence[Series], low: float, y: str, title: str) -> list[float]:
    figure, axes = _axes(1)
    _semilog(axes[0], series, low, "SNR Es/N0, dB", y)
    axes[0].legend(fontsize=8, loc="lower left")
    _save(figure, path, title)
    return curves.all_z(series)


def _semilog(axis: Any, series: Sequence[Series], low: float, x: str, y: str) -> None:
    for number, one in enumerate(series):
        axis.plot(one.x, one.y, color=f"C{number}", linewidth=1, label=one.label)
        axis.plot([p[0] for p in one.points], [p[1] for p in one.points], "o", color=f"C{number}", markersize=4)
    axis.set_yscale("log")
    axis.set_ylim(low, 1)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)


def _axes(columns: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.4 * columns + (1.2 if columns == 1 else 0), 4.2), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=DPI)


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
