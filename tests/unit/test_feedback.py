"""Feedback messages: what they name, how short, and what they cost; what a receiver asks for."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.entropy.frequency_tables import TOTAL
from gocom.common.errors import InvalidInput
from gocom.common.goals import Round
from gocom.common.packetizer import depacketize, packetize
from gocom.common.rounds import merge_rounds, missing_spans, spans_to_positions, thin_spans, with_requested_spans
from gocom.common.settings import ReceiverSettings
from gocom.common.systems.lami_go import (
    CAPTION,
    TOKENS,
    LamiGoHeader,
    LamiGoOptions,
    MaskingPolicy,
    token_table,
)
from gocom.common.types import (
    Budget,
    ElementCoding,
    Feedback,
    FeedbackPolicy,
    Goal,
    GoMessage,
    LinkSettings,
    Reconstruction,
    RoundSettings,
    Segment,
)
from gocom.common.wire.feedback import (
    MAX_ATTEMPTS,
    answer_bytes,
    answer_waits,
    counted_message,
    feedback_to_proto,
    wanted_from_proto,
)
from gocom.common.wire.frame_messages import MAX_ROUNDS
from gocom.receiver.feedback_policy import policy_for
from gocom.transmitter.feedback_handling import count_attempts
from gocom.transmitter.frame_table import Frame
from gocom.transmitter.retransmission import resend
from gocom.v1 import feedback_pb2

LINK = LinkSettings()
GOAL = Goal(LamiGoOptions(), link=LINK)
RNG = np.random.default_rng(0)
VALUES = RNG.choice(1024, 1024, p=token_table().frequencies / TOTAL)
ROUNDS = RoundSettings(2, 200, FeedbackPolicy.UNCERTAIN)


def frame(rounds=ROUNDS):
    segment = Segment(TOKENS, VALUES, np.ones(1024, np.float32), ElementCoding.CONTEXT)
    header = LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=250)
    message = GoMessage("lami_go", header, 256, 256, (segment,), rounds=rounds)
    return message, *packetize(message, LINK)


def lossy(lost=(2, 5)):
    message, header, batch = frame()
    keep = ~np.isin(np.arange(len(batch)), lost)
    return message, header, depacketize(header, batch.select(keep), LINK)


def test_lost_packets_are_runs_and_both_ends_name_the_same():
    _, header, received = lossy()
    erased = missing_spans(~received.segments[0].erased)
    assert len(erased) > 50  # the interleaver scattered them
    request = feedback_to_proto(Feedback(0, 0, {TOKENS: erased}), [header], LINK)
    assert request.wanted[0].in_packet_order and len(request.wanted[0].elements) <= 8
    assert (wanted_from_proto(request.wanted[0], [header], LINK) == erased).all()


def caption_round(header, spans=None, as_requested=False):
    """A further round that brings a caption of 200 bytes, or some of them."""
    count = 200 if spans is None else int(spans[:, 1].sum())
    segment = Segment(
        CAPTION, np.arange(count), np.ones(count, np.float32), ElementCoding.FIXED, spans=spans,
        as_requested=as_requested,
    )  # fmt: skip
    return packetize(GoMessage("lami_go", header.header, 256, 256, (segment,), 0, 1, ROUNDS), LINK)


def test_what_only_a_later_round_had_can_be_named_too():
    """In the order of its packets from then on, and before that in the order of the grid."""
    _, header, _ = lossy()
    spans = np.array([[10, 190]])
    request = feedback_to_proto(Feedback(0, 0, {CAPTION: spans}), [header], LINK)
    assert not request.wanted[0].in_packet_order
    assert (wanted_from_proto(request.wanted[0], [header], LINK) == spans).all()
    later, batch = caption_round(header)
    got = depacketize(later, batch.select(batch.sequence != 1), LINK)
    lost = missing_spans(got.segments[0].received)
    assert len(lost) > 20  # the interleaver scattered them
    request = feedback_to_proto(Feedback(0, 1, {CAPTION: lost}), [header, later], LINK)
    assert request.wanted[0].in_packet_order and len(request.wanted[0].elements) <= 5
    assert (wanted_from_proto(request.wanted[0], [header, later], LINK) == lost).all()


def test_a_segment_that_came_first_as_requested_is_in_the_same_order_at_both_ends():
    """The transmitter's header of such a round has no positions: they are those of the request, as at the receiver."""
    _, header, _ = lossy()
    asked = {CAPTION: np.array([[3, 197]])}
    later, batch = caption_round(header, asked[CAPTION], as_requested=True)
    assert later.segments[0].spans is None
    known = [header, with_requested_spans(later, asked)]
    lost = missing_spans(
        merge_rounds([depacketize(known[1], batch.select(batch.sequence != 0), LINK)])[CAPTION].received
    )
    request = feedback_to_proto(Feedback(0, 1, {CAPTION: lost[1:]}), known, LINK)
    assert request.wanted[0].in_packet_order
    assert (wanted_from_proto(request.wanted[0], known, LINK) == lost[1:]).all()
    with pytest.raises(InvalidInput, match=r"^wanted.in_packet_order: set, and no round has brought segment 'caption'"):
        wanted_from_proto(request.wanted[0], [header, later], LINK)


