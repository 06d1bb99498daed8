"""Power of a round's packets, from the channel state and the importance of each packet.

importance [P], channel state --> costs, gains --> allocation (power_allocation.py) --> at most 64 levels, mean 1
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gocom.common.csi import Csi
from gocom.common.types import Floats, PowerAllocation, PowerRule
from gocom.transmitter.resources.power_allocation import Doubles, semantic, water_filling

MAX_LEVELS = 64
"""Maximum number of different powers in a round: the emulator computes its expected statistics for each of them."""
_RANGE_DB = 200.0
"""Limit of the magnitude of an SNR in dB."""


def power_rule(allocation: PowerAllocation, csi: Csi) -> PowerRule | None:
    """Return the rule that gives a round's packets their power from their importance; None if the power is 1 for all.

    water_filling maximizes capacity for the SNR of each packet; if these are unknown, the power is equal.

    semantic minimizes the expected loss of importance. A packet of power P at SNR s is lost with probability
    1 - exp(-threshold / (P s)), as under Rayleigh fading of mean s; s is the SNR of the packet if it is known, else the
    mean SNR. If both are unknown, or the threshold is, the cost threshold / s of every packet is 1.
    """
    if allocation is PowerAllocation.SEMANTIC:
        return lambda importance: _semantic(importance.tobytes(), csi)
    if allocation is PowerAllocation.WATER_FILLING and csi.snr_db:
        return lambda importance: _water_filling(len(importance), csi)
    return None


@lru_cache(maxsize=8)  # a round is packetized several times while its size is searched
def _semantic(importance: bytes, csi: Csi) -> Floats:
    weight = _quantize(np.frombuffer(importance, np.float32).astype(float))
    snr_db = _packet_snr_db(len(weight), csi)
    cost = np.ones(len(weight))
    if csi.threshold_snr_db is not None and snr_db is not None:
        cost = _quantize(10 ** (np.clip(csi.threshold_snr_db - snr_db, -_RANGE_DB, _RANGE_DB) / 10))
    return to_levels(semantic(weight, cost, len(weight)))


@lru_cache(maxsize=8)
def _water_filling(count: int, csi: Csi) -> Floats:
    snr_db = _packet_snr_db(count, csi)
    assert snr_db is not None
    return to_levels(water_filling(10 ** (snr_db / 10), 1.0, count))


def _packet_snr_db(count: int, csi: Csi) -> Doubles | None:
    """Return the SNR in dB of each packet at power 1, float64 [P]; None if nothing is known.

    Packets beyond those whose SNR is known get the mean SNR.
    """
    known = np.clip(np.array(csi.snr_db[:count], float), -_RANGE_DB, _RANGE_DB)
    mean = csi.mean_snr_db
    if mean is None:
        mean = float(10 * np.log10(np.mean(10 ** (known / 10)))) if len(known) else None
    if mean is None:
        return None
    return np.append(known, np.full(count - len(known), np.clip(mean, -_RANGE_DB, _RANGE_DB)))


def _quantize(values: Doubles) -> Doubles:
    """Replace values above 0 by the mean of their group (see `_groups`), so that at most MAX_LEVELS of them differ."""
    out = values.copy()
    for group in _groups(values):
        out[group] = values[group].mean()
    return out


def to_levels(power: Doubles) -> Floats:
    """Quantize powers to at most MAX_LEVELS values: powers within a step in dB get their mean, so the sum is kept.

    Args:
        power: float64 [P], 0 or more, of mean 1.

    Returns:
        float32 [P] of mean 1, to 1e-6.
    """
    return _quantize(power).astype(np.float32)


def _groups(values: Doubles) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Return the indices of similar values above 0: at most MAX_LEVELS - 1 groups, in equal steps of the logarithm.

    The list is empty if there are fewer than MAX_LEVELS different values.
    """
    above = np.flatnonzero(values > 0)
    if len(np.unique(values[above])) < MAX_LEVELS:
        return []
    log = np.log(values[above])
    step = (log.max() - log.min()) / (MAX_LEVELS - 1)
    level = np.minimum((log - log.min()) // step, MAX_LEVELS - 2)
    return [above[level == one] for one in np.unique(level)]
