"""Encoder of feature_imputing: VAE features at 7 bits each, weighted by a class activation map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch.nn import functional as F

from gocom.common.codec_interfaces import Analysis
from gocom.common.image_files import ImageArray
from gocom.common.nets.classifier import Classifier
from gocom.common.nets.net_interfaces import LatentAutoencoder
from gocom.common.patch_grid import pad_to_patches
from gocom.common.systems.feature_imputing import (
    FEATURES,
    ROI,
    FeatureImputingHeader,
    FeatureImputingOptions,
    Importance,
    element_order,
    elements_sent,
    feature_quantizer,
)
from gocom.common.types import Floats, Goal, GoMessage, Ints, Segment
from gocom.common.zoo import Zoo
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession

MAX_WITHHELD_PERMILLE = 950
"""Maximum share of withheld patches, in thousandths; a twentieth of them is the least to impute from."""
MIN_IMPORTANCE = 0.05
"""Minimum importance of a patch, in [0, 1]: background without evidence in the class activation map counts, too."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureImputingAnalysis(Analysis):
    """An image and its features.

    Attributes:
        levels: int64 [h, w, C], quantized features.
        activation: function from an ImageNet class (None: the likeliest) to its class activation map, as importance of
            the patches: float32 [h, w] in [0, 1] with a maximum of 1. Each map is computed once.
    """

    levels: Ints
    activation: Callable[[int | None], Floats]


class FeatureImputingSession(ResendingSession):
    """The encoding of one image. Its operating points are shares of withheld patches, in thousandths.

    Attributes:
        levels: int64 [h, w, C], quantized features.
        worth: float32 [h, w] in [0, 1], importance of each patch.
        region: region of interest, as `roi_*` of the header.
    """

    def __init__(self, analysis: FeatureImputingAnalysis, goal: Goal) -> None:
        super().__init__("feature_imputing", analysis, goal)
        assert isinstance(goal.options, FeatureImputingOptions)
        self.options, self.levels = goal.options, analysis.levels
        uniform = self.options.importance is Importance.UNIFORM
        shape = self.levels.shape[:2]
        self.worth = np.ones(shape, np.float32) if uniform else analysis.activation(self.options.target_class)
        self.region = region(self.worth, self.options.roi_share)
        self.operating_points = (MAX_WITHHELD_PERMILLE, round(1000 * self.options.withhold))

    def message(self, operating_point: int | None = None) -> GoMessage:
        """Return the round without a share of the patches; None: without that which the options withhold."""
        options, shape = self.options, self.levels.shape[:2]
        withheld = self.operating_points[1] if operating_point is None else operating_point
        header = self.header(withheld_permille=withheld, **self.region)
        assert isinstance(header, FeatureImputingHeader)
        order = element_order(options.packet_order, *shape)
        levels, worth = self.levels.ravel()[order], self.worth.ravel().repeat(self.levels.shape[2])[order]
        # The region of interest comes first, also in further rounds.
        kinds = [kind for kind in (ROI, FEATURES) if elements_sent(header, kind, *shape).any()]
        coding, overhead = options.coding, options.repair_overhead
        return self.compose([Segment(kind, levels, worth, coding, overhead) for kind in kinds], header)


def region(worth: Floats, share: float) -> dict[str, int]:
    """Return the rectangle of patches with the largest total importance, as `roi_*` of the header; all 0 for none.

    Args:
        worth: float32 [h, w], importance of each patch.
        share: maximum share of the patches, 0 to 0.9. Above 0 the rectangle has at least one patch.
    """
    area = max(1, int(share * worth.size)) if share else 0
    best, found = 0.0, (0, 0, 0, 0)
    sums = np.pad(worth.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    for rows in range(1, min(area, worth.shape[0]) + 1):
        columns = min(area // rows, worth.shape[1])
        inside = sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns]
        top, left = np.unravel_index(inside.argmax(), inside.shape)
        if inside[top, left] > best:
            best, found = inside[top, left], (int(top), int(left), rows, columns)
    return dict(zip(("roi_top", "roi_left", "roi_rows", "roi_columns"), found, strict=True))


class FeatureImputingEncoder:
    """Encoder of feature_imputing.

    Args:
        vae: the autoencoder whose features are sent.
        classifier: the net whose class activation map says what matters.
        device: device of the vae.
    """

    def __init__(self, vae: LatentAutoencoder, classifier: Classifier, device: torch.device) -> None:
        self.vae, self.classifier, self.device = vae, classifier, device

    @classmethod
    def from_zoo(cls, zoo: Zoo) -> FeatureImputingEncoder:
        """Make the encoder with the zoo's vae and classifier. Raises as `Zoo.get`."""
        return cls(zoo.get("vae"), zoo.get("classifier"), zoo.device)

    @torch.inference_mode()
    def analyse(self, image: ImageArray) -> FeatureImputingAnalysis:
        """Compute the quantized features of an image, float32 [3, H, W] in [0, 1]."""
        x = torch.from_numpy(pad_to_patches(image, self.vae.patch_px))[None].to(self.device)
        y = self.vae.encode(x)[0].permute(1, 2, 0).cpu().numpy()
        activation = cache(partial(self._activation, image, (y.shape[0], y.shape[1])))
        return FeatureImputingAnalysis(image, feature_quantizer().quantize(y), activation)

    def open(self, analysis: FeatureImputingAnalysis, goal: Goal) -> FeatureImputingSession:
        """Start the encoding of an image."""
        return FeatureImputingSession(analysis, goal)

    @torch.inference_mode()
    def _activation(self, image: ImageArray, shape: tuple[int, int], target: int | None) -> Floats:
        found = self.classifier.activation_map(torch.from_numpy(image)[None], target)
        map_ = F.interpolate(found[None], shape, mode="bilinear", align_corners=False)[0, 0]
        worth: Floats = (map_ / map_.max().clamp_min(1e-6)).clamp_min(MIN_IMPORTANCE).cpu().numpy()
        return worth


ENCODERS.add("feature_imputing", FeatureImputingEncoder.from_zoo)
