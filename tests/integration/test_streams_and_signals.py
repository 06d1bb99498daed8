"""Every command of `gocom` with streams that are closed, full or ASCII, and with signals: no traceback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from gocom.client.cli import app
from gocom.client.local_stack import LocalStack
from gocom.common.image_files import png_bytes

FORKED = Path(__file__).parent / "forked_commands.py"
ENDED = (0, 1, 2, 129, 130, 143)


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def commands(command, words=()):
    """Yield the words of each command below a command."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words


COMMANDS = list(commands(get_command(app)))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    path.write_bytes(png_bytes(np.full((64, 80, 3), 90, np.uint8)))
    return str(path)


@pytest.fixture(scope="module")
def silent():
    """The address of a service that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def forked(cases, timeout=120, **environment):
    """Run cases, see forked_commands.py, and check what holds for all of them; return their results."""
    process = subprocess.Popen(
        [sys.executable, str(FORKED)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"COLUMNS": "80"} | environment, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(json.dumps(cases), timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the case that hangs
    assert process.returncode == 0, err
    results = json.loads(out)
    for case, result in zip(cases, results, strict=True):
        shown = f"{case}: {json.dumps(result, indent=1)}"
        assert result["status"] in ENDED, shown
        for word in ("Traceback", "Exception ignored", "internal error", "Error in atexit"):
            assert word not in result["out"] + result["err"], shown
    return results


@pytest.mark.parametrize("stream", [slow("closed"), slow("full"), slow("unread"), "ascii"])
def test_the_help_of_every_command_survives_any_stdout(stream):
    cases = [{"words": [*words, "--help"], "stdout": stream} for words in [(), *COMMANDS]]
    for result in forked(cases):
        if stream in ("closed", "ascii"):
            assert result["status"] == 0 and not result["err"], result
        elif stream == "full":
            assert result["status"] == 1 and result["err"] == "error: stdout: No space left on device\n", result
        else:
            assert result["status"] == 1 and not result["err"], result
        if stream == "ascii":
            assert result["out"].isascii() and "Usage" in result["out"]


def outputs(photo):
    """Commands that need no service and print something, in both ways."""
    some = [["codecs"], ["health", "127.0.0.1:1"], ["send", "none.png"]]
    some.append(["send", photo, "--codec", "jpeg", "--transmitter", "127.0.0.1:1"])
    return [words + more for words in some for more in ([], ["--json"])]


@pytest.mark.parametrize("stream", ["closed", "full", "unread", slow("ascii")])
def test_what_commands_print_survives_any_stdout(stream, photo):
    for case, result in zip(
        outputs(photo), forked([{"words": w, "stdout": stream} for w in outputs(photo)]), strict=True
    ):
        full = "error: stdout: No space left on device"
        if stream == "full" and ("--json" in case or case[0] in ("codecs", "health")):
            assert result["status"] == 1 and result["err"].splitlines()[-1] == full, (case, result)


@pytest.mark.parametrize("stream", [slow("closed"), "full", slow("unread")])
def test_what_commands_print_survives_any_stderr(stream, photo):
    cases = [{"words": words, "stderr": stream} for words in outputs(photo)]
    kept = [result["status"] for result in forked([{"words": words} for words in outputs(photo)])]
    assert [result["status"] for result in forked(cases)] == kept, "messages are lost, and nothing else changes"


def test_a_name_that_is_not_utf_8_is_escaped(tmp_path):
    folder = os.fsencode(tmp_path / "names")
    os.mkdir(folder)
    with open(folder + b"/caf\xe9.png", "wb") as file:
        file.write(png_bytes(np.full((64, 64, 3), 90, np.uint8)))
    words = [
        "send",
        os.fsdecode(folder + b"/caf\xe9.png"),
        "--codec",
        "jpeg",
        "--option",
        "quality=5",
        "--size",
        "keep",
    ]
    plain, shouted = forked([{"words": [*words, "--transmitter", "127.0.0.1:1"]}, {"words": [*words, "--size", "x"]}])
    assert plain["status"] == 1 and "127.0.0.1:1" in plain["err"]
    assert shouted["status"] == 2
    (missing,) = forked([{"words": ["send", "caf\udce9.png"]}])
    assert missing["status"] == 2 and r"caf\udce9.png" in missing["err"]


def waiting_words(words, photo, silent):
    """Return arguments with which a command waits for a service that does not answer, where it uses one."""
    given = {
        ("send",): [photo, "--codec", "jpeg"], ("stream",): [photo, "--codec", "jpeg"], ("health",): [silent],
        ("channel", "set"): ["clean"], ("channel", "record"): ["--out", os.devnull], ("goal", "get"): ["s"],
        ("goal", "set"): ["s", "--text", "a"], ("goal", "clear"): ["s"], ("demo",): ["--running"],
        ("eval",): ["--images", photo], ("channel", "certify"): ["clean"], ("channel", "play"): [photo],
    }.get(words, [])  # fmt: skip
    addresses = ["--transmitter", silent, "--receiver", silent, "--channel-address", silent]
    known = {option for p in command_of(words).params for option in p.opts}
    pairs = zip(addresses[::2], addresses[1::2], strict=True)
    return [*words, *given, *(word for pair in pairs if pair[0] in known for word in pair)]


def command_of(words):
    found = get_command(app)
    for word in words:
        found = found.commands[word]
    return found


@pytest.mark.parametrize("name", ["SIGINT", slow("SIGTERM"), slow("SIGHUP")])
def test_a_signal_ends_every_command_without_a_word(name, photo, silent, tmp_path):
    commands = [
        words for words in COMMANDS if words[0] not in ("serve", "up", "eval") and words != ("channel", "certify")
    ]
    cases = [{"words": waiting_words(w, photo, silent), "signal": name, "after_s": 0.7} for w in commands]
    results = forked(cases, TMPDIR=str(tmp_path))
    number = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}[name]
    statuses = {words: result["status"] for words, result in zip(commands, results, strict=True)}
    for words in (("send",), ("stream",), ("channel", "get"), ("goal", "get"), ("demo",)):
        assert statuses[words] == number, statuses
    assert not list(tmp_path.iterdir())


DURING_IMPORT = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "gocom.client.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from gocom.client.__main__ import main
main()
"""


