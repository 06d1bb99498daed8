"""Token denoiser: predicts the codeword indices of a grid in which some are random (f_phi of LaMI-GO, eq. 5).

    tokens [B,h,w] -> embedding (+) trusted channel -> UNet2DConditionModel(t, text) -> 1x1 head -> logits [B,K,h,w]

It is trained as Paella is (Rampas, Pernias, Aubreville 2022): with probability t, an index is replaced by a uniformly
random one. The trusted channel marks the positions whose index is known to be right. It is zero in a part of the
training (training/corruption.py), so the net also works without it.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

TEXT_DIM = 384


class TokenDenoiser(ModelMixin, ConfigMixin):
    """Net that gives logits over the codebook for each position of a token grid.

    Args:
        codebook_size: number of codewords, K.
        embedding_dim: channels of the index embedding. The UNet's input has one more, the trusted channel.
        channels: widths of the UNet at 1, 1/2 and 1/4 of the resolution of the token grid.
        head_dim: channels before the 1x1 convolution to K logits.
        layers: residual blocks at each resolution of the downward path; the upward path has one more.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 1024,
        embedding_dim: int = 63,
        channels: tuple[int, int, int] = (80, 112, 144),
        head_dim: int = 128,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codebook_size, embedding_dim)
        self.null_text = nn.Parameter(torch.zeros(1, 1, TEXT_DIM))
        self.unet = UNet2DConditionModel(
            in_channels=embedding_dim + 1,
            out_channels=head_dim,
            block_out_channels=channels,
            down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            layers_per_block=layers,
            norm_num_groups=16,
            attention_head_dim=4,
            cross_attention_dim=TEXT_DIM,
        )
        self.head = nn.Conv2d(head_dim, codebook_size, 1)

    @torch.no_grad()
    def init_from_codebook(self, codebook: Tensor) -> None:
        """Initialise embedding and head with a codebook, [K,D], so that near codewords are alike from the start."""
        words = (codebook - codebook.mean(0)) / codebook.std(0)
        dim = words.shape[1]
        self.embedding.weight.mul_(0.1)
        self.embedding.weight[:, :dim] = words
        self.head.weight[:, :dim, 0, 0] = words / dim**0.5
        assert self.head.bias is not None
        self.head.bias.copy_(-0.5 * words.square().sum(1) / dim**0.5)

    def forward(
        self, tokens: Tensor, t: Tensor, trusted: Tensor, text: Tensor | None = None, text_mask: Tensor | None = None
    ) -> Tensor:
        """Return the logits of the original token of each position.

        Args:
            tokens: int64 [B,h,w]; h and w may be any size and are padded to multiples of 4 internally.
            t: float [B] in [0,1], share of random tokens.
            trusted: float [B,h,w], 1 where the token is known to be right; all zero if nothing is known.
            text: float [B,T,384], features from the text encoder; None: unconditional.
            text_mask: bool [B,T], False for padding.

        Returns:
            float32 [B,K,h,w].
        """
        batch, height, width = tokens.shape
        x = self.embedding(tokens).permute(0, 3, 1, 2)
        x = torch.cat([x, trusted[:, None].to(x.dtype)], dim=1)
        x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        if text is None:
            text, text_mask = self.null_text.expand(batch, 1, TEXT_DIM), None
        hidden = self.unet(
            x, t * 1000, encoder_hidden_states=text, encoder_attention_mask=text_mask, return_dict=False
        )[0]
        logits: Tensor = self.head(hidden[:, :, :height, :width])
        return logits
