"""Recipe: the token denoiser of lami_go (common/nets/token_denoiser.py).

    python -m gocom.training.token_denoiser --data TARS --held-out eval/kodak --minutes 40

Trained as Paella: indices replaced by random ones with probability t, text dropped 10 % of the time. What is replaced
follows what a receiver's sampler meets (training/corruption.py). Loss: cross entropy (label smoothing 0.05), replaced
positions weighing 10 times the kept ones.

`--start-from` begins with the weights of an earlier run and a fresh optimizer: how a net trained on one machine goes
on on another. training/compare_denoisers.py tries other widths.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from gocom.client.command_process import run_command
from gocom.common.image_files import square_crop, to_float
from gocom.common.model_files import model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.text_encoder import TextEncoder
from gocom.common.nets.token_denoiser import TokenDenoiser
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.corruption import corrupt
from gocom.training.data import data_terms, find_sources, load_samples
from gocom.training.export import save_half
from gocom.training.loop import LoopOptions, Recipe, train
from gocom.training.tokens import cached_tokens

WINDOW = 16
"""Side of the token windows trained on: 128 px."""
MAX_WORDS = 24


class TokenDenoiserRecipe(Recipe):
    """Token windows with random replacements in, the true tokens out."""

    name = "token_denoiser"
    model: Any  # a TokenDenoiser; diffusers' base classes carry no types

    def __init__(
        self,
        data: Path,
        held_out: Path,
        batch: int,
        device: str,
        seed: int,
        tokenizer: Path,
        work_dir: Path,
        start_from: Path | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.seed = seed
        self.reseed()
        self.device = resolve_device(device)
        self.batch = batch
        self.start_from = start_from
        self.tokenizer = load_net(VQTokenizer, tokenizer, self.device)
        self.model = self.new_model() if start_from is None else load_net(TokenDenoiser, start_from, self.device)
        sources = find_sources(data)
        groups = [load_samples([s]) for s in sources]
        self.data_names, self.data_terms = ", ".join(s.name for s in sources), data_terms(sources)
        samples = [s for g in groups for s in g]
        self.count = len(samples)
        weights = np.concatenate([np.full(len(g), np.sqrt(len(g)) / len(g)) for g in groups])
        self.grids = cached_tokens(self.tokenizer, samples, work_dir, self.device)
        weights *= [min(g.shape) >= WINDOW for g in self.grids]  # a few pictures are narrower than a window
        self.weights = weights / weights.sum()
        self.captions = [s.captions for s in samples]
        self.text = self._encode_captions()
        self.held_out_name = held_out.name
        pictures = [square_crop(s.pixels, 256) for s in load_samples([held_out])]
        x = torch.stack([torch.from_numpy(to_float(p)) for p in pictures])
        with torch.inference_mode():
            self.held_out = torch.cat([self.tokenizer.encode(one[None].to(self.device))[0] for one in x])

    def reseed(self, step: int = 0) -> None:
        """Begin the windows anew; another step gives others."""
        self.rng = np.random.default_rng([self.seed, step])
        self.generator = torch.Generator().manual_seed(self.seed + step)

    def new_model(self, channels: tuple[int, int, int] | None = None, layers: int = 1) -> TokenDenoiser:
        """Untrained but for the codewords, the same each time."""
        torch.manual_seed(self.seed)
        given = {} if channels is None else {"channels": channels}
        model: TokenDenoiser = TokenDenoiser(layers=layers, **given)
        model.init_from_codebook(self.tokenizer.codebook)
        model.to(self.device, memory_format=torch.channels_last)
        return model

    def _encode_captions(self) -> dict[str, Tensor]:
        texts = sorted({c for captions in self.captions for c in captions})
        encoder = TextEncoder(str(self.device))
        features: dict[str, Tensor] = {}
        for at in tqdm(range(0, len(texts), 64), desc="captions", leave=False):
            values, mask = encoder(texts[at : at + 64])
            for text, value, present in zip(texts[at : at + 64], values, mask, strict=True):
                features[text] = value[present][:MAX_WORDS].half().cpu()
        return features

    def _draw(self) -> tuple[Tensor, Tensor, Tensor]:
        windows, texts = [], []
        for index in self.rng.choice(self.count, size=self.batch, p=self.weights):
            grid, captions = self.grids[index], self.captions[index]
            top, left = (int(self.rng.integers(side - WINDOW + 1)) for side in grid.shape)
            windows.append(grid[top : top + WINDOW, left : left + WINDOW].long())
            known = captions and self.rng.random() >= 0.1
            texts.append(self.text[captions[self.rng.integers(len(captions))]].float() if known else None)
        null = self.model.null_text[0]
        rows = [null if t is None else t.to(self.device) for t in texts]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.arange(padded.shape[1])[None] < torch.tensor([len(r) for r in rows])[:, None]
        return torch.stack(windows).to(self.device), padded, mask.to(self.device)

    def loss(self, progress: float) -> dict[str, Tensor]:
        tokens, text, mask = self._draw()
        noisy, replaced, trusted, t = corrupt(tokens, self.model.config.codebook_size, self.generator)
        logits = self.model(noisy, t, trusted, text, mask)
        each = F.cross_entropy(logits, tokens, reduction="none", label_smoothing=0.05)
        weight = torch.where(replaced, 1.0, 0.1)
        accuracy = (logits.argmax(1) == tokens)[replaced].float().mean()
        return {"loss": (each * weight).sum() / weight.sum(), "accuracy": accuracy}

    def resumed(self, progress: float) -> None:
        """Other windows than those before the stop."""
        self.reseed(1 + round(progress * 1e6))

    def evaluate(self) -> dict[str, float]:
        generator = torch.Generator().manual_seed(1)
        out: dict[str, float] = {}
        for ratio in (0.25, 0.5):
            missing = torch.rand(self.held_out.shape, generator=generator).to(self.device) < ratio
            random = torch.randint(1024, self.held_out.shape, generator=generator).to(self.device)
            noisy = torch.where(missing, random, self.held_out)
            hits, nats = [], []
            for one, truth, gone in zip(noisy, self.held_out, missing, strict=True):
                logits = self.model(one[None], torch.tensor([ratio], device=self.device), (~gone)[None].float())[0]
                hits.append((logits.argmax(0) == truth)[gone].float().mean())
                nats.append(F.cross_entropy(logits[None], truth[None], reduction="none")[0][gone].mean())
            out[f"accuracy_{ratio:.0%}"] = float(torch.stack(hits).mean())
            out[f"bits_{ratio:.0%}"] = float(torch.stack(nats).mean() / np.log(2))
        return out

    def save(self, folder: Path) -> None:
        save_half(self.model, folder)

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "Predicts codebook indices that the sender withheld or the channel erased (lami_go).",
            "architecture": f"UNet2DConditionModel {c.channels} on a {c.embedding_dim}-channel embedding, "
            f"K={c.codebook_size}",
            "data": f"{self.data_names}: {self.count} pictures, {WINDOW}x{WINDOW} token windows, batch {self.batch}",
            "data terms": self.data_terms,
            "held out": f"{self.held_out_name}: {len(self.held_out)} pictures at 256x256, no text, one step: accuracy "
            "and bits a token on missing positions (25 % and 50 % missing)",
            "began with": "the codewords" if self.start_from is None else "the weights of the run before (see history)",
            "limits": "few pictures and steps: the most likely token is often a near neighbour of the true one",
        }


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 40.0,
    batch: int = 32,
    learning_rate: float = 8e-4,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    tokenizer: Annotated[Path | None, typer.Option(help="folder of the tokenizer; default: the bundled one")] = None,
    start_from: Annotated[Path | None, typer.Option(help="folder of a token_denoiser to go on from")] = None,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the token denoiser over a trained tokenizer."""
    torch.set_num_threads(threads)
    words = tokenizer or model_folder("vq_tokenizer")
    recipe = TokenDenoiserRecipe(data, held_out, batch, device, seed, words, work_dir, start_from)
    options = LoopOptions(minutes=minutes, learning_rate=learning_rate, work_dir=work_dir, seed=seed, out_dir=out)
    train(recipe, options)


if __name__ == "__main__":
    run_command(main)
