"""Recipe: the VQ tokenizer of lami_go (common/nets/vq_tokenizer.py).

    python -m gocom.training.vq_tokenizer --data TARS --held-out eval/kodak --minutes 240 \
        --start-from models/vq_tokenizer

Encoder, codebook and decoder together, by the terms of training/terms.py + 0.25 commitment. The codebook follows the
encoder by exponential averages (decay 0.99); codewords whose average count falls under a floor are re-seeded with
latents of the current batch. Without --start-from the first share of the budget trains a plain autoencoder; then
k-means over its latents seeds the codebook. token_denoiser and lami_go_tables must be made anew afterwards.

    python -m gocom.training.vq_tokenizer --data TARS --held-out eval/kodak --decoder-only \
        --start-from models/vq_tokenizer

sharpens the decoder of a trained one. Tokens do not change, so neither do token_denoiser nor the entropy tables.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.nets.loading import load_net
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, Stateful, train
from gocom.training.picture_recipe import PictureOptions, PictureRecipe
from gocom.training.terms import Weights

WARMUP_SHARE = 0.08
DECAY = 0.99
FLOOR = 0.03
COMMITMENT = 0.25
LAST_RESEED = 0.7
"""Share of the run after which the codebook only follows."""
WEIGHTS = Weights(gradient=0.5, perceptual=0.03, semantic=0.03, st_lpips=0.5, adversarial=0.02, adversarial_from=0.5)


class CodebookAverages:
    """How often each codeword was nearest of late, and to what: the codebook is the quotient."""

    def __init__(self, codebook: Tensor) -> None:
        self.counts = torch.full((len(codebook),), FLOOR, device=codebook.device)
        self.sums = codebook.clone() * FLOOR

    def begin(self, codebook: Tensor) -> None:
        """From a codebook that is right."""
        self.counts.fill_(1.0)
        self.sums.copy_(codebook)

    def update(self, flat: Tensor, tokens: Tensor, reseed: bool) -> Tensor:
        """Latents [N, D] and their tokens [N] -> the new codebook; with `reseed` unused words become latents."""
        counts = torch.bincount(tokens, minlength=len(self.counts)).float()
        sums = torch.zeros_like(self.sums).index_add_(0, tokens, flat)
        self.counts.mul_(DECAY).add_(counts, alpha=1 - DECAY)
        self.sums.mul_(DECAY).add_(sums, alpha=1 - DECAY)
        dead = (self.counts < FLOOR).nonzero().flatten()
        if reseed and len(dead):
            picks = flat[torch.randint(len(flat), (len(dead),), device=flat.device)]
            self.counts[dead] = 10 * FLOOR
            self.sums[dead] = picks * 10 * FLOOR
        return self.sums / self.counts.clamp_min(1e-5)[:, None]

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"counts": self.counts, "sums": self.sums}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.counts.copy_(state_dict["counts"])
        self.sums.copy_(state_dict["sums"])


class VQTokenizerRecipe(PictureRecipe[VQTokenizer]):
    """Crops in, reconstruction of their codewords out."""

    kind = "vq_tokenizer"

    def __init__(self, options: PictureOptions, like: PictureRecipe[VQTokenizer] | None = None) -> None:
        super().__init__(options, like)
        self.codebook = CodebookAverages(self.model.codebook)
        self.seeded = options.start_from is not None
        if self.seeded:
            self.codebook.begin(self.model.codebook)
        self.latest: tuple[Tensor, Tensor] | None = None

    def new_model(self) -> VQTokenizer:
        if self.options.start_from is not None:
            net: VQTokenizer = load_net(VQTokenizer, self.options.start_from, self.device)
            return net
        if self.options.decoder_only:
            raise InvalidInput("start-from: --decoder-only needs the folder of a trained vq_tokenizer")
        new: VQTokenizer = VQTokenizer()
        return new

    def loss(self, progress: float) -> dict[str, Tensor]:
        x = self.pictures.draw()
        if self.options.decoder_only:
            with torch.no_grad():
                words = self.model.codewords(self.model.encode(x)[0])
            return self.picture_terms(self.model.decode_latent(words), x, progress)
        quantize = self.seeded or progress >= WARMUP_SHARE
        if quantize and not self.seeded:
            self._seed_codebook()
        x_hat, z, tokens = self.model(x, quantize=quantize)
        terms = self.picture_terms(x_hat, x, progress)
        if quantize:
            terms["commitment"] = self.model.commitment(z, tokens)
            terms["loss"] = terms["loss"] + COMMITMENT * terms["commitment"]
            flat = z.detach().permute(0, 2, 3, 1).reshape(-1, z.shape[1])
            self.latest = (flat, tokens.flatten())
        else:  # keep the latent near unit scale, so that distances mean the same at every stage
            terms["loss"] = terms["loss"] + 1e-3 * z.square().mean()
        return terms

    def after_step(self, progress: float) -> None:
        if self.latest is not None:
            self.model.codebook.copy_(self.codebook.update(*self.latest, reseed=progress < LAST_RESEED))
        super().after_step(progress)

    def parts(self) -> dict[str, Stateful]:
        return super().parts() | {"codebook": self.codebook}

    def resumed(self, progress: float) -> None:
        super().resumed(progress)
        self.seeded = self.seeded or progress >= WARMUP_SHARE

    @torch.no_grad()
    def _seed_codebook(self) -> None:
        """Lloyd's k-means (12 rounds) over the latents of about 25,000 patches."""
        self.seeded = True
        latents = [self.model.encode_latent(self.pictures.draw(16)) for _ in range(12)]
        flat = torch.cat([z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]) for z in latents])
        size = len(self.model.codebook)
        centres = flat[torch.randperm(len(flat))[:size]].clone()
        for _ in range(12):
            nearest = torch.cdist(flat, centres).argmin(1)
            counts = torch.bincount(nearest, minlength=size).float()
            sums = torch.zeros_like(centres).index_add_(0, nearest, flat)
            centres = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        self.model.codebook.copy_(centres)
        self.codebook.begin(centres)

    def reconstruct(self, net: VQTokenizer, x: Tensor) -> Tensor:
        return net.decode(net.encode(x)[0])

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        """With the share of the codebook that the held-out pictures use."""
        net = self.kept
        used = torch.zeros(len(net.codebook), dtype=torch.bool)
        for photo in self.judged.photos:
            used[net.encode(photo.x)[0].flatten().cpu()] = True
        return super().evaluate() | {"codebook_used": float(used.float().mean())}

    def save(self, folder: Path) -> None:
        save_half(self.kept, folder, keep_float=("codebook",))

    def describe(self) -> dict[str, str]:
        c = self.model.config
        lines = self.shared_lines()
        if not self.options.decoder_only:
            lines["loss"] += f" + {COMMITMENT:g} commitment"
        return {
            "summary": "f8 VQ autoencoder: image to a grid of indices into a shared codebook, and back (lami_go).",
            "architecture": f"K={c.codebook_size}, D={c.codebook_dim}, widths {c.quarter_channels}/"
            f"{c.eighth_channels}, blocks {tuple(c.encoder_blocks)} and {tuple(c.decoder_blocks)}, {c.full_channels} "
            "channels at full resolution",
            **lines,
            "limits": "10 bits for 64 pixels: fine texture is made up; few faces and little text in the data",
        }


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 40.0,
    batch: int = 16,
    crop_px: int = 96,
    learning_rate: float = 5e-4,
    terms: Annotated[str, typer.Option(help="weights of the loss: gradient=0.5,st_lpips=1 (training/terms.py)")] = "",
    start_from: Annotated[Path | None, typer.Option(help="folder of a vq_tokenizer to begin with")] = None,
    decoder_only: Annotated[
        bool, typer.Option("--decoder-only", help="leave encoder and codebook as they are")
    ] = False,
    blocks: Annotated[int, typer.Option(help="residual blocks on the decoder's 1/4 grid, at least")] = 3,
    full_channels: Annotated[int, typer.Option(help="channels of the head at full resolution; 0: as it is")] = 8,
    dino_folder: Annotated[Path | None, typer.Option(help="a Dinov2Model, for the term dino")] = None,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the VQ tokenizer."""
    torch.set_num_threads(threads)
    options = PictureOptions(
        data, held_out, batch, crop_px, device, seed, start_from, decoder_only, blocks, full_channels,
        Weights.parse(terms, WEIGHTS), dino_folder,
    )  # fmt: skip
    loop = LoopOptions(minutes=minutes, learning_rate=learning_rate, seed=seed, out_dir=out, work_dir=work_dir)
    train(VQTokenizerRecipe(options), loop)


if __name__ == "__main__":
    run_command(main)
