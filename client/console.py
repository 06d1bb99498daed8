"""Parts that all commands share: options, printing for people or as JSON lines, and one-line errors."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from gocom.client.local_stack import USAGE_ERROR
from gocom.client.settings_flags import add_flags, settings_flags, take_flags
from gocom.common.errors import GoComError, InvalidInput, UnknownName
from gocom.common.settings import ClientSettings
from gocom.common.systems import SYSTEMS, System
from gocom.common.wire.frame_messages import make_parameters

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

FAILURE = 1

Json = Annotated[bool, typer.Option("--json", help="Print JSON objects on stdout, one a line, and nothing else.")]
Codec = Annotated[str, typer.Option("--codec", help="Codec to send with; `gocom codecs` lists them.")]
Spec = Annotated[
    str | None,
    typer.Option(
        "--channel",
        metavar="SPEC",
        help="Impairments of the channel: clean, lossy, packet_erasure:rate=0.2, a .yml file.",
    ),
]
ReverseSpec = Annotated[
    str | None,
    typer.Option(
        "--reverse-channel",
        metavar="SPEC",
        help="Impairments of the reverse channel, where feedback crosses the channel emulator: clean, lossy, ...",
    ),
]
Reverse = Annotated[bool, typer.Option("--reverse", help="Use the reverse channel, which carries feedback.")]
SEED_HELP = "Seed of the channel's randomness and of the receiver's samplers."
Seed = Annotated[int, typer.Option("--seed", min=0, help=SEED_HELP)]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="Option of the codec, see `gocom codecs`; may be repeated."),
]
Device = Annotated[str, typer.Option(envvar="GOCOM_DEVICE", help="Torch device of the nets: auto, cpu, cuda.")]
Transmitter = Annotated[
    str, typer.Option("--transmitter", envvar="GOCOM_TRANSMITTER_ADDRESS", help="host:port of the transmitter.")
]
Receiver = Annotated[
    str, typer.Option("--receiver", envvar="GOCOM_RECEIVER_ADDRESS", help="host:port of the receiver.")
]
ChannelAddress = Annotated[
    str, typer.Option("--channel-address", envvar="GOCOM_CHANNEL_ADDRESS", help="host:port of the channel emulator.")
]
Local = Annotated[
    bool, typer.Option("--local", help="Start the three services for this command, and stop them at its end.")
]

TRANSMITTER, CHANNEL, RECEIVER = "127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053"

_ADDRESSES = {"transmitter", "receiver", "channel_address", "address"}
_json_wanted = False
_security: ClientSettings | None = None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an error becomes one line (with --json: {"error": ...}) and an exit status, no traceback.

    The status is USAGE_ERROR for wrong input, FAILURE for other errors and 130 for Ctrl-C. A command with an address
    among its parameters also gets the flags for TLS and token: see `security`.
    """
    signature = inspect.signature(function, eval_str=True)
    flags = settings_flags(ClientSettings) if _ADDRESSES & set(signature.parameters) else {}

    @functools.wraps(function)
    def run(*args: Any, **arguments: Any) -> None:
        global _json_wanted, _security  # noqa: PLW0603 - one command a process
        _json_wanted = bool(arguments.get("as_json") or arguments.get("log_json"))
        given = take_flags(flags, arguments)
        try:
            _security = ClientSettings(**given) if flags else None
            function(*args, **arguments)
        except (InvalidInput, UnknownName) as error:
            fail(str(error), USAGE_ERROR)
        except GoComError as error:
            fail(str(error), FAILURE)
        except ValidationError as error:  # raised by a settings class
            first = error.errors()[0]
            fail(f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}", USAGE_ERROR)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None

    run.__signature__ = add_flags(signature, flags)  # type: ignore[attr-defined]
    return run


def security() -> ClientSettings | None:
    """Return the TLS and token settings of this command, from flags and GOCOM_CLIENT_... variables, if it has any."""
    return _security


def fail(message: str, status: int) -> NoReturn:
    """Print an error, on stderr or as JSON on stdout, and exit with the status."""
    if _json_wanted:
        emit({"error": message})
    else:
        err.print("error:", style="bold red", end=" ")
        err.print(message, markup=False, soft_wrap=True)
    raise typer.Exit(status)


def emit(record: dict[str, Any]) -> None:
    """Print one JSON line on stdout."""
    sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")
    sys.stdout.flush()


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on stderr, but not with --json or without a terminal; yield a function that changes its text."""
    if _json_wanted:
        yield lambda _: None
        return
    with err.status(text) as status:
        yield status.update


def parse_options(codec: str, words: list[str] | None) -> tuple[System, dict[str, Any]]:
    """Parse and check KEY=VALUE words, before any service is started for them.

    Returns:
        the codec, and its options by name as text.

    Raises:
        UnknownName: there is no such codec.
        InvalidInput: a word has another form, or an option or its value is invalid.
    """
    system = SYSTEMS.get(codec)
    values: dict[str, Any] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidInput(f"option: {word!r} is not of the form key=value")
        values[key.strip()] = value.strip()
    make_parameters(system.options, values)
    return system, values
