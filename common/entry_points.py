"""What other distributions, and rooms of this one that may be left out, bring along: entry points by group.

    gocom.plugins     packages with codecs, faults or tasks, see common/registry.py
    gocom.commands    further commands of `gocom`
    gocom.checks      what `gocom doctor` asks beside its own questions

GOCOM_ENTRY_POINTS=off leaves out all that other distributions bring, so that one can see whether they are the trouble.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib import metadata
from typing import Any

from gocom.common.errors import InvalidInput

PLUGINS, COMMANDS, CHECKS = "gocom.plugins", "gocom.commands", "gocom.checks"
VARIABLE = "GOCOM_ENTRY_POINTS"
_OWN = "gocom"
"""The name of this distribution."""


def find_entry_points(group: str) -> dict[str, metadata.EntryPoint]:
    """Entry points of a group by name; of equal names the first that is installed.

    Raises:
        InvalidInput: GOCOM_ENTRY_POINTS is neither on nor off.
    """
    wanted = os.environ.get(VARIABLE, "on")
    if wanted not in ("on", "off"):
        raise InvalidInput(f"{VARIABLE}: {wanted!r} is none of on, off")
    found: dict[str, metadata.EntryPoint] = {}
    for point in _all(group):
        if wanted == "on" or (point.dist is not None and point.dist.name == _OWN):
            found.setdefault(point.name, point)
    return found


@cache
def _all(group: str) -> tuple[metadata.EntryPoint, ...]:
    """Read once a process: it opens a file of every distribution that is installed."""
    return tuple(metadata.entry_points(group=group))


def load_each(group: str, broken: Callable[[str, Exception], None]) -> dict[str, Any]:
    """Load every entry point of a group.

    Args:
        group: one of the groups above.
        broken: is told the name of an entry point that cannot be loaded, and why; it is skipped.

    Returns:
        what each names, by the entry point's name.
    """
    loaded = {}
    for name, point in find_entry_points(group).items():
        try:
            loaded[name] = point.load()
        except Exception as error:  # whatever another distribution does while it is imported
            broken(name, error)
    return loaded
