"""Recipe: the variational autoencoder of feature_imputing (common/nets/vae.py).

    python -m gocom.training.vae --data TARS --held-out eval/kodak --minutes 45 --start-from models/vq_tokenizer

Loss: L1 + 2 MSE + an L1 on pixel differences + 0.001 KL (Kingma & Welling 2014), and from the middle of the run on the
perceptual term. Begun from a vq_tokenizer, its latent is projected on its principal components: the convolutions are
kept, and so is most of what that net has learned.

    python -m gocom.training.vae --data TARS --held-out eval/kodak --minutes 45 --start-from models/vae --decoder-only

sharpens the decoder of a trained one, with the perceptual term from the start. Latents and their scale do not change,
so neither do feature_quantizer nor feature_imputer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from gocom.common.errors import InvalidInput
from gocom.common.nets.classifier import Classifier
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, train
from gocom.training.perceptual import PerceptualDistance
from gocom.training.pictures import Pictures, blockiness, feature_distance, psnr_db, reconstruction_terms

KL_WEIGHT = 1e-3
"""Noise of about 0.04 of the latent's own deviation: a step of a 7-bit quantizer."""
FIRST_LOG_VARIANCE = -6.0
PERCEPTUAL_FROM = 0.5
SCALE_BATCHES = 40


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """From N(mean, variance) to N(0, 1), nats an element."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


def principal(latents: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """(mean [D], directions [count, D], deviations [count]) of latents [N, D], largest first."""
    mean = latents.mean(0)
    _, singular, directions = torch.linalg.svd(latents - mean, full_matrices=False)
    return mean, directions[:count], singular[:count] / (len(latents) - 1) ** 0.5


@torch.no_grad()
def begin_from(model: Vae, old: VQTokenizer, latents: Tensor) -> None:
    """Take a tokenizer's weights; its latents [N, D] become their first C principal components at unit variance."""
    mean, directions, deviations = principal(latents, model.config.latent_channels)
    to_new, to_old = directions / deviations[:, None], directions.T * deviations
    state = {k: v for k, v in old.state_dict().items() if k != "codebook" and model.state_dict()[k].shape == v.shape}
    model.load_state_dict(state, strict=False)  # blocks that the tokenizer lacks begin as the identity
    last, last_old = _conv(model.encoder[6]), _conv(old.encoder[6])
    count = len(directions)
    last.weight[:count] = torch.einsum("cd,dihw->cihw", to_new, last_old.weight)
    last.bias[:count] = to_new @ (last_old.bias - mean)
    first, first_old = _conv(model.decoder[0]), _conv(old.decoder[0])
    first.weight.copy_(torch.einsum("odhw,dc->ochw", first_old.weight, to_old))
    first.bias.copy_(first_old.bias + first_old.weight.sum((2, 3)) @ mean)


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


