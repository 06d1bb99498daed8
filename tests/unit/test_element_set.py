"""Sets of element positions on the wire: exact, short, and safe to read whatever the bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.entropy.element_set_code import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.rounds import positions_to_spans, spans_to_positions, thin_spans


@given(positions=st.sets(st.integers(0, 5000), max_size=300))
@settings(max_examples=100, deadline=None)
def test_round_trip(positions):
    spans = positions_to_spans(np.array(sorted(positions), np.int64))
    assert spans_to_positions(spans).tolist() == sorted(positions)
    assert unpack_spans(pack_spans(spans), 5001).tolist() == spans.tolist()


def test_scattered_positions_cost_few_bits_and_runs_next_to_nothing():
    rng = np.random.default_rng(0)
    hundred = positions_to_spans(np.sort(rng.permutation(1024)[:100]))
    assert len(pack_spans(hundred)) < 75  # the entropy of such a set is 58 bytes
    assert len(pack_spans(np.array([[320, 90], [700, 90]]))) <= 8


@given(data=st.binary(max_size=60), limit=st.integers(1, 4000))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_a_set_in_bounds_or_a_typed_error(data, limit):
    try:
        spans = unpack_spans(data, limit)
    except InvalidInput:
        return
    positions = spans_to_positions(spans)
    assert len(positions) <= limit and (np.diff(positions) > 0).all()
    assert not len(positions) or (positions[0] >= 0 and positions[-1] < limit)


@pytest.mark.parametrize("data", [b"\x00", b"\x00\xff\xff\xff\xff\xff\xff", b"\x00\x00", b"\xf0\x05\x01"])
def test_bytes_that_are_no_set(data):
    with pytest.raises(InvalidInput, match="elements"):
        unpack_spans(data, 100)


def test_thinning_spreads_what_is_kept_and_both_ends_agree():
    spans = positions_to_spans(np.arange(0, 600, 2))
    kept = spans_to_positions(thin_spans(spans, 100))
    assert len(kept) == 100 and set(kept) <= set(spans_to_positions(spans))
    assert 20 < (kept < 200).sum() < 45 and (kept > 400).any()
    assert (kept == spans_to_positions(thin_spans(spans, 100))).all()
    assert thin_spans(spans, 300).tolist() == thin_spans(spans, 999).tolist() == spans.tolist()
    assert thin_spans(spans, 0).tolist() == []


def test_sets_are_bounded_both_ways():
    with pytest.raises(InvalidInput, match="70000 bytes is more than 65536"):
        unpack_spans(bytes(70000), 1 << 24)
    many = np.sort(np.random.default_rng(0).permutation(1 << 20)[: 1 << 17])
    with pytest.raises(TooLarge, match="ask for fewer"):
        pack_spans(positions_to_spans(many))
