"""How long it takes until services serve, with what they warm up, from the start of the command.

    python -m gocom.evaluation.benches.start_bench
    python -m gocom.evaluation.benches.start_bench --against ../before     # another checkout, in turn with this one

A command is started as a user starts it, and timed until it prints its address, which it does once it is SERVING. Then
it gets SIGTERM. `--help` is timed until it ends. Checkouts take turns, so that what else the machine does meets both
alike. One start of each goes ahead uncounted: it fills the caches of files and of bytecode.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

import gocom
from gocom.client.command_process import run_command
from gocom.evaluation.report.tables import Table, to_markdown

COMMANDS = (
    "--help",
    "serve channel --port 0 --json",
    "serve receiver --port 0 --json --warm jpeg",
    "serve transmitter --port 0 --json --warm jpeg --outbox off",
    "up --free-ports --json --warm jpeg",
    "serve receiver --port 0 --json --warm lami_go",
    "serve transmitter --port 0 --json --warm lami_go --outbox off",
    "up --free-ports --json --warm lami_go",
)


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a command.

    Attributes:
        serving_s: seconds until it served, or until `--help` had ended.
        cpu_s: seconds of CPU time of the command and its services, their end included.
    """

    serving_s: float
    cpu_s: float


def start(source: Path, words: Sequence[str]) -> Start:
    """Start a `gocom` command from a folder that holds the package, and end it once it serves.

    Raises:
        RuntimeError: it has ended without saying that it serves.
    """
    environment = os.environ | {"PYTHONPATH": str(source)}
    used = _children_cpu_s()
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "gocom.client", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        ends = "--help" in words
        said = process.stdout.read() if ends else process.stdout.readline()
        seconds = time.perf_counter() - began
        if not ends:
            process.send_signal(signal.SIGTERM)
    if not said:
        raise RuntimeError(f"gocom {' '.join(words)}: ended with status {process.returncode}, and served nothing")
    return Start(seconds, _children_cpu_s() - used)


def _children_cpu_s() -> float:
    """Return the CPU time in seconds of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(sources: Sequence[Path], commands: Sequence[str], runs: int) -> dict[str, list[list[Start]]]:
    """Return the starts of each command: a list for each source, in the order of `sources`."""
    found: dict[str, list[list[Start]]] = {}
    for command in commands:
        starts: list[list[Start]] = [[] for _ in sources]
        for run in range(runs + 1):
            turn = list(enumerate(sources))
            for i, source in turn if run % 2 else reversed(turn):
                starts[i].append(start(source, command.split()))
        found[command] = [own[1:] for own in starts]
    return found


def table(found: dict[str, list[list[Start]]], names: Sequence[str]) -> list[str]:
    """Return a Markdown table of medians, with a pair of columns for each source."""
    head = ["command", *(f"{what} {name}, s" for name in names for what in ("serving", "CPU"))]
    lines = [
        (
            f"`gocom {command}`",
            *(f"{median(column):.2f}" for own in starts for column in zip(*map(astuple, own), strict=True)),
        )
        for command, starts in found.items()
    ]
    return to_markdown(Table("", (), tuple(head), tuple(lines))).splitlines()


def main(
    runs: Annotated[int, typer.Option(min=1, help="Starts of each command that count.")] = 7,
    against: Annotated[
        Path | None, typer.Option(help="Folder of another checkout, which is started in turn with this one.")
    ] = None,
    only: Annotated[str, typer.Option(help="Start only commands that contain this text.")] = "",
) -> None:
    """Measure, and print a table of medians."""
    sources, names = [Path(gocom.__path__[0]).parent], ["here"]
    if against is not None:
        sources, names = [against.resolve() / "src", *sources], ["there", *names]
    commands = [command for command in COMMANDS if only in command]
    print("\n".join(table(measure(sources, commands, runs), names)))


if __name__ == "__main__":
    run_command(main)
