"""The denoiser of ours with its text encoder: a TokenDenoiser, for which noise is uniformly random codewords."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gocom.common.nets.net_interfaces import Denoise
from gocom.common.nets.text_encoder import TextEncoder
from gocom.common.nets.token_denoiser import TokenDenoiser

CACHED_CAPTIONS = 256


class RandomTokenDenoiser:
    """CaptionedDenoiser trained as Paella is. What is known to be right goes to its trusted channel.

    Args:
        net: the denoiser.
        text_encoder: encoder of the captions, on the same device.
    """

    noise_token = None

    def __init__(self, net: TokenDenoiser, text_encoder: TextEncoder) -> None:
        self.net = net
        self.null_text = net.null_text[0]
        # Encoded one by one, because features must not depend on the length of other captions in the batch.
        self._encode_caption = lru_cache(maxsize=CACHED_CAPTIONS)(lambda caption: text_encoder([caption])[0][0])

    def bind(self, captions: Sequence[str | None], known: Tensor) -> tuple[Denoise, Denoise | None]:
        """Return the denoisers of B grids with and without their captions; see `CaptionedDenoiser`."""
        text, text_mask = self.encode_captions(captions)

        def conditional(x: Tensor, t: Tensor) -> Tensor:
            logits: Tensor = self.net(x, t, known, text, text_mask)
            return logits

        def unconditional(x: Tensor, t: Tensor) -> Tensor:
            logits: Tensor = self.net(x, t, known)
            return logits

        return conditional, None if text is None else unconditional

    def encode_captions(self, captions: Sequence[str | None]) -> tuple[Tensor | None, Tensor | None]:
        """Return text features [B,T,384] and mask [B,T]; a frame without a caption gets the net's null text.

        Both are None if no frame has a caption.
        """
        if not any(captions):
            return None, None
        parts = [self._encode_caption(caption) if caption else self.null_text for caption in captions]
        masks = [torch.ones(len(part), dtype=torch.bool, device=part.device) for part in parts]
        return pad_sequence(parts, batch_first=True), pad_sequence(masks, batch_first=True)
