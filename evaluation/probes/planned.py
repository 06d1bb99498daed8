"""Levels of equal bytes: what a clean send takes, and what a method of `gocom eval` does with as much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gocom.evaluation.compare.methods import parse_methods
from gocom.evaluation.compare.plan import Planner
from gocom.evaluation.experiment.bench import Bench, Picture
from gocom.evaluation.experiment.cases import Asked
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.probes.equal_bytes import LAMI_GO, at_once


@dataclass(frozen=True, slots=True, eq=False)
class CleanBytes:
    """Level: the budget is what a send over a clean channel takes, everything counted."""

    codec: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, asked: Asked) -> Settings:
        """Budget in bytes."""
        return {"budget": _clean_bytes(asked.bench, asked.picture, self)}


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """Level: what `gocom eval` has a method, "jpeg2000+fec", do over the channel with the budget, which come before."""

    method: str

    def __call__(self, asked: Asked) -> Settings:
        """Codec, its options, and the budget that it keeps to."""
        (method,) = parse_methods([self.method])
        picture, (channel, budget) = asked.picture, (asked.settings[name] for name in ("channel", "budget"))
        plan = _planner(asked.bench, picture, method.codec).plan(method, channel, budget)
        return {"codec": method.codec, "budget": None} | plan.settings


def all_tokens(asked: Asked) -> Settings:
    """Level: all tokens of lami_go at once, and as much RaptorQ repair as the budget, which comes before, has room for.

    Where there is no room for all tokens, the fewest withheld.
    """
    options = at_once(asked.bench, asked.picture).within(asked.settings["budget"])
    return {"codec": LAMI_GO, "budget": None} | options


@lru_cache(maxsize=16)
def _clean_bytes(bench: Bench, picture: Picture, of: CleanBytes) -> int:
    return bench.send(picture, codec=of.codec, **of.options).bytes.total_bytes


@lru_cache(maxsize=4)
def _planner(bench: Bench, picture: Picture, codec: str) -> Planner:
    return Planner({codec: bench.codec(codec)}, picture.image, picture.index)
