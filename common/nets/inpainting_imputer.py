"""The inpainting model of Stable Diffusion (Rombach et al. 2022) as an imputer of features."""

from __future__ import annotations

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from gocom.common.nets.clip_prompts import prompt_ids
from gocom.common.samplers.imputer_settings import ImputerSettings


class InpaintingImputer:
    """Imputer on a UNet2DConditionModel with the nine input channels of an inpainting model, and an empty prompt.

    The layout is that of our imputer: noisy latent, mask, masked latent. Three things differ from it.
    - The mask has one channel and is 1 where the net is to paint. So a position of which only some features arrived is
      missing to the net; the sampler still puts those that arrived in place.
    - The net learned with the latent of a masked picture, in which what surrounds a hole has seen the hole. A receiver
      has no picture to mask, only a latent; it gives the latent with zeros in the holes.
    - The net predicts the noise, and its schedule does not reach pure noise. So it has to start from drawn noise, not
      from the zeros that give our net the conditional mean, and takes more steps.

    Args:
        net: net with 2C + 1 input channels and C output channels. It may be of half precision.
        text_encoder: its text encoder, needed only here.
        tokenizer: the tokenizer of its text encoder.
    """

    default_settings = ImputerSettings(num_inference_steps=20, deterministic=False)

    def __init__(self, net: UNet2DConditionModel, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
        self.net = net
        self.dtype: torch.dtype = net.dtype
        self.grid_step = 2 ** (len(net.config.block_out_channels) - 1)
        with torch.inference_mode():
            found = text_encoder(prompt_ids([""], tokenizer, text_encoder))
        self.empty_prompt: Tensor = found.last_hidden_state.to(self.dtype)

    def scheduler(self) -> DDIMScheduler:
        """Return a new scheduler with the noise schedule of Stable Diffusion."""
        return DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon",
        )  # fmt: skip

    def predict(self, noisy: Tensor, features: Tensor, received: Tensor, t: Tensor) -> Tensor:
        """Return the net's prediction of the noise, float32 [B,C,h,w]; see `Imputer`."""
        whole = received.amin(1, keepdim=True)
        x = torch.cat([noisy, 1 - whole, features * whole], dim=1).to(self.dtype)
        text = self.empty_prompt.expand(len(x), -1, -1)
        noise: Tensor = self.net(x, t, encoder_hidden_states=text, return_dict=False)[0]
        return noise.float()
