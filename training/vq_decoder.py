"""Recipe: sharpen the decoder of a trained vq_tokenizer; encoder and codebook stay as they are.

    python -m gocom.training.vq_decoder --start-from models/vq_tokenizer --data TARS --held-out eval/kodak --minutes 20

Tokens do not change, so neither do token_denoiser nor the entropy tables. Loss: L1 + 2 MSE, plus a perceptual term
(training/perceptual.py) and an L1 on pixel differences, which is what a lattice at the patch borders raises. The
decoder gets one more residual block on the 1/4 grid, which starts as the identity.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from gocom.common.nets.classifier import Classifier
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, train
from gocom.training.perceptual import PerceptualDistance
from gocom.training.pictures import Pictures, blockiness, feature_distance, psnr_db, reconstruction_terms


def with_more_blocks(old: VQTokenizer, blocks: int) -> VQTokenizer:
    """The same net with so many residual blocks on the decoder's 1/4 grid; new ones begin as the identity."""
    first, have = old.config.decoder_blocks
    if blocks <= have:
        return old
    config = {k: v for k, v in old.config.items() if not k.startswith("_")}
    new = VQTokenizer(**(config | {"decoder_blocks": (first, blocks)}))
    missing, unexpected = new.load_state_dict(old.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("decoder.4.") for name in missing), (missing, unexpected)
    return new


class VQDecoderRecipe:
    """Crops in, reconstruction out; only the decoder learns."""

    name = "vq_decoder"

    def __init__(
        self,
        start_from: Path,
        data: Path,
        held_out: Path,
        batch: int,
        crop_px: int,
        device: str,
        seed: int,
        perceptual: float,
        gradient: float,
        blocks: int,
    ) -> None:
        torch.manual_seed(seed)
        self.device = resolve_device(device)
        old = load_net(VQTokenizer, start_from, torch.device("cpu"))
        self.model = with_more_blocks(old, blocks).to(self.device, memory_format=torch.channels_last)
        self.model.encoder.requires_grad_(False)
        self.perceptual, self.gradient = perceptual, gradient
        self.distance = PerceptualDistance(self.device)
        self.judge = Classifier("lite2", str(self.device))
        self.pictures = Pictures(data, held_out, batch, crop_px, self.device, seed)
        self.before = self.evaluate()

    def loss(self, progress: float) -> dict[str, Tensor]:
        x = self.pictures.draw()
        with torch.no_grad():
            words = self.model.codewords(self.model.encode(x)[0])
        x_hat = self.model.decode_latent(words)
        return reconstruction_terms(x_hat, x, self.gradient, self.perceptual, self.distance)

    def resumed(self, progress: float) -> None:
        """Nothing to restore."""

    def after_step(self, progress: float) -> None:
        """Nothing to do."""

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        psnr, border, distance, used = [], [], [], torch.zeros(len(self.model.codebook), dtype=torch.bool)
        for x in self.pictures.judged():
            tokens, _ = self.model.encode(x)
            used[tokens.flatten().cpu()] = True
            x_hat = self.model.decode(tokens)
            psnr.append(psnr_db(x_hat, x))
            border.append(blockiness(x_hat) / blockiness(x))
            distance.append(feature_distance(self.judge, x_hat, x))
        return {
            "psnr_db": float(np.mean(psnr)),
            "feature_distance": float(np.mean(distance)),
            "blockiness": float(np.mean(border)),
            "codebook_used": float(used.float().mean()),
        }

    def save(self, folder: Path) -> None:
        save_half(self.model, folder, keep_float=("codebook",))

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "f8 VQ autoencoder: image to a grid of indices into a shared codebook, and back (lami_go).",
            "architecture": f"K={c.codebook_size}, D={c.codebook_dim}, widths {c.quarter_channels}/"
            f"{c.eighth_channels}, blocks {c.encoder_blocks} and {c.decoder_blocks}",
            "stages": "encoder, codebook and a first decoder by training/vq_tokenizer.py (L1 + MSE, 45 min, 24.2 dB), "
            "then this: the decoder alone by training/vq_decoder.py; minutes and steps are of this stage",
            "loss": f"L1 + 2 MSE + {self.perceptual:g} perceptual (EfficientNet-lite0) + {self.gradient:g} gradient L1",
            **self.pictures.lines,
            "metrics": "feature_distance is 1 - cosine of EfficientNet-lite2 features, blockiness the steps at patch "
            "borders relative to the photo's",
            "before this stage": ", ".join(f"{k} {v:.4g}" for k, v in self.before.items()),
            "limits": "10 bits for 64 pixels: fine texture is smoothed; few faces and little text in the data",
        }


def main(
    start_from: Annotated[Path, typer.Option(help="folder of the trained vq_tokenizer")],
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 20.0,
    batch: int = 12,
    crop_px: int = 96,
    learning_rate: float = 3e-4,
    perceptual: Annotated[float, typer.Option(help="weight of the perceptual term")] = 0.03,
    gradient: Annotated[float, typer.Option(help="weight of the gradient term")] = 0.5,
    blocks: Annotated[int, typer.Option(help="residual blocks on the decoder's 1/4 grid")] = 3,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the decoder."""
    torch.set_num_threads(threads)
    recipe = VQDecoderRecipe(start_from, data, held_out, batch, crop_px, device, seed, perceptual, gradient, blocks)
    options = LoopOptions(minutes=minutes, learning_rate=learning_rate, seed=seed, out_dir=out, work_dir=work_dir)
    train(recipe, options)


if __name__ == "__main__":
    typer.run(main)