def test_elements_beyond_those_sent_are_named_in_grid_order():
    _, header, _ = lossy()
    later, _ = caption_round(header)
    beyond = np.array([[150, 60]])
    request = feedback_to_proto(Feedback(0, 1, {CAPTION: beyond}), [header, later], LINK)
    assert not request.wanted[0].in_packet_order
    assert (wanted_from_proto(request.wanted[0], [header, later], LINK) == beyond).all()
    with pytest.raises(InvalidInput, match=r"^wanted.elements: span 0 ends at \d+, the segment has 512 elements"):
        wanted_from_proto(
            feedback_pb2.ElementSet(kind=CAPTION, elements=pack_spans(np.array([[506, 7]]))), [header, later], LINK
        )


def test_withheld_elements_can_be_named():
    _, header, received = lossy(lost=())
    withheld = missing_spans(~received.segments[0].withheld)
    request = feedback_to_proto(Feedback(0, 0, {TOKENS: withheld}), [header], LINK)
    assert (wanted_from_proto(request.wanted[0], [header], LINK) == withheld).all()


def test_what_the_sender_has_not_got_is_not_sent():
    """The elements that are left say themselves which they are: the request names others too."""
    message, _header, _ = frame()
    caption = Segment(CAPTION, np.arange(20), np.ones(20, np.float32), ElementCoding.FIXED)
    content = replace(message, segments=(caption, *message.segments))
    asked = {CAPTION: np.array([[15, 30]]), TOKENS: np.array([[4, 2]])}
    answer = resend(content, Feedback(0, 0, asked), Budget(), GOAL)
    (named, known) = packetize(answer, LINK)[0].segments
    assert not named.as_requested and named.spans.tolist() == [[15, 5]] and named.element_count == 5
    assert known.as_requested and known.element_count == 2
    assert resend(content, Feedback(0, 0, {CAPTION: np.array([[20, 9]])}), Budget(), GOAL) is None
    assert resend(message, Feedback(0, 0, {CAPTION: np.array([[0, 9]])}), Budget(), GOAL) is None


def test_the_cost_is_the_serialized_size_without_names_and_reasons():
    request = feedback_pb2.SendFeedbackRequest(frame_index=300, budget_bytes=7)
    answer = feedback_pb2.SendFeedbackResponse(will_send=True)
    whole, cost = request.SerializeToString(), answer_bytes(answer)
    assert counted_message(request) == whole and cost == len(answer.SerializeToString())
    request.session_id, answer.reason = "x" * 32, "because"
    assert counted_message(request) == whole and answer_bytes(answer) == cost
    # A repeat says which it is, and that costs what it costs.
    assert [len(counted_message(request, attempt)) - len(whole) for attempt in (0, 1, 127, 128)] == [0, 2, 2, 3]
    assert not request.attempt


@pytest.mark.parametrize(
    ("first_s", "patience_s", "waits"),
    [
        (2, 10, [2, 4, 4]),
        (0.5, 10, [0.5, 1, 2, 4, 2.5]),
        (3, 10, [3, 7]),
        (1, 3, [1, 2]),
        (20, 10, [10]),
        (0, 10, [10]),
    ],
)
def test_waits_double_and_fill_the_patience(first_s, patience_s, waits):
    assert answer_waits(first_s, patience_s) == waits


def test_attempts_are_few_however_long_the_patience():
    for name in ("feedback_try_s", "feedback_timeout_s"):
        with pytest.raises(ValidationError, match=name):
            ReceiverSettings(**{name: 86_401})
    with pytest.raises(ValidationError, match="feedback_try_s"):
        ReceiverSettings(feedback_try_s=0.009)
    assert len(answer_waits(ReceiverSettings().feedback_try_s, ReceiverSettings().feedback_timeout_s)) == 1
    waits = answer_waits(0.01, 86_400)
    assert len(waits) < MAX_ATTEMPTS and sum(waits) == pytest.approx(86_400)


