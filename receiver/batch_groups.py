"""Frames that can be decoded together: those of one kind, in one go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_groups(
    items: Iterable[Item], kind: Callable[[Item], Hashable], make: Callable[[Sequence[Item]], Sequence[Made]]
) -> list[Made]:
    """What `make` makes of the items of each kind, put back into the order of the items."""
    groups: dict[Hashable, list[tuple[int, Item]]] = {}
    for index, item in enumerate(items):
        groups.setdefault(kind(item), []).append((index, item))
    found: dict[int, Made] = {}
    for group in groups.values():
        indices, members = zip(*group, strict=True)
        found |= zip(indices, make(members), strict=True)
    return [found[index] for index in range(len(found))]
