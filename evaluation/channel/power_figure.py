"""What the power allocators of the transmitter save: the example of 85 packets, curves and what the emulator lost.

weights (Pareto), R = 2 bits a symbol, Rayleigh fading --> equal, water-filling, semantic --> weight lost
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.evaluation.channel.trial import batch_of
from gocom.transmitter.resources.power_allocation import equal, outage_cost, semantic, water_filling, weighted_loss

Doubles = npt.NDArray[np.float64]

PACKETS, RATE = 85, 2.0
ALPHA = 1.1
"""Of the Pareto weights. The heavier their tail, the more there is to gain."""
_FRAMES = 1000


def weights(seed: int, alpha: float = ALPHA) -> Doubles:
    """float64 [85] summing to 1: Pareto of minimum 1."""
    weight = np.random.default_rng(seed).pareto(alpha, PACKETS) + 1
    return np.asarray(weight / weight.sum())


def allocate(name: str, weight: Doubles, snr_db: float) -> Doubles:
    """float64 [85] of mean 1, all packets with the same mean SNR: equal, water_filling or semantic."""
    snr = np.full(PACKETS, 10 ** (snr_db / 10))
    choices: dict[str, Callable[[], Doubles]] = {
        "equal": lambda: equal(PACKETS, PACKETS),
        "water_filling": lambda: water_filling(snr, 1.0, PACKETS),
        "semantic": lambda: semantic(weight, outage_cost(np.full(PACKETS, RATE), snr, 1.0), PACKETS),
    }
    return choices[name]()


def loss(name: str, snr_db: float, alpha: float = ALPHA, draws: int = 40) -> float:
    """Share of the weight that is expected to be lost, mean over so many draws of the weights."""
    cost = outage_cost(np.full(PACKETS, RATE), np.full(PACKETS, 10 ** (snr_db / 10)), 1.0)
    return float(
        np.mean([weighted_loss(allocate(name, w, snr_db), w, cost) for w in (weights(s, alpha) for s in range(draws))])
    )


def lost_by_the_emulator(power: Doubles, weight: Doubles, snr_db: float, seed: int) -> tuple[float, float]:
    """Mean share of the weight lost in rounds over coded_fading, limit=outage, and the error of that mean."""
    chain = Chain.from_profile(parse_spec(f"coded_fading:snr_db={snr_db!r},code_rate={RATE:g},limit=outage", seed))
    batch = batch_of(PACKETS, 105)
    batch.power = power.astype(np.float32)
    lost = np.array([weight @ chain.apply(batch, FrameInfo(frame)).erased for frame in range(_FRAMES)])
    return float(lost.mean()), float(lost.std() / math.sqrt(_FRAMES))


def power(path: Path) -> list[float]:
    """Weighted loss against SNR, and the powers at 10 dB; z of what the emulator lost."""
    figure = Figure(figsize=(10.8, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    weight, zs = weights(0), []
    snrs = np.linspace(0, 20, 41)
    rates = np.full(PACKETS, RATE)
    for number, name in enumerate(("equal", "water_filling", "semantic")):
        curve = [
            weighted_loss(allocate(name, weight, s), weight, outage_cost(rates, np.full(PACKETS, 10 ** (s / 10)), 1.0))
            for s in snrs
        ]
        style = "--" if name == "water_filling" else "-"
        axes[0].plot(snrs, curve, style, color=f"C{number}", label=name.replace("_", "-"))
        for at in range(0, 41, 10) if name != "water_filling" else ():
            measured, error = lost_by_the_emulator(allocate(name, weight, snrs[at]), weight, float(snrs[at]), 2026 + at)
            axes[0].plot(snrs[at], measured, "o", color=f"C{number}", markersize=5)
            zs.append((measured - curve[at]) / error)
    axes[0].set_xlabel("mean SNR of a packet of power 1, dB: total power over 85 packets")
    axes[0].set_ylabel("share of importance lost")
    axes[0].set_yscale("log")
    axes[0].grid(alpha=0.3, which="both")
    axes[0].legend(fontsize=9)
    order = np.argsort(-weight)
    for snr_db in (5.0, 10.0, 15.0):
        axes[1].plot(allocate("semantic", weight, snr_db)[order], ".-", label=f"semantic, {snr_db:g} dB")
    axes[1].axhline(1, color="black", linestyle="--", label="equal; water-filling under one gain")
    axes[1].set_xlabel("packets, the most important first")
    axes[1].set_ylabel("power, mean 1")
    axes[1].grid(alpha=0.3)
    axes[1].legend(fontsize=9)
    figure.suptitle(
        "85 packets, R = 2, Rayleigh; curves: closed forms, points: coded_fading, limit=outage", fontsize=11
    )
    figure.savefig(path, dpi=110)
    return zs
