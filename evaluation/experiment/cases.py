"""From an experiment to its rows: every combination of levels is sent, judged, and named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from gocom.common.channel_spec import parse_spec
from gocom.evaluation.experiment.bench import Bench, Job, Picture
from gocom.evaluation.experiment.experiment import Experiment, Level, Settings
from gocom.evaluation.run.work import Row


@dataclass(frozen=True, slots=True)
class Asked:
    """What a level is asked for, where its settings depend on the picture.

    Attributes:
        bench: to try a send with.
        keys: of the case, the values of all its factors.
        seed: of the channel.
        settings: that are known so far: the experiment's, and those of the factors before.
    """

    bench: Bench
    picture: Picture
    keys: Row
    seed: int
    settings: Settings


def measured(bench: Bench, experiment: Experiment, picture: Picture) -> list[Row]:
    """All rows of one picture, those of sends in the order of the factors."""
    if experiment.measure is not None:
        found = experiment.measure(bench, picture)
    else:
        subject = picture if experiment.subject is None else experiment.subject(bench, picture)
        sent = list(jobs(bench, experiment, subject))
        found = bench.rows(sent) if experiment.probe is None else experiment.probe(bench, sent)
    return [{"set": picture.set, "picture": picture.name} | row for row in found]


def cases(experiment: Experiment) -> list[tuple[Row, list[Level]]]:
    """(keys, levels) of each combination that is sent, in the order of the factors."""
    names = [factor.name for factor in experiment.factors]
    found = []
    for chosen in product(*(factor.levels.items() for factor in experiment.factors)):
        keys = dict(zip(names, (value for value, _ in chosen), strict=True))
        if experiment.only is None or experiment.only(keys):
            found.append((keys, [level for _, level in chosen]))
    return found


def jobs(bench: Bench, experiment: Experiment, picture: Picture) -> Iterator[Job]:
    """Send each case, with each seed; rows of channels without chance have none."""
    for keys, levels in cases(experiment):
        first = settings_of(bench, experiment, levels, picture, keys, 0)
        chance = any(parse_spec(first.get(way, "clean")).impairments for way in ("channel", "reverse_channel"))
        for seed in range(experiment.seeds if chance else 1):
            settings = first if seed == 0 else settings_of(bench, experiment, levels, picture, keys, seed)
            yield bench.job(picture, keys if chance else keys | {"seed": None}, seed=seed, **settings)


def settings_of(
    bench: Bench, experiment: Experiment, levels: list[Level], picture: Picture, keys: Row, seed: int
) -> dict[str, Any]:
    """The settings of a case, later factors over earlier ones."""
    settings = dict(experiment.settings)
    for level in levels:
        asked = Asked(bench, picture, keys, seed, settings)
        settings |= level(asked) if callable(level) else level
    return settings
