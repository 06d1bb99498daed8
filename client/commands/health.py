"""`gocom health`: ask services whether they are serving; the exit status answers, for scripts and orchestrators."""

from __future__ import annotations

from typing import Annotated

import typer

from gocom.client import console
from gocom.client.console import command, emit, say
from gocom.client.exit_status import FAILURE
from gocom.client.service_health import why_not_serving


@command
def health(
    address: Annotated[
        list[str],
        typer.Argument(metavar="HOST:PORT...", help="Address of a transmitter, channel emulator or receiver."),
    ],
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds that each service has to answer.")] = 2.0,
    as_json: console.Json = False,
) -> None:
    """Ask services, by the gRPC health protocol, whether they are serving. Exit status 1 unless all are."""
    reasons = {at: why_not_serving(at, timeout_s, console.security()) for at in address}
    for at, reason in reasons.items():
        if as_json:
            emit({"address": at, "serving": reason is None, "reason": reason})
        else:
            say(f"{at}: {'serving' if reason is None else f'not serving: {reason}'}")
    if any(reasons.values()):
        raise typer.Exit(FAILURE)
