"""Conditional DDIM sampling of a latent with erased elements (Generative Feature Imputing, section III.B).

The net sees the noisy features, the received features and which ones were received. Before each step, the received
features replace their noisy counterparts, with the noise of that step. In the result they are unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.nets.net_interfaces import Imputer
from gocom.common.samplers.imputer_settings import ImputerSettings


def impute(
    imputer: Imputer,
    features: Tensor,
    received: Tensor,
    settings: ImputerSettings,
    generators: Sequence[torch.Generator],
) -> Iterator[Tensor]:
    """Yield the estimate of the features, float32 [B,C,h,w], after each step. The last one is the result.

    Received features are unchanged in every estimate.

    Args:
        imputer: the net.
        features: float32 [B,C,h,w]; the values of erased features are ignored.
        received: bool [B,C,h,w], True where a feature was received.
        settings: settings for all B frames.
        generators: B generators on the CPU, one for each frame, so that the noise of a frame does not depend on the
            other frames of the batch.
    """
    height, width = features.shape[2:]
    known = received.to(features.dtype)
    step = imputer.grid_step
    pad = (0, -width % step, 0, -height % step)
    y, mask = F.pad(features * known, pad, mode="replicate"), F.pad(known, pad, mode="replicate")
    scheduler = imputer.scheduler()
    scheduler.set_timesteps(settings.num_inference_steps)
    noise = torch.zeros_like(y) if settings.deterministic else _draw(y, generators)
    eta, noisy = 0.0 if settings.deterministic else settings.eta, noise
    for t in scheduler.timesteps:
        steps = t.expand(len(y)).to(y.device)
        noisy = torch.where(mask > 0, scheduler.add_noise(y, noise, steps), noisy)
        step_noise = _draw(y, generators) if eta > 0 else None
        predicted = imputer.predict(noisy, y, mask, steps)
        found = scheduler.step(predicted, int(t), noisy, eta=eta, variance_noise=step_noise)
        noisy = found.prev_sample
        estimate = found.pred_original_sample[:, :, :height, :width]
        yield torch.where(received, features, estimate)


def _draw(like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Return standard normal noise. It is drawn in float64, which gives the same numbers on every CPU."""
    shape = like.shape[1:]
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.stack(drawn).to(like)
