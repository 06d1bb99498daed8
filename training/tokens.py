"""Token grids of the training pictures, made once for each tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.images import Sample, to_float
from common.nets.autoencoder import PATCH_PX
from common.nets.vq_tokenizer import VQTokenizer


def tokenise(
    tokenizer: VQTokenizer, samples: Sequence[Sample], rng: np.random.Generator, device: torch.device
) -> list[Tensor]:
    """One int16 token grid a sample, half of them of the mirrored picture."""
    grids = []
    for sample in tqdm(samples, desc="tokens", unit="img", mininterval=10):
        pixels = sample.pixels[:, ::-1] if rng.random() < 0.5 else sample.pixels
        sizes = [side // PATCH_PX * PATCH_PX for side in pixels.shape[:2]]
        top, left = (int(rng.integers(s - k + 1)) for s, k in zip(pixels.shape[:2], sizes, strict=True))
        x = torch.from_numpy(to_float(pixels[top : top + sizes[0], left : left + sizes[1]])).to(device)[None]
        with torch.inference_mode():
            grids.append(tokenizer.encode(x)[0][0].to(torch.int16).cpu())
    return grids


def cached_tokens(
    tokenizer: VQTokenizer, samples: Sequence[Sample], work_dir: Path, device: torch.device
) -> list[Tensor]:
    """Grids of the samples from `work_dir`, made there when missing; told apart by encoder, codebook and samples."""
    digest = sha256()
    for name, value in sorted(tokenizer.state_dict().items()):
        if not name.startswith("decoder."):
            digest.update(value.float().cpu().numpy().tobytes())
    digest.update(repr([(sample.key, sample.pixels.shape) for sample in samples]).encode())
    cache = work_dir / f"tokens-{digest.hexdigest()[:12]}.pt"
    if cache.exists():
        grids: list[Tensor] = torch.load(cache, weights_only=True)
        return grids
    grids = tokenise(tokenizer, samples, np.random.default_rng(0), device)
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(grids, cache)
    return grids
