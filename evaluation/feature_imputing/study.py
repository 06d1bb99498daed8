"""What the study consists of."""

from __future__ import annotations

from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.evaluation.feature_imputing import (
    clean,
    coding,
    imputing,
    invention,
    orders,
    peers,
    power,
    protection,
    steps,
    tasks,
)
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.study.store import Study

PARTS = (clean, imputing, orders, power, steps, invention, tasks, coding, protection, peers)
STUDY = Study(
    World.codec, World, tuple(module.PART for module in PARTS), SETS, ImputerSettings(), COUNTS, ("lami_go",)
)  # fmt: skip
