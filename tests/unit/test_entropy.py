"""Coders: exact round trips, restart per packet, bounded behaviour on any bytes, tables that are only integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.entropy.coders import FixedCoder, HuffmanCoder, RangeCoder, make_coder
from common.entropy.tables import TOTAL, FrequencyTable, load_table, save_tables
from common.errors import InvalidInput, Mismatch
from common.types import ElementCoding

RNG = np.random.default_rng(0)
SKEWED = FrequencyTable.from_counts((RNG.pareto(1.2, 1024) * 1000).astype(np.int64))
CODERS = [FixedCoder(1024), HuffmanCoder(SKEWED), RangeCoder(SKEWED)]


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: type(c).__name__)
@given(elements=st.lists(st.integers(0, 1023), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_round_trip(coder, elements):
    values = np.array(elements, np.int64)
    data = coder.encode(values)
    assert coder.decode(data, len(values)).tolist() == elements
    assert len(data) <= np.ceil(coder.bits(values).sum() / 8) + coder.overhead_bytes


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: type(c).__name__)
@given(data=st.binary(max_size=120), count=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_elements_in_range_or_a_typed_error(coder, data, count):
    try:
        values = coder.decode(data, count)
    except InvalidInput:
        return
    assert len(values) == count
    assert values.min() >= 0 and values.max() < 1024


def test_entropy_coding_beats_fixed_length_on_its_own_table():
    p = SKEWED.frequencies / TOTAL
    values = RNG.choice(1024, 700, p=p)
    fixed, huffman, ranged = (len(c.encode(values)) for c in CODERS)
    assert ranged < huffman < fixed


def test_huffman_lengths_satisfy_kraft_with_equality():
    lengths = HuffmanCoder(SKEWED).lengths
    assert sum(2 ** (24 - int(n)) for n in lengths) == 2**24


def test_fixed_coder_uses_most_significant_bit_first():
    assert FixedCoder(1024).encode(np.array([0b1000000001, 0b0111111110])) == bytes([0x80, 0x5F, 0xE0])


def test_range_coder_golden_bytes():
    table = FrequencyTable.from_counts(np.array([70, 20, 6, 4]))
    assert RangeCoder(table).encode(np.array([0, 1, 0, 3, 2, 0, 0, 1])).hex() == GOLDEN


GOLDEN = "8f4c027a"


def test_tables_round_trip_and_refuse_what_does_not_sum(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tables({"tokens": SKEWED}, path)
    assert (load_table(path, "tokens").frequencies == SKEWED.frequencies).all()
    with pytest.raises(Mismatch, match="no 'words'"):
        load_table(path, "words")
    with pytest.raises(Mismatch, match="sum to"):
        FrequencyTable(np.array([1, 2, 3]))


def test_coding_without_a_table_is_named():
    with pytest.raises(InvalidInput, match="choose fixed"):
        make_coder(ElementCoding.RANGE, 256, None)


def test_bytes_that_no_encoder_writes_are_a_typed_error():
    with pytest.raises(InvalidInput, match="not 200 range-coded elements"):
        RangeCoder(SKEWED).decode(bytes.fromhex("cd46fb15bcc4"), 200)
