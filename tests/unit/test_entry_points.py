"""Plug-ins that an installed distribution brings along by entry points."""

import os
import subprocess
import sys

import pytest

from gocom.common.entry_points import COMMANDS, ENTRY_POINTS_VARIABLE, PLUGINS, find_entry_points, load_entry_points
from gocom.common.errors import InvalidInput

FAULT = """
from dataclasses import dataclass
import numpy as np
from gocom.channel_emulator.fault_bases.fault import PacketFault
from gocom.channel_emulator.impairments import IMPAIRMENTS

@IMPAIRMENTS.register("all_gone")
@dataclass(frozen=True)
class AllGone(PacketFault):
    expected_rate = 1.0

    def draw(self, batch, rng):
        return np.ones(len(batch), bool)
"""
LIST = "from gocom.channel_emulator.impairments import IMPAIRMENTS; print('all_gone' in IMPAIRMENTS, *IMPAIRMENTS)"


def install(site, name, group, value):
    """Write what an installer would: a distribution of that name with one entry point."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")


@pytest.fixture
def site(tmp_path):
    """A folder with two plug-ins, of which one breaks while it is imported."""
    for name, code in (("good_faults", FAULT), ("broken_faults", "import surely_not_installed\n")):
        install(tmp_path, name, PLUGINS, name)
        folder = tmp_path / name / "impairments"
        folder.mkdir(parents=True)
        (folder / "mine.py").write_text(code)
    return tmp_path


def python(code, site, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(site)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_an_installed_plugin_is_found_and_a_broken_one_is_named(site):
    done = python(LIST, site)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True ") and "packet_erasure" in done.stdout
    assert done.stderr.count("'broken_faults' is skipped") == 1
    assert "surely_not_installed" in done.stderr


def test_entry_points_can_be_switched_off(site):
    done = python(LIST, site, **{ENTRY_POINTS_VARIABLE: "off"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("False ")


def test_a_plugin_that_is_tried_out_must_work(site):
    done = python(LIST, site, GOCOM_PLUGINS="broken_faults", **{ENTRY_POINTS_VARIABLE: "off"})
    assert done.returncode == 1
    assert "surely_not_installed" in done.stderr


def test_the_switch_is_on_or_off(monkeypatch):
    monkeypatch.setenv(ENTRY_POINTS_VARIABLE, "maybe")
    with pytest.raises(InvalidInput, match=f"{ENTRY_POINTS_VARIABLE}: 'maybe' is none of on, off"):
        find_entry_points(PLUGINS)


def test_own_entry_points_stay_when_others_are_off(monkeypatch):
    monkeypatch.setenv(ENTRY_POINTS_VARIABLE, "off")
    assert {"eval", "channel.certify"} <= set(find_entry_points(COMMANDS))


COMMAND = """
import sys
from gocom.common.entry_points import load_entry_points
print(load_entry_points("gocom.commands", lambda name, error: print("broken", name, type(error).__name__)).get("greet"))
"""


def test_commands_of_other_distributions(tmp_path):
    install(tmp_path, "greet", COMMANDS, "greeting:greet")
    (tmp_path / "greeting.py").write_text("def greet() -> None:\n    '''Say hello.'''\n    print('hello')\n")
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", "greet"], env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_what_cannot_be_loaded_is_told(monkeypatch, tmp_path):
    install(tmp_path, "greet", COMMANDS, "greeting:absent")
    (tmp_path / "greeting.py").write_text("")
    done = python(COMMAND, tmp_path)
    assert done.stdout.splitlines() == ["broken greet AttributeError", "None"]
    assert load_entry_points("gocom.no_such_group", lambda name, error: pytest.fail(name)) == {}


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("foo.bar", "greeting:greet", "def greet(): pass"),
        ("foo.bar", "greeting:greet", "raise RuntimeError"),
        ("greet", "greeting:greet", "greet = 3"),
        ("send", "greeting:greet", "def greet(): print('not ours')"),
    ],
)
def test_a_command_that_cannot_be_one_breaks_no_other(tmp_path, name, value, code):
    install(tmp_path, name, COMMANDS, value)
    (tmp_path / "greeting.py").write_text(code + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", "send", "--help"], env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "--codec" in done.stdout
    assert f"the command {name!r} of an entry point is skipped" in done.stderr and "Traceback" not in done.stderr


def test_a_wrong_switch_is_one_line_and_status_2():
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", "codecs"], env=os.environ | {ENTRY_POINTS_VARIABLE: "maybe"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {ENTRY_POINTS_VARIABLE}: 'maybe' is none of on, off\n"


def test_a_miss_names_the_plugins_that_were_skipped(site):
    code = """
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.errors import UnknownName
try:
    IMPAIRMENTS.get("theirs")
except UnknownName as error:
    print(error)
"""
    done = python(code, site)
    assert "no 'theirs'; there are all_gone, " in done.stdout
    assert "; skipped plug-ins: 'broken_faults' (ModuleNotFoundError: No module named 'surely_not" in done.stdout


def test_a_check_that_fails_does_not_end_the_doctor(tmp_path):
    install(tmp_path, "theirs", "gocom.checks", "checking:check")
    (tmp_path / "checking.py").write_text("def check():\n    raise RuntimeError('boom')\n")
    words = [sys.executable, "-m", "gocom.client.cli", "doctor"]
    for more, said in (["--json"], '"theirs": {"error": "RuntimeError: boom"}'), ([], "RuntimeError: boom"):
        done = subprocess.run(
            [*words, *more], env=os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "120"}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and said in done.stdout, done.stderr
