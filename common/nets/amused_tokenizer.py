"""The tokenizer of aMUSEd (Patil et al. 2024): a VQGAN of diffusers whose token stands for a patch of 16x16 pixels."""

from __future__ import annotations

from diffusers.models.autoencoders.vq_model import VQModel
from torch import Tensor

from gocom.common.net_geometry import token_geometry
from gocom.common.nets.nearest_codeword import nearest_codewords


class AmusedTokenizer:
    """ImageTokenizer on a VQModel, used as the pipeline of aMUSEd uses it.

    It differs from ours in that its pictures go from 0 to 1 on both sides of the net, not from -1 to 1, and in that
    diffusers' own quantizer gives tokens without their distances, which EBM masking needs (LaMI-GO eq. 16).

    Args:
        net: net whose config has `lookup_from_codebook`, so that it decodes tokens. It may be of half precision.
    """

    def __init__(self, net: VQModel) -> None:
        self.net = net
        self.codebook = net.quantize.embedding.weight.detach().float()
        _, self.patch_px = token_geometry({"_class_name": "VQModel", **net.config})

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest codewords and the distances to them; see `ImageTokenizer`."""
        z: Tensor = self.net.encode(x.to(self.net.dtype), return_dict=False)[0]
        return nearest_codewords(z.float(), self.codebook)

    def decode(self, tokens: Tensor) -> Tensor:
        """Return the images, float32 [B,3,H,W] in [0,1], of tokens, int64 [B,h,w]."""
        shape = (*tokens.shape, self.codebook.shape[1])
        x_hat: Tensor = self.net.decode(tokens, force_not_quantize=True, shape=shape, return_dict=False)[0]
        return x_hat.float().clamp(0, 1)
