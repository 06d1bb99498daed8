"""Conditional DDIM sampling of a latent with erased elements (Generative Feature Imputing, section III.B).

The input of the net is the noisy features, the received features and the mask of the received ones. Before each step,
the received features replace their noisy counterparts, with the noise of that step. In the result they are unchanged.
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
"""Divisor of the sides of the net's grid: the net halves them twice."""


@dataclass(frozen=True, slots=True)
class ImputerSettings:
    """Settings of the sampler. The defaults apply to what the codec's header leaves unset.

    Attributes:
        num_inference_steps: number of diffusion steps, 1 or more.
        eta: noise added at each step, from 0 (DDIM) to 1 (as much as DDPM).
        deterministic: start from zeros and add no noise, whatever `eta` is. The features then do not depend on the seed
            and are near the conditional mean. With the bundled net their error is smaller than that of random samples.
    """

    num_inference_steps: int = 10
    eta: float = 0.0
    deterministic: bool = True


def make_scheduler() -> DDIMScheduler:
    """Return the noise schedule that the net is trained with. Its highest level is pure noise."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", clip_sample=False,
    )  # fmt: skip


def predict(net: UNet2DModel, noisy: Tensor, features: Tensor, received: Tensor, t: Tensor) -> Tensor:
    """Return the net's prediction of the velocity v, [B,C,h,w].

    Args:
        net: net with 3C input channels and C output channels.
        noisy: noisy features, [B,C,h,w], h and w multiples of GRID_STEP.
        features: received features, [B,C,h,w]; values where `received` is 0 are ignored.
        received: float [B,C,h,w], 1 where a feature was received, 0 elsewhere.
        t: diffusion timestep of each frame, [B].
    """
    v: Tensor = net(torch.cat([noisy, features * received, received], dim=1), t, return_dict=False)[0]
    return v


def impute(
    net: UNet2DModel,
    features: Tensor,
    received: Tensor,
    settings: ImputerSettings,
    generators: Sequence[torch.Generator],
) -> Iterator[Tensor]:
    """Yield the estimate of the features, float32 [B,C,h,w], after each step. The last one is the result.

    Received features are unchanged in every estimate.

    Args:
        net: net with 3C input channels and C output channels.
        features: float32 [B,C,h,w]; the values of erased features are ignored.
        received: bool [B,C,h,w], True where a feature was received.
        settings: settings for all B frames.
        generators: B generators on the CPU, one for each frame, so that the noise of a frame does not depend on the
            other frames of the batch.
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
        step_noise = _draw(y, generators) if eta > 0 else None
        step = scheduler.step(predict(net, noisy, y, mask, steps), int(t), noisy, eta=eta, variance_noise=step_noise)
        noisy = step.prev_sample
        estimate = step.pred_original_sample[:, :, :height, :width]
        yield torch.where(received, features, estimate)


def _draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return standard normal noise. It is drawn in float64, which gives the same numbers on every CPU."""
    shape = like.shape[1:]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.stack(drawn).to(like)
