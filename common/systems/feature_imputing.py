"""feature_imputing: quantized VAE features; a conditional diffusion model imputes those that the channel erased.

"Generative Feature Imputing -- A Technique for Error-resilient Semantic Communication", arXiv 2508.17957.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from gocom.common.counter_rng import CounterRng
from gocom.common.entropy.frequency_tables import FrequencyTable, load_table
from gocom.common.net_geometry import latent_geometry
from gocom.common.patch_grid import grid_shape
from gocom.common.quantizer import UniformQuantizer, load_quantizer
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import MAX_SIDE_PX, Bools, ElementCoding, FrameView, Ints, Parameters
from gocom.common.zoo import net_config, net_folder

FEATURES, ROI = 0, 1
"""Kinds of segments: the features outside the region of interest, and those inside it if there is one."""
LEVELS = 128
"""Number of levels of the 7-bit quantizer."""
MAX_GRID = MAX_SIDE_PX // 8
"""Limit on the patches along a side: those of 8 pixels, the smallest of any vae, in the largest picture."""
UNCALIBRATED_BOUND = 4.5
"""Bound of the quantizer, in standard deviations of a feature, for a vae that it was not calibrated with: of normally
distributed features 7 in a million lie beyond."""


class PacketOrder(str, Enum):
    """Which features share a packet.

    The paper's text can be read in two ways, and RANDOM is a third order.

    SPATIAL: all channels of a patch, so that each loss is concentrated in space; the interleaver scatters patches.
    CHANNEL: a part of a channel, or several; the paper's "encoding feature elements based on their channel mappings".
    RANDOM: random features of the picture.
    """

    SPATIAL = "spatial"
    CHANNEL = "channel"
    RANDOM = "random"


class Importance(str, Enum):
    """Importance of patches, by which power and repair packets are allocated: class activation, or equal for all."""

    CAM = "cam"
    UNIFORM = "uniform"


Patches = Annotated[int, Field(ge=0, le=MAX_GRID)]


class FeatureImputingShared(Parameters):
    """What header and options have in common: the order, and settings of the receiver's sampler.

    Attributes:
        packet_order: which features share a packet.
        num_inference_steps: number of diffusion steps; None: the receiver's default.
        eta: noise added at each step, from 0 (DDIM) to 1 (DDPM); None: the receiver's default.
        deterministic: impute without random numbers; None: the receiver's default.
    """

    packet_order: PacketOrder = PacketOrder.SPATIAL
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    deterministic: bool | None = None


class FeatureImputingHeader(FeatureImputingShared):
    """Codec header: what the receiver must know in addition to the common frame header.

    The region of interest is a rectangle of patches that are sent in packets of their own.

    Attributes:
        withheld_permille: share of patches that are not sent, in thousandths. `kept_patches` says which.
        roi_top: first row of patches in the region of interest.
        roi_left: its first column of patches.
        roi_rows: its number of rows of patches; 0: there is no region of interest.
        roi_columns: its number of columns of patches.
    """

    withheld_permille: Annotated[int, Field(ge=0, le=950)] = 0
    roi_top: Patches = 0
    roi_left: Patches = 0
    roi_rows: Patches = 0
    roi_columns: Patches = 0


class FeatureImputingOptions(FeatureImputingShared):
    """Options that a user may set.

    Attributes:
        withhold: share of patches not to send.
        coding: coding of the features.
        importance: importance of the patches.
        target_class: ImageNet class of the class activation map; None: the likeliest class.
        repair_overhead: RaptorQ repair packets as a share of the source packets.
        roi_share: share of the picture in the region of interest; 0: there is none.
    """

    withhold: Annotated[float, Field(ge=0, le=0.95)] = 0.0
    coding: ElementCoding = ElementCoding.FIXED
    importance: Importance = Importance.CAM
    target_class: Annotated[int, Field(ge=0, le=999)] | None = None
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    roi_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0


def latent_channels() -> int:
    """Return the number of features of a patch, C. Raises NotReady if the vae is missing, Mismatch."""
    return latent_geometry(net_config("vae"))[0]


def patch_px() -> int:
    """Return the side in pixels of a patch. Raises NotReady, Mismatch."""
    return latent_geometry(net_config("vae"))[1]


def feature_grid(width_px: int, height_px: int) -> tuple[int, int]:
    """Return (rows, columns) of the patches of an image. Raises NotReady, Mismatch."""
    return grid_shape(width_px, height_px, patch_px())


def element_order(packet_order: PacketOrder, rows: int, columns: int) -> Ints:
    """Return the order of the elements, int64 [h * w * C].

    Element i of the segment is entry order[i] of the flattened features, [h, w, C].
    """
    channels = latent_channels()
    index = np.arange(rows * columns * channels, dtype=np.int64)
    if packet_order is PacketOrder.CHANNEL:
        return index.reshape(-1, channels).T.ravel()
    if packet_order is PacketOrder.RANDOM:
        return CounterRng(0, "feature_imputing").permutation(len(index))
    return index


def region_of_interest(header: FeatureImputingHeader, rows: int, columns: int) -> Bools:
    """Return the mask of the region of interest, bool [h, w], True for its patches; it is clipped to the picture."""
    inside = np.zeros((rows, columns), bool)
    bottom, right = header.roi_top + header.roi_rows, header.roi_left + header.roi_columns
    inside[header.roi_top : bottom, header.roi_left : right] = True
    return inside


def kept_patches(header: FeatureImputingHeader, rows: int, columns: int) -> Bools:
    """Return the mask of the patches that are sent, bool [h * w]. It follows from the header alone.

    Patches in the region of interest are withheld only if there are no others left to withhold.
    """
    kept = np.ones(rows * columns, bool)
    withheld = round(header.withheld_permille * len(kept) / 1000)
    shuffled = CounterRng(1, "feature_imputing").permutation(len(kept))
    inside = region_of_interest(header, rows, columns).ravel()[shuffled]
    kept[shuffled[np.argsort(inside, kind="stable")][:withheld]] = False
    return kept


def elements_sent(header: FeatureImputingHeader, kind: int, rows: int, columns: int) -> Bools:
    """Return the mask of the elements that a segment brings, bool [h * w * C], in segment order.

    Args:
        header: codec header of the frame.
        kind: FEATURES or ROI.
        rows: rows of patches.
        columns: columns of patches.
    """
    inside = region_of_interest(header, rows, columns).ravel()
    kept = kept_patches(header, rows, columns) & (inside if kind == ROI else ~inside)
    ordered: Bools = kept.repeat(latent_channels())[element_order(header.packet_order, rows, columns)]
    return ordered


def _keep(kind: int, frame: FrameView) -> Bools | None:
    header = frame.header
    assert isinstance(header, FeatureImputingHeader)
    if kind == FEATURES and not header.withheld_permille and not header.roi_rows:
        return None
    return elements_sent(header, kind, *feature_grid(frame.width_px, frame.height_px))


def _unit(frame: FrameView) -> int:
    """Return the size of a unit: a patch in spatial order, a channel in channel order, one element in random order."""
    assert isinstance(frame.header, FeatureImputingHeader)
    if frame.header.packet_order is PacketOrder.SPATIAL:
        return latent_channels()
    random = frame.header.packet_order is PacketOrder.RANDOM
    return 1 if random else math.prod(feature_grid(frame.width_px, frame.height_px))


def _count(width_px: int, height_px: int) -> int:
    return math.prod(feature_grid(width_px, height_px)) * latent_channels()


@cache
def feature_table() -> FrequencyTable:
    """Return the frequencies of the levels in the features of the training pictures.

    For a vae that the quantizer was not calibrated with (`feature_quantizer`), all levels are equally frequent.
    """
    table = load_table(_tables(), "features")
    return table if _is_calibrated() else FrequencyTable.uniform(LEVELS)


@cache
def feature_quantizer() -> UniformQuantizer:
    """Return the quantizer that was calibrated on the features of the training pictures.

    It belongs to the bundled vae. For one with another number of channels the bounds are UNCALIBRATED_BOUND.
    """
    if _is_calibrated():
        return _bundled_quantizer()
    bound = np.full(latent_channels(), UNCALIBRATED_BOUND)
    return UniformQuantizer(-bound, bound, LEVELS)


def _is_calibrated() -> bool:
    return len(_bundled_quantizer().low) == latent_channels()


def _bundled_quantizer() -> UniformQuantizer:
    return load_quantizer(_tables(), LEVELS)


def _tables() -> Path:
    return net_folder("feature_quantizer") / "tables.safetensors"


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
        header_fields=lambda options: {"withheld_permille": round(1000 * options.withhold)},
        summary="quantized VAE features; what the channel erased is imputed by diffusion (Generative Feature Imputing)",
    ),
)
