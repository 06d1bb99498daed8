"""Recipe: the token denoiser of lami_go (common/nets/token_denoiser.py).

    python -m training.token_denoiser --data TARS --held-out eval/kodak --minutes 40

Trained as Paella: indices replaced by random ones with probability t = u^1.5, u ~ U(0, 1); a third of the windows
lose a rectangle instead, which is what loss without an interleaver looks like. Text is dropped 10 % of the time, the
trusted channel is zero half of the time. Loss: cross entropy (label smoothing 0.05), replaced positions weighing 10
times the kept ones. Also writes the static entropy tables (lami_go_tables) from the same pictures and captions.
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
from tqdm import tqdm

from common.entropy.tables import FrequencyTable, save_tables
from common.images import Sample, square_crop, to_float
from common.models import folder_hash, model_folder
from common.nets.loading import load_net, resolve_device
from common.nets.text_encoder import TextEncoder
from common.nets.token_denoiser import TokenDenoiser
from common.nets.vq_tokenizer import VQTokenizer
from training.data import find_sources, load_samples
from training.export import save_half
from training.loop import LoopOptions, train

WINDOW = 16
"""Side of the token windows trained on: 128 px."""
MAX_WORDS = 24


def tokenise(tokenizer: VQTokenizer, samples: list[Sample], rng: np.random.Generator, device: torch.device) -> list:
    """One int16 token grid a sample, half of them of the mirrored picture."""
    grids = []
    for sample in tqdm(samples, desc="tokens", unit="img", mininterval=10):
        pixels = sample.pixels[:, ::-1] if rng.random() < 0.5 else sample.pixels
        height, width = (side // 8 * 8 for side in pixels.shape[:2])
        top, left = (int(rng.integers(s - k + 1)) for s, k in zip(pixels.shape[:2], (height, width), strict=True))
        x = torch.from_numpy(to_float(pixels[top : top + height, left : left + width])).to(device)[None]
        with torch.inference_mode():
            grids.append(tokenizer.encode(x)[0][0].to(torch.int16).cpu())
    return grids


class TokenDenoiserRecipe:
    """Token windows with random replacements in, the true tokens out."""

    name = "token_denoiser"

    def __init__(
        self, data: Path, held_out: Path, batch: int, device: str, seed: int, tokenizer: Path, work_dir: Path
    ) -> None:
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.device = resolve_device(device)
        self.batch = batch
        self.model = TokenDenoiser().to(self.device, memory_format=torch.channels_last)
        self.tokenizer = load_net(VQTokenizer, tokenizer, self.device)
        self.model.start_from(self.tokenizer.codebook)
        sources = find_sources(data)
        groups = [load_samples([s]) for s in sources]
        self.data_names = ", ".join(s.name for s in sources)
        samples = [s for g in groups for s in g]
        self.count = len(samples)
        weights = np.concatenate([np.full(len(g), np.sqrt(len(g)) / len(g)) for g in groups])
        self.grids = self._cached_tokens(samples, work_dir / f"tokens-{folder_hash(tokenizer).hex()[:12]}.pt")
        weights *= [min(g.shape) >= WINDOW for g in self.grids]  # a few pictures are narrower than a window
        self.weights = weights / weights.sum()
        self.captions = [s.captions for s in samples]
        self.text = self._encode_captions()
        self.held_out_name = held_out.name
        pictures = [square_crop(s.pixels, 256) for s in load_samples([held_out])]
        x = torch.stack([torch.from_numpy(to_float(p)) for p in pictures])
        with torch.inference_mode():
            self.held_out = torch.cat([self.tokenizer.encode(one[None].to(self.device))[0] for one in x])

    def _cached_tokens(self, samples: list[Sample], cache: Path) -> list[Tensor]:
        if cache.exists():
            grids: list[Tensor] = torch.load(cache, weights_only=True)
            if len(grids) == len(samples):
                return grids
        grids = tokenise(self.tokenizer, samples, self.rng, self.device)
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.save(grids, cache)
        return grids

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

    def _corrupt(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> (tokens with replacements, replaced bool, t)."""
        t = torch.rand(len(tokens), device=self.device).clamp(0.05, 1) ** 1.5  # more of what links really lose
        replaced = torch.rand(tokens.shape, device=self.device) < t[:, None, None]
        for row in range(len(tokens)):
            if self.rng.random() < 1 / 3:
                height, width = (int(self.rng.integers(2, WINDOW - 1)) for _ in range(2))
                top, left = (int(self.rng.integers(WINDOW - s + 1)) for s in (height, width))
                replaced[row] = False
                replaced[row, top : top + height, left : left + width] = True
                t[row] = height * width / WINDOW**2
        random = torch.randint_like(tokens, self.model.config.codebook_size)
        return torch.where(replaced, random, tokens), replaced, t

    def loss(self, progress: float) -> dict[str, Tensor]:
        tokens, text, mask = self._draw()
        noisy, replaced, t = self._corrupt(tokens)
        said = (torch.rand(len(tokens), device=self.device) < 0.5)[:, None, None]
        logits = self.model(noisy, t, (said & ~replaced).float(), text, mask)
        each = F.cross_entropy(logits, tokens, reduction="none", label_smoothing=0.05)
        weight = torch.where(replaced, 1.0, 0.1)
        accuracy = (logits.argmax(1) == tokens)[replaced].float().mean()
        return {"loss": (each * weight).sum() / weight.sum(), "accuracy": accuracy}

    def resumed(self, progress: float) -> None:
        """Nothing to restore."""

    def after_step(self, progress: float) -> None:
        """Nothing to do."""

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
        tokens = np.bincount(torch.cat([g.flatten() for g in self.grids]).numpy().astype(np.int64), minlength=1024)
        text = "\n".join(c for captions in self.captions for c in captions).encode()
        tables = {
            "tokens": FrequencyTable.from_counts(tokens),
            "caption_bytes": FrequencyTable.from_counts(np.bincount(np.frombuffer(text, np.uint8), minlength=256)),
        }
        save_tables(tables, folder.parent / "lami_go_tables" / "tables.safetensors")

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "Predicts codebook indices that the sender withheld or the channel erased (lami_go).",
            "architecture": f"UNet2DConditionModel {c.channels} on a {c.embedding_dim}-channel embedding, "
            f"K={c.codebook_size}",
            "data": f"{self.data_names}: {self.count} pictures, {WINDOW}x{WINDOW} token windows, batch {self.batch}",
            "data terms": "research use (imagenette, Flickr8k, BSDS500), per-image CC (COCO), CC BY-NC (CamVid)",
            "held out": f"{self.held_out_name}: {len(self.held_out)} pictures at 256x256, no text, one step: accuracy "
            "and bits a token on missing positions (25 % and 50 % missing)",
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
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the token denoiser over a trained tokenizer."""
    torch.set_num_threads(threads)
    words = tokenizer or model_folder("vq_tokenizer")
    recipe = TokenDenoiserRecipe(data, held_out, batch, device, seed, words, work_dir)
    options = LoopOptions(minutes=minutes, learning_rate=learning_rate, work_dir=work_dir, seed=seed, out_dir=out)
    train(recipe, options)


if __name__ == "__main__":
    typer.run(main)
