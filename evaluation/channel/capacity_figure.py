"""The capacity that the channel state reports, against closed forms, and how often rounds of that size get through.

capacity_bytes --8 / symbols--> rate at the outage target;  rounds of capacity_bytes --coded_fading--> share with losses
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from scipy.optimize import brentq

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import compute_csi
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.evaluation.channel.curves import exponential, q
from gocom.evaluation.channel.trial import batch_of

Doubles = npt.NDArray[np.float64]

SYMBOLS, PAYLOAD_BYTES, CODE_LENGTH = 200_000, 1200, 500
SNR_DB = (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
SERIES = (("outage", 0.01), ("outage", 0.1), ("outage", 0.5), ("normal", 0.1))
"""Limit of the code and outage target of each curve."""
TOLERANCE = 0.01
"""By how much a rate may differ from its closed form, as a share of it."""
_FRAMES = 3000
_PASS_Z = 4.0


def capacity(limit: str, target: float, snr_db: float, seed: int = 0) -> tuple[Chain, int]:
    """The channel, one gain for a round, and the capacity of a round in bytes that its state reports."""
    spec = f"coded_fading:snr_db={snr_db!r},code_rate=auto,coherence=65536,limit={limit},symbols_per_round={SYMBOLS}"
    chain = Chain.from_profile(parse_spec(spec, seed))
    size = compute_csi(chain, PAYLOAD_BYTES, outage_target=target).capacity_bytes
    assert size is not None
    return chain, size


def closed_form(limit: str, target: float, snr_db: float) -> float:
    """Bits a symbol at which a round over one Rayleigh gain meets losses with the target probability.

    outage: log2(1 - snr ln(1 - target)). normal: the root of the mean over the gain of 1 - (1 - e)^blocks, where e is
    the error rate of a block by the normal approximation, and all packets are taken to be whole.
    """
    snr = 10 ** (snr_db / 10)
    if limit == "outage":
        return math.log2(1 - snr * math.log1p(-target))
    gains, weights = exponential()

    def excess(rate: float) -> float:
        symbols = 8 * PAYLOAD_BYTES / rate
        in_packet = math.ceil(symbols / CODE_LENGTH)
        length, blocks = symbols / in_packet, in_packet * SYMBOLS / symbols
        spare = length * (np.log2(1 + gains * snr) - rate) + math.log2(length) / 2
        width = np.sqrt(length * gains * snr * (gains * snr + 2)) / (gains * snr + 1) / math.log(2)
        lost = -np.expm1(blocks * np.log1p(-np.minimum(q(spare / width), 1 - 1e-15)))
        return float(weights @ lost) - target

    return float(brentq(excess, 1e-3, 20))


def rounds_with_losses(chain: Chain, size_bytes: int, frames: int) -> int:
    """How many of so many rounds of that size do not arrive whole."""
    batch = filled(size_bytes)
    return sum(bool(chain.apply(batch, FrameInfo(frame)).erased.any()) for frame in range(frames))


def filled(size_bytes: int) -> PacketBatch:
    """A round of that size: whole packets, and the rest in a last one."""
    packets, rest = divmod(size_bytes, PAYLOAD_BYTES)
    parts = [batch_of(packets, PAYLOAD_BYTES)] if packets else []
    return join_batches([*parts, *([batch_of(1, rest, packets)] if rest else [])])


def figure(path: Path) -> list[float]:
    """Rate against SNR and outage of filled rounds; z of each outage, and errors of rates in quarters of TOLERANCE."""
    drawn = Figure(figsize=(10.8, 4.2), layout="constrained")
    axes = drawn.subplots(1, 2)
    fine, zs = np.linspace(0, 30, 61), []
    for number, (limit, target) in enumerate(SERIES):
        label = f"target {target:g}, limit={limit}"
        curve = [closed_form(limit, target, float(snr_db)) for snr_db in fine]
        axes[0].plot(fine, curve, "--" if limit == "normal" else "-", color=f"C{number}", linewidth=1, label=label)
        shares = []
        for at, snr_db in enumerate(SNR_DB):
            chain, size = capacity(limit, target, snr_db, 2026 + 100 * number + at)
            rate, expected = 8 * size / SYMBOLS, closed_form(limit, target, snr_db)
            axes[0].plot(snr_db, rate, "o", color=f"C{number}", markersize=4)
            zs.append((rate / expected - 1) / (TOLERANCE / _PASS_Z))
            lost = rounds_with_losses(chain, size, _FRAMES)
            shares.append(lost / _FRAMES)
            zs.append((lost - _FRAMES * target) / math.sqrt(_FRAMES * target * (1 - target)))
        axes[1].axhline(target, color=f"C{number}", linewidth=1)
        axes[1].plot(SNR_DB, shares, "s" if limit == "normal" else "o", color=f"C{number}", markersize=4, label=label)
    axes[0].set_ylabel("capacity, bit/symbol")
    axes[0].set_yscale("log")
    axes[1].set_ylabel("share of filled rounds with losses")
    axes[1].set_yscale("log")
    for axis in axes:
        axis.set_xlabel("mean SNR Es/N0, dB")
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(fontsize=8, loc="lower right")
    axes[1].legend(fontsize=8, loc="center", bbox_to_anchor=(0.5, 0.35))  # between the points of 0.1 and 0.01
    drawn.suptitle(
        "coded_fading, code_rate=auto, one Rayleigh gain a round; lines: closed forms and targets", fontsize=11
    )
    drawn.savefig(path, dpi=110)
    return zs
