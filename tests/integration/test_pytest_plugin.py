"""The plugin as its users have it: the example of the docs in a pytest of its own, and what is wrong with a script."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gocom.client.channel_script import ChannelCounts, FaultCount, Step, read_script
from gocom.common.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_of_the_docs_runs(tmp_path):
    shutil.copy(ROOT / "docs" / "examples" / "test_under_faults.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "test_under_faults.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "4 passed" in done.stdout


BREAKING = """
import signal
import pytest

@pytest.mark.parametrize("how", ["kill", "pause", "died"])
def test_a_channel_that_is_broken(gocom_stack, channel, how):
    channel.play([(60, "outage")])
    if how == "died":
        gocom_stack.signal("channel", signal.SIGKILL)
    else:
        getattr(gocom_stack, how)("channel")

def test_all_are_back_and_the_channel_is_clean(gocom_stack):
    gocom_stack.check()
    with gocom_stack.client() as client:
        assert not client.get_channel().impairments
        client.set_channel("outage")

def test_what_was_set_without_the_fixture_is_gone(gocom_stack):
    with gocom_stack.client() as client:
        assert not client.get_channel().impairments
"""


def test_what_a_test_broke_is_brought_back(tmp_path):
    (tmp_path / "test_breaking.py").write_text(BREAKING)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_breaking.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed" in done.stdout


def test_a_seed_that_is_none_is_named(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it(gocom_stack): pass")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "gocom_seed=many", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "gocom_seed: 'many' is not a whole number" in done.stdout


def test_the_fixtures_come_with_the_package(tmp_path):
    command = [sys.executable, "-m", "pytest", "--fixtures", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "gocom_stack" in done.stdout and "channel -- " in done.stdout


def test_a_script_from_yaml(tmp_path):
    path = tmp_path / "s.yml"
    path.write_text(
        "repeat: 2\nsteps:\n  - {seconds: 5, channel: 'packet_erasure:rate=0.2'}\n  - {seconds: 2, channel: outage}"
    )
    assert read_script(path) == 2 * [Step(5.0, "packet_erasure:rate=0.2"), Step(2.0, "outage")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[]", "steps"),
        ("steps: 3", "steps"),
        ("{steps: [], repeat: 1}", "repeat"),
        ("{steps: [{seconds: 1, channel: clean}], repeat: x}", "repeat"),
        ("{steps: [{seconds: 1}]}", r"steps\[0\]: wanted seconds and channel"),
        ("{steps: [{seconds: -1, channel: clean}]}", r"steps\[0\]: seconds: -1"),
        ("{steps: [{seconds: 1, channel: 'packet_erasure:rat=1'}]}", r"steps\[0\].*rat"),
        ("{steps: [{seconds: 1, channel: clean}], loops: 2}", "repeat"),
        ("a: [", "script"),
    ],
)
def test_a_bad_script_is_named(tmp_path, text, names):
    path = tmp_path / "s.yml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=names):
        read_script(path)


def test_counts_say_what_is_off():
    good = FaultCount("packet_erasure", 1000, 200, 0.2, 0.2, 0.0)
    ChannelCounts(1, 1000, 800, (good,)).assert_as_expected()
    assert ChannelCounts(1, 1000, 800, (good,)).loss == pytest.approx(0.2)
    off = FaultCount("packet_erasure", 1000, 300, 0.2, 0.3, 7.9)
    with pytest.raises(AssertionError, match=r"packet_erasure: 0.3 of 1000, expected 0.2 \(z \+7.9\)"):
        ChannelCounts(1, 1000, 700, (good, off)).assert_as_expected()
    with pytest.raises(AssertionError, match="met no packet"):
        ChannelCounts(0, 0, 0, (FaultCount("bit_flip", 0, 0, 0.1, 0, 0),)).assert_as_expected()
