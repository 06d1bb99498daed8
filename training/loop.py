"""The loop every recipe shares: wall-clock budget, resume, progress bar, loss curve, checkpoints, model card.

A recipe brings its model, its loss on one batch, its held-out metrics; everything that is the same for all nets is
here. The learning rate follows the share of the time budget that is used (warm-up, then cosine to zero), so
`--minutes 5` and `--minutes 500` both end annealed.
"""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gocom.common.errors import InvalidInput
from gocom.training.card import write_card
from gocom.training.plots import plot_losses

CHECKPOINT_EVERY_S = 60.0
EVALUATE_EVERY_S = 600.0
LONGEST_STEP_S = 30.0
"""What a step counts for at most: a run that was stopped for hours and goes on has not used its budget meanwhile."""


class Stateful(Protocol):
    """Anything with a state that a checkpoint can hold: a module, an optimizer, what a recipe wraps as one."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, nested as need be."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take such a state."""


class Recipe(ABC):
    """What a net brings to the loop.

    Attributes:
        name: of the run, and of its folder in `work_dir`.
        model: what learns.
    """

    name: str
    model: nn.Module

    @abstractmethod
    def loss(self, progress: float) -> dict[str, Tensor]:
        """Draw a batch; return named terms, of which "loss" is minimised. `progress` is in [0, 1]."""

    def after_step(self, progress: float) -> None:  # noqa: B027 - most recipes do nothing here
        """Anything to do once the optimizer has stepped (averages, discriminators)."""

    def resumed(self, progress: float) -> None:  # noqa: B027
        """Called after the states of a checkpoint were loaded."""

    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint must hold beside the model and its optimizer."""
        return {}

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Metrics on held-out pictures."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model as its library saves it."""

    @abstractmethod
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
    """Settings of a run.

    Attributes:
        steps: ends after so many, however long they take, so that runs can be compared; 0: after `minutes`.
    """

    minutes: float = 30.0
    steps: int = 0
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
        recipe.resumed(_share(state, options))
    bar = tqdm(total=round(budget_s), initial=round(state.elapsed_s), unit="s", desc=recipe.name, mininterval=5)
    last = checkpointed = evaluated = time.monotonic()
    while (share := _share(state, options)) < 1:
        terms = _step(recipe, optimizer, options, share, state.step)
        state.step += 1
        now = time.monotonic()
        spent = min(now - last, LONGEST_STEP_S)
        state.elapsed_s += spent
        bar.update(spent)
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


def _share(state: Progress, options: LoopOptions) -> float:
    """Of the run that is done."""
    return state.step / options.steps if options.steps else state.elapsed_s / (60 * options.minutes)


def _step(
    recipe: Recipe, optimizer: torch.optim.Optimizer, options: LoopOptions, share: float, step: int
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(share, step, options)
    recipe.model.train()
    terms = recipe.loss(share)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(terms["loss"])
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
    state_of = {name: part.state_dict() for name, part in recipe.parts().items()}
    saved = {"model": recipe.model.state_dict(), "optimizer": optimizer.state_dict(), "parts": state_of}
    torch.save(saved | {"progress": progress}, partial)
    partial.replace(folder / "state.pt")
    plot_losses(recipe.name, state.losses, state.metrics, folder / "loss.png")


def _resume(folder: Path, recipe: Recipe, optimizer: torch.optim.Optimizer) -> Progress:
    weights = folder / "state.pt"
    if not weights.exists():
        return Progress()
    saved = torch.load(weights, map_location="cpu", weights_only=True)
    recipe.model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    for name, part in recipe.parts().items():
        if name not in saved["parts"]:
            raise InvalidInput(f"work-dir: {folder} has a run without {name}; give another folder, or the same --terms")
        part.load_state_dict(saved["parts"][name])
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
