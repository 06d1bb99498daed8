"""Masks as a receiver has them: a latent's elements, packetized as feature_imputing does it, some packets lost."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gocom.common.element_order import transmission_order
from gocom.common.net_geometry import F8_PATCH_PX
from gocom.common.packetizer import packetize
from gocom.common.systems.feature_imputing import (
    FEATURES,
    FeatureImputingHeader,
    PacketOrder,
    element_order,
    latent_channels,
)
from gocom.common.types import Bools, ElementCoding, GoMessage, Ints, LinkSettings, Segment

ORDERS = (*PacketOrder, PacketOrder.SPATIAL)
"""Drawn at random: the default twice as often."""
PAYLOADS = (105, 105, 210)
LEAST, MOST = 0.05, 0.8
"""Share of packets lost."""
MEAN_BURST = 4.0
BURSTY = 0.25
"""Share of masks whose losses come in bursts."""
ROI = 0.2
"""Share of masks with a region of interest: a rectangle whose packets, as if its own, fared better than the rest."""
ROI_SHARES = (0.1, 0.5)
"""Least and most of a mask's positions that the region has."""


@lru_cache(maxsize=64)
def packets_of_elements(packet_order: PacketOrder, rows: int, columns: int, payload: int, interleave: bool) -> Ints:
    """int64 [h, w, C]: the number of the packet that holds an element."""
    count = rows * columns * latent_channels()
    segment = Segment(FEATURES, np.zeros(count, np.int64), np.ones(count, np.float32), ElementCoding.FIXED)
    header = FeatureImputingHeader(packet_order=packet_order)
    message = GoMessage("feature_imputing", header, columns * F8_PATCH_PX, rows * F8_PATCH_PX, (segment,))
    link = LinkSettings(max_payload_bytes=payload, interleave=interleave)
    frame, batch = packetize(message, link)
    numbers = np.empty(count, np.int64)
    order = element_order(packet_order, rows, columns)[transmission_order(frame, frame.segments[0], link)]
    numbers[order] = batch.sequence.repeat(batch.element_count) if len(batch) > 1 else 0
    return numbers.reshape(rows, columns, latent_channels())


def lost_packets(rng: np.random.Generator, count: int, rate: float, bursty: bool) -> Bools:
    """bool [count]: independent losses, or runs of MEAN_BURST on average."""
    if not bursty:
        return rng.random(count) < rate
    lost, bad = np.zeros(count, bool), rng.random() < rate
    recover = 1 / MEAN_BURST
    for number in range(count):
        lost[number] = bad
        bad = rng.random() >= recover if bad else rng.random() < min(1.0, recover * rate / max(1e-6, 1 - rate))
    return lost


def draw_region(rng: np.random.Generator, rows: int, columns: int) -> Bools:
    """bool [rows, columns]: a rectangle anywhere, of ROI_SHARES of the positions."""
    share = float(rng.uniform(*ROI_SHARES))
    height = min(rows, max(1, round(rows * share ** rng.uniform(0.3, 0.7))))
    width = min(columns, max(1, round(rows * columns * share / height)))
    top, left = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
    inside = np.zeros((rows, columns), bool)
    inside[top : top + height, left : left + width] = True
    return inside


def draw_masks(rng: np.random.Generator, batch: int, rows: int, columns: int) -> Tensor:
    """float32 [batch, C, rows, columns], 1: received; every mask of another order, payload and loss."""
    masks = []
    for _ in range(batch):
        order, payload = ORDERS[rng.integers(len(ORDERS))], PAYLOADS[rng.integers(len(PAYLOADS))]
        numbers = packets_of_elements(order, rows, columns, int(payload), bool(rng.random() < 0.7))
        lost = lost_packets(rng, int(numbers.max()) + 1, float(rng.uniform(LEAST, MOST)), bool(rng.random() < BURSTY))
        if rng.random() < ROI:
            few = lost_packets(rng, len(lost), float(rng.uniform(0, LEAST)), bursty=False)
            lost_here = np.where(draw_region(rng, rows, columns)[..., None], few[numbers], lost[numbers])
        else:
            lost_here = lost[numbers]
        masks.append(~lost_here)
    return torch.from_numpy(np.stack(masks)).permute(0, 3, 1, 2).float()