def test_ctrl_c_during_the_imports_is_quiet():
    done = subprocess.run([sys.executable, "-c", DURING_IMPORT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.fixture
def start(tmp_path):
    """Start `gocom` with words, and its temporary files in a folder of their own; what still runs is killed."""
    processes = []

    def run(*words):
        folder = tmp_path / "temporary"
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "gocom.client", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def wait_for_temporary_folder(process, tmp_path):
    deadline = time.monotonic() + 60
    while not list((tmp_path / "temporary").glob("gocom-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("later_s", [0.0, 4.0])
@pytest.mark.parametrize(
    "words", [("up", "--free-ports", "--warm", "jpeg"), ("send", "{photo}", "--codec", "jpeg", "--local"), ("demo",)],
    ids=lambda words: words[0],
)  # fmt: skip
def test_nothing_is_left_behind_after_a_signal(start, words, later_s, name, photo, tmp_path):
    process = start(*(word.format(photo=photo) for word in words))
    wait_for_temporary_folder(process, tmp_path)
    time.sleep(later_s)
    ended = process.poll() is not None
    for _ in range(2):  # an impatient user
        if process.poll() is None:
            process.send_signal(getattr(signal, name))
            time.sleep(0.3)
    out, err = process.communicate(timeout=60)
    # The second signal may meet Python's own exit, which has no handlers any more: the same to a shell.
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    # A signal is the usual end of `up`, and the other commands may have come to their own end before it.
    usual = {0} if ended or words[0] == "up" else set()
    assert status in {128 + getattr(signal, name), *usual} and "Traceback" not in out + err, err
    assert not list((tmp_path / "temporary").iterdir()), "what is left"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path_factory.mktemp("logs")) as running:
        yield running


def at(stack):
    names = {"--transmitter": "transmitter", "--receiver": "receiver", "--channel-address": "channel"}
    return [word for flag, name in names.items() for word in (flag, stack.addresses[name])]


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_ctrl_c_shows_what_was_done_so_far(start, stack, photo, tmp_path, more):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number:03}.png").symlink_to(photo)
    with stack.client() as client:
        client.set_channel("delay:delay_ms=50")
    out = tmp_path / "out"
    process = start("send", str(folder), "--codec", "jpeg", "--out", str(out), *at(stack), *more)
    deadline = time.monotonic() + 60
    while not (out / "004.jpeg.compare.png").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    words = said if more else printed
    # Python may add that a coroutine was not awaited, which an interrupt cannot always spare it.
    assert any("of 200 pictures: " in line for line in words.splitlines()[-5:]) and "Traceback" not in said
    if more:
        records = [json.loads(line) for line in printed.splitlines()]
        assert [record["file"] for record in records[:5]] == [str(folder / f"{n:03}.png") for n in range(5)]
    else:
        assert "000" in printed and "reconstructed" in printed


def test_a_folder_that_cannot_be_written_to_is_not_said_to_have_pictures(start, stack, photo):
    out = Path(photo) / "out"
    process = start("send", photo, "--codec", "jpeg", "--out", str(out), *at(stack))
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 2 and said.splitlines()[-1].startswith(f"error: out: cannot write to '{out}': ")
    assert "reconstructed" in printed and "pictures in" not in printed
