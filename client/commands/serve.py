"""`gocom serve`: one service in this process, until SIGTERM or Ctrl-C. Flags win over GOCOM_... variables."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from gocom.client import console
from gocom.client.console import command, emit
from gocom.client.settings_flags import add_flags, settings_flags, take_flags
from gocom.common.logs import configure
from gocom.common.rpc.addresses import join_address
from gocom.common.rpc.credentials import check_service
from gocom.common.rpc.server import RunningServer, run_until_signal
from gocom.common.settings import ChannelSettings, ReceiverSettings, ServiceSettings, TransmitterSettings

_GC_THRESHOLDS = (20_000, 20, 20)

app = typer.Typer(help="Run one service in this process.", no_args_is_help=True)

FollowParent = Annotated[bool, typer.Option("--follow-parent", hidden=True, help="End when standard input does.")]
Settings = TypeVar("Settings", bound=ServiceSettings)
Serve = Callable[[Settings], Awaitable[RunningServer]]


def _service(name: str, settings: type[Settings], load: Callable[[], Serve[Settings]]) -> None:
    """Add the command of one service, whose flags are the fields of its settings.

    Args:
        name: what the command is called.
        settings: class of its settings.
        load: imports the service, torch with it where it needs that, and returns its `serve`. Its docstring is the
            command's help.
    """

    def run(follow_parent: FollowParent = False, **flags: Any) -> None:
        say_address = bool(flags.get("log_json"))
        _run(settings(**take_flags(settings_flags(settings), flags)), load, follow_parent, say_address)

    run.__doc__ = load.__doc__
    own = inspect.signature(run, eval_str=True)
    own = own.replace(parameters=[own.parameters["follow_parent"]])
    run.__signature__ = add_flags(own, settings_flags(settings))  # type: ignore[attr-defined]
    app.command(name)(command(run))


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


_service("transmitter", TransmitterSettings, _transmitter)
_service("channel", ChannelSettings, _channel)
_service("receiver", ReceiverSettings, _receiver)


def _run(settings: Settings, load: Callable[[], Serve[Settings]], follow_parent: bool, say_address: bool) -> None:
    """Serve until told to stop."""
    configure(settings.log_json)
    check_service(settings)  # before torch takes its time
    if follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # Read when torch loads its OpenMP: by default its threads spin while they wait, and two services that share the
    # cores then hold each other up (measured on two busy cores: 5 s instead of 0.5 s a picture).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    asyncio.run(_serve_until_signal(settings, load(), say_address))


async def _serve_until_signal(settings: Settings, serve: Serve[Settings], say_address: bool) -> None:
    running = await serve(settings)
    # What start-up has made stays; and packets are many small objects in no cycles, for which the collector would look
    # through all of them hundreds of times a second.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    if say_address:
        emit({"service": serve.__module__.split(".")[1], "host": settings.host, "port": running.port})
    elif not settings.log_json:  # whoever reads JSON lines has "ready" among them
        console.err.print(f"serving on {join_address(settings.host, running.port)}; Ctrl-C ends it", markup=False)
    await run_until_signal(running)


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent holds: when it breaks, nobody is left to stop this process."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
