"""Sets of element positions on the wire: exact, short, and safe to read whatever the bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.entropy.element_set import pack_spans, unpack_spans
from common.errors import InvalidInput
from common.rounds import clip_spans, span_positions, spans_of


@given(positions=st.sets(st.integers(0, 5000), max_size=300))
@settings(max_examples=100, deadline=None)
def test_round_trip(positions):
    spans = spans_of(np.array(sorted(positions), np.int64))
    assert span_positions(spans).tolist() == sorted(positions)
    assert unpack_spans(pack_spans(spans), 5001).tolist() == spans.tolist()


def test_scattered_positions_cost_few_bits_and_runs_next_to_nothing():
    rng = np.random.default_rng(0)
    hundred = spans_of(np.sort(rng.permutation(1024)[:100]))
    assert len(pack_spans(hundred)) < 75  # the entropy of such a set is 58 bytes
    assert len(pack_spans(np.array([[320, 90], [700, 90]]))) <= 8


@given(data=st.binary(max_size=60), limit=st.integers(1, 4000))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_set_in_bounds_or_a_typed_error(data, limit):
    try:
        spans = unpack_spans(data, limit)
    except InvalidInput:
        return
    positions = span_positions(spans)
    assert len(positions) <= limit and (np.diff(positions) > 0).all()
    assert not len(positions) or (positions[0] >= 0 and positions[-1] < limit)


@pytest.mark.parametrize("data", [b"\x00", b"\x00\xff\xff\xff\xff\xff\xff", b"\x00\x00", b"\xf0\x05\x01"])
def test_bytes_that_are_no_set(data):
    with pytest.raises(InvalidInput, match="elements"):
        unpack_spans(data, 100)


def test_clipping_keeps_the_first():
    spans = np.array([[2, 3], [10, 1], [20, 5]])
    assert clip_spans(spans, 5).tolist() == [[2, 3], [10, 1], [20, 1]]
    assert clip_spans(spans, 3).tolist() == [[2, 3]]
    assert clip_spans(spans, 99).tolist() == spans.tolist()
    assert clip_spans(spans, 0).tolist() == []
