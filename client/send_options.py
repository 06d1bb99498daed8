"""Check of the arguments of a send, before anything is started or changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import numpy as np

from gocom.client.picture_input import Size, check_size
from gocom.client.results import Preview
from gocom.client.transfer import SendOptions
from gocom.common.errors import InvalidInput, abbreviate
from gocom.common.goals import ConsumerGoal
from gocom.common.number_checks import UINT32_MAX, UINT64_MAX, real_number, whole_number
from gocom.common.systems import SYSTEMS
from gocom.common.types import (
    FeedbackPolicy,
    LinkSettings,
    Parameters,
    PowerAllocation,
    RoundSettings,
)
from gocom.common.wire.frame_messages import check_rounds, make_parameters

E = TypeVar("E", bound=Enum)

MIN_TIMEOUT_S = 0.001
"""Smallest timeout of a picture in seconds; there is no largest one."""


def send_options(
    codec: str = "lami_go",
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    max_rounds: int = 1,
    budget_bytes: int | None = None,
    round_budget_bytes: int | None = None,
    feedback_policy: FeedbackPolicy | str = FeedbackPolicy.ERASED,
    quality_target: float = 0.0,
    goal: ConsumerGoal | None = None,
    power_allocation: PowerAllocation | str = PowerAllocation.EQUAL,
    unequal_protection: float | None = None,
    link: LinkSettings = LinkSettings(),
    size: Size = None,
    first_index: int = 0,
    timeout_s: float = 120.0,
    patience_s: float = 60.0,
    on_preview: Callable[[Preview], None] | None = None,
) -> SendOptions:
    """Check the arguments of AsyncClient.send, which documents them. Raises InvalidInput, UnknownName."""
    parameters = _codec_options(codec, options)
    seed = whole_number("seed", seed, 0, UINT64_MAX)
    max_rounds = whole_number("max_rounds", max_rounds, 1, UINT32_MAX)
    if budget_bytes is not None:
        budget_bytes = whole_number("budget_bytes", budget_bytes, 1, UINT32_MAX)
    if round_budget_bytes is not None:
        round_budget_bytes = whole_number("round_budget_bytes", round_budget_bytes, 1, UINT32_MAX)
    quality_target = real_number("quality_target", quality_target, 0, 1)
    if unequal_protection is not None:
        unequal_protection = real_number("unequal_protection", unequal_protection, 0, 0.9)
        if budget_bytes is None:
            raise InvalidInput("budget_bytes: unequal protection needs one")
    policy = _choice(FeedbackPolicy, "feedback_policy", feedback_policy)
    power = _choice(PowerAllocation, "power_allocation", power_allocation)
    check_rounds(RoundSettings(max_rounds, round_budget_bytes or 0, policy, quality_target))
    for name, given, kind in (("goal", goal, ConsumerGoal | None), ("link", link, LinkSettings)):
        if not isinstance(given, kind):
            raise InvalidInput(f"{name}: {abbreviate(given)} is not a {name.title()}; see gocom.client")
    if on_preview is not None and (not callable(on_preview) or iscoroutinefunction(on_preview)):
        raise InvalidInput(f"on_preview: {abbreviate(on_preview)} is not a function; it must not be async")
    first_index = whole_number("first_index", first_index, 0, UINT32_MAX)
    timeout_s = real_number("timeout_s", timeout_s, MIN_TIMEOUT_S, math.inf)
    patience_s = real_number("patience_s", patience_s, 0, math.inf)
    return SendOptions(
        codec, parameters, seed, max_rounds, budget_bytes, round_budget_bytes, policy, quality_target, goal,
        power, unequal_protection, link, check_size(size), first_index, timeout_s, patience_s, on_preview,
    )  # fmt: skip


def _codec_options(codec: str, options: Mapping[str, Any] | None) -> Parameters:
    """Return the options of a codec. Raises InvalidInput, UnknownName."""
    if not isinstance(codec, str):
        raise InvalidInput(f"codec: {abbreviate(codec)} is not the name of a codec; choose {', '.join(SYSTEMS)}")
    if not isinstance(options, Mapping | None) or not all(isinstance(name, str) for name in options or {}):
        raise InvalidInput(f"options: {abbreviate(options)} is not a mapping of names to values")
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in (options or {}).items()}
    return make_parameters(SYSTEMS.get(codec).options, values)


def _choice(kind: type[E], name: str, value: E | str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(f"{name}: {value!r} is none of {', '.join(str(one.value) for one in kind)}") from None
