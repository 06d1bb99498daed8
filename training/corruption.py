"""Token grids much as a receiver's sampler meets them, made from whole ones.

A frame's positions are received (right for certain) or unknown. Before the first step every unknown token is random;
later most are guesses, many of them right. So a share of the positions is unknown, and of those a share is replaced:
all of them half of the time. t says what share of the grid is really replaced, as Paella's noise level does. (The
sampler's t agrees at its first step; later it falls by schedule, whatever share of the guesses is right.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK_SHARE, ALL_REPLACED, NOT_SAID, FROM_PICTURE = 1 / 3, 0.5, 0.3, 0.3


def corrupt(tokens: Tensor, codebook_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Replace tokens of windows int64 [B, h, w].

    A third of the windows lose a rectangle, which is what loss without an interleaver looks like; the others lose
    positions at random. Replacements are random codewords or, for 30 % of the windows, tokens from elsewhere in the
    same window: wrong, but plausible, as guesses are. The trusted channel is zero for 30 % of the windows.

    Returns:
        noisy int64 [B, h, w], replaced bool [B, h, w], trusted float32 [B, h, w], t float32 [B].
    """
    batch, height, width = tokens.shape
    device = tokens.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).to(device)

    share = uniform(batch).clamp(0.05, 1) ** 1.5  # more of what links really lose
    unknown = uniform(batch, height, width) < share[:, None, None]
    block = uniform(batch) < BLOCK_SHARE
    unknown = torch.where(block[:, None, None], rectangles(batch, height, width, uniform), unknown)
    wrong = torch.where(uniform(batch) < ALL_REPLACED, torch.ones(batch, device=device), uniform(batch))
    replaced = unknown & (uniform(batch, height, width) < wrong[:, None, None])
    replaced |= unknown & ~replaced.flatten(1).any(1)[:, None, None]
    t = replaced.flatten(1).float().mean(1)
    random = torch.randint(codebook_size, tokens.shape, generator=generator).to(device)
    elsewhere = tokens.flatten(1)[:, torch.randperm(height * width, generator=generator).to(device)].view_as(tokens)
    plausible = (uniform(batch) < FROM_PICTURE)[:, None, None]
    noisy = torch.where(replaced, torch.where(plausible, elsewhere, random), tokens)
    said = (uniform(batch) >= NOT_SAID)[:, None, None]
    return noisy, replaced, (said & ~unknown).float(), t


def rectangles(batch: int, height: int, width: int, uniform: Callable[..., Tensor]) -> Tensor:
    """bool [B, h, w], True inside one random rectangle a window, its sides from 2 to two less than the window's."""
    sides = []
    for length in (height, width):
        extent = (2 + uniform(batch) * (length - 3)).long()
        start = (uniform(batch) * (length - extent + 1)).long()
        at = torch.arange(length, device=start.device)
        sides.append((at >= start[:, None]) & (at < (start + extent)[:, None]))
    rows, columns = sides
    return rows[:, :, None] & columns[:, None, :]
