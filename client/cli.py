"""The `gocom` command. Torch is not imported here: only services load nets, in processes of their own."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import TyperException

from gocom.client.commands import channel, serve
from gocom.client.commands.codecs import codecs
from gocom.client.commands.demo import demo
from gocom.client.commands.doctor import doctor
from gocom.client.commands.health import health
from gocom.client.commands.send import send
from gocom.client.commands.stream import stream
from gocom.client.commands.up import up
from gocom.client.console import command, emit
from gocom.common.entry_points import COMMANDS, load_entry_points
from gocom.common.errors import NotReady

app = typer.Typer(
    name="gocom",
    help="Goal-oriented image communication: pictures through a lossy channel, and what a receiver makes of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (send, stream, demo, up, codecs, doctor, health):
    app.command()(_command)
app.add_typer(serve.app, name="serve")
app.add_typer(channel.app, name="channel")
_GROUPS = {"": app, "channel": channel.app}


def _add_commands() -> None:
    """Add the commands of entry points. The name "channel.certify" becomes the command `gocom channel certify`."""

    def add_placeholder(name: str, error: Exception) -> None:
        """Add a command that takes any arguments, and reports why the real command cannot be loaded."""

        @command
        def placeholder() -> None:
            raise NotReady(f"{name.replace('.', ' ')}: is not installed here ({error}); use the source (`make setup`)")

        placeholder.__doc__ = "Not installed here."
        group, _, last = name.rpartition(".")
        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        _GROUPS[group].command(last, context_settings=anything)(placeholder)

    for name, function in load_entry_points(COMMANDS, add_placeholder).items():
        group, _, last = name.rpartition(".")
        _GROUPS[group].command(last)(function)


_add_commands()


def main() -> None:
    """Run the `gocom` command. With --json, wrong usage of the command line is reported as JSON, too."""
    if "--json" not in sys.argv:
        app()
        return
    try:
        sys.exit(app(standalone_mode=False))
    except TyperException as error:
        emit({"error": error.format_message()})
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