def test_attempts_that_did_not_arrive_are_counted_with_the_next_that_does():
    frame, request = Frame(0), feedback_pb2.SendFeedbackRequest(session_id="s", round=1, budget_bytes=9)
    costs = [len(counted_message(request, attempt)) for attempt in range(5)]
    spent = []
    for attempt in (2, 1, 2, 4):  # 0, 1 and 3 lost; then 1 after all, and 2 once more
        request.attempt = attempt
        count_attempts(frame, request)
        spent.append(frame.feedback_bytes)
    assert spent == [sum(costs[:3])] * 3 + [sum(costs)]
    later = feedback_pb2.SendFeedbackRequest(round=2)
    count_attempts(frame, later)
    count_attempts(frame, request)  # of a round that is over, and counted
    assert frame.feedback_bytes == sum(costs) + len(counted_message(later))
    for round_ in range(MAX_ROUNDS, MAX_ROUNDS + 3):  # there is none of these; what came is counted, nothing is kept
        count_attempts(frame, feedback_pb2.SendFeedbackRequest(round=round_))
    assert sorted(frame.attempts) == [1, 2]
    frame.reset()
    count_attempts(frame, later)
    assert frame.feedback_bytes == len(counted_message(later))


def test_the_answer_repeats_no_positions_and_lands_where_it_was_asked_for():
    message, _, received = lossy()
    asked = {TOKENS: missing_spans(received.segments[0].received)}  # erased and withheld
    answer = resend(message, Feedback(0, 0, asked), Budget(150), GOAL)
    later, batch = packetize(answer, LINK)
    assert later.segments[0].as_requested and later.segments[0].spans is None
    count = later.segments[0].element_count
    assert 60 < count < (~received.segments[0].received).sum()
    got = depacketize(with_requested_spans(later, asked), batch, LINK)
    merged = merge_rounds([received, got])[TOKENS]
    assert (merged.elements[merged.received] == VALUES[merged.received]).all()
    assert merged.received.sum() - received.segments[0].received.sum() == count
    assert merged.received[spans_to_positions(thin_spans(asked[TOKENS], count))].all()


def test_without_the_request_an_answer_is_left_out():
    message, _, received = lossy()
    asked = {TOKENS: missing_spans(received.segments[0].received)}
    later, batch = packetize(resend(message, Feedback(0, 0, asked), Budget(150), GOAL), LINK)
    got = depacketize(with_requested_spans(later, {}), batch, LINK)
    assert not got.segments[0].received.any()
    merged = merge_rounds([received, got])[TOKENS]
    assert (merged.received == received.segments[0].received).all()


@pytest.mark.parametrize(
    ("kind", "elements", "message"),
    [
        (3, b"", "wanted.kind: lami_go has no segment 3; it has 0 .caption., 1 .tokens."),
        (TOKENS, b"\x00\x00", "wanted.elements"),
        (TOKENS, b"\xff", "wanted"),
    ],
)
def test_bad_wishes_name_the_field(kind, elements, message):
    _, header, _ = frame()
    with pytest.raises(InvalidInput, match=message):
        wanted_from_proto(feedback_pb2.ElementSet(kind=kind, elements=elements), [header], LINK)


def picture(quality=0.5):
    positions = RNG.permutation(1024)[:400]
    blank = np.zeros((3, 256, 256), np.float32)
    return Reconstruction(
        blank, np.zeros((256, 256), np.uint8), wanted={TOKENS: np.array([[0, 3]])}, uncertain={TOKENS: positions},
        quality_estimate=quality,
    )  # fmt: skip


def ask(received, shown):
    """What the sender's policy asks for after one round: spans by segment kind; empty if it does not ask."""
    feedback = policy_for(received.frame.rounds, None).next([Round(received, shown)])
    return feedback.wanted if feedback else {}


def test_the_least_certain_are_asked_for_within_the_budget():
    message, _, received = lossy()
    shown = picture()
    wanted = ask(received, shown)
    positions = spans_to_positions(wanted[TOKENS])
    assert set(positions.tolist()) == set(shown.uncertain[TOKENS][: len(positions)].tolist())
    answer = resend(message, Feedback(0, 0, wanted), Budget(200), GOAL)
    assert len(answer.segments[0].elements) > 0.9 * len(positions)  # what was asked for is about what fits


def test_a_quality_target_or_the_last_round_ends_it():
    _, header, batch = frame(RoundSettings(2, 200, FeedbackPolicy.UNCERTAIN, 0.8))
    received = depacketize(header, batch, LINK)
    assert ask(received, picture(0.79))
    assert not ask(received, picture(0.8))
    _, header, batch = frame(RoundSettings(1))
    assert not ask(depacketize(header, batch, LINK), picture())
