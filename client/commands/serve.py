"""`gocom serve`: run one service in this process until SIGTERM or Ctrl-C. Flags override GOCOM_... variables."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from gocom.client import console
from gocom.client.command_process import run_app
from gocom.client.console import command, emit
from gocom.client.settings_flags import add_flags, settings_flags, take_flags
from gocom.common.entry_points import are_used
from gocom.common.errors import InvalidInput
from gocom.common.logs import configure, get_logger
from gocom.common.rpc.addresses import join_address
from gocom.common.rpc.credentials import check_service
from gocom.common.rpc.server import RunningServer, run_until_signal
from gocom.common.settings import (
    ChannelSettings,
    ReceiverSettings,
    ServiceSettings,
    TransmitterSettings,
    unknown_variables,
)

log = get_logger("settings")

_GC_THRESHOLDS = (20_000, 20, 20)
"""Thresholds of the three generations of the garbage collector, see gc.set_threshold."""

app = typer.Typer(help="Run one service in this process.", no_args_is_help=True)

FollowParent = Annotated[bool, typer.Option("--follow-parent", hidden=True, help="End when standard input does.")]
ReadyFd = Annotated[
    int | None, typer.Option("--ready-fd", hidden=True, help="File descriptor to write to once the service is ready.")
]
Settings = TypeVar("Settings", bound=ServiceSettings)
Serve = Callable[[Settings], Awaitable[RunningServer]]
"""Function that starts a service with its settings, and returns the running server."""


def _add_command(name: str, settings: type[Settings], load: Callable[[], Serve[Settings]]) -> None:
    """Add the command that runs a service. Its flags are the fields of the service's settings.

    Args:
        name: name of the command.
        settings: class of the service's settings.
        load: function that imports the service, with torch if the service uses it, and returns its `serve`. Its
            docstring is the command's help.
    """

    def run(follow_parent: FollowParent = False, ready_fd: ReadyFd = None, **flags: Any) -> None:
        say_address = bool(flags.get("log_json"))
        _run(settings(**take_flags(settings_flags(settings), flags)), load, follow_parent, ready_fd, say_address)

    run.__doc__ = load.__doc__
    signature = inspect.signature(run, eval_str=True)
    signature = signature.replace(parameters=[signature.parameters[n] for n in ("follow_parent", "ready_fd")])
    run.__signature__ = add_flags(signature, settings_flags(settings))  # type: ignore[attr-defined]
    app.command(name)(command(run, unwinds=False))  # it drains on SIGTERM by itself


def _transmitter() -> Serve[TransmitterSettings]:
    """Encode pictures and send them over the link."""
    from gocom.transmitter.service import serve  # noqa: PLC0415

    return serve


def _channel() -> Serve[ChannelSettings]:
    """Forward frames, and do to their packets what the profile says."""
    from gocom.channel_emulator.service import serve  # noqa: PLC0415

    return serve


def _receiver() -> Serve[ReceiverSettings]:
    """Re-create pictures from what arrives."""
    from gocom.receiver.service import serve  # noqa: PLC0415

    return serve


_add_command("transmitter", TransmitterSettings, _transmitter)
_add_command("channel", ChannelSettings, _channel)
_add_command("receiver", ReceiverSettings, _receiver)


def main() -> None:
    """Run `gocom serve ...` as the one command of this process. Words and errors are those of the whole `gocom`."""
    gocom = typer.Typer(name="gocom", add_completion=False, pretty_exceptions_enable=False)
    gocom.add_typer(app, name="serve")
    wrong: InvalidInput | None = None
    try:
        are_used()
    except InvalidInput as error:
        wrong = error
    run_app(gocom, wrong)


def _run(
    settings: Settings,
    load: Callable[[], Serve[Settings]],
    follow_parent: bool,
    ready_fd: int | None,
    say_address: bool,
) -> None:
    """Run a service until SIGTERM or Ctrl-C.

    Args:
        settings: settings of the service.
        load: see `_add_command`.
        follow_parent: whether to stop when standard input ends.
        ready_fd: file descriptor of a pipe to write to once the service is running; None: there is none.
        say_address: whether to print the address on stdout as JSON once the service is running.

    Raises:
        InvalidInput: the security settings are invalid.
    """
    configure(settings.log_json)
    for variable, meant in unknown_variables(type(settings)).items():
        hint = f"; did you mean {meant}?" if meant else ""
        log.warning(f"{variable}: there is no such setting{hint}")
    check_service(settings)  # before torch is imported, which takes long
    if follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # OpenMP reads this variable when torch loads it. By default its threads spin while they wait, so that two services
    # on the same cores slow each other down (measured on two busy cores: 5 s a picture instead of 0.5 s).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports make many objects that stay, and packets are many small ones without reference cycles. With the default
    # thresholds the collector would run hundreds of times a second.
    gc.set_threshold(*_GC_THRESHOLDS)
    asyncio.run(_serve_until_signal(settings, load(), ready_fd, say_address))


async def _serve_until_signal(
    settings: Settings, serve: Serve[Settings], ready_fd: int | None, say_address: bool
) -> None:
    running = await serve(settings)
    if ready_fd is not None:
        with contextlib.suppress(BrokenPipeError):  # the parent has ended, and so will this process
            os.write(ready_fd, b"1")
        os.close(ready_fd)
    gc.freeze()  # objects made at start-up are never freed, so the collector need not visit them
    if say_address:
        emit({"service": serve.__module__.split(".")[1], "host": settings.host, "port": running.port})
    elif not settings.log_json:  # the JSON log reports "ready" by itself
        console.note(f"serving on {join_address(settings.host, running.port)}; Ctrl-C ends it")
    await run_until_signal(running)


def _end_with_parent() -> None:
    """Send SIGTERM to this process when standard input, a pipe from the parent process, ends with the parent."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
