"""What recipes of nets from pictures to pictures share: crops to train on, pictures to judge by, lines of the card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.image_files import square_crop, to_float
from gocom.common.nets.autoencoder import PATCH_PX
from gocom.common.nets.classifier import Classifier
from gocom.training.data import CropSampler, find_sources, load_samples

Terms = dict[str, Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]
JUDGED_PX = 256
TERMS = "research use (imagenette, Flickr8k, BSDS500), per-image CC (COCO), CC BY-NC (CamVid)"


class Pictures:
    """Random crops of training pictures, and held-out ones.

    Args:
        data: folder of tars, one tar, or a folder of images.
        held_out: pictures never trained on; centre squares of 256 px.
        batch: crops a step.
        crop_px: side of a crop.
        device: where they go.
        seed: of the crops.
    """

    def __init__(self, data: Path, held_out: Path, batch: int, crop_px: int, device: torch.device, seed: int) -> None:
        sources = find_sources(data)
        groups = [load_samples([source]) for source in sources]
        self.sampler = CropSampler(groups, crop_px, np.random.default_rng(seed))
        self.held_out = [square_crop(sample.pixels, JUDGED_PX) for sample in load_samples([held_out])]
        self.batch, self.device = batch, device
        names = ", ".join(source.name for source in sources)
        self.lines = {
            "data": f"{names}: {sum(map(len, groups))} pictures, {crop_px} px crops, batch {batch}",
            "data terms": TERMS,
            "held out": f"{held_out.name}: {len(self.held_out)} pictures, centre square, {JUDGED_PX}x{JUDGED_PX}",
        }

    def draw(self, batch: int | None = None) -> Tensor:
        """-> float32 [batch, 3, size, size] in [0, 1]."""
        return self.sampler.draw(batch or self.batch).to(self.device, memory_format=torch.channels_last)

    def judged(self) -> list[Tensor]:
        """Held-out pictures, float32 [1, 3, 256, 256] in [0, 1] each."""
        return [torch.from_numpy(to_float(pixels))[None].to(self.device) for pixels in self.held_out]


def reconstruction_terms(x_hat: Tensor, x: Tensor, gradient: float, perceptual: float, distance: Distance) -> Terms:
    """L1 + 2 MSE + gradient * gradient_l1 + perceptual * distance(x_hat, x) as "loss", and what it is made of.

    Where `perceptual` is 0 the distance is not computed.
    """
    terms = {"l1": F.l1_loss(x_hat, x), "mse": F.mse_loss(x_hat, x), "gradient": gradient_l1(x_hat, x)}
    loss = terms["l1"] + 2 * terms["mse"] + gradient * terms["gradient"]
    if perceptual:
        terms["perceptual"] = distance(x_hat, x)
        loss = loss + perceptual * terms["perceptual"]
    return {"loss": loss, **terms}


def gradient_l1(x_hat: Tensor, x: Tensor) -> Tensor:
    """L1 of the differences between neighbouring pixels, both directions."""
    rows = F.l1_loss(x_hat.diff(dim=2), x.diff(dim=2))
    return rows + F.l1_loss(x_hat.diff(dim=3), x.diff(dim=3))


def blockiness(x: Tensor) -> float:
    """Mean step across patch borders over mean step elsewhere, of x [B, 3, H, W]; 1 where borders do not show."""
    steps = []
    for dim in (2, 3):
        step = x.diff(dim=dim).abs().mean([d for d in range(4) if d != dim])
        border = (torch.arange(len(step), device=x.device) + 1) % PATCH_PX == 0
        steps.append(step[border].mean() / step[~border].mean())
    return float(torch.stack(steps).mean())


def psnr_db(x_hat: Tensor, x: Tensor) -> float:
    """Of values in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(x_hat, x)))


def feature_distance(judge: Classifier, x_hat: Tensor, x: Tensor) -> float:
    """1 - cosine of a classifier's features of two pictures [1, 3, H, W]."""
    a, b = judge.features(torch.cat([x, x_hat]))
    return 1 - float(F.cosine_similarity(a, b, dim=0))
