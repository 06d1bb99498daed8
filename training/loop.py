"""The loop every recipe shares: wall-clock budget, resume, progress bar, loss curve, checkpoints, model card.

A recipe brings its model, its loss on one batch, its held-out metrics; everything that is the same for all nets is
here. The learning rate follows the share of the time budget that is used (warm-up, then cosine to zero), so
`--minutes 5` and `--minutes 500` both end annealed.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gocom.training.card import write_card
from gocom.training.plots import plot_losses

CHECKPOINT_EVERY_S = 60.0
EVALUATE_EVERY_S = 600.0


class Recipe(Protocol):
    """What a net brings to the loop."""

    name: str
    model: nn.Module

    def loss(self, progress: float) -> dict[str, Tensor]:
        """Draw a batch; return named terms, of which "loss" is minimised. `progress` is in [0, 1]."""

    def after_step(self, progress: float) -> None:
        """Anything to do once the optimizer has stepped (codebook averages)."""

    def resumed(self, progress: float) -> None:
        """Called after the weights of a checkpoint were loaded."""

    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out pictures."""

    def save(self, folder: Path) -> None:
        """Write the model as its library saves it."""

    def describe(self) -> dict[str, str]:
        """Lines for the card: data, architecture, limits."""


@dataclass
class Progress:
    """What a resumed run must know. Times in seconds."""

    step: int = 0
    elapsed_s: float = 0.0
    losses: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)


@dataclass(frozen=True)
class LoopOptions:
    """Settings of a run."""

    minutes: float = 30.0
    learning_rate: float = 4e-4
    weight_decay: float = 1e-2
    warmup_steps: int = 100
    gradient_clip: float = 1.0
    work_dir: Path = Path("build/training")
    out_dir: Path | None = None
    seed: int = 0


def learning_rate_at(progress: float, step: int, options: LoopOptions) -> float:
    """Linear warm-up over `warmup_steps`, times a half cosine over the budget."""
    warmup = min(1.0, (step + 1) / options.warmup_steps)
    return options.learning_rate * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def train(recipe: Recipe, options: LoopOptions) -> Progress:
    """Train until the budget is used, resuming from `work_dir` if it holds a checkpoint; export and write the card."""
    folder = options.work_dir / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.AdamW(
        recipe.model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, betas=(0.9, 0.98)
    )
    budget_s = options.minutes * 60
    state = _resume(folder, recipe, optimizer)
    if state.step:
        recipe.resumed(state.elapsed_s / budget_s)
    bar = tqdm(total=round(budget_s), initial=round(state.elapsed_s), unit="s", desc=recipe.name, mininterval=5)
    last = checkpointed = evaluated = time.monotonic()
    while state.elapsed_s < budget_s:
        share = state.elapsed_s / budget_s
        terms = _step(recipe, optimizer, options, share, state.step)
        state.step += 1
        now = time.monotonic()
        state.elapsed_s += now - last
        bar.update(now - last)
        last = now
        if state.step % 20 == 0:
            state.losses.append((state.step, terms))
            bar.set_postfix({k: f"{v:.4f}" for k, v in terms.items()} | {"step": state.step})
        if now - evaluated > EVALUATE_EVERY_S:
            state.metrics.append((state.step, _evaluate(recipe)))
            tqdm.write(f"{recipe.name} step {state.step}: {state.metrics[-1][1]}")
            evaluated = last = time.monotonic()
        if now - checkpointed > CHECKPOINT_EVERY_S:
            _checkpoint(folder, recipe, optimizer, state)
            checkpointed = now
    bar.close()
    state.metrics.append((state.step, _evaluate(recipe)))
    _checkpoint(folder, recipe, optimizer, state)
    _export(recipe, options, state, folder)
    return state


def _step(
    recipe: Recipe, optimizer: torch.optim.Optimizer, options: LoopOptions, share: float, step: int
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(share, step, options)
    recipe.model.train()
    terms = recipe.loss(share)
    optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    nn.utils.clip_grad_norm_(recipe.model.parameters(), options.gradient_clip)
    optimizer.step()
    recipe.after_step(share)
    values = {name: float(value.detach()) for name, value in terms.items()}
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(f"{recipe.name}: loss is {values['loss']} at step {step}; lower --learning-rate")
    return values


def _evaluate(recipe: Recipe) -> dict[str, float]:
    recipe.model.eval()
    with torch.inference_mode():
        return recipe.evaluate()


def _checkpoint(folder: Path, recipe: Recipe, optimizer: torch.optim.Optimizer, state: Progress) -> None:
    partial = folder / "state.pt.partial"
    progress = json.dumps(asdict(state))
    # One file, put in place at once: a crash leaves weights and progress that belong together.
    torch.save({"model": recipe.model.state_dict(), "optimizer": optimizer.state_dict(), "progress": progress}, partial)
    partial.replace(folder / "state.pt")
    plot_losses(recipe.name, state.losses, state.metrics, folder / "loss.png")


def _resume(folder: Path, recipe: Recipe, optimizer: torch.optim.Optimizer) -> Progress:
    weights = folder / "state.pt"
    if not weights.exists():
        return Progress()
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    recipe.model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    values = json.loads(saved["progress"])
    state = Progress(values["step"], values["elapsed_s"])
    state.losses = [(s, t) for s, t in values["losses"]]
    state.metrics = [(s, t) for s, t in values["metrics"]]
    print(f"{recipe.name}: resumed at step {state.step}, {state.elapsed_s / 60:.1f} min used")
    return state


def _export(recipe: Recipe, options: LoopOptions, state: Progress, folder: Path) -> None:
    out = options.out_dir or folder / "export"
    recipe.save(out)
    plot_losses(recipe.name, state.losses, state.metrics, out / "loss.png")
    title = options.out_dir.name if options.out_dir else recipe.name  # several recipes may make one net in turn
    write_card(
        out, title, recipe.describe(), recipe.model, options.seed, options.learning_rate, state.step, state.elapsed_s,
        state.metrics,
    )  # fmt: skip
    print(f"{recipe.name}: wrote {out} after {state.step} steps: {state.metrics[-1][1]}")
