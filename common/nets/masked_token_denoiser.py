"""The denoiser of aMUSEd (Patil et al. 2024) with its text encoder: it predicts the tokens that a mask token hides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from diffusers.models.unets.uvit_2d import UVit2DModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from gocom.common.nets.clip_prompts import prompt_ids
from gocom.common.nets.net_interfaces import Denoise

CACHED_CAPTIONS = 256
AESTHETIC_SCORE = 6
"""What the pipeline of aMUSEd tells the net about the picture's beauty, on LAION's scale of 1 to 10."""


class MaskedTokenDenoiser:
    """CaptionedDenoiser on a UVit2DModel.

    Our denoiser learned to correct random tokens; this one learned to fill in masked ones (MaskGIT, Chang et al. 2022).
    So noise is its mask token, whose index is the last of its vocabulary, and positions without it are taken as right:
    it needs neither the noise level nor a channel that says what is known. Its "no text" is the empty prompt. Beside
    the text it is told the size of the picture, that nothing was cropped from it, and a score of its beauty, as in its
    training.

    Args:
        net: the denoiser. It may be of half precision.
        text_encoder: its text encoder.
        tokenizer: the tokenizer of its text encoder.
        patch_px: side in pixels of the patch that a token stands for.
    """

    def __init__(
        self, net: UVit2DModel, text_encoder: CLIPTextModelWithProjection, tokenizer: CLIPTokenizer, patch_px: int
    ) -> None:
        self.net, self.patch_px = net, patch_px
        self.noise_token: int = net.config.vocab_size - 1
        self.dtype: torch.dtype = net.dtype

        @torch.inference_mode()
        def encode(prompt: str) -> tuple[Tensor, Tensor]:
            ids = prompt_ids([prompt], tokenizer, text_encoder)
            found = text_encoder(ids, output_hidden_states=True)
            return found.hidden_states[-2][0], found.text_embeds[0]

        self._encode_prompt = lru_cache(maxsize=CACHED_CAPTIONS)(encode)

    def bind(self, captions: Sequence[str | None], known: Tensor) -> tuple[Denoise, Denoise | None]:
        """Return the denoisers of B grids with and without their captions; see `CaptionedDenoiser`."""
        conditional = self._with([caption or "" for caption in captions], known.shape)
        return conditional, self._with([""] * len(captions), known.shape) if any(captions) else None

    def _with(self, prompts: Sequence[str], shape: Sequence[int]) -> Denoise:
        """Return the denoiser with one prompt for each of B grids.

        Args:
            prompts: B texts.
            shape: (B, h, w).
        """
        hidden, pooled = (torch.stack(parts) for parts in zip(*map(self._encode_prompt, prompts), strict=True))
        height_px, width_px = (side * self.patch_px for side in shape[1:])
        size = torch.tensor([width_px, height_px, 0, 0, AESTHETIC_SCORE], dtype=self.dtype, device=hidden.device)
        conditions = size.expand(shape[0], -1)

        def denoise(tokens: Tensor, t: Tensor) -> Tensor:
            logits: Tensor = self.net(tokens, hidden.to(self.dtype), pooled.to(self.dtype), conditions)
            return logits.float()

        return denoise
