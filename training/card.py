"""CARD.md: what a bundled net is, what it saw, how good it was on pictures it did not see, where it ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from gocom.common.model_files import CARD, card_rows


def device_name(model: nn.Module) -> str:
    """Where it was trained, in words."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} of {os.cpu_count()} threads ({platform.machine()})"


def write_card(
    folder: Path,
    name: str,
    facts: dict[str, str],
    model: nn.Module,
    seed: int,
    learning_rate: float,
    steps: int,
    elapsed_s: float,
    metrics: Sequence[tuple[int, dict[str, float]]],
) -> None:
    """Write folder/CARD.md, for the files of the net in that folder."""
    parameters = sum(p.numel() for p in model.parameters())
    lines = [f"# {name}", "", facts.pop("summary", ""), "", "| | |", "|-|-|"]
    lines += [
        f"| parameters | {parameters / 1e6:.2f} M |",
        f"| trained on | {device_name(model)} |",
        f"| minutes | {elapsed_s / 60:.1f} |",
        f"| steps | {steps} |",
        f"| seed, learning rate | {seed}, {learning_rate:g} |",
    ]
    lines += [f"| {key} | {value} |" for key, value in facts.items()]
    lines += card_rows(folder)
    lines += ["", "## Held-out metrics", "", "| step | " + " | ".join(metrics[-1][1]) + " |"]
    lines += ["|" + "-|" * (len(metrics[-1][1]) + 1)]
    lines += [f"| {step} | " + " | ".join(f"{v:.4g}" for v in values.values()) + " |" for step, values in metrics]
    lines += ["", "![loss](loss.png)", ""]
    (folder / CARD).write_text("\n".join(lines))
