"""The loss curve of a training run, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_TITLE_CHARACTERS = 100
"""Of a line that is as wide as the figure."""


def plot_losses(
    name: str,
    losses: Sequence[tuple[int, dict[str, float]]],
    metrics: Sequence[tuple[int, dict[str, float]]],
    path: Path,
) -> None:
    """One line a loss term (running mean of 25), and the held-out metrics in the title."""
    if not losses:
        return
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps = [step for step, _ in losses]
    for term in losses[-1][1]:
        values = np.array([terms.get(term, np.nan) for _, terms in losses])
        window = min(25, len(values))
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], smooth, label=term)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    if metrics:
        held_out = ", ".join(f"{k} {v:.3g}" for k, v in metrics[-1][1].items())
        axes.set_title(f"{name}\n{fill(f'held out: {held_out}', _TITLE_CHARACTERS)}", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
