"""A command line as a process: its streams and signals, and an exit status whatever happens."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import NoReturn

import typer
from typer.exceptions import Abort, Exit, TyperException

from gocom.client.console import command, emit, reporting_errors
from gocom.client.end_signals import leave_on_signals
from gocom.client.exit_status import FAILURE
from gocom.client.standard_streams import guard_standard_streams
from gocom.common.errors import InvalidInput


def run_app(app: typer.Typer, wrong: InvalidInput | None = None) -> NoReturn:
    """Run a command line with the words of this process, and exit with its status.

    With --json wrong usage of the command line is reported as JSON, too. What cannot be printed is escaped, and a
    closed or full stream, or Ctrl-C, ends the process without a traceback.

    Args:
        app: the command line.
        wrong: what is wrong with the settings of this process, which is all that is reported then; None: nothing is.
    """
    leave_on_signals(signal.SIGINT)
    guard_standard_streams()
    try:
        with reporting_errors():
            if wrong is not None:
                raise wrong
            status = _status(app)
            sys.stdout.flush()
    except Exit as error:
        status = error.exit_code
    except Abort:  # an end of input, or Ctrl-C before the command itself runs
        status = FAILURE
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
