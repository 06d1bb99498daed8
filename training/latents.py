"""Latents of the training pictures, made once for each autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gocom.common.image_files import Sample
from gocom.common.nets.vae import Vae
from gocom.training.encoded import cached


def cached_latents(vae: Vae, samples: Sequence[Sample], work_dir: Path, device: torch.device) -> list[Tensor]:
    """One float16 latent [C, h, w] a sample, half of them of the mirrored picture."""
    return cached(vae, lambda x: vae.encode(x)[0].half(), samples, work_dir, device, "latents")
