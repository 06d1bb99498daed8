"""Token grids of the training pictures, made once for each tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gocom.common.image_files import Sample
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.encoded import Encode, cached


def to_tokens(tokenizer: VQTokenizer) -> Encode:
    """A picture [1,3,H,W] -> its tokens, int16 [h,w]."""
    return lambda x: tokenizer.encode(x)[0][0].to(torch.int16)


def cached_tokens(
    tokenizer: VQTokenizer, samples: Sequence[Sample], work_dir: Path, device: torch.device
) -> list[Tensor]:
    """One int16 token grid a sample, half of them of the mirrored picture."""
    return cached(tokenizer, to_tokens(tokenizer), samples, work_dir, device, "tokens")
