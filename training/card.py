"""CARD.md: what a bundled net is, what it saw, how good it was on pictures it did not see, where it ends."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from gocom.common.errors import InvalidInput
from gocom.common.model_files import CARD, card_rows

LOSS = ("![loss](loss.png)", "")
_ROW = re.compile(r"^\| ([^|]+) \| (.*) \|$", re.MULTILINE)


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
    about = {
        "summary": facts.get("summary", ""),
        "parameters": parameters(model),
        "trained on": device_name(model),
        "minutes": f"{elapsed_s / 60:.1f}",
        "steps": str(steps),
        "seed, learning rate": f"{seed}, {learning_rate:g}",
    }
    write_lines(folder, name, about | facts, "step", [(str(step), values) for step, values in metrics], LOSS)


def parameters(model: nn.Module) -> str:
    """How many a net has."""
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M"


def write_lines(
    folder: Path,
    name: str,
    facts: Mapping[str, str],
    measured: str,
    metrics: Sequence[tuple[str, dict[str, float]]],
    end: Sequence[str] = (),
) -> None:
    """Write folder/CARD.md: the summary among the facts, the others as a table, hashes of the files, and metrics.

    Args:
        folder: with the files of the net.
        name: title.
        facts: by what they say.
        measured: what has a row of metrics.
        metrics: a row each, of the same names.
        end: lines after the metrics.
    """
    lines = [f"# {name}", "", facts.get("summary", ""), "", "| | |", "|-|-|"]
    lines += [f"| {key} | {value} |" for key, value in facts.items() if key != "summary"]
    lines += card_rows(folder)
    lines += ["", "## Held-out metrics", "", f"| {measured} | " + " | ".join(metrics[-1][1]) + " |"]
    lines += ["|" + "-|" * (len(metrics[-1][1]) + 1)]
    lines += [f"| {row} | " + " | ".join(f"{v:.4g}" for v in values.values()) + " |" for row, values in metrics]
    (folder / CARD).write_text("\n".join([*lines, "", *end]))


def read_facts(folder: Path) -> dict[str, str]:
    """Facts of a card, as `write_lines` takes them; without those that are hashes of its files.

    Raises:
        InvalidInput: there is no card.
    """
    card = folder / CARD
    if not card.is_file():
        raise InvalidInput(f"net: {folder} has no {CARD}; what a net was made from has to be known")
    head = card.read_text().split("\n## ")[0]
    facts = {"summary": head.split("\n\n")[1].strip()} | dict(_ROW.findall(head))
    return {key: value for key, value in facts.items() if not key.startswith("SHA-256 of ")}
