"""`gocom up`: run the three services as local processes, until Ctrl-C."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gocom.client import console
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, say, spinner
from gocom.client.end_signals import raising_end_signals
from gocom.client.local_stack import LocalStack


@command
def up(
    channel: console.Spec = None,
    reverse_channel: console.ReverseSpec = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the channel's randomness.")] = None,
    device: console.Device = "auto",
    warm: Annotated[
        list[str] | None, typer.Option(help="Codec to load at start; default lami_go; may be repeated.")
    ] = None,
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Use any free ports instead of 50051 to 50053.")
    ] = False,
    logs: Annotated[Path | None, typer.Option("--logs", help="Folder for the logs; default: a temporary one.")] = None,
    as_json: console.Json = False,
) -> None:
    """Run receiver, channel emulator and transmitter until Ctrl-C or SIGTERM, with exit status 0 once they were up."""
    usual = {"transmitter": TRANSMITTER, "channel": CHANNEL, "receiver": RECEIVER}
    ports = {} if free_ports else {name: int(address.rpartition(":")[2]) for name, address in usual.items()}
    stack = LocalStack(
        channel or "clean", seed, device, warm or ("lami_go",), log_folder=logs, ports=ports,
        reverse_spec=reverse_channel,
    )  # fmt: skip
    with raising_end_signals(hear_ignored_interrupt=True):
        try:
            with spinner("starting (the first import of torch may take a minute)") as update:
                stack.start(lambda name: update(f"{name} is ready"))
            _announce(stack, free_ports, as_json)
            with contextlib.suppress(KeyboardInterrupt):  # the usual end
                while True:
                    time.sleep(0.5)
                    stack.check()
        finally:
            stack.stop()


def _announce(stack: LocalStack, free_ports: bool, as_json: bool) -> None:
    record: dict[str, Any] = {**stack.addresses, "logs": str(stack.log_folder)}
    if as_json:
        emit(record)
        return
    for name, value in record.items():
        say(f"{name:12} {value}")
    flags = {"transmitter": "--transmitter", "receiver": "--receiver", "channel": "--channel-address"}
    words = [f"{flag} {stack.addresses[name]}" for name, flag in flags.items()] if free_ports else []
    say(" ".join(["try: gocom send photo.jpg --out out", *words]))
    say("Ctrl-C ends it")