class VaeRecipe:
    """Crops in, reconstruction out; with `decoder_only` a run of its own, which resumes no other's checkpoint."""

    def __init__(
        self,
        data: Path,
        held_out: Path,
        batch: int,
        crop_px: int,
        device: str,
        seed: int,
        latent_channels: int = 8,
        perceptual: float = 0.03,
        gradient: float = 0.5,
        start_from: Path | None = None,
        decoder_only: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        self.decoder_only = decoder_only
        self.name = "vae_decoder" if decoder_only else "vae"
        self.device = resolve_device(device)
        self.perceptual, self.gradient, self.start_from = perceptual, gradient, start_from
        self.pictures = Pictures(data, held_out, batch, crop_px, self.device, seed)
        self.distance, self.judge = PerceptualDistance(self.device), Classifier("lite2", str(self.device))
        self.model = self._new(latent_channels).to(self.device, memory_format=torch.channels_last)
        self.model.encoder.requires_grad_(not decoder_only)

    def _new(self, latent_channels: int) -> Vae:
        """Small noise at first; the weights of another vae or of a tokenizer, where they are given."""
        if self.start_from is not None and Vae.load_config(self.start_from)["_class_name"] == Vae.__name__:
            return load_net(Vae, self.start_from, self.device)
        if self.decoder_only:
            raise InvalidInput("start-from: --decoder-only needs the folder of a trained vae")
        model = Vae(latent_channels=latent_channels)
        last = _conv(model.encoder[6])
        with torch.no_grad():
            last.weight[latent_channels:] = 0
            last.bias[latent_channels:] = FIRST_LOG_VARIANCE
        if self.start_from is not None:
            old = load_net(VQTokenizer, self.start_from, self.device)
            with torch.inference_mode():
                z = torch.cat([old.encode_latent(self.pictures.draw()) for _ in range(20)])
            begin_from(model, old.cpu(), z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]).cpu().clone())
        return model

    def loss(self, progress: float) -> dict[str, Tensor]:
        x = self.pictures.draw()
        x_hat, mean, log_variance = self.model(x)
        perceptual = self.perceptual if self.decoder_only or progress >= PERCEPTUAL_FROM else 0.0
        terms = reconstruction_terms(x_hat, x, self.gradient, perceptual, self.distance)
        kl = kl_divergence(mean, log_variance)
        return terms | {"kl": kl, "loss": terms["loss"] + KL_WEIGHT * kl}

    def after_step(self, progress: float) -> None:
        """Nothing to do."""

    def resumed(self, progress: float) -> None:
        """Nothing to restore."""

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        found: dict[str, list[float]] = {}
        for x in self.pictures.judged():
            mean, log_variance = self.model.posterior(x)
            x_hat = self.model.decode_latent(mean).clamp(0, 1)
            values = {
                "psnr_db": psnr_db(x_hat, x),
                "feature_distance": feature_distance(self.judge, x_hat, x),
                "blockiness": blockiness(x_hat) / blockiness(x),
                "colour_shift": float((x_hat - x).mean((2, 3)).abs().mean()),
                "noise": float((0.5 * log_variance).exp().mean() / mean.std()),
            }
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    @torch.inference_mode()
    def save(self, folder: Path) -> None:
        """With the latent's scale over training crops."""
        if not self.decoder_only:
            self._measure_scale()
        save_half(self.model, folder, keep_float=("latent_mean", "latent_std"))

    def _measure_scale(self) -> None:
        means = [self.model.posterior(self.pictures.draw())[0] for _ in range(SCALE_BATCHES)]
        std, mean = torch.std_mean(torch.cat(means), dim=(0, 2, 3))
        self.model.latent_mean.copy_(mean)
        self.model.latent_std.copy_(std)

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "f8 variational autoencoder: image to a latent of unit variance, and back (feature_imputing).",
            "architecture": f"{c.latent_channels} latent channels, widths {c.quarter_channels}/{c.eighth_channels}, "
            f"blocks {c.encoder_blocks} and {c.decoder_blocks}",
            "began with": "random weights" if self.start_from is None else f"the weights of {self.start_from.name}",
            "trained": "the decoder alone" if self.decoder_only else "all of it",
            "loss": f"L1 + 2 MSE + {self.gradient:g} gradient L1 + {KL_WEIGHT:g} KL + {self.perceptual:g} perceptual "
            f"(EfficientNet-lite0{'' if self.decoder_only else ', from the middle on'})",
            **self.pictures.lines,
            "metrics": "feature_distance is 1 - cosine of EfficientNet-lite2 features; blockiness the steps at patch "
            "borders relative to the photo's; colour_shift the error of a picture's mean colour; noise that of the "
            "posterior, in deviations of the latent",
            "limits": "few steps for an autoencoder; few faces and little text in the data",
        }


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 45.0,
    batch: int = 16,
    crop_px: int = 96,
    learning_rate: float = 5e-4,
    latent_channels: int = 8,
    perceptual: Annotated[float, typer.Option(help="weight of the perceptual term")] = 0.03,
    gradient: Annotated[float, typer.Option(help="weight of the gradient term")] = 0.5,
    start_from: Annotated[Path | None, typer.Option(help="folder of a vae or a vq_tokenizer to begin with")] = None,
    decoder_only: Annotated[bool, typer.Option("--decoder-only", help="leave encoder and latents as they are")] = False,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the autoencoder."""
    torch.set_num_threads(threads)
    recipe = VaeRecipe(
        data, held_out, batch, crop_px, device, seed, latent_channels, perceptual, gradient, start_from, decoder_only
    )  # fmt: skip
    options = LoopOptions(minutes=minutes, learning_rate=learning_rate, seed=seed, out_dir=out, work_dir=work_dir)
    train(recipe, options)


if __name__ == "__main__":
    typer.run(main)
