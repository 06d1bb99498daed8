"""Vector quantization: the codeword nearest to each position of a latent (LaMI-GO eq. 9)."""

from __future__ import annotations

from torch import Tensor


def nearest_codewords(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest codeword of each position of a latent.

    Args:
        z: float32 [B,D,h,w].
        codebook: float32 [K,D].

    Returns:
        (tokens int64 [B,h,w], distances of z to their codewords float32 [B,h,w]); eq. 16 uses the distances.
    """
    flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
    squared = flat.square().sum(1, keepdim=True) - 2 * flat @ codebook.T + codebook.square().sum(1)
    best, tokens = squared.min(dim=1)
    shape = (z.shape[0], z.shape[2], z.shape[3])
    return tokens.view(shape), best.clamp_min(0).sqrt().view(shape)
