"""Entry points, by which other distributions, and optional parts of this one, extend GO-COM. There are three groups:

    gocom.plugins     packages with codecs or faults, see common/registry.py
    gocom.commands    further commands of `gocom`
    gocom.checks      further checks of `gocom doctor`

GOCOM_ENTRY_POINTS=off ignores the entry points of other distributions, to see whether one of them causes a problem.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from gocom.common.errors import InvalidInput

PLUGINS, COMMANDS, CHECKS = "gocom.plugins", "gocom.commands", "gocom.checks"
ENTRY_POINTS_VARIABLE = "GOCOM_ENTRY_POINTS"
"""Name of the environment variable that is "on" or "off"."""
_DISTRIBUTION = "gocom"
"""Name of this distribution."""


def are_used() -> bool:
    """Return whether entry points of other distributions are used. Raises InvalidInput unless that is "on" or "off"."""
    wanted = os.environ.get(ENTRY_POINTS_VARIABLE, "on")
    if wanted not in ("on", "off"):
        raise InvalidInput(f"{ENTRY_POINTS_VARIABLE}: {wanted!r} is none of on, off")
    return wanted == "on"


def find_entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Return the entry points of a group by name; of entry points with the same name, the first one found.

    Raises:
        InvalidInput: GOCOM_ENTRY_POINTS is neither "on" nor "off".
    """
    used = are_used()
    found: dict[str, metadata.EntryPoint] = {}
    for point in _read_entry_points(group):
        if used or (point.dist is not None and point.dist.name == _DISTRIBUTION):
            found.setdefault(point.name, point)
    return found


@cache
def _read_entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """Return all entry points of a group. Cached, because it opens a file of every installed distribution."""
    return tuple(metadata.entry_points(group=group))


def load_entry_points(group: str, on_error: Callable[[str, Exception], None]) -> dict[str, Any]:
    """Load every entry point of a group.

    Args:
        group: PLUGINS, COMMANDS or CHECKS.
        on_error: called with the name of each entry point that cannot be loaded, and the exception. That entry point is
            skipped.

    Returns:
        the loaded objects, by the names of their entry points.
    """
    loaded = {}
    for name, point in find_entry_points(group).items():
        try:
            loaded[name] = point.load()
        except Exception as error:  # importing another distribution may raise anything
            on_error(name, error)
    return loaded
