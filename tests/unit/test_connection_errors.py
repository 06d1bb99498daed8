"""What gRPC says of a failed connection, in words for people. The texts are gRPC's own, recorded from containers."""

import pytest

from gocom.common.rpc.status_mapping import explain_connection_error

FAILED = "failed to connect to all addresses; last error: UNKNOWN: "
NOTHING = "172.22.0.3:50052: nothing answers at this address; is its machine or container up?"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ipv4:172.22.0.3:50052: Failed to connect to remote host: getsockopt(SO_ERROR): No route to host", NOTHING),
        ("ipv4:172.22.0.3:50052: tcp handshaker shutdown", NOTHING),
        ("ipv4:172.22.0.3:50052: Failed to connect to remote host: connect() timed out", NOTHING),
        (
            "ipv6:%5B::1%5D:50052: Failed to connect to remote host: getsockopt(SO_ERROR): Connection refused",
            "[::1]:50052: connection refused; is the service up, and does it listen there?",
        ),
    ],
)  # fmt: skip
def test_a_failed_connection_is_told_in_words_for_people(said, words):
    assert explain_connection_error(FAILED + said) == words


def test_a_service_that_stops_during_a_call_is_told_as_such():
    assert explain_connection_error("Cancelling all calls") == "the service was stopped during the call"


def test_a_service_that_is_paused_during_a_call_is_told_as_such():
    words = "the other end does not answer any more; is it paused, or its network cut?"
    assert explain_connection_error("Stream removed (ping timeout)") == words


def test_other_words_are_left_alone():
    assert explain_connection_error("models are still loading") == "models are still loading"
