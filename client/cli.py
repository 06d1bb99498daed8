"""The `gocom` command. No torch here: only services load nets, in processes of their own."""

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
from gocom.common.entry_points import COMMANDS, load_each
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
    """Add the commands of entry points; a dot in a name, as in "channel.certify", is a space on the command line."""

    def add_absent(name: str, error: Exception) -> None:
        """Add a command that says why it is not there, whatever its arguments are."""

        @command
        def absent() -> None:
            raise NotReady(f"{name.replace('.', ' ')}: is not installed here ({error}); use the source (`make setup`)")

        absent.__doc__ = "Not installed here."
        group, _, last = name.rpartition(".")
        anything = {"allow_extra_args": True, "ignore_unknown_options": True}
        _GROUPS[group].command(last, context_settings=anything)(absent)

    for name, function in load_each(COMMANDS, add_absent).items():
        group, _, last = name.rpartition(".")
        _GROUPS[group].command(last)(function)


_add_commands()


def main() -> None:
    """Entry point; with --json, errors of the command line itself are JSON too."""
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
