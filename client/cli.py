"""The `gocom` command. No torch here: only services load nets, in processes of their own."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import TyperException

from client.commands import channel, serve
from client.commands.codecs import codecs
from client.commands.demo import demo
from client.commands.doctor import doctor
from client.commands.eval import evaluate
from client.commands.health import health
from client.commands.send import send
from client.commands.stream import stream
from client.commands.up import up
from client.console import emit

app = typer.Typer(
    name="gocom",
    help="Goal-oriented image communication: pictures through a lossy channel, and what a receiver makes of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (send, stream, demo, up, codecs, doctor, health):
    app.command()(_command)
app.command("eval")(evaluate)
app.add_typer(serve.app, name="serve")
app.add_typer(channel.app, name="channel")


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
