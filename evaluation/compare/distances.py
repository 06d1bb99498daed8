"""Distances between sets of pictures: of each set that is large enough, method, rate and channel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.evaluation.compare.grid import Grid, Task, chosen
from gocom.evaluation.compare.worker import FID, KERNEL, Worker
from gocom.evaluation.measure.kernel_distance import MIN_PICTURES, kernel_distance
from gocom.evaluation.measure.optional_metrics import fid
from gocom.evaluation.run.store import Store

_Features = npt.NDArray[np.float32]
_DISTANCES: dict[str, Callable[[_Features, _Features], dict[str, float]]] = {
    KERNEL: lambda a, b: dict(zip(("value", "low", "high"), kernel_distance(a, b), strict=True)),
    FID: lambda a, b: {"value": fid(a, b)},
}


def distances(grid: Grid, store: Store, worker: Worker) -> dict[str, list[dict[str, Any]]]:
    """Of reconstructions with the first seed to their originals, as results.json has them; tasks must be done."""
    found: dict[str, list[dict[str, Any]]] = {KERNEL: []}
    for pictures in grid.sets:
        if len(chosen(pictures)) < MIN_PICTURES:
            continue
        for name, originals in worker.original_features(pictures).items():
            for method in grid.methods:
                tasks = [Task(pictures, index, picture, method) for index, picture in chosen(pictures)]
                features = np.stack([store.read(task).arrays[name] for task in tasks])
                found.setdefault(name, []).extend(
                    {
                        "set": pictures.name, "method": method.name, "channel": channel, "rate_bpp": rate,
                        **_DISTANCES[name](originals, features[:, place]), "pictures": len(originals),
                    }
                    for place, (rate, channel) in enumerate(product(pictures.rates_bpp, pictures.channels))
                )  # fmt: skip
    return found
