"""Parts that all commands share: options, printing for people or as JSON lines, and one-line errors."""

from __future__ import annotations

import errno
import functools
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.exceptions import Abort, Exit, TyperException

from gocom.client.end_signals import EndSignal, raising_end_signals
from gocom.client.exit_status import FAILURE, USAGE_ERROR
from gocom.client.settings_flags import add_flags, settings_flags, take_flags
from gocom.client.standard_streams import OutputFailed
from gocom.common.errors import GoComError, InvalidInput, UnknownName
from gocom.common.printable_text import printable
from gocom.common.settings import ClientSettings
from gocom.common.systems import SYSTEMS, System
from gocom.common.wire.frame_messages import make_parameters

# Text is printed as it is: ":smile:.png" and "[red].png" are names of files.
out = Console(highlight=False, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)

TRACEBACK_VARIABLE = "GOCOM_TRACEBACK"
"""Name of the environment variable that, when set, has internal errors print their traceback."""
_NOT_THE_INPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""Errors of the operating system about a file for which whoever named the file is not to blame."""

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


def command(function: Callable[..., None], unwinds: bool = True) -> Callable[..., None]:
    """Decorate a command: an error becomes one line (with --json: {"error": ...}) and an exit status, no traceback.

    The status is USAGE_ERROR for wrong input, FAILURE for other errors, 130 for Ctrl-C, 143 for SIGTERM and 129 for
    SIGHUP. A signal is the usual end of an `up` that is up, and of a `channel record` without a number of rounds: 0. A
    command with an address among its parameters also gets the flags for TLS and token: see `security`.

    Args:
        function: the command.
        unwinds: whether SIGTERM and SIGHUP end it as Ctrl-C does, with all clean-up. Services handle them themselves.
    """
    signature = inspect.signature(function, eval_str=True)
    flags = settings_flags(ClientSettings) if _ADDRESSES & set(signature.parameters) else {}

    @functools.wraps(function)
    def run(*args: Any, **arguments: Any) -> None:
        global _json_wanted, _security  # noqa: PLW0603 - one command a process
        _json_wanted = bool(arguments.get("as_json") or arguments.get("log_json"))
        given = take_flags(flags, arguments)
        with reporting_errors(), raising_end_signals() if unwinds else nullcontext():
            _security = ClientSettings(**given) if flags else None
            function(*args, **arguments)

    run.__signature__ = add_flags(signature, flags)  # type: ignore[attr-defined]
    return run


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Report any error of a `with` block in one line, and raise typer.Exit with the status that `command` documents."""
    try:
        yield
    except (Exit, Abort, TyperException):
        raise
    except (InvalidInput, UnknownName) as error:
        fail(str(error), USAGE_ERROR)
    except GoComError as error:
        fail(str(error), FAILURE)
    except ValidationError as error:  # raised by a settings class
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ")  # pydantic's, before the words of our own checks
        fail(f"{'.'.join(map(str, first['loc']))}: {words}, got {first['input']!r}", USAGE_ERROR)
    except KeyboardInterrupt as error:
        raise typer.Exit(error.status if isinstance(error, EndSignal) else 130) from None
    except OutputFailed as error:
        fail("" if error.unread else str(error), FAILURE, as_json=False)
    except OSError as error:
        fail(*_of_system(error))
    except MemoryError:
        fail("memory: this process has none left", FAILURE)
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        places = traceback.extract_tb(error.__traceback__)
        ours = [place for place in places if "gocom" in Path(place.filename).parts]
        place = (ours or places)[-1]
        where = f"{Path(place.filename).name} line {place.lineno}"
        words = f"internal error: {type(error).__name__}: {error} ({where}); {TRACEBACK_VARIABLE}=1 shows where"
        fail(words, FAILURE)


def _of_system(error: OSError) -> tuple[str, int]:
    """Return the line and the exit status for an error of the operating system."""
    words = error.strerror or str(error)
    if error.filename is None:
        return words, FAILURE
    return f"{str(error.filename)!r}: {words}", FAILURE if error.errno in _NOT_THE_INPUT else USAGE_ERROR


def security() -> ClientSettings | None:
    """Return the TLS and token settings of this command, from flags and GOCOM_CLIENT_... variables, if it has any."""
    return _security


def fail(message: str, status: int, as_json: bool | None = None) -> NoReturn:
    """Print an error, if there is one, on stderr or as JSON on stdout, and exit with the status.

    Args:
        message: the line; "" prints nothing.
        status: exit status.
        as_json: whether it is printed as JSON; None: if the command was asked for JSON.
    """
    if message and (_json_wanted if as_json is None else as_json):
        try:
            emit({"error": message})
        except OutputFailed as lost:
            fail("" if lost.unread else str(lost), FAILURE, as_json=False)
    elif message:
        err.print(Text("error:", style="bold red"), printable(message, keep="\n\t"), soft_wrap=True)
    raise typer.Exit(status)


def emit(record: dict[str, Any]) -> None:
    """Print one JSON line on stdout."""
    sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Print text on stdout as it is: no markup, no emoji, no line broken; control characters are escaped."""
    out.print(printable(text, keep="\n\t"), soft_wrap=True)


def note(text: str) -> None:
    """Print text on stderr as `say` does on stdout."""
    err.print(printable(text, keep="\n\t"), soft_wrap=True)


def show(table: Table) -> None:
    """Print a table on stdout. Where the terminal is too narrow for a cell, it is folded and not cut off."""
    for column in table.columns:
        column.overflow = "fold"
    out.print(table)


def output_error(field: str, path: Path, error: OSError) -> GoComError:
    """Return the error of a file or folder that cannot be written: wrong input, but a failure where the disk is full.

    Args:
        field: name of the flag that names the path.
        path: the path.
        error: what the operating system says.
    """
    kind = GoComError if error.errno in _NOT_THE_INPUT else InvalidInput
    return kind(f"{field}: cannot write to {str(path)!r}: {error.strerror or error}")


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show a spinner on stderr, but not with --json or without a terminal; yield a function that changes its text."""
    if _json_wanted:
        yield lambda _: None
        return
    with err.status(Text(printable(text))) as status:
        yield lambda words: status.update(Text(printable(words)))


def parse_options(codec: str, words: list[str] | None) -> tuple[System, dict[str, Any]]:
    """Parse and check KEY=VALUE words, before any service is started for them.

    Returns:
        the codec, and its options by name as text.

    Raises:
        UnknownName: there is no such codec.
        InvalidInput: a word has another form, an option is given twice, or an option or its value is invalid.
    """
    system = SYSTEMS.get(codec)
    values: dict[str, Any] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not equals:
            raise InvalidInput(f"option: {word!r} is not of the form key=value")
        if key.strip() in values:
            raise InvalidInput(f"option: {key.strip()} is given twice; give one value")
        values[key.strip()] = value.strip()
    make_parameters(system.options, values)
    return system, values
