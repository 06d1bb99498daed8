"""VQ tokenizer: an f8 vector-quantized autoencoder (LaMI-GO eq. 6-10; van den Oord et al. 2017).

    x [B,3,H,W] -> unshuffle/4 -> 1/4 grid -> 1/8 grid -> z [B,D,H/8,W/8] -> nearest codeword -> tokens [B,H/8,W/8]
    tokens -> codebook[tokens] -> 1/8 grid -> 1/4 grid -> shuffle*4 -> narrow head -> x_hat [B,3,H,W]

Almost nothing runs at full resolution, which makes it fast enough for two CPU cores. The codebook is shared knowledge
of transmitter and receiver. Training updates it by exponential moving averages and re-seeds unused codewords.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn import functional as F

from gocom.common.net_geometry import F8_PATCH_PX
from gocom.common.nets.autoencoder import patch_decoder, patch_encoder
from gocom.common.nets.nearest_codeword import nearest_codewords


class VQTokenizer(ModelMixin, ConfigMixin):
    """Autoencoder between images and grids of codebook indices.

    Args:
        codebook_size: number of codewords, K.
        codebook_dim: length of a codeword, D.
        quarter_channels: width of the convolutions on the 1/4 grid.
        eighth_channels: width of the convolutions on the 1/8 grid.
        encoder_blocks: residual blocks (1/4 grid, 1/8 grid) in the encoder.
        decoder_blocks: residual blocks (1/8 grid, 1/4 grid) in the decoder.
        full_channels: channels of the decoder at full resolution beside the picture's three; 0: none, as before it had
            a head there.
    """

    patch_px = F8_PATCH_PX
    codebook: Tensor

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 1024,
        codebook_dim: int = 16,
        quarter_channels: int = 96,
        eighth_channels: int = 192,
        encoder_blocks: tuple[int, int] = (1, 2),
        decoder_blocks: tuple[int, int] = (4, 2),
        full_channels: int = 0,
    ) -> None:
        super().__init__()
        self.encoder = patch_encoder(codebook_dim, quarter_channels, eighth_channels, encoder_blocks)
        self.decoder = patch_decoder(codebook_dim, quarter_channels, eighth_channels, decoder_blocks, full_channels)
        self.register_buffer("codebook", torch.randn(codebook_size, codebook_dim))

    def encode_latent(self, x: Tensor) -> Tensor:
        """Return the latent z, [B,D,H/8,W/8], before quantization, of x, [B,3,H,W] in [0,1], sides multiples of 8."""
        z: Tensor = self.encoder(x * 2 - 1)
        return z

    def nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest codewords (eq. 9) of z, [B,D,h,w].

        Returns:
            (tokens int64 [B,h,w], distances of z to their codewords float32 [B,h,w]); eq. 16 uses the distances.
        """
        return nearest_codewords(z, self.codebook)

    def codewords(self, tokens: Tensor) -> Tensor:
        """Return the codewords, [B,D,h,w], of tokens, int64 [B,h,w]."""
        return self.codebook[tokens].permute(0, 3, 1, 2).contiguous()

    def decode_latent(self, z_hat: Tensor) -> Tensor:
        """Return the image x_hat, [B,3,8h,8w], not clamped, of codewords z_hat, [B,D,h,w]."""
        x_hat: Tensor = self.decoder(z_hat)
        return (x_hat + 1) / 2

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (tokens int64, distances to their codewords float32), both [B,H/8,W/8], of x, [B,3,H,W] in [0,1]."""
        return self.nearest(self.encode_latent(x))

    def decode(self, tokens: Tensor) -> Tensor:
        """Return the image x_hat, [B,3,8h,8w] in [0,1], of tokens, int64 [B,h,w]."""
        return self.decode_latent(self.codewords(tokens)).clamp(0, 1)

    def forward(self, x: Tensor, quantize: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Return (x_hat, z, tokens) for training, with the straight-through gradient of the quantizer.

        If `quantize` is False, x_hat decodes z itself.
        """
        z = self.encode_latent(x)
        tokens, _ = self.nearest(z.detach())
        if not quantize:
            return self.decode_latent(z), z, tokens
        z_hat = z + (self.codewords(tokens) - z).detach()
        return self.decode_latent(z_hat), z, tokens

    def commitment(self, z: Tensor, tokens: Tensor) -> Tensor:
        """Return the commitment loss, the mean squared error between z and its codewords; it keeps z near them."""
        return F.mse_loss(z, self.codewords(tokens))
