"""Training pictures as an autoencoder encodes them, made once for each encoder and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gocom.common.image_files import Sample, to_float
from gocom.common.net_geometry import F8_PATCH_PX

Encode = Callable[[Tensor], Tensor]
"""A picture float32 [1,3,H,W] in [0,1], sides multiples of 8 -> what is kept of it."""


def encode_all(
    encode: Encode, samples: Sequence[Sample], rng: np.random.Generator, device: torch.device, name: str
) -> list[Tensor]:
    """What the encoder says of each sample, of half of them mirrored."""
    kept = []
    for sample in tqdm(samples, desc=name, unit="img", mininterval=10):
        pixels = sample.pixels[:, ::-1] if rng.random() < 0.5 else sample.pixels
        sizes = [side // F8_PATCH_PX * F8_PATCH_PX for side in pixels.shape[:2]]
        top, left = (int(rng.integers(s - k + 1)) for s, k in zip(pixels.shape[:2], sizes, strict=True))
        x = torch.from_numpy(to_float(pixels[top : top + sizes[0], left : left + sizes[1]])).to(device)[None]
        with torch.inference_mode():
            kept.append(encode(x).cpu())
    return kept


def cached(
    net: nn.Module, encode: Encode, samples: Sequence[Sample], work_dir: Path, device: torch.device, name: str
) -> list[Tensor]:
    """`encode_all` from `work_dir`, made there when missing; told apart by the net (but its decoder) and samples."""
    digest = sha256()
    for entry, value in sorted(net.state_dict().items()):
        if not entry.startswith("decoder."):
            digest.update(value.float().cpu().numpy().tobytes())
    digest.update(repr([(sample.key, sample.pixels.shape) for sample in samples]).encode())
    cache = work_dir / f"{name}-{digest.hexdigest()[:12]}.pt"
    if cache.exists():
        found: list[Tensor] = torch.load(cache, weights_only=True)
        return found
    kept = encode_all(encode, samples, np.random.default_rng(0), device, name)
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save(kept, cache)
    return kept
