"""The imputer of ours: a UNet2DModel that sees the noisy features, the received ones and a mask of each feature."""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from gocom.common.samplers.imputer_settings import ImputerSettings


class LatentImputer:
    """Imputer whose mask has a channel for each channel of the latent, trained by training/feature_imputer.py.

    It predicts the velocity v (Salimans & Ho 2022).

    Args:
        net: net with 3C input channels and C output channels.
    """

    default_settings = ImputerSettings()

    def __init__(self, net: UNet2DModel) -> None:
        self.net = net

    @property
    def grid_step(self) -> int:
        """Divisor of the sides of the net's grid, which the net halves between its blocks."""
        return int(2 ** (len(self.net.config.block_out_channels) - 1))

    def scheduler(self) -> DDIMScheduler:
        """Return a new scheduler with the noise schedule of the training. Its highest level is pure noise."""
        return DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
            timestep_spacing="trailing", clip_sample=False,
        )  # fmt: skip

    def predict(self, noisy: Tensor, features: Tensor, received: Tensor, t: Tensor) -> Tensor:
        """Return the net's prediction of the velocity v, float32 [B,C,h,w]; see `Imputer`."""
        v: Tensor = self.net(torch.cat([noisy, features * received, received], dim=1), t, return_dict=False)[0]
        return v
