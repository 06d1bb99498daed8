"""Conditional DDIM over a latent whose erased elements are unknown (Generative Feature Imputing, section III.B).

The net sees noisy features, received features and the mask of what was received. After each step the received features
are put back, with the noise that belongs to the next step; at the end as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.nn import functional as F

GRID_STEP = 4
"""Sides of the net's grid are multiples of it: it halves them twice."""


@dataclass(frozen=True, slots=True)
class ImputerSettings:
    """How erased features are drawn; the defaults are for what a header leaves open.

    Attributes:
        num_inference_steps: from 1.
        eta: noise added at each step, 0 (DDIM) to 1 (as much as DDPM).
        deterministic: begin with no noise and add none, whatever `eta`: the same features whatever the seed, near the
            mean of those that are possible. With the bundled net they are nearer to the truth than drawn ones.
    """

    num_inference_steps: int = 10
    eta: float = 0.0
    deterministic: bool = True


def make_scheduler() -> DDIMScheduler:
    """The noise levels that the net is trained with; the last one is noise alone."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False,
    )  # fmt: skip


def predict(net: UNet2DModel, noisy: Tensor, features: Tensor, received: Tensor, t: Tensor) -> Tensor:
    """v of [B,C,h,w], whose sides are multiples of 4; `received` is float, 1 where `features` holds what was sent."""
    v: Tensor = net(torch.cat([noisy, features * received, received], dim=1), t, return_dict=False)[0]
    return v


def impute(
    net: UNet2DModel,
    features: Tensor,
    received: Tensor,
    settings: ImputerSettings,
    generators: Sequence[torch.Generator],
) -> Iterator[Tensor]:
    """The net's guess of the features after each step, the last one final; received ones are as given.

    Args:
        net: in 3C channels, out C.
        features: float32 [B,C,h,w]; erased ones may be anything.
        received: bool [B,C,h,w].
        settings: the same for all B.
        generators: B, on the CPU: what is drawn for one frame does not depend on its companions.
    """
    height, width = features.shape[2:]
    known = received.to(features.dtype)
    pad = (0, -width % GRID_STEP, 0, -height % GRID_STEP)
    y, mask = F.pad(features * known, pad, mode="replicate"), F.pad(known, pad, mode="replicate")
    scheduler = make_scheduler()
    scheduler.set_timesteps(settings.num_inference_steps)
    noise = torch.zeros_like(y) if settings.deterministic else _draw(y, generators)
    eta, noisy = 0.0 if settings.deterministic else settings.eta, noise
    for t in scheduler.timesteps:
        steps = t.expand(len(y)).to(y.device)
        noisy = torch.where(mask > 0, scheduler.add_noise(y, noise, steps), noisy)
        more = _draw(y, generators) if eta > 0 else None
        step = scheduler.step(predict(net, noisy, y, mask, steps), int(t), noisy, eta=eta, variance_noise=more)
        noisy = step.prev_sample
        guess = step.pred_original_sample[:, :, :height, :width]
        yield torch.where(received, features, guess)


def _draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Standard normal; float64 first, which is the same on every CPU."""
    shape = like.shape[1:]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.stack(drawn).to(like)
