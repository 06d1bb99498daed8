"""Nothing lost: what the autoencoder costs, and what seven bits a feature cost on top."""

from __future__ import annotations

import numpy as np
import torch

from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import UNLABELLED, difference_cells, groups, heads, metric_cells, sizes, table, where
from gocom.evaluation.study.world import Picture, Row

QUANTIZED, EXACT = "7 bits, as sent", "not quantized"


def measure(world: World) -> list[Row]:
    """Both sets."""
    rows: list[Row] = []
    for name in SETS:
        for picture in world.each(world.pictures(name, COUNTS.clean), f"clean {name}"):
            rows += world.rows([world.job(picture, {"features": QUANTIZED}, "clean")])
            rows.append(_exact(world, picture))
    return rows


def _exact(world: World, picture: Picture) -> Row:
    vae = world.decoder.vae
    with torch.inference_mode():
        y = vae.encode(torch.from_numpy(np.ascontiguousarray(picture.image))[None].to(world.decoder.device))
    (image,) = world.images_of(y.permute(0, 2, 3, 1))
    (score,) = world.judge.scores([picture.original], [image])
    return {"set": picture.set, "picture": picture.name, "seed": 0, "features": EXACT} | score


def report(rows: list[Row]) -> str:
    """Means, and what quantizing costs."""
    means = [
        [name, features, *metric_cells(found, UNLABELLED)]
        for (name, features), found in groups(rows, "set", "features")
    ]
    cost = [
        [name, *difference_cells(where(found, features=QUANTIZED), where(found, features=EXACT), UNLABELLED)]
        for (name,), found in groups(rows, "set")
    ]
    return "\n".join(
        [
            f"{sizes(rows)}.\n",
            table(["set", "features", *heads(UNLABELLED)], means),
            "Quantized minus not quantized:\n",
            table(["set", *heads(UNLABELLED)], cost),
        ]
    )


PART = Part("clean", "Nothing lost", measure, report)
