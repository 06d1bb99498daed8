"""Recipe: the VQ tokenizer of lami_go (common/nets/vq_tokenizer.py).

    python -m gocom.training.vq_tokenizer --data TARS --held-out eval/kodak --minutes 40

The first tenth of the budget trains a plain autoencoder; then k-means over its latents seeds the codebook, which
follows the encoder by exponential averages (decay 0.99). Codewords whose average count falls under a floor are
re-seeded with latents of the current batch. Loss: L1 + 2 MSE + 0.25 commitment.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, train
from gocom.training.pictures import Pictures, psnr_db

WARMUP_SHARE = 0.08
DECAY = 0.99
FLOOR = 0.03


class VQTokenizerRecipe:
    """Crops in, reconstruction out."""

    name = "vq_tokenizer"

    def __init__(self, data: Path, held_out: Path, batch: int, crop_px: int, device: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = torch.device(device)
        self.model = VQTokenizer().to(self.device, memory_format=torch.channels_last)
        self.pictures = Pictures(data, held_out, batch, crop_px, self.device, seed)
        size = self.model.codebook.shape[0]
        self.counts = torch.full((size,), FLOOR, device=self.device)
        self.sums = self.model.codebook.clone() * FLOOR
        self.seeded = False
        self.latest: tuple[Tensor, Tensor] | None = None

    def loss(self, progress: float) -> dict[str, Tensor]:
        x = self.pictures.draw()
        quantize = progress >= WARMUP_SHARE
        if quantize and not self.seeded:
            self._seed_codebook()
        x_hat, z, tokens = self.model(x, quantize=quantize)
        l1, mse = F.l1_loss(x_hat, x), F.mse_loss(x_hat, x)
        terms = {"loss": l1 + 2 * mse, "l1": l1, "mse": mse}
        if quantize:
            terms["commitment"] = self.model.commitment(z, tokens)
            terms["loss"] = terms["loss"] + 0.25 * terms["commitment"]
            flat = z.detach().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
            self.latest = (flat, tokens.flatten())
        else:  # keep the latent near unit scale, so that distances mean the same at every stage
            terms["loss"] = terms["loss"] + 1e-3 * z.square().mean()
        return terms

    def after_step(self, progress: float) -> None:
        if self.latest is None:
            return
        flat, tokens = self.latest
        size = self.counts.shape[0]
        counts = torch.bincount(tokens, minlength=size).float()
        sums = torch.zeros_like(self.sums).index_add_(0, tokens, flat)
        self.counts.mul_(DECAY).add_(counts, alpha=1 - DECAY)
        self.sums.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        if progress < 0.9:
            self._reseed(flat)
        self.model.codebook.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])

    def resumed(self, progress: float) -> None:
        """The codebook is in the checkpoint; its running averages restart from it."""
        self.seeded = progress >= WARMUP_SHARE
        self.counts.fill_(1.0)
        self.sums.copy_(self.model.codebook)

    def _reseed(self, flat: Tensor) -> None:
        dead = (self.counts < FLOOR).nonzero().flatten()
        if len(dead):
            picks = flat[torch.randint(len(flat), (len(dead),), device=flat.device)]
            self.counts[dead] = 10 * FLOOR
            self.sums[dead] = picks * 10 * FLOOR

    @torch.no_grad()
    def _seed_codebook(self) -> None:
        """Lloyd's k-means (12 rounds) over the latents of about 25,000 patches."""
        self.seeded = True
        latents = [self.model.encode_latent(self.pictures.draw(16)) for _ in range(12)]
        flat = torch.cat([z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]) for z in latents])
        size = self.counts.shape[0]
        centres = flat[torch.randperm(len(flat))[:size]].clone()
        for _ in range(12):
            nearest = torch.cdist(flat, centres).argmin(1)
            counts = torch.bincount(nearest, minlength=size).float()
            sums = torch.zeros_like(centres).index_add_(0, nearest, flat)
            centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        self.model.codebook.copy_(centres)
        self.counts.fill_(1.0)
        self.sums.copy_(centres)

    def evaluate(self) -> dict[str, float]:
        psnr, used = [], torch.zeros(self.counts.shape[0], dtype=torch.bool)
        for x in self.pictures.judged():
            tokens, _ = self.model.encode(x)
            used[tokens.flatten().cpu()] = True
            psnr.append(psnr_db(self.model.decode(tokens), x))
        return {"psnr_db": float(np.mean(psnr)), "codebook_used": float(used.float().mean())}

    def save(self, folder: Path) -> None:
        save_half(self.model, folder, keep_float=("codebook",))

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "f8 VQ autoencoder: image to a grid of indices into a shared codebook, and back (lami_go).",
            "architecture": f"K={c.codebook_size}, D={c.codebook_dim}, widths {c.quarter_channels}/{c.eighth_channels}",
            **self.pictures.lines,
            "limits": "trained on L1 + MSE: fine texture is smoothed; few faces and little text in the data",
        }


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 40.0,
    batch: int = 16,
    crop_px: int = 96,
    learning_rate: float = 6e-4,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
) -> None:
    """Train, or go on training, the VQ tokenizer."""
    torch.set_num_threads(threads)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    recipe = VQTokenizerRecipe(data, held_out, batch, crop_px, chosen, seed)
    train(recipe, LoopOptions(minutes=minutes, learning_rate=learning_rate, seed=seed, out_dir=out))


if __name__ == "__main__":
    typer.run(main)
