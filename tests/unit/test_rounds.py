import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocom.common.rounds import merge_rounds, missing_spans, spans_to_positions
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import FrameHeader, ReceivedMessage, ReceivedSegment


def message(*segments: ReceivedSegment) -> ReceivedMessage:
    return ReceivedMessage(FrameHeader("jpeg", ClassicalHeader(), 64, 64, ()), segments, 1, 1)


def segment(elements, received, spans=None, kind=0) -> ReceivedSegment:
    spans = None if spans is None else np.array(spans, np.int64)
    return ReceivedSegment(kind, np.array(elements, np.int64), np.array(received, bool), spans)


def test_a_later_round_fills_its_spans():
    first = message(segment([5, 0, 0, 8, 0], [1, 0, 0, 1, 0]))
    second = message(segment([6, 7, 9], [1, 0, 1], spans=[[1, 2], [4, 1]]))
    merged = merge_rounds([first, second])[0]
    assert merged.elements.tolist() == [5, 6, 0, 8, 9]
    assert merged.received.tolist() == [True, True, False, True, True]
    assert merged.spans is None
    assert first.segments[0].elements.tolist() == [5, 0, 0, 8, 0], "the rounds themselves must not change"


def test_a_later_round_never_unreceives():
    merged = merge_rounds([message(segment([5], [1])), message(segment([0], [0], spans=[[0, 1]]))])[0]
    assert merged.received.all() and merged.elements.tolist() == [5]


def test_a_new_segment_of_a_later_round_is_taken_whole():
    merged = merge_rounds([message(segment([5], [1])), message(segment([3, 4], [1, 0], kind=1))])
    assert sorted(merged) == [0, 1] and merged[1].elements.tolist() == [3, 4]


@pytest.mark.parametrize(
    "later",
    [segment([1, 2], [1, 1], spans=[[4, 2]]), segment([1, 2, 3], [1, 1, 1]), segment([1], [1], spans=[[0, 1]], kind=7)],
)
def test_what_does_not_fit_is_left_out(later):
    merged = merge_rounds([message(segment([0, 0], [0, 0])), message(later)])
    assert list(merged) == [0] and not merged[0].received.any()


@given(st.lists(st.booleans(), max_size=40))
def test_missing_spans_name_exactly_what_is_missing(mask):
    mask = np.array(mask, bool)
    spans = missing_spans(mask)
    assert spans.dtype == np.int64 and spans.shape == (len(spans), 2)
    assert spans_to_positions(spans).tolist() == np.flatnonzero(~mask).tolist()
