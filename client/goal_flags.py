"""Flags that say a consumer's goal, shared by `gocom send` and `gocom goal set`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from gocom.client.client import Client
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal

Task = Annotated[
    str | None, typer.Option("--task", help="Goal: task that the receiver runs on each picture, such as classify.")
]
Label = Annotated[
    list[int] | None,
    typer.Option(
        "--label", metavar="INDEX", help="Goal: label of the task that you want to know about; may be repeated."
    ),
]
LabelName = Annotated[
    list[str] | None,
    typer.Option("--label-name", metavar="NAME", help="Like --label, by name: 'golden retriever'; may be repeated."),
]
Text = Annotated[str | None, typer.Option("--text", help="Goal: what you want to see, in words, at most 200 bytes.")]
TaskTarget = Annotated[
    float,
    typer.Option(
        "--target",
        min=0,
        max=1,
        help="Goal: confidence of the task at which the receiver asks for no more; 0: it does not stop for that.",
    ),
]


def read_goal(
    task: str | None,
    labels: Sequence[int] | None,
    label_names: Sequence[str] | None,
    text: str | None,
    target: float,
    max_rounds: int | None = None,
    round_budget_bytes: int | None = None,
) -> ConsumerGoal | None:
    """Return the goal that flags say, still without the labels given by name; None: no flag was given.

    Raises:
        InvalidInput: a flag is invalid, or needs another one.
    """
    if label_names and not task:
        raise InvalidInput("label-name: needs --task, whose labels they are")
    if text is None and not any((task, labels, target, max_rounds, round_budget_bytes)):
        return None
    return ConsumerGoal(task, tuple(labels or ()), text, target, max_rounds, round_budget_bytes)


def add_labels(goal: ConsumerGoal, names: Sequence[str] | None, client: Client) -> ConsumerGoal:
    """Return the goal with further labels, whose names the receiver of the client knows.

    Raises:
        InvalidInput: the task or one of its labels is unknown.
        NotReady: a net of the task is missing, or the receiver is out of reach.
    """
    if goal.task is None:
        return goal
    known = client.label_names(goal.task)
    found = [label for name in names or () for label in find_labels(name, known)]
    complete = replace(goal, labels=tuple(dict.fromkeys([*goal.labels, *found])))
    complete.check_labels_among(known)
    return complete


def find_labels(name: str, known: Sequence[str]) -> list[int]:
    """Return the indices of all labels of a name, in any case. Raises InvalidInput, which names similar ones."""
    words = [label.casefold() for label in known]
    found = [index for index, word in enumerate(words) if word == name.casefold()]
    if found:
        return found
    near = [word for word in words if name.casefold() in word] if name else []
    near += difflib.get_close_matches(name.casefold(), words)
    similar = f"; similar are {', '.join(dict.fromkeys(near[:8]))}" if near else f"; there are {len(known)} others"
    raise InvalidInput(f"label-name: no {name!r}{similar}")
