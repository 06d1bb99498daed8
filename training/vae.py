"""Recipe: the variational autoencoder of feature_imputing (common/nets/vae.py).

    python -m gocom.training.vae --data TARS --held-out eval/kodak --minutes 45 --start-from models/vq_tokenizer

Loss: the terms of training/terms.py + 0.001 KL (Kingma & Welling 2014). Begun from a vq_tokenizer, its latent is
projected on its principal components: the convolutions are kept, and so is most of what that net has learned.

    python -m gocom.training.vae --data TARS --held-out eval/kodak --minutes 45 --start-from models/vae --decoder-only

sharpens the decoder of a trained one. Latents and their scale do not change, so neither do feature_quantizer nor
feature_imputer.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.nets.loading import load_net
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, train
from gocom.training.picture_recipe import PictureOptions, PictureRecipe, is_a
from gocom.training.terms import Weights

KL_WEIGHT = 1e-3
"""Noise of about 0.04 of the latent's own deviation: a step of a 7-bit quantizer."""
FIRST_LOG_VARIANCE = -6.0
WEIGHTS = Weights(gradient=0.5, perceptual=0.03, perceptual_from=0.5)
SHARPENING = Weights(gradient=0.5, perceptual=0.03)
"""Where the decoder learns alone."""
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
    (weight, bias), (old_weight, old_bias) = _weights(model.encoder[6]), _weights(old.encoder[6])
    count = len(directions)
    weight[:count] = torch.einsum("cd,dihw->cihw", to_new, old_weight)
    bias[:count] = to_new @ (old_bias - mean)
    (weight, bias), (old_weight, old_bias) = _weights(model.decoder[0]), _weights(old.decoder[0])
    weight.copy_(torch.einsum("odhw,dc->ochw", old_weight, to_old))
    bias.copy_(old_bias + old_weight.sum((2, 3)) @ mean)


def _weights(module: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution that has both."""
    assert isinstance(module, nn.Conv2d) and module.bias is not None
    return module.weight, module.bias


class VaeRecipe(PictureRecipe[Vae]):
    """Crops in, reconstruction of a draw of the posterior out."""

    kind = "vae"

    def __init__(
        self, options: PictureOptions, like: PictureRecipe[Vae] | None = None, latent_channels: int = 8
    ) -> None:
        self.latent_channels = latent_channels
        super().__init__(options, like)

    def new_model(self) -> Vae:
        """Small noise at first; the weights of another vae or of a tokenizer, where they are given."""
        start_from = self.options.start_from
        if start_from is not None and is_a(Vae, start_from):
            net: Vae = load_net(Vae, start_from, self.device)
            return net
        if self.options.decoder_only:
            raise InvalidInput("start-from: --decoder-only needs the folder of a trained vae")
        old = None if start_from is None else load_net(VQTokenizer, start_from, self.device)
        full_channels = 0 if old is None else old.config.full_channels
        model: Vae = Vae(latent_channels=self.latent_channels, full_channels=full_channels)
        weight, bias = _weights(model.encoder[6])
        with torch.no_grad():
            weight[self.latent_channels :] = 0
            bias[self.latent_channels :] = FIRST_LOG_VARIANCE
        if old is not None:
            with torch.inference_mode():
                z = torch.cat([old.encode_latent(self.pictures.draw()) for _ in range(20)])
            begin_from(model, old.cpu(), z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]).cpu().clone())
        return model

    def loss(self, progress: float) -> dict[str, Tensor]:
        x = self.pictures.draw()
        x_hat, mean, log_variance = self.model(x)
        terms = self.picture_terms(x_hat, x, progress)
        if self.options.decoder_only:
            return terms
        kl = kl_divergence(mean, log_variance)
        return terms | {"kl": kl, "loss": terms["loss"] + KL_WEIGHT * kl}

    def reconstruct(self, net: Vae, x: Tensor) -> Tensor:
        return net.decode_latent(net.posterior(x)[0]).clamp(0, 1)

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """With the noise of the posterior, in deviations of the latent."""
        noise = []
        for photo in self.judged.photos:
            mean, log_variance = self.kept.posterior(photo.x)
            noise.append((0.5 * log_variance).exp().mean() / mean.std())
        return super().evaluate() | {"noise": float(torch.stack(noise).mean())}

    @torch.inference_mode()
    def save(self, folder: Path) -> None:
        """With the latent's scale over training crops."""
        net = self.kept
        if not self.options.decoder_only:
            means = [net.posterior(self.pictures.draw())[0] for _ in range(SCALE_BATCHES)]
            std, mean = torch.std_mean(torch.cat(means), dim=(0, 2, 3))
            net.latent_mean.copy_(mean)
            net.latent_std.copy_(std)
        save_half(net, folder, keep_float=("latent_mean", "latent_std"))

    def describe(self) -> dict[str, str]:
        c = self.model.config
        lines = self.shared_lines()
        if not self.options.decoder_only:
            lines["loss"] += f" + {KL_WEIGHT:g} KL"
        return {
            "summary": "f8 variational autoencoder: image to a latent of unit variance, and back (feature_imputing).",
            "architecture": f"{c.latent_channels} latent channels, widths {c.quarter_channels}/{c.eighth_channels}, "
            f"blocks {tuple(c.encoder_blocks)} and {tuple(c.decoder_blocks)}, {c.full_channels} channels at full "
            "resolution",
            **lines,
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
    terms: Annotated[str, typer.Option(help="weights of the loss: gradient=0.5,st_lpips=1 (training/terms.py)")] = "",
    start_from: Annotated[Path | None, typer.Option(help="folder of a vae or a vq_tokenizer to begin with")] = None,
    decoder_only: Annotated[bool, typer.Option("--decoder-only", help="leave encoder and latents as they are")] = False,
    blocks: Annotated[int, typer.Option(help="residual blocks on the decoder's 1/4 grid, at least")] = 3,
    full_channels: Annotated[int, typer.Option(help="channels of the head at full resolution; 0: as it is")] = 0,
    dino_folder: Annotated[Path | None, typer.Option(help="a Dinov2Model, for the term dino")] = None,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the autoencoder."""
    torch.set_num_threads(threads)
    weights = Weights.parse(terms, SHARPENING if decoder_only else WEIGHTS)
    options = PictureOptions(
        data, held_out, batch, crop_px, device, seed, start_from, decoder_only, blocks, full_channels, weights,
        dino_folder,
    )  # fmt: skip
    loop = LoopOptions(minutes=minutes, learning_rate=learning_rate, seed=seed, out_dir=out, work_dir=work_dir)
    train(VaeRecipe(options, latent_channels=latent_channels), loop)


if __name__ == "__main__":
    run_command(main)
