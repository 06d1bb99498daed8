"""Check of the arguments of a send, before anything is started or changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from gocom.client.picture_input import Size, check_size
from gocom.client.results import Preview
from gocom.client.transfer import SendOptions
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal
from gocom.common.systems import SYSTEMS
from gocom.common.types import FeedbackPolicy, LinkSettings, PowerAllocation, RoundSettings
from gocom.common.wire.frame_messages import check_rounds, make_parameters

E = TypeVar("E", bound=Enum)

_UINT32, _UINT64 = 1 << 32, 1 << 64


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
    parameters = make_parameters(SYSTEMS.get(codec).options, dict(options or {}))
    _check_range("seed", seed, 0, _UINT64 - 1)
    _check_range("max_rounds", max_rounds, 1, _UINT32 - 1)
    for name, value in (("budget_bytes", budget_bytes), ("round_budget_bytes", round_budget_bytes)):
        if value is not None:
            _check_range(name, value, 1, _UINT32 - 1)
    _check_range("quality_target", quality_target, 0, 1)
    if unequal_protection is not None:
        _check_range("unequal_protection", unequal_protection, 0, 0.9)
        if budget_bytes is None:
            raise InvalidInput("budget_bytes: unequal protection needs one")
    check_size(size)
    policy = _choice(FeedbackPolicy, "feedback_policy", feedback_policy)
    power = _choice(PowerAllocation, "power_allocation", power_allocation)
    check_rounds(RoundSettings(max_rounds, round_budget_bytes or 0, policy, quality_target))
    return SendOptions(
        codec, parameters, seed, max_rounds, budget_bytes, round_budget_bytes, policy, quality_target, goal,
        power, unequal_protection, link, size, first_index, timeout_s, patience_s, on_preview,
    )  # fmt: skip


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidInput(f"{name}: {value} is not in {low} to {high}")


def _choice(kind: type[E], name: str, value: E | str) -> E:
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(f"{name}: {value!r} is none of {', '.join(str(one.value) for one in kind)}") from None
