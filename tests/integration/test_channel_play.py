"""A script that changes the channel for a while: the profile of before comes back, however it ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import typer

from gocom.client import LocalStack
from gocom.client.channel_script import ScriptPlayback, Step
from gocom.client.client import Client
from gocom.client.commands import channel
from gocom.client.end_signals import raising_end_signals
from gocom.client.restored_channel import restore_channel, restored_channel
from gocom.common.channel_spec import format_spec
from gocom.common.errors import NotReady

BEFORE = "packet_erasure:rate=0.25"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(scope="module")
def stack():
    with LocalStack(services=("channel",), outside={"receiver": "127.0.0.1:1"}) as running:
        yield running


@pytest.fixture
def client(stack):
    with Client(channel=stack.addresses["channel"]) as made:
        made.set_channel(BEFORE, 7)
        yield made


def profile(client):
    found = client.get_channel()
    return format_spec(found), found.seed


def await_profile(client, spec):
    deadline = time.monotonic() + 30
    while profile(client)[0] != spec:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def play(stack, folder, steps):
    """Run `gocom channel play` in a `with` block, and kill it if it has not ended."""
    script = folder / "script.yml"
    script.write_text(f"steps: [{steps}]")
    command = [sys.executable, "-m", "gocom.client.cli", "channel", "play", str(script)]
    command += ["--channel-address", stack.addresses["channel"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as player:
        try:
            yield player
        finally:
            player.kill()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_the_script_and_the_profile_of_before_is_back(stack, client, tmp_path, number):
    with play(stack, tmp_path, "{seconds: 0.2, channel: clean}, {seconds: 60, channel: outage}") as player:
        await_profile(client, "packet_erasure:rate=1.0")
        player.send_signal(number)
        player.send_signal(number)  # an impatient user: what restores the profile is not interrupted
        out, errors = player.communicate(timeout=100)
    assert profile(client) == (BEFORE, 7)
    assert player.returncode == 128 + number and not errors
    assert "1/2: clean for 0.2 s" in out and "clean: 0 packets in, 0 out" in out, "what was done is said"


def test_a_profile_that_could_not_be_restored_is_said(tmp_path):
    with (
        LocalStack(BEFORE, 7, services=("channel",), outside={"receiver": "127.0.0.1:1"}) as own,
        play(own, tmp_path, "{seconds: 60, channel: outage}") as player,
    ):
        with Client(channel=own.addresses["channel"]) as client:
            await_profile(client, "packet_erasure:rate=1.0")
        own.kill("channel")
        player.send_signal(signal.SIGINT)
        _, errors = player.communicate(timeout=60)
    assert player.returncode == 1
    assert f"the profile of before, {BEFORE} with seed 7, could not be restored (channel at 127.0.0.1" in errors


def test_a_wait_that_was_interrupted_does_not_end_the_script(client):
    """After Ctrl-C in Thread.join Python takes a thread for ended that still runs."""
    playback = ScriptPlayback(client, [Step(60, "outage")])
    playback.start()
    await_profile(client, "packet_erasure:rate=1.0")
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            playback.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert playback.running
    playback.stop()
    assert not playback.running and profile(client) == (BEFORE, 7)


def test_a_signal_while_the_script_starts_leaves_nothing_changed(stack, client, tmp_path, monkeypatch):
    class Interrupted(ScriptPlayback):
        def start(self):
            super().start()
            await_profile(client, "packet_erasure:rate=1.0")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    monkeypatch.setattr(channel, "ScriptPlayback", Interrupted)
    script = tmp_path / "script.yml"
    script.write_text("steps: [{seconds: 60, channel: outage}]")
    with pytest.raises(typer.Exit) as ended:
        channel.play(script, address=stack.addresses["channel"])
    assert ended.value.exit_code == 143 and profile(client) == (BEFORE, 7)


def test_a_script_that_was_stopped_before_it_began_never_does(client):
    playback = ScriptPlayback(client, [Step(60, "outage")])
    playback.stop()
    playback.start()
    playback.wait(10)
    time.sleep(0.1)
    assert not playback.running and profile(client) == (BEFORE, 7)


class Interrupted:
    """A client whose first `times` calls of set_channel are interrupted by a first signal."""

    def __init__(self, client, times):
        self._client, self._times = client, times

    def get_channel(self):
        return self._client.get_channel()

    def set_channel(self, profile):
        if self._times:
            self._times -= 1
            raise KeyboardInterrupt
        self._client.set_channel(profile)


def test_a_first_signal_while_the_profile_is_restored_does_not_stop_that(client):
    with pytest.raises(KeyboardInterrupt), restored_channel(Interrupted(client, 1)):
        client.set_channel("outage")
    assert profile(client) == (BEFORE, 7)


def test_a_profile_whose_restoring_is_interrupted_twice_is_said(client):
    words = f"the profile of before, {BEFORE} with seed 7, could not be restored .interrupted.; `gocom channel set`"
    with pytest.raises(NotReady, match=words):
        restore_channel(Interrupted(client, 2), client.get_channel())


@pytest.mark.parametrize("end", [None, ValueError, KeyboardInterrupt, *SIGNALS])
def test_a_change_for_a_while_ends_with_its_block(client, end):
    def change():
        with restored_channel(client):
            client.set_channel("outage")
            if isinstance(end, signal.Signals):
                os.kill(os.getpid(), end)
                time.sleep(60)
            if end is not None:
                raise end

    if end is None:
        change()
    else:
        with pytest.raises(end if end is ValueError else KeyboardInterrupt):
            change()
    assert profile(client) == (BEFORE, 7)


def test_a_failure_and_that_nothing_could_be_restored_are_both_said():
    with (
        LocalStack(BEFORE, services=("channel",), outside={"receiver": "127.0.0.1:1"}) as own,
        Client(channel=own.addresses["channel"]) as client,
        pytest.raises(NotReady, match="no picture; channel: the profile of before, .* could not be restored"),
        restored_channel(client),
    ):
        own.kill("channel")
        raise NotReady("no picture")


def test_further_signals_do_not_interrupt_what_puts_things_back():
    handlers = [signal.getsignal(number) for number in SIGNALS]
    put_back = False
    with pytest.raises(KeyboardInterrupt), raising_end_signals(hear_ignored_interrupt=True):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            for number in SIGNALS:
                os.kill(os.getpid(), number)
            time.sleep(0.05)
            put_back = True
    assert put_back and [signal.getsignal(number) for number in SIGNALS] == handlers


def test_who_was_told_to_ignore_a_hang_up_ignores_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with raising_end_signals(hear_ignored_interrupt=True):
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGHUP, before)
