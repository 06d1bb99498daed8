"""Kernel distances of an evaluation: of each set of pictures that is large enough, method, rate and channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.kernel_distance import MIN_PICTURES, kernel_distance
from evaluation.sweep.grid import Grid, PictureSet, Task, chosen
from evaluation.sweep.store import Store
from evaluation.sweep.worker import Worker


def kernel_distances(grid: Grid, tasks: Sequence[Task], store: Store, worker: Worker) -> list[dict[str, Any]]:
    """Of reconstructions with the first seed to their originals, as results.json has them; tasks must be done."""
    found = []
    for pictures in grid.sets:
        if len(chosen(pictures)) < MIN_PICTURES:
            continue
        of_set = [task for task in tasks if task.set == pictures]
        originals = worker.original_features(pictures)
        for method in grid.methods:
            features = store.features([task for task in of_set if task.method == method])
            if features is not None:
                found += _entries(pictures, method.name, originals, features)
    return found


def _entries(
    pictures: PictureSet, method: str, originals: npt.NDArray[np.float32], features: npt.NDArray[np.float32]
) -> list[dict[str, Any]]:
    cases = [(rate, channel) for rate in pictures.rates_bpp for channel in pictures.channels]
    entries = []
    for place, (rate, channel) in enumerate(cases):
        value, low, high = kernel_distance(originals, features[:, place])
        entries.append({
            "set": pictures.name, "method": method, "channel": channel, "rate_bpp": rate, "value": value, "low": low,
            "high": high, "pictures": len(originals),
        })  # fmt: skip
    return entries
