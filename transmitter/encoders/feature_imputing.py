"""Encoder of feature_imputing: VAE features at 7 bits each, weighted by a class activation map."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray
from gocom.common.model_files import model_folder
from gocom.common.nets.classifier import Classifier
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.systems import first_message
from gocom.common.systems.feature_imputing import (
    FEATURES,
    LATENT_CHANNELS,
    PATCH_PX,
    ROI,
    FeatureImputingHeader,
    FeatureImputingOptions,
    Importance,
    element_order,
    elements_sent,
    feature_quantizer,
)
from gocom.common.types import Budget, Feedback, Floats, Goal, GoMessage, Ints, Segment
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.retransmission import resend

MAX_WITHHELD_PERMILLE = 950
"""Maximum share of withheld patches, in thousandths; a twentieth of them is the least to impute from."""
MIN_IMPORTANCE = 0.05
"""Minimum importance of a patch, in [0, 1]: background without evidence in the class activation map counts, too."""


class FeatureImputingSession:
    """The encoding of one image.

    Attributes:
        levels: int64 [h, w, C], quantized features.
        worth: float32 [h, w] in [0, 1], importance of each patch.
        region: region of interest, as `roi_*` of the header.
        sent: message of the first round; None before it is encoded.
    """

    def __init__(self, image: ImageArray, levels: Ints, worth: Floats, goal: Goal) -> None:
        assert isinstance(goal.options, FeatureImputingOptions)
        self.goal, self.options = goal, goal.options
        self.height_px, self.width_px = image.shape[1:]
        self.levels, self.worth = levels, worth
        self.region = region(worth, self.options.roi_share)
        self.sent: GoMessage | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return all patches that the options do not withhold; if they exceed the budget, as many as fit.

        Raises BudgetTooSmall.
        """
        permille = round(1000 * self.options.withhold)
        message = self._message(permille)
        if budget.max_bytes and message_bytes(message, self.goal.link) > budget.max_bytes:
            message = self._fit(permille, budget.max_bytes)
        self.sent = message
        return message

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """Resend the requested features."""
        return resend(self.sent, feedback, self.goal.link) if self.sent else None

    def _fit(self, min_permille: int, max_bytes: int) -> GoMessage:
        """Find the smallest share of withheld patches that fits, by bisection."""
        low, high, best = min_permille, MAX_WITHHELD_PERMILLE, None
        while low <= high:
            middle = (low + high) // 2
            message = self._message(middle)
            if message_bytes(message, self.goal.link) <= max_bytes:
                high, best = middle - 1, message
            else:
                low = middle + 1
        if best is None:
            raise BudgetTooSmall(
                "feature_imputing", max_bytes, message_bytes(self._message(MAX_WITHHELD_PERMILLE), self.goal.link)
            )
        return best

    def _message(self, withheld_permille: int) -> GoMessage:
        options, goal = self.options, self.goal
        header = FeatureImputingHeader(
            packet_order=options.packet_order,
            withheld_permille=withheld_permille,
            num_inference_steps=options.num_inference_steps,
            eta=options.eta,
            deterministic=options.deterministic,
            **self.region,
        )
        order = element_order(options.packet_order, *self.levels.shape[:2])
        worth = self.worth.ravel().repeat(LATENT_CHANNELS)
        segments = tuple(
            Segment(kind, self.levels.ravel()[order], worth[order], options.coding, options.repair_overhead)
            for kind in (ROI, FEATURES)  # the region of interest first, also in further rounds
            if elements_sent(header, kind, *self.levels.shape[:2]).any()
        )
        return first_message(goal, "feature_imputing", header, (self.width_px, self.height_px), segments)


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


@ENCODERS.register("feature_imputing")
class FeatureImputingEncoder:
    """VAE and classifier on one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.vae = load_net(Vae, model_folder("vae"), self.device)
        self.classifier = Classifier("lite0", str(self.device))

    @torch.inference_mode()
    def open(self, image: ImageArray, goal: Goal) -> FeatureImputingSession:
        """Compute an image's quantized features and the importance of its patches."""
        assert isinstance(goal.options, FeatureImputingOptions)
        bottom, right = -image.shape[1] % PATCH_PX, -image.shape[2] % PATCH_PX
        padded = np.pad(image, ((0, 0), (0, bottom), (0, right)), mode="edge")
        y = self.vae.encode(torch.from_numpy(padded)[None].to(self.device))[0].permute(1, 2, 0).cpu().numpy()
        return FeatureImputingSession(image, feature_quantizer().quantize(y), self._worth(image, y.shape, goal), goal)

    def _worth(self, image: ImageArray, shape: tuple[int, ...], goal: Goal) -> Floats:
        """Return the importance of each patch, float32 [h, w] in [0, 1] with a maximum of 1."""
        assert isinstance(goal.options, FeatureImputingOptions)
        if goal.options.importance is Importance.UNIFORM:
            return np.ones(shape[:2], np.float32)
        found = self.classifier.activation_map(torch.from_numpy(image)[None], goal.options.target_class)
        map_ = F.interpolate(found[None], shape[:2], mode="bilinear", align_corners=False)[0, 0]
        worth: Floats = (map_ / map_.max().clamp_min(1e-6)).clamp_min(MIN_IMPORTANCE).cpu().numpy()
        return worth
