"""What recipes of nets from pictures to pictures share: crops to train on, how a picture that was made is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.net_geometry import F8_PATCH_PX
from gocom.common.nets.classifier import Classifier
from gocom.training.data import MOST_VIVID, VIVID, CropSampler, data_terms, find_sources, load_samples

JUDGED_PX = 256
_LATTICE_PX, _WINDOW_PX = 4, 32


class Pictures:
    """Random crops of training pictures.

    Args:
        data: folder of tars, one tar, or a folder of images.
        batch: crops a step.
        crop_px: side of a crop.
        device: where they go.
        seed: of the crops.
    """

    def __init__(self, data: Path, batch: int, crop_px: int, device: torch.device, seed: int) -> None:
        sources = find_sources(data)
        self.groups = [load_samples([source]) for source in sources]
        self.crop_px, self.seed = crop_px, seed
        self.batch, self.device = batch, device
        self.reseed(0)
        names = ", ".join(source.name for source in sources)
        self.lines = {
            "data": f"{names}: {sum(map(len, self.groups))} pictures, {crop_px} px crops, "
            f"{VIVID:.0%} of them with colours up to {MOST_VIVID:g} times as strong, batch {batch}",
            "data terms": data_terms(sources),
        }

    def reseed(self, step: int) -> None:
        """Other crops than those of another step: a resumed run must not see its first ones again."""
        self.sampler = CropSampler(self.groups, self.crop_px, np.random.default_rng([self.seed, step]))

    def draw(self, batch: int | None = None) -> Tensor:
        """-> float32 [batch, 3, size, size] in [0, 1]."""
        return self.sampler.draw(batch or self.batch).to(self.device, memory_format=torch.channels_last)


def blockiness(x: Tensor) -> float:
    """Return how visible the borders of 8x8 patches are in x [B, 3, H, W]; 1: not at all.

    It is the mean absolute difference of neighbouring pixels across borders, over that elsewhere.
    """
    steps = []
    for dim in (2, 3):
        step = x.diff(dim=dim).abs().mean([d for d in range(4) if d != dim])
        border = (torch.arange(len(step), device=x.device) + 1) % F8_PATCH_PX == 0
        steps.append(step[border].mean() / step[~border].mean())
    return float(torch.stack(steps).mean())


def lattice(x: Tensor) -> float:
    """How much of the fine detail of x [B, 3, H, W] repeats every 4 px, as a pixel shuffle's halftone does.

    What is finer than 3 px is folded by its place in a 4x4 cell within windows of 32 px. Where places say nothing the
    variance of their 16 means is a 64th of that of the pixels: the ratio is 1. A regular pattern makes it many.
    """
    fine = _cells(x, _LATTICE_PX)
    of_places = repeated_detail(x, _LATTICE_PX)
    of_pixels = (fine - fine.mean((2, 3, 5, 6), keepdim=True)).square().mean()
    return float(of_places / of_pixels.clamp_min(1e-12)) * (_WINDOW_PX // _LATTICE_PX) ** 2


def repeated_detail(x: Tensor, period: int = F8_PATCH_PX) -> Tensor:
    """What is finer than 3 px in x [B, 3, H, W], folded by its place in cells of `period` px within windows of 32 px:
    the variance of the places' means, averaged over windows and channels; a scalar, 0 or more.
    """
    return _cells(x, period).mean((2, 5)).permute(0, 1, 3, 2, 4).flatten(3).var(3, correction=0).mean()


def _cells(x: Tensor, period: int) -> Tensor:
    """Fine detail by place: [B * 3, window rows, cells, period, window columns, cells, period]."""
    fine = x - F.avg_pool2d(F.pad(x, (1,) * 4, "replicate"), 3, stride=1)
    rows, columns = (side // _WINDOW_PX for side in x.shape[2:])
    cells = _WINDOW_PX // period
    return fine[..., : rows * _WINDOW_PX, : columns * _WINDOW_PX].reshape(
        -1, rows, cells, period, columns, cells, period
    )


def psnr_db(x_hat: Tensor, x: Tensor) -> float:
    """Of values in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(x_hat, x)))


def feature_distance(judge: Classifier, x_hat: Tensor, x: Tensor) -> float:
    """1 - cosine of a classifier's features of two pictures [1, 3, H, W]."""
    a, b = judge.features(torch.cat([x, x_hat]))
    return 1 - float(F.cosine_similarity(a, b, dim=0))
