"""From an experiment to its rows: every combination of levels is sent, judged, and named."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from gocom.common.channel_spec import parse_spec
from gocom.evaluation.experiment.bench import Bench, Job, Picture
from gocom.evaluation.experiment.experiment import Asked, Experiment, Level
from gocom.evaluation.run.work import Row


def measured(bench: Bench, experiment: Experiment, picture: Picture) -> list[Row]:
    """All rows of one picture, those of sends in the order of the factors."""
    if experiment.measure is not None:
        found = list(experiment.measure(bench, picture))
    else:
        found = bench.rows(list(jobs(bench, experiment, picture)))
    return [{"set": picture.set, "picture": picture.name} | row for row in found]


def jobs(bench: Bench, experiment: Experiment, picture: Picture) -> Iterator[Job]:
    """Send each case, with each seed; rows of a channel without chance have none."""
    names = [factor.name for factor in experiment.factors]
    for levels in product(*(factor.levels.items() for factor in experiment.factors)):
        keys = dict(zip(names, (value for value, _ in levels), strict=True))
        if experiment.only is not None and not experiment.only(keys):
            continue
        chosen = [level for _, level in levels]
        first = settings_of(bench, experiment, chosen, picture, keys, 0)
        chance = bool(parse_spec(first.get("channel", "clean")).impairments)
        for seed in range(experiment.seeds if chance else 1):
            settings = first if seed == 0 else settings_of(bench, experiment, chosen, picture, keys, seed)
            yield bench.job(picture, keys if chance else keys | {"seed": None}, seed=seed, **settings)


def settings_of(
    bench: Bench, experiment: Experiment, levels: list[Level], picture: Picture, keys: Row, seed: int
) -> dict[str, Any]:
    """The settings of a case, later factors over earlier ones."""
    settings = dict(experiment.settings)
    for level in levels:
        asked = Asked(bench, experiment, picture, keys, seed, settings)
        settings |= level(asked) if callable(level) else level
    return settings
