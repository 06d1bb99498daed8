"""Any messages to every method of every service, over gRPC: typed statuses only, no hang, and well afterwards."""

import contextlib
import itertools
from collections import Counter

import numpy as np
import pytest
from fuzz_recordings import SESSION, conversations, uploads
from fuzz_stack import RECORD, SUBSCRIBE, TRANSMIT, TYPED, WATCH
from fuzz_traffic import any_messages, changed, streams
from google.protobuf.message import DecodeError
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from hypothesis import given
from hypothesis import strategies as st
from toy_world import request

from gocom.common.entropy.element_set_code import pack_spans
from gocom.v1 import channel_pb2, feedback_pb2, link_pb2, receiver_pb2, transmitter_pb2

FEEDBACK = "/gocom.v1.FeedbackService/SendFeedback"
PICTURES = "/gocom.v1.ReceiverService"
CONTROL = "/gocom.v1.ChannelControlService"
SINGLE = {
    FEEDBACK: ("waiting", feedback_pb2.SendFeedbackRequest),
    SUBSCRIBE: ("receiver", receiver_pb2.SubscribeRequest),
    f"{PICTURES}/SetGoal": ("receiver", receiver_pb2.SetGoalRequest),
    f"{PICTURES}/GetGoal": ("receiver", receiver_pb2.GetGoalRequest),
    f"{PICTURES}/DescribeTask": ("receiver", receiver_pb2.DescribeTaskRequest),
    f"{CONTROL}/GetProfile": ("emulator", channel_pb2.GetProfileRequest),
    f"{CONTROL}/UpdateProfile": ("emulator", channel_pb2.UpdateProfileRequest),
    f"{CONTROL}/GetChannelState": ("emulator", channel_pb2.GetChannelStateRequest),
    WATCH: ("emulator", channel_pb2.WatchStatisticsRequest),
    RECORD: ("emulator", channel_pb2.RecordTraceRequest),
    "/grpc.health.v1.Health/Check": ("receiver", health_pb2.HealthCheckRequest),
    "/grpc.health.v1.Health/Watch": ("transmitter", health_pb2.HealthCheckRequest),
}
FEEDBACKS = [
    feedback_pb2.SendFeedbackRequest(
        session_id=SESSION, round=round_, wanted=[{"elements": pack_spans(np.array([[1, 2], [9, 50]]))}]
    )
    for round_ in range(4)
]
pytestmark = pytest.mark.timeout(600)
CHECK_EVERY = 500
"""Cases after which the services are looked at."""


class Examined:
    """Calls, each of whose answers must be one that a service may give."""

    def __init__(self, stack):
        self.stack, self.count = stack, itertools.count(1)
        self.codes = set()

    def call(self, service, method, requests):
        if next(self.count) % CHECK_EVERY == 0:
            self.stack.check_well()
        answer = self.stack.call(service, method, requests)
        assert answer.code in TYPED, answer
        assert "internal error" not in answer.details and len(answer.details) < 4000
        self.codes.add(answer.code)
        return answer


@pytest.fixture
def examined(stack):
    calls = Examined(stack)
    yield calls
    stack.check_well()
    # What is sent here is partly good and partly not, or the cases would show nothing.
    assert len(calls.codes) > 1 or calls.codes == {StatusCode.OK}


@pytest.mark.parametrize("method", SINGLE)
def test_single_messages(examined, method):
    service, kind = SINGLE[method]

    taken = 0

    anything = any_messages().serialized(kind.DESCRIPTOR)
    nearly = st.sampled_from(FEEDBACKS).flatmap(changed).map(lambda message: message.SerializeToString())

    @given(st.one_of(nearly, anything) if method == FEEDBACK else anything)
    def check(data):
        nonlocal taken
        answer = examined.call(service, method, [data])
        if method == FEEDBACK and answer.code is StatusCode.OK:
            taken += feedback_pb2.SendFeedbackResponse.FromString(answer.responses[0]).will_send

    check()
    assert taken or method != FEEDBACK, "no case had the waiting frame sent again"
    if method.endswith("UpdateProfile"):
        good = channel_pb2.UpdateProfileRequest(profile={}).SerializeToString()
        assert examined.stack.call(service, method, [good]).code is StatusCode.OK


@pytest.mark.parametrize("service", ["receiver", "emulator"])
def test_link_sessions(examined, service):
    @given(streams(conversations()))
    def check(items):
        name = examined.stack.name()
        answer = examined.call(
            service, "/gocom.v1.LinkService/Send", [i.replace(SESSION.encode(), name) for i in items]
        )
        for response in map(link_pb2.SendResponse.FromString, answer.responses):
            assert "internal error" not in response.outcome.reason, response

    check()


ACCEPTED = link_pb2.SendResponse(accepted={}).SerializeToString()


def test_answers_of_a_receiver(examined):
    anything = any_messages().serialized(link_pb2.SendResponse.DESCRIPTOR)

    @given(st.one_of(st.just([ACCEPTED]), st.lists(anything, min_size=1, max_size=2)), st.lists(anything, max_size=3))
    def check(opening, frame):
        examined.stack.liar.opening, examined.stack.liar.frame = opening, frame
        data = request(0, session=examined.stack.name().decode()).SerializeToString()
        answer = examined.call("lied to", TRANSMIT, [data])
        events = [transmitter_pb2.TransmitResponse.FromString(event) for event in answer.responses]
        assert answer.code is StatusCode.OK and events[-1].WhichOneof("event") in ("completed", "failed"), answer
        assert events[-1].failed.kind != transmitter_pb2.FAILURE_KIND_INTERNAL
        assert "object" not in events[-1].failed.reason, "a person should be able to read it"

    check()


def indices(requests):
    """How often each frame index is asked for."""
    found = Counter()
    for data in requests:
        with contextlib.suppress(DecodeError):
            found[transmitter_pb2.TransmitRequest.FromString(data).frame_index] += 1
    return found


def test_uploads(examined):
    @given(streams(uploads()))
    def check(requests):
        name = examined.stack.name()
        answer = examined.call("transmitter", TRANSMIT, [r.replace(SESSION.encode(), name) for r in requests])
        asked, ended, begun = indices(requests), Counter(), set()
        for event in map(transmitter_pb2.TransmitResponse.FromString, answer.responses):
            case, index = event.WhichOneof("event"), event.frame_index
            assert event.failed.kind != transmitter_pb2.FAILURE_KIND_INTERNAL, event
            assert case in ("accepted", "failed") or index in begun, "nothing follows a terminal event"
            begun.add(index)
            if case in ("completed", "failed"):
                begun.remove(index)
                ended[index] += 1
        # One end for each frame that was asked for; a frame may be asked for again.
        assert ended <= asked
        assert answer.code is not StatusCode.OK or (not begun and set(ended) == set(asked))

    check()
