"""The capacity that the channel state reports, against closed forms, and how often rounds of that size get through.

capacity_bytes --8 / symbols--> rate at the outage target;  rounds of capacity_bytes --coded_fading--> share with losses
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from scipy.optimize import brentq

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import compute_csi
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.evaluation.channel.curves import block_error_rate, exponential
from gocom.evaluation.channel.drawing import Graph, Point, Series, draw
from gocom.evaluation.channel.trial import batch_of

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
        failed = np.minimum(block_error_rate(length, rate, gains * snr), 1 - 1e-15)
        lost = -np.expm1(blocks * np.log1p(-failed))
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
    rates, outages, fine = [], [], np.linspace(0, 30, 61)
    for number, (limit, target) in enumerate(SERIES):
        of_rate: list[Point] = []
        of_outage: list[Point] = []
        for at, snr_db in enumerate(SNR_DB):
            chain, size = capacity(limit, target, snr_db, 2026 + 100 * number + at)
            rate, lost = 8 * size / SYMBOLS, rounds_with_losses(chain, size, _FRAMES)
            error = (rate / closed_form(limit, target, snr_db) - 1) / (TOLERANCE / _PASS_Z)
            of_rate.append((snr_db, rate, error))
            z = (lost - _FRAMES * target) / math.sqrt(_FRAMES * target * (1 - target))
            of_outage.append((snr_db, lost / _FRAMES, z))
        label, style = f"target {target:g}, limit={limit}", "--" if limit == "normal" else "-"
        curve = [closed_form(limit, target, float(snr_db)) for snr_db in fine]
        rates.append(Series(label, fine, curve, of_rate, style))
        outages.append(Series(label, (0, 30), (target, target), of_outage, style))
    x, title = (
        "mean SNR Es/N0, dB",
        "coded_fading, code_rate=auto, one Rayleigh gain a round; lines: closed forms and targets",
    )
    graphs = [Graph(x, "capacity, bit/symbol", rates), Graph(x, "share of filled rounds with losses", outages)]
    return draw(title, graphs, path)
