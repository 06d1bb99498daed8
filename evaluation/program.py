"""Start of the programs `python -m gocom.evaluation....` and `python -m gocom.training....`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from gocom.client.command_process import run_command


def run_program(function: Callable[..., None]) -> NoReturn:
    """Run a function as the command line of this process. An error is one line and an exit status, as with `gocom`."""
    run_command(function)
