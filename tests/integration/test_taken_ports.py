"""Ports and folders that others use: a stack says so, and never takes the services of another for its own."""

import contextlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from gocom.client import LocalStack
from gocom.client.local_processes import free_ports
from gocom.client.service_health import is_serving
from gocom.common.errors import InvalidInput, NotReady

RECEIVER = {"receiver": "127.0.0.1:1"}


@contextlib.contextmanager
def running(**arguments):
    with LocalStack(services=("channel",), outside=RECEIVER, **arguments) as stack:
        yield stack


@pytest.fixture(scope="module")
def first():
    with running() as stack:
        yield stack


def port_of(stack):
    return int(stack.addresses["channel"].rpartition(":")[2])


def test_a_port_of_another_stack_is_named_and_its_services_are_left_alone(first):
    port = port_of(first)
    second = LocalStack(services=("channel",), outside=RECEIVER, ports={"channel": port})
    with pytest.raises(NotReady, match=f"channel: port {port} of 127.0.0.1 is in use by another program"):
        second.start()
    second.stop()
    assert is_serving(first.addresses["channel"])
    first.check()


def test_a_port_on_which_another_program_listens_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(NotReady, match=f"port {port} of 127.0.0.1 is in use"), running(ports={"channel": port}):
            pass


def test_of_two_stacks_on_the_same_ports_one_starts():
    ports = free_ports(["channel"])
    stacks = [LocalStack(services=("channel",), outside=RECEIVER, ports=ports, log_folder=None) for _ in range(2)]
    with stacks[0], pytest.raises(NotReady, match="is in use"):
        # The first one holds the port from before its service listens there.
        stacks[1].start()


def test_what_answers_has_to_be_the_service_that_was_started(first, monkeypatch):
    """Without ports that are held, the second cannot listen, and the health of the first is not taken for its own."""
    monkeypatch.setattr("gocom.client.local_stack.hold_ports", lambda ports: [])
    port = port_of(first)
    words = rf"channel: ended with status 1; end of its log:\n.*cannot listen on 127.0.0.1:{port}: the port is in use"
    with pytest.raises(NotReady, match=words), running(ports={"channel": port}):
        pass
    first.check()


def test_a_service_started_by_hand_on_a_taken_port_names_it(first):
    command = [sys.executable, "-m", "gocom.client.cli", "serve", "channel", "--port", str(port_of(first))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot listen on 127.0.0.1:{port_of(first)}: the port is in use by another program\n"


def test_a_folder_of_logs_has_one_stack(first, tmp_path):
    with running(log_folder=tmp_path):
        before = (tmp_path / "channel.log").read_bytes()
        with pytest.raises(InvalidInput, match="logs: another stack uses the folder"), running(log_folder=tmp_path):
            pass
        assert before and (tmp_path / "channel.log").read_bytes().startswith(before), "and it may go on"
    with running(log_folder=tmp_path) as again, pytest.raises(InvalidInput, match="stack: is started already"):
        again.start()


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InvalidInput, match="logs: cannot use the folder"),
        running(log_folder=tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"ports": {"channel": 0}}, "ports.channel: 0 is not in 1 to 65535"),
        ({"ports": {"channel": 70_000}}, "ports.channel: 70000"),
        ({"ports": {"channel": "50052"}}, "ports.channel: '50052' is not a whole number"),
        ({"ports": {"canal": 50_052}}, "ports: 'canal' is none of receiver, channel, transmitter"),
        ({"ports": {"channel": 50_052, "receiver": np.int64(50_052)}}, "ports.receiver: 50052 is given to another"),
        ({"codecs": "jpeg"}, r"codecs: 'jpeg' is one name; give a list of names, as in \['jpeg'\]"),
        ({"timeout_s": "soon"}, "timeout_s: 'soon' is not a number"),
        ({"seed": 1.5}, "seed: 1.5 is not a whole number"),
        ({"channel_spec": 5}, "profile: 5 is not text"),
    ],
)
def test_what_a_stack_is_given_is_checked_when_it_is_made(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        LocalStack(**arguments)
