"""The `gocom` command. Torch is not imported here: only services load nets, in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from gocom.client.command_process import run_app
from gocom.client.commands import channel, goal, serve
from gocom.client.commands.codecs import codecs
from gocom.client.commands.demo import demo
from gocom.client.commands.doctor import doctor
from gocom.client.commands.health import health
from gocom.client.commands.send import send
from gocom.client.commands.stream import stream
from gocom.client.commands.up import up
from gocom.client.commands.zoo import zoo
from gocom.client.console import Json, command
from gocom.common.entry_points import COMMANDS, load_entry_points
from gocom.common.errors import InvalidInput, NotReady

app = typer.Typer(
    name="gocom",
    help="Goal-oriented image communication: pictures through a lossy channel, and what a receiver makes of them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (send, stream, demo, up, codecs, zoo, doctor, health):
    app.command()(_command)
app.add_typer(serve.app, name="serve")
app.add_typer(channel.app, name="channel")
app.add_typer(goal.app, name="goal")
_GROUPS = {"": app, "channel": channel.app}
_OWN = {
    group: {info.name or getattr(info.callback, "__name__", "") for info in typer_app.registered_commands}
    for group, typer_app in _GROUPS.items()
}
"""Names of the commands that need no entry point, by group."""


def _add_commands() -> None:
    """Add the commands of entry points. The name "channel.certify" becomes the command `gocom channel certify`.

    An entry point that cannot be a command is named on stderr and skipped, so that it breaks no other command.
    """
    failed: dict[str, Exception] = {}
    found = load_entry_points(COMMANDS, failed.__setitem__)
    for name, loaded in (found | failed).items():
        group, _, last = name.rpartition(".")
        if group not in _GROUPS or last in _OWN[group] or not (name in failed or callable(loaded)):
            print(f"gocom: the command {name!r} of an entry point is skipped: its group is unknown, its name is "
                  "taken, or it is no function", file=sys.stderr)  # fmt: skip
        elif name in failed:
            anything = {"allow_extra_args": True, "ignore_unknown_options": True}
            _GROUPS[group].command(last, context_settings=anything)(_unavailable(name, failed[name]))
        else:
            _GROUPS[group].command(last)(loaded)


def _unavailable(name: str, error: Exception) -> Callable[..., None]:
    """Return a command that takes any arguments, and reports why the real command cannot be loaded."""

    @command
    def unavailable(as_json: Json = False) -> None:
        raise NotReady(f"{name.replace('.', ' ')}: is not installed here ({error}); use the source (`make setup`)")

    unavailable.__doc__ = "Not installed here."
    return unavailable


_settings_error: InvalidInput | None = None
"""A wrong GOCOM_ENTRY_POINTS, which `main` reports: tests and docs import `app` alone."""
try:
    _add_commands()
except InvalidInput as wrong:
    _settings_error = wrong


def main() -> None:
    """Run the `gocom` command, and exit with its status."""
    run_app(app, _settings_error)


if __name__ == "__main__":
    main()
