"""Prompts for the text encoders of pretrained diffusion models, which are those of CLIP (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


def prompt_ids(
    prompts: Sequence[str], tokenizer: CLIPTokenizer, encoder: CLIPTextModel | CLIPTextModelWithProjection
) -> Tensor:
    """Return the word pieces of B prompts, int64 [B,T], on the encoder's device.

    The diffusion models were trained on prompts that are all of the length T, the largest that the encoder knows: cut,
    or padded without a mask.
    """
    length = encoder.config.max_position_embeddings
    ids = tokenizer(list(prompts), padding="max_length", truncation=True, max_length=length).input_ids
    return torch.tensor(ids, device=encoder.device)
