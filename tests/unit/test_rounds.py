"""Rounds put together in the full grid of each segment: what arrived, what was erased, and what no round has sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gocom.common.rounds import (
    clip_spans,
    erased_spans,
    grid_positions,
    merge_rounds,
    missing_spans,
    positions_to_spans,
    spans_to_positions,
)
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader
from gocom.common.types import FrameHeader, ReceivedMessage, ReceivedSegment

FILE = FrameHeader("jpeg", ClassicalHeader(), 64, 64, ())
PICTURE = FrameHeader("lami_go", LamiGoHeader(), 64, 64, ())
COUNT = 64
"""Tokens of PICTURE."""


def message(*segments: ReceivedSegment, frame: FrameHeader = FILE) -> ReceivedMessage:
    return ReceivedMessage(frame, segments, 1, 1)


def segment(elements, received, spans=None, kind=0, withheld=None, located=True) -> ReceivedSegment:
    spans = None if spans is None else np.array(spans, np.int64)
    withheld = None if withheld is None else np.array(withheld, bool)
    return ReceivedSegment(kind, np.array(elements, np.int64), np.array(received, bool), spans, withheld, located)


def test_a_later_round_fills_its_spans():
    first = message(segment([5, 0, 0, 8, 0], [1, 0, 0, 1, 0]))
    second = message(segment([6, 7, 9], [1, 0, 1], spans=[[1, 2], [4, 1]]))
    merged = merge_rounds([first, second])[0]
    assert merged.elements.tolist() == [5, 6, 0, 8, 9]
    assert merged.received.tolist() == [True, True, False, True, True]
    assert merged.spans is None and merged.withheld is None
    assert first.segments[0].elements.tolist() == [5, 0, 0, 8, 0], "the rounds themselves must not change"


def test_a_later_round_never_unreceives():
    merged = merge_rounds([message(segment([5], [1])), message(segment([0], [0], spans=[[0, 1]]))])[0]
    assert merged.received.all() and merged.elements.tolist() == [5]


def test_a_segment_may_come_first_in_a_later_round_whole():
    rounds = [
        message(segment([5] * COUNT, [1] * COUNT, kind=TOKENS), frame=PICTURE),
        message(segment([3, 4], [1, 0], kind=CAPTION), frame=PICTURE),
    ]
    merged = merge_rounds(rounds)
    assert sorted(merged) == [CAPTION, TOKENS] and merged[CAPTION].elements.tolist() == [3, 0]
    assert merged[CAPTION].erased.tolist() == [False, True] and merged[TOKENS].received.all()


def test_a_segment_may_come_first_in_a_later_round_in_part_and_grow():
    """What no round has sent is withheld; what was sent and lost is erased, also if it was not sent before."""
    caption = message(segment([3], [1], kind=CAPTION), frame=PICTURE)
    some = message(segment([7, 0, 9], [1, 0, 1], spans=[[10, 2], [20, 1]], kind=TOKENS), frame=PICTURE)
    more = message(segment([0, 4], [0, 1], spans=[[11, 1], [63, 1]], kind=TOKENS), frame=PICTURE)
    assert sorted(merge_rounds([caption])) == [CAPTION]
    merged = merge_rounds([caption, some])[TOKENS]
    assert len(merged.elements) == COUNT and merged.spans is None
    assert {i: int(merged.elements[i]) for i in np.flatnonzero(merged.received)} == {10: 7, 20: 9}
    assert np.flatnonzero(merged.erased).tolist() == [11]
    assert np.flatnonzero(~merged.withheld).tolist() == [10, 11, 20]
    merged = merge_rounds([caption, some, more])[TOKENS]
    assert {i: int(merged.elements[i]) for i in np.flatnonzero(merged.received)} == {10: 7, 20: 9, 63: 4}
    assert np.flatnonzero(merged.erased).tolist() == [11]
    assert {kind: spans.tolist() for kind, spans in erased_spans({TOKENS: merged}).items()} == {TOKENS: [[11, 1]]}


def test_what_was_withheld_and_is_sent_later_and_lost_is_erased():
    first = message(segment([5, 0, 0, 0], [1, 0, 0, 0], withheld=[0, 1, 1, 0]))
    assert merge_rounds([first])[0].withheld.tolist() == [False, True, True, False]
    later = message(segment([0, 0], [0, 0], spans=[[1, 1], [3, 1]]))
    merged = merge_rounds([first, later])[0]
    assert merged.erased.tolist() == [False, True, False, True]
    assert merged.withheld.tolist() == [False, False, True, False]
    # A later round may withhold some of what it names itself.
    again = message(segment([0, 8], [0, 1], spans=[[2, 2]], withheld=[1, 0]))
    merged = merge_rounds([first, later, again])[0]
    assert merged.elements.tolist() == [5, 0, 0, 8] and merged.erased.tolist() == [False, True, False, False]
    assert merged.withheld.tolist() == [False, False, True, False]


def test_a_grid_of_no_fixed_size_ends_where_the_rounds_do():
    merged = merge_rounds([message(segment([0, 0], [0, 0])), message(segment([1, 2], [1, 1], spans=[[4, 2]]))])[0]
    assert merged.elements.tolist() == [0, 0, 0, 0, 1, 2]
    assert merged.withheld.tolist() == [False, False, True, True, False, False]
    assert merged.erased.tolist() == [True, True, False, False, False, False]
    longer = merge_rounds([message(segment([0, 0], [0, 0])), message(segment([1, 2, 3], [1, 1, 1]))])[0]
    assert longer.elements.tolist() == [1, 2, 3] and longer.received.all() and longer.withheld is None


def test_what_lies_beyond_the_grid_is_left_out():
    beyond = segment([1, 2], [1, 1], spans=[[63, 2]], kind=TOKENS)
    merged = merge_rounds([message(beyond, frame=PICTURE)])[TOKENS]
    assert len(merged.elements) == COUNT and np.flatnonzero(merged.received).tolist() == [63]


@pytest.mark.parametrize("count", [COUNT - 1, COUNT + 1])
def test_a_whole_grid_of_another_size_is_left_out(count):
    strange = segment([1] * count, [1] * count, kind=TOKENS)
    assert merge_rounds([message(strange, frame=PICTURE)]) == {}
    right = segment([2] * COUNT, [1] * COUNT, kind=TOKENS)
    merged = merge_rounds([message(right, frame=PICTURE), message(strange, frame=PICTURE)])[TOKENS]
    assert merged.elements.tolist() == [2] * COUNT


def test_elements_of_no_known_position_are_left_out():
    nowhere = message(segment([1, 2], [0, 0], located=False))
    assert merge_rounds([nowhere]) == {}
    merged = merge_rounds([message(segment([5, 0], [1, 0])), nowhere])
    assert merged[0].elements.tolist() == [5, 0] and merged[0].withheld is None


@given(st.lists(st.booleans(), max_size=40))
def test_missing_spans_name_exactly_what_is_missing(mask):
    mask = np.array(mask, bool)
    spans = missing_spans(mask)
    assert spans.dtype == np.int64 and spans.shape == (len(spans), 2)
    assert spans_to_positions(spans).tolist() == np.flatnonzero(~mask).tolist()


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(0, 70))
def test_spans_are_cut_where_there_is_no_more(positions, limit):
    ordered = sorted(positions)
    spans = positions_to_spans(np.array(ordered))
    assert grid_positions(len(ordered), spans).tolist() == ordered
    assert spans_to_positions(clip_spans(spans, limit)).tolist() == [p for p in ordered if p < limit]
