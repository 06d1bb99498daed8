"""Grouping of frames that can be decoded in one batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_groups(
    items: Iterable[Item], key: Callable[[Item], Hashable], process: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result]:
    """Call `process` once for the items of each key, and return its results in the order of the items.

    Args:
        items: the items.
        key: gives the key of an item; items with equal keys form a group.
        process: returns one result for each item of a group, in order.
    """
    groups: dict[Hashable, list[tuple[int, Item]]] = {}
    for index, item in enumerate(items):
        groups.setdefault(key(item), []).append((index, item))
    found: dict[int, Result] = {}
    for group in groups.values():
        indices, members = zip(*group, strict=True)
        found |= zip(indices, process(members), strict=True)
    return [found[index] for index in range(len(found))]
