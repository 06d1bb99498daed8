"""Power of a round's packets, from what is known of the channel and what each packet is worth.

importance [P], channel state --> costs, gains --> allocator (power.py) --> at most 64 levels, mean 1
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gocom.common.csi import Csi
from gocom.common.types import Floats, PowerAllocation, PowerRule
from gocom.transmitter.resources.power_allocation import Doubles, semantic, water_filling

MAX_LEVELS = 64
"""Different powers of a round: the emulator works its statistics out for each."""
_RANGE_DB = 200.0
"""Nothing is known to be further from 0 dB."""


def power_rule(allocation: PowerAllocation, csi: Csi) -> PowerRule | None:
    """How the power of a round's packets follows from their importance; None: it is 1 for all.

    water_filling: most capacity, for the SNR of each packet; without that, equal.
    semantic: least expected loss of importance, a packet of SNR s and power P being lost with the probability
    1 - exp(-threshold / (P s)): Rayleigh fading about s, which is the SNR of each packet where that is known, else the
    mean. With neither, or without a threshold, all packets cost 1: the mean SNR is taken to be the threshold.
    """
    if allocation is PowerAllocation.SEMANTIC:
        return lambda importance: _semantic(importance.tobytes(), csi)
    if allocation is PowerAllocation.WATER_FILLING and csi.snr_db:
        return lambda importance: _water_filling(len(importance), csi)
    return None


@lru_cache(maxsize=8)  # a round is cut several times while its size is sought
def _semantic(importance: bytes, csi: Csi) -> Floats:
    weight = _alike(np.frombuffer(importance, np.float32).astype(float))
    snr_db = _packet_snr_db(len(weight), csi)
    cost = np.ones(len(weight))
    if csi.threshold_snr_db is not None and snr_db is not None:
        cost = _alike(10 ** (np.clip(csi.threshold_snr_db - snr_db, -_RANGE_DB, _RANGE_DB) / 10))
    return to_levels(semantic(weight, cost, len(weight)))


@lru_cache(maxsize=8)
def _water_filling(count: int, csi: Csi) -> Floats:
    snr_db = _packet_snr_db(count, csi)
    assert snr_db is not None
    return to_levels(water_filling(10 ** (snr_db / 10), 1.0, count))


def _packet_snr_db(count: int, csi: Csi) -> Doubles | None:
    """float64 [P], of each packet at power 1; None: nothing is known. Beyond those known one by one: the mean."""
    known = np.clip(np.array(csi.snr_db[:count], float), -_RANGE_DB, _RANGE_DB)
    mean = csi.mean_snr_db
    if mean is None:
        mean = float(10 * np.log10(np.mean(10 ** (known / 10)))) if len(known) else None
    if mean is None:
        return None
    return np.append(known, np.full(count - len(known), np.clip(mean, -_RANGE_DB, _RANGE_DB)))


def _alike(values: Doubles) -> Doubles:
    """With at most MAX_LEVELS different values above 0: what is that close gets the same power anyway."""
    out = values.copy()
    for group in _groups(values):
        out[group] = values[group].mean()
    return out


def to_levels(power: Doubles) -> Floats:
    """float32 [P] of at most MAX_LEVELS values: neighbours, in steps of dB, get their mean, so that the sum is kept.

    Args:
        power: float64 [P], 0 or more, of mean 1.

    Returns:
        Of mean 1 to 1e-6.
    """
    return _alike(power).astype(np.float32)


def _groups(values: Doubles) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Indices of values above 0 that count as one: at most MAX_LEVELS - 1 groups, equal steps of their logarithm."""
    above = np.flatnonzero(values > 0)
    if len(np.unique(values[above])) < MAX_LEVELS:
        return []
    log = np.log(values[above])
    step = (log.max() - log.min()) / (MAX_LEVELS - 1)
    level = np.minimum((log - log.min()) // step, MAX_LEVELS - 2)
    return [above[level == one] for one in np.unique(level)]
