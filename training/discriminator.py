"""Discriminators of patches: what makes a decoder draw edges and texture where L1 and MSE leave a mean.

Hinge loss (Lim and Ye 2017; Miyato et al. 2018, whose spectral norm keeps it tame) over the positions of two
convolutional nets (Isola et al. 2017). One sees pixels unshuffled by 2 and looks at patches of about 40 px. The other
is narrow, sees full resolution and looks at 12 px: a lattice that a pixel shuffle leaves is plain to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (48, 96, 192)
NARROW = (24, 48)
SLOPE = 0.2


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    conv: nn.Module = spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2))
    return conv


def coarse_discriminator() -> nn.Sequential:
    """[B, 3, H, W] in [-1, 1] -> a score for each of about H/16 x W/16 patches [B, 1, h, w]."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
    for inputs, outputs in zip((12, *WIDTHS), WIDTHS, strict=False):
        layers += [_conv(inputs, outputs, 4, 2), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, _conv(WIDTHS[-1], 1, 3))


def fine_discriminator() -> nn.Sequential:
    """[B, 3, H, W] in [-1, 1] -> a score for each of about H/2 x W/2 patches [B, 1, h, w]."""
    first, second = NARROW
    return nn.Sequential(
        _conv(3, first, 3), nn.LeakyReLU(SLOPE), _conv(first, second, 4, 2), nn.LeakyReLU(SLOPE), _conv(second, 1, 3)
    )


class Adversary:
    """Both discriminators and their optimizer: pictures that were made against photos.

    Args:
        device: of the nets.
        learning_rate: of the discriminators.
    """

    def __init__(self, device: torch.device, learning_rate: float = 4e-4) -> None:
        self.nets = nn.ModuleList([coarse_discriminator(), fine_discriminator()])
        self.nets.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.nets.parameters(), lr=learning_rate, betas=(0.5, 0.95))

    def fooled(self, x_hat: Tensor) -> Tensor:
        """What the decoder minimises: minus the mean score of pictures float32 [B, 3, H, W] in [0, 1]."""
        self.nets.requires_grad_(False)
        return torch.stack([-net(2 * x_hat - 1).mean() for net in self.nets]).mean()

    def learn(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """One step of the discriminators; their mean hinge loss before it, 1 where they know nothing."""
        self.nets.requires_grad_(True)
        losses = []
        for net in self.nets:
            made, real = net(2 * x_hat.detach() - 1), net(2 * x - 1)
            losses.append(0.5 * ((1 + made).relu().mean() + (1 - real).relu().mean()))
        loss = torch.stack(losses).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"nets": self.nets.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.nets.load_state_dict(state["nets"])
        self.optimizer.load_state_dict(state["optimizer"])
