"""Feedback across the channel of a stack of processes, and the commands that look at it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from gocom.client import LocalStack
from gocom.client.cli import app
from gocom.common.errors import InvalidInput
from gocom.common.wire.feedback import answer_waits

PICTURE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def channel(command, stack, *words):
    address = ["--channel-address", stack.addresses["channel"]]
    result = CliRunner().invoke(app, ["channel", command, *words, "--json", *address])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.timeout(180)
def test_a_stack_whose_feedback_is_lost_and_then_is_not(monkeypatch, tmp_path):
    monkeypatch.setenv("GOCOM_RECEIVER_FEEDBACK_TIMEOUT_S", "2")
    monkeypatch.setenv("GOCOM_RECEIVER_FEEDBACK_TRY_S", "0.5")
    forth = "packet_erasure:rate=0.3"
    with (
        LocalStack(forth, 5, "cpu", ("webp",), log_folder=tmp_path, reverse_spec="outage") as stack,
        stack.client() as client,
    ):
        (lost,) = client.send([PICTURE], "webp", max_rounds=4)
        assert (lost.rounds, lost.bytes_by_segment.get("feedback", 0)) == (1, 0) and lost.seconds["total"] > 2
        record = channel("watch", stack, "--reverse", "--count", "1")
        assert record["frames"] == len(answer_waits(0.5, 2)) and record["packets_out"] == 0 < record["packets_in"]
        assert channel("get", stack, "--reverse") == {"spec": "packet_erasure:rate=1.0", "seed": 5}
        assert channel("set", stack, "clean", "--reverse") == {"spec": "clean", "seed": 0}
        assert channel("get", stack) == {"spec": forth, "seed": 5}
        (got,) = client.send([PICTURE], "webp", max_rounds=4)
        assert got.rounds > 1 and got.bytes_by_segment["feedback"] > 0
        record = channel("watch", stack, "--reverse", "--count", "1")
        assert record["frames"] == got.rounds - 1 and record["packets_out"] == record["packets_in"] > 0


def test_who_needs_whom(monkeypatch, tmp_path):
    outside = {"receiver": "127.0.0.1:1"}
    LocalStack(services=("channel",), outside=outside, log_folder=tmp_path)
    with pytest.raises(InvalidInput, match="transmitter: the channel needs one"):
        LocalStack(services=("channel",), outside=outside, log_folder=tmp_path, reverse_spec="clean")
    with pytest.raises(InvalidInput, match="channel: the receiver needs one"):
        LocalStack(services=("receiver",), outside={"transmitter": "127.0.0.1:1"}, reverse_spec="clean")
    with pytest.raises(InvalidInput, match="no such parameter|rat"):
        LocalStack(reverse_spec="packet_erasure:rat=1")
    # Settings of a channel on a network are not meant.
    words = LocalStack(log_folder=tmp_path)._arguments("channel")
    assert words[words.index("--feedback-address") + 1] == "" and words[words.index("--reverse-profile") + 1] == "clean"
