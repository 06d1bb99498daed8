"""The sender's feedback policies, one file each, which register when the registry is first asked for one."""

from __future__ import annotations

from collections.abc import Callable

from gocom.common.goals import Policy
from gocom.common.registry import Registry
from gocom.common.types import RoundSettings

POLICIES: Registry[Callable[[RoundSettings], Policy]] = Registry("feedback policy", "gocom.receiver.policies")
"""Registry of the values of common.types.FeedbackPolicy and of policy factories, which take the limits that hold."""
