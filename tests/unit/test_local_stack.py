"""What a stack of local services does, and `gocom up` with it, shown with processes that are none."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gocom.client.local_processes import ServiceProcess
from gocom.client.local_stack import LocalStack
from gocom.common.errors import InvalidInput


class Process:
    """A service that is serving until it is ended."""

    def __init__(self):
        self.returncode = None

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        if number == signal.SIGTERM:
            self.returncode = 0

    def kill(self):
        self.returncode = -9

    def wait(self, timeout=None):
        return self.returncode

    def wait_until_serving(self, timeout_s):
        return True

    def close(self):
        pass


@pytest.fixture
def stack(tmp_path, monkeypatch):
    monkeypatch.setattr(LocalStack, "_spawn", lambda self, name: Process())
    made = LocalStack(services=("channel",), outside={"receiver": "127.0.0.1:1"}, log_folder=tmp_path)
    yield made
    made.stop()


@pytest.mark.parametrize("end", ["kill", "terminate"])
def test_a_stack_all_of_whose_services_were_ended_is_still_started(stack, end):
    stack.start()
    getattr(stack, end)("channel")
    with pytest.raises(InvalidInput, match="^stack: is started already; `start_one` starts"):
        stack.start()
    stack.start_one("channel")
    stack.stop()
    stack.start()


def test_a_stack_that_could_not_start_may_be_started_again(stack, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(LocalStack, "_spawn", lambda self, name: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            stack.start()
    stack.start()


def test_a_service_that_refuses_is_not_asked_without_pause(stack, monkeypatch):
    asked = []
    monkeypatch.setattr("gocom.client.local_stack.is_serving", asked.append)
    monkeypatch.setattr("gocom.client.local_stack.STOP_S", 0.5)
    stack.start()
    stack.bring_back("channel")
    assert 1 <= len(asked) <= 11, "every 0.05 s"


def test_a_service_says_that_it_serves_through_a_descriptor_of_any_number():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reader, writer = os.pipe()
    process = ServiceProcess.__new__(ServiceProcess)
    process._serving, process._child_created = False, False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 4096), hard))
    try:
        process._ready = fcntl.fcntl(reader, fcntl.F_DUPFD, 1500)
        try:
            assert not process.wait_until_serving(0)
            os.write(writer, b"1")
            assert process.wait_until_serving(10)
        finally:
            os.close(process._ready)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_the_usual_end_of_services_once_they_are_up(number):
    """In a process of its own: the signals of a test that goes wrong would end the tests beside it."""
    script = Path(__file__).with_name("signalled_up.py")
    words = [sys.executable, script, str(int(number))]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    before, up, after = done.stdout.split("status ")
    assert "Ctrl-C ends it" not in before and up.startswith(f"{128 + number}\n")
    assert "Ctrl-C ends it" in up and after == "0\n"
