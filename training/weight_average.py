"""The exponential average of a net's weights: what is judged and kept where a run's last steps are noisy."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

DECAY = 0.999
Tensors = list[Tensor] | tuple[Tensor, ...]


def averaged(model: nn.Module, decay: float = DECAY) -> AveragedModel:
    """Begins as the model itself; the first updates count for more, so that a short run is not its own beginning."""

    def update(kept: Tensors, current: Tensors, count: Tensor | int) -> None:
        steps = int(count)
        torch._foreach_lerp_(kept, current, 1 - min(decay, (1 + steps) / (10 + steps)))

    return AveragedModel(model, multi_avg_fn=update)
