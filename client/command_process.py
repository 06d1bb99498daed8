"""A command line as a process: its streams and signals, and an exit status whatever happens."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import typer
from typer.exceptions import Exit, TyperException

from gocom.client.console import FAILURE, command, emit, reporting_errors
from gocom.client.end_signals import leave_on_signals
from gocom.client.standard_streams import guard_standard_streams


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line with the words of this process, and exit with its status.

    With --json wrong usage of the command line is reported as JSON, too. What cannot be printed is escaped, and a
    closed or full stream, or Ctrl-C, ends the process without a traceback.
    """
    leave_on_signals(signal.SIGINT)
    guard_standard_streams()
    try:
        with reporting_errors():
            status = _status(app)
            sys.stdout.flush()
    except Exit as error:
        status = error.exit_code
    leave_on_signals()
    sys.exit(status)


def run_command(function: Callable[..., None]) -> NoReturn:
    """Run a function as the one command of this process: see `run_app` and gocom.client.console.command."""
    app = typer.Typer(add_completion=False)
    app.command()(command(function))
    run_app(app)


def _status(app: typer.Typer) -> int:
    """Run a command line, and return its exit status; FAILURE if it is none."""
    try:
        status = app(standalone_mode="--json" not in sys.argv)
    except SystemExit as error:
        status = error.code
    except TyperException as error:
        emit({"error": error.format_message()})
        status = error.exit_code
    return status if isinstance(status, int) else FAILURE if status else 0
