"""`gocom goal get | set | clear`: what the consumer of a session's pictures wants them for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from gocom.client import console
from gocom.client.client import Client
from gocom.client.console import RECEIVER, command, emit, say
from gocom.client.goal_flags import Label, LabelName, Task, TaskTarget, Text, add_labels, read_goal
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal, GoalState

app = typer.Typer(help="Read or change the goal of a session, also while its pictures are sent.", no_args_is_help=True)
Session = Annotated[
    str, typer.Argument(metavar="SESSION", help="Session, as `gocom stream` shows it: a frame_id up to the slash.")
]


@app.command("get")
@command
def get(session: Session, receiver: console.Receiver = RECEIVER, as_json: console.Json = False) -> None:
    """Print the goal of a session."""
    with Client(receiver=receiver, security=console.security()) as client:
        _print_state(session, client.get_goal(session), as_json)


@app.command("set")
@command
def set_goal(
    session: Session,
    task: Task = None,
    label: Label = None,
    label_name: LabelName = None,
    text: Text = None,
    target: TaskTarget = 0.0,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Largest number of rounds of a picture; default: the sender's limit.")
    ] = None,
    round_budget_bytes: Annotated[
        int | None, typer.Option(min=1, help="Largest size of each later round in bytes; default: the sender's limit.")
    ] = None,
    receiver: console.Receiver = RECEIVER,
    as_json: console.Json = False,
) -> None:
    """Replace the goal of a session, from its next round on and for everybody. The sender's limits still hold."""
    goal = read_goal(task, label, label_name, text, target, rounds, round_budget_bytes)
    if goal is None:
        raise InvalidInput("goal: no flag is given; --task or --text says one, `gocom goal clear` removes it")
    with Client(receiver=receiver, security=console.security()) as client:
        _print_state(session, client.set_goal(session, add_labels(goal, label_name, client)), as_json)


@app.command("clear")
@command
def clear(session: Session, receiver: console.Receiver = RECEIVER, as_json: console.Json = False) -> None:
    """Remove the goal of a session: the sender's feedback policy holds again."""
    with Client(receiver=receiver, security=console.security()) as client:
        _print_state(session, client.set_goal(session, None), as_json)


def _print_state(session: str, state: GoalState, as_json: bool) -> None:
    if as_json:
        goal = None if state.goal is None else asdict(state.goal)
        emit({"session_id": session, "revision": state.revision, "goal": goal})
        return
    words = "no goal" if state.goal is None else describe_goal(state.goal)
    say(f"{words}   revision {state.revision}")


def describe_goal(goal: ConsumerGoal) -> str:
    """Return a goal in one line: "task classify, labels 207, target 0.8"."""
    parts = {
        "task": goal.task,
        "labels": " ".join(map(str, goal.labels)) or None,
        "text": None if goal.text is None else repr(goal.text),
        "target": f"{goal.target:g}" if goal.target else None,
        "rounds": goal.max_rounds,
        "bytes a round": goal.round_budget_bytes,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)
