"""feature_imputing: quantized VAE features; what the channel erased is imputed by a conditional diffusion model.

"Generative Feature Imputing -- A Technique for Error-resilient Semantic Communication", arXiv 2508.17957.
"""

from __future__ import annotations

from enum import Enum
from functools import cache, partial
from typing import Annotated

import numpy as np
from pydantic import Field

from gocom.common.counter_rng import CounterRng
from gocom.common.entropy.frequency_tables import FrequencyTable, load_table
from gocom.common.model_files import model_folder
from gocom.common.quantizer import UniformQuantizer, load_quantizer
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import MAX_SIDE_PX, Bools, ElementCoding, Ints, Parameters

FEATURES, ROI = 0, 1
"""Segments: the features, and those of the region of interest where there is one."""
LATENT_CHANNELS = 8
PATCH_PX = 8
LEVELS = 128
"""Of the 7-bit quantizer."""
MAX_GRID = MAX_SIDE_PX // PATCH_PX
"""Patches along a side of the largest picture."""


class PacketOrder(str, Enum):
    """What shares a packet (the paper's text can be read two ways, so there are three).

    SPATIAL: all channels of a patch, so that a loss is concentrated in space; the interleaver scatters patches.
    CHANNEL: a group of channels, the paper's "encoding feature elements based on their channel mappings".
    RANDOM: elements from anywhere.
    """

    SPATIAL = "spatial"
    CHANNEL = "channel"
    RANDOM = "random"


class Importance(str, Enum):
    """What power and repair packets go by: a class activation map, or nothing (all patches alike)."""

    CAM = "cam"
    UNIFORM = "uniform"


Steps = Annotated[int, Field(ge=1, le=1000)]
Eta = Annotated[float, Field(ge=0, le=1)]
Patches = Annotated[int, Field(ge=0, le=MAX_GRID)]


class FeatureImputingHeader(Parameters):
    """What the receiver must know besides the common header.

    The region of interest is a rectangle of patches in packets of its own; `roi_rows` 0: there is none.
    """

    packet_order: PacketOrder = PacketOrder.SPATIAL
    withheld_permille: Annotated[int, Field(ge=0, le=950)] = 0
    num_inference_steps: Steps | None = None
    eta: Eta | None = None
    deterministic: bool | None = None
    roi_top: Patches = 0
    roi_left: Patches = 0
    roi_rows: Patches = 0
    roi_columns: Patches = 0


class FeatureImputingOptions(Parameters):
    """What a user may set."""

    packet_order: PacketOrder = PacketOrder.SPATIAL
    withhold: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    coding: ElementCoding = ElementCoding.FIXED
    num_inference_steps: Steps | None = None
    eta: Eta | None = None
    deterministic: bool | None = None
    importance: Importance = Importance.CAM
    target_class: Annotated[int, Field(ge=0, le=999)] | None = None
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    roi_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0


def grid_shape(width_px: int, height_px: int) -> tuple[int, int]:
    """(rows, columns) of patches for an image whose sides are padded to multiples of 8."""
    return -(-height_px // PATCH_PX), -(-width_px // PATCH_PX)


def element_order(packet_order: PacketOrder, rows: int, columns: int) -> Ints:
    """int64 [h * w * C]: element i of the segment is entry order[i] of the features [h, w, C], flattened."""
    index = np.arange(rows * columns * LATENT_CHANNELS, dtype=np.int64)
    if packet_order is PacketOrder.CHANNEL:
        return index.reshape(-1, LATENT_CHANNELS).T.ravel()
    if packet_order is PacketOrder.RANDOM:
        return CounterRng(0, "feature_imputing").permutation(len(index))
    return index


def region_of_interest(header: FeatureImputingHeader, rows: int, columns: int) -> Bools:
    """bool [h, w]: the patches of the rectangle; what of it is beyond the picture is left out."""
    inside = np.zeros((rows, columns), bool)
    bottom, right = header.roi_top + header.roi_rows, header.roi_left + header.roi_columns
    inside[header.roi_top : bottom, header.roi_left : right] = True
    return inside


def patches_kept(header: FeatureImputingHeader, rows: int, columns: int) -> Bools:
    """bool [h * w], True where a patch is sent: those that are not follow from the header.

    Patches within the region of interest are withheld after all others.
    """
    kept = np.ones(rows * columns, bool)
    withheld = round(header.withheld_permille * len(kept) / 1000)
    drawn = CounterRng(1, "feature_imputing").permutation(len(kept))
    inside = region_of_interest(header, rows, columns).ravel()[drawn]
    kept[drawn[np.argsort(inside, kind="stable")][:withheld]] = False
    return kept


def elements_sent(header: FeatureImputingHeader, kind: int, rows: int, columns: int) -> Bools:
    """bool [h * w * C], in the order of the segment: the elements that a first round's segment of a kind brings."""
    inside = region_of_interest(header, rows, columns).ravel()
    kept = patches_kept(header, rows, columns) & (inside if kind == ROI else ~inside)
    ordered: Bools = kept.repeat(LATENT_CHANNELS)[element_order(header.packet_order, rows, columns)]
    return ordered


def _keep(kind: int, header: Parameters, width_px: int, height_px: int) -> Bools | None:
    assert isinstance(header, FeatureImputingHeader)
    if kind == FEATURES and not header.withheld_permille and not header.roi_rows:
        return None
    return elements_sent(header, kind, *grid_shape(width_px, height_px))


def _unit(header: Parameters, width_px: int, height_px: int) -> int:
    """A patch; of the channel order a channel."""
    assert isinstance(header, FeatureImputingHeader)
    if header.packet_order is PacketOrder.SPATIAL:
        return LATENT_CHANNELS
    return 1 if header.packet_order is PacketOrder.RANDOM else _patches(width_px, height_px)


def _patches(width_px: int, height_px: int) -> int:
    rows, columns = grid_shape(width_px, height_px)
    return rows * columns


def _count(width_px: int, height_px: int) -> int:
    return _patches(width_px, height_px) * LATENT_CHANNELS


@cache
def feature_table() -> FrequencyTable:
    """How often each level occurred in the features of the training pictures."""
    return load_table(model_folder("feature_quantizer") / "tables.safetensors", "features")


@cache
def feature_quantizer() -> UniformQuantizer:
    """Calibrated on the features of the training pictures."""
    return load_quantizer(model_folder("feature_quantizer") / "tables.safetensors", LEVELS)


SYSTEMS.add(
    "feature_imputing",
    System(
        name="feature_imputing",
        header=FeatureImputingHeader,
        options=FeatureImputingOptions,
        segments=tuple(
            SegmentSpec(name, LEVELS, feature_table, count=_count, keep=partial(_keep, kind), unit=_unit)
            for kind, name in ((FEATURES, "features"), (ROI, "region of interest"))
        ),
        knowledge=("vae", "feature_imputer", "feature_quantizer"),
        summary="quantized VAE features; what the channel erased is imputed by diffusion (Generative Feature Imputing)",
    ),
)
