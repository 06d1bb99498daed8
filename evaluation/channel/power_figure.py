"""What the power allocators of the transmitter save: the example of 85 packets, curves and what the emulator lost.

weights (Pareto), R = 2 bits a symbol, Rayleigh fading --> equal, water-filling, semantic --> weight lost
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.evaluation.channel.drawing import Graph, Series, draw
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
    if name == "semantic":
        return semantic(weight, _cost(snr_db), PACKETS)
    return equal(PACKETS, PACKETS) if name == "equal" else water_filling(_snr(snr_db), 1.0, PACKETS)


def loss(name: str, snr_db: float, alpha: float = ALPHA, draws: int = 40) -> float:
    """Share of the weight that is expected to be lost, mean over so many draws of the weights."""
    return float(np.mean([_lost(name, weights(seed, alpha), snr_db) for seed in range(draws)]))


def lost_by_the_emulator(power: Doubles, weight: Doubles, snr_db: float, seed: int) -> tuple[float, float]:
    """Mean share of the weight lost in rounds over coded_fading, limit=outage, and the error of that mean."""
    chain = Chain.from_profile(parse_spec(f"coded_fading:snr_db={snr_db!r},code_rate={RATE:g},limit=outage", seed))
    batch = batch_of(PACKETS, 105)
    batch.power = power.astype(np.float32)
    lost = np.array([weight @ chain.apply(batch, FrameInfo(frame)).erased for frame in range(_FRAMES)])
    return float(lost.mean()), float(lost.std() / math.sqrt(_FRAMES))


def power(path: Path) -> list[float]:
    """Weighted loss against SNR, and the powers; z of what the emulator lost."""
    weight, losses, snrs = weights(0), [], np.linspace(0, 20, 41)
    for name in ("equal", "water_filling", "semantic"):
        points = []
        for at in range(0, 41, 10) if name != "water_filling" else ():
            snr_db = float(snrs[at])
            measured, error = lost_by_the_emulator(allocate(name, weight, snr_db), weight, snr_db, 2026 + at)
            points.append((snr_db, measured, (measured - _lost(name, weight, snr_db)) / error))
        curve = [_lost(name, weight, float(snr_db)) for snr_db in snrs]
        losses.append(Series(name.replace("_", "-"), snrs, curve, points, "--" if name == "water_filling" else "-"))
    order, number = np.argsort(-weight), range(PACKETS)
    powers = [
        Series(f"semantic, {snr_db:g} dB", number, allocate("semantic", weight, snr_db)[order], style=".-")
        for snr_db in (5.0, 10.0, 15.0)
    ]
    powers.append(Series("equal; water-filling under one gain", (0, PACKETS - 1), (1, 1), style="--"))
    x = "mean SNR of a packet of power 1, dB: total power over 85 packets"
    graphs = [
        Graph(x, "share of importance lost", losses),
        Graph("packets, the most important first", "power, mean 1", powers, log=""),
    ]
    return draw("85 packets, R = 2, Rayleigh; curves: closed forms, points: coded_fading, limit=outage", graphs, path)


def _snr(snr_db: float) -> Doubles:
    return np.full(PACKETS, 10 ** (snr_db / 10))


def _cost(snr_db: float) -> Doubles:
    return outage_cost(np.full(PACKETS, RATE), _snr(snr_db), 1.0)


def _lost(name: str, weight: Doubles, snr_db: float) -> float:
    return weighted_loss(allocate(name, weight, snr_db), weight, _cost(snr_db))
