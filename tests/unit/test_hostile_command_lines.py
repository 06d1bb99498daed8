"""Every command of `gocom`, with arguments that nobody should give: one line and a status, never a traceback."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from gocom.client.cli import app
from gocom.client.client import Client
from gocom.client.local_stack import LocalStack
from gocom.common.errors import NotReady
from gocom.common.image_files import png_bytes
from gocom.common.rpc.addresses import check_address

NOBODY = "127.0.0.1:1"
"""An address at which nothing listens."""
NUMBERS = ("", "²", "-1", "0", "1e309", "nan", "inf", "9" * 5000, "0x10", "1_0", "true")
PATHS = (
    "", "x" * 300 + ".png", "x" * 5000, "/dev/full", "/dev/null/x", "/proc/self/nothing", "\udcff.png", ":smile:.png",
    "[/red].yml", "a\nb\x1b[31m.tar", "{folder}", "{empty}", "{broken}", "{broken_tar}", "{broken_yaml}",
)  # fmt: skip
TEXTS = (
    "", " ", "²", "x" * 5000, "\udcff", "[/red]", ":smile:", "a\nb\x1b[31m", "=", "key=", "=value", "a=1,a=2", ",",
    "%s {} {0}", "None", "127.0.0.1:99999", "host:", ":::", "http://x", "unix:/none", "a:b=c+d", "{folder}", "{empty}",
)  # fmt: skip
STATUSES = (0, 1, 2)


def commands(command, words=()):
    """Yield the words and the object of each command below a command, hidden ones too."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words, command


GOCOM = get_command(app)
COMMANDS = dict(commands(GOCOM))


def run(*words):
    """Return the status and everything that the command printed."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            status = GOCOM.main(list(words), prog_name="gocom", standalone_mode="--json" not in words)
        except SystemExit as ended:
            status = ended.code
        except TyperException as wrong:  # as gocom.client.command_process reports it
            print(json.dumps({"error": wrong.format_message()}))
            status = wrong.exit_code
    return status or 0, printed.getvalue()


def not_serving(address, *_, **__):
    check_address("address", address)
    return "nobody is there in this test"


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch):
    """Services and long measurements end at once: here it is about what comes before them."""

    def start(*_, **__):
        raise NotReady("nothing is started in this test")

    def connect(self, *arguments):
        for address in filter(lambda given: isinstance(given, str), arguments):
            check_address("address", address)
        raise NotReady("nobody is there in this test")

    monkeypatch.setattr(LocalStack, "start", start)
    monkeypatch.setattr(Client, "__init__", lambda self, *a, **k: connect(self, *a, *k.values()))
    for name in ("doctor", "health"):
        module = sys.modules[f"gocom.client.commands.{name}"]
        monkeypatch.setattr(module, "why_not_serving" if name == "health" else "is_serving", not_serving)
    monkeypatch.setattr(sys.modules["gocom.client.commands.serve"], "_run", lambda *_: None)
    monkeypatch.setattr("gocom.evaluation.compare.evaluate.evaluate", start)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files and folders by the names that the tables use."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("folder", "empty"):
        (folder / name).mkdir()
    (folder / "folder" / "a.png").write_bytes(png_bytes(np.full((64, 64, 3), 90, np.uint8)))
    for name, content in (
        ("broken", b"\x89PNG\r\n\x1a\n" + b"\xff" * 99), ("broken_tar", b"no tar"), ("broken_yaml", b"steps: [\xff{")
    ):  # fmt: skip
        suffix = {"broken": ".png", "broken_tar": ".tar", "broken_yaml": ".yml"}[name]
        (folder / f"{name}{suffix}").write_bytes(content)
    return {path.stem: str(path) for path in folder.iterdir()}


def least_words(words, command, files):
    """Return arguments with which a command begins its work, and fails early in it."""
    arguments = {
        "images": [files["folder"]], "folder": [files["folder"]], "address": [NOBODY], "spec": ["clean"],
        "script": [files["broken_yaml"]], "session": ["s"], "specs": ["no_such_fault"],
    }  # fmt: skip
    given = [word for p in command.params if p.param_type_name == "argument" for word in arguments.get(p.name, ["x"])]
    options = {option: p for p in command.params for option in p.opts}
    for option in ("--transmitter", "--receiver", "--channel-address"):
        given += [option, NOBODY] if option in options else []
    if words == ("eval",):
        given += ["--images", files["empty"]]
    given += [option for o, p in options.items() if p.required and o.startswith("--") for option in (o, "x")]
    return given


def hostile_words(command, files):
    """Yield pairs of an option or argument of a command and a value for it."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False):
            continue
        kind = str(parameter.type_descriptor.annotation).lower()
        values = NUMBERS if "int" in kind or "float" in kind else PATHS if "path" in kind else TEXTS
        for value in values:
            yield parameter, value.format(**files) if value.startswith("{") and value != "{" else value


def drive(words, files, chosen):
    command = COMMANDS[words]
    for number, (parameter, value) in enumerate(hostile_words(command, files)):
        if not chosen(number):
            continue
        if parameter.param_type_name == "argument":
            given = ["--", value] if value.startswith("-") else [value]
            last = [*least_words(words, command, files), *given]
            last = given if parameter.nargs == 1 else last
        else:
            last = [*least_words(words, command, files), parameter.opts[0], value]
        for more in ([], ["--json"]) if any("--json" in p.opts for p in command.params) else ([],):
            status, printed = run(*words, *more, *last)
            shown = f"{[*words, *more, *last]!a}: {status}\n{printed[-2000:]}"[:4000]
            assert status in STATUSES and "Traceback" not in printed and "internal error" not in printed, shown
            if status:
                assert printed.strip(), shown
            if more and status:
                assert isinstance(json.loads(printed.splitlines()[-1]), dict), shown


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_argument_gets_a_traceback_out_of_a_command(words, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive(words, files, lambda number: number % 7 == len(words[-1]) % 7)


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_argument_at_all_gets_a_traceback_out_of_a_command(words, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drive(words, files, lambda number: True)


def test_every_command_is_driven():
    assert len(COMMANDS) >= 20
    assert {("send",), ("eval",), ("channel", "play"), ("goal", "set"), ("serve", "receiver")} <= COMMANDS.keys()
