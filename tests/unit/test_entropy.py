"""Coders: exact round trips, restart per packet, bounded behaviour on any bytes, tables that are only integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.entropy.coders import FixedCoder, HuffmanCoder, RangeCoder
from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import (
    TOTAL,
    FrequencyTable,
    NeighbourTables,
    load_neighbours,
    load_table,
    save_tables,
)
from gocom.common.entropy.keep_mask_coders import EscapeCoder, MaskedFixedCoder
from gocom.common.errors import InvalidInput, Mismatch
from gocom.common.systems import SegmentSpec
from gocom.common.types import ElementCoding

RNG = np.random.default_rng(0)
SKEWED = FrequencyTable.from_counts((RNG.pareto(1.2, 1024) * 1000).astype(np.int64))
CLASSES = np.arange(1024) * 4 // 1024
COUNTS = RNG.pareto(1.2, (25, 1024)) + 0.01


def neighbour_tables(counts=COUNTS):
    scaled = [FrequencyTable.from_counts((row * 1000).astype(np.int64)).frequencies for row in counts]
    return NeighbourTables(CLASSES, np.array(scaled))


CODERS = [FixedCoder(1024), HuffmanCoder(SKEWED), RangeCoder(SKEWED), ContextCoder(neighbour_tables(), 16, None)]
W = (30, 200)
MASKED = [
    MaskedFixedCoder(1024),
    EscapeCoder(HuffmanCoder(SKEWED.with_escape(*W)), 1024),
    EscapeCoder(RangeCoder(SKEWED.with_escape(*W)), 1024),
    EscapeCoder(ContextCoder(neighbour_tables(), 16, W), 1024),
]


def scattered(count):
    """Positions as an interleaver leaves them: some neighbours together, in no order."""
    return np.random.default_rng(count).permutation(max(count, 4) * 2)[:count]


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: type(c).__name__)
@given(elements=st.lists(st.integers(0, 1023), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_round_trip(coder, elements):
    values = np.array(elements, np.int64)
    at = scattered(len(values))
    data = coder.encode(values, at)
    assert coder.decode(data, at).tolist() == elements
    assert len(data) <= np.ceil(coder.bits(values, at).sum() / 8) + coder.overhead_bytes


@pytest.mark.parametrize("coder", MASKED, ids=["fixed", "huffman", "range", "context"])
@given(elements=st.lists(st.integers(-1, 1023), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_withheld_elements_travel_as_a_slice_of_the_mask(coder, elements):
    values, at = np.array(elements, np.int64), scattered(len(elements))
    data = coder.encode(values, at)
    assert coder.decode(data, at).tolist() == elements
    assert len(data) <= np.ceil(coder.bits(values, at).sum() / 8) + coder.overhead_bytes


@pytest.mark.parametrize("coder", [*CODERS, *MASKED], ids=lambda c: type(c).__name__)
@given(data=st.binary(max_size=120), count=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_elements_in_range_or_a_typed_error(coder, data, count):
    try:
        values = coder.decode(data, scattered(count))
    except InvalidInput:
        return
    assert len(values) == count
    assert values.min() >= (-1 if coder in MASKED else 0) and values.max() < 1024


def test_entropy_coding_beats_fixed_length_on_its_own_table():
    p = SKEWED.frequencies / TOTAL
    values = RNG.choice(1024, 700, p=p)
    fixed, huffman, ranged = (len(c.encode(values, np.arange(700))) for c in CODERS[:3])
    assert ranged < huffman < fixed


def test_huffman_lengths_satisfy_kraft_with_equality():
    lengths = HuffmanCoder(SKEWED).lengths
    assert sum(2 ** (24 - int(n)) for n in lengths) == 2**24


def test_fixed_coder_uses_most_significant_bit_first():
    assert FixedCoder(1024).encode(np.array([0b1000000001, 0b0111111110]), np.arange(2)) == bytes([0x80, 0x5F, 0xE0])


def test_range_coder_golden_bytes():
    table = FrequencyTable.from_counts(np.array([70, 20, 6, 4]))
    assert RangeCoder(table).encode(np.array([0, 1, 0, 3, 2, 0, 0, 1]), np.arange(8)).hex() == GOLDEN


GOLDEN = "8f4d"


def test_tables_round_trip_and_refuse_what_does_not_sum(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tables({"tokens": SKEWED}, path)
    assert (load_table(path, "tokens").frequencies == SKEWED.frequencies).all()
    with pytest.raises(Mismatch, match="no 'words'"):
        load_table(path, "words")
    with pytest.raises(Mismatch, match="sum to"):
        FrequencyTable(np.array([1, 2, 3]))


def test_coding_without_a_table_is_named():
    with pytest.raises(InvalidInput, match="segment 'file' has no 'range'; choose fixed"):
        SegmentSpec("file", 256).coder(ElementCoding.RANGE, 64, 64)


def test_bytes_that_no_encoder_writes_are_a_typed_error():
    with pytest.raises(InvalidInput, match="not 200 range-coded elements"):
        RangeCoder(SKEWED).decode(bytes.fromhex("cd46fb15bcc4"), np.arange(200))


def test_an_escape_costs_what_its_share_says():
    table = SKEWED.with_escape(256, 1024)
    assert table.frequencies.sum() == TOTAL and len(table.frequencies) == 1025
    assert table.bits[1024] == pytest.approx(2, abs=0.01)
    kept = table.bits[:1024] - SKEWED.bits
    assert np.median(kept) == pytest.approx(-np.log2(0.75), abs=0.02)


def test_neighbours_in_the_packet_make_elements_cheaper():
    counts = np.full((25, 1024), 0.01)
    for left in range(5):
        for above in range(5):
            counts[left * 5 + above, (left if left < 4 else 0) == CLASSES] = 1  # like its left neighbour
    coder = ContextCoder(neighbour_tables(counts), 16, None)
    grid = np.repeat(RNG.integers(0, 4, 16), 16) * 256 + RNG.integers(0, 256, 256)  # a class a row
    together = coder.bits(grid, np.arange(256)).sum()
    apart = coder.bits(grid[::2], np.arange(0, 256, 2)).sum() * 2
    assert together < 0.9 * apart
    assert len(coder.encode(grid, np.arange(256))) * 8 == pytest.approx(together, abs=32)


def test_neighbours_of_another_row_do_not_count():
    coder = ContextCoder(neighbour_tables(), 16, None)
    row_end_and_next_start = np.array([15, 16])
    apart = np.array([15, 40])
    values = np.array([3, 700])
    assert (coder.bits(values, row_end_and_next_start) == coder.bits(values, apart)).all()


def test_neighbour_tables_round_trip_and_refuse_what_does_not_fit(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tables({}, path, {"tokens": (CLASSES, COUNTS)})
    tables = load_neighbours(path, "tokens")
    assert (tables.classes == CLASSES).all() and tables.frequencies.shape == (25, 1024)
    share = COUNTS[3] / COUNTS[3].sum()
    assert tables.frequencies[3] / TOTAL == pytest.approx(share, abs=0.01)
    with pytest.raises(Mismatch, match="contexts"):
        NeighbourTables(CLASSES, tables.frequencies[:7])


def test_bits_of_a_range_coder_s_last_byte_are_needed():
    """What `shortest_bytes` returns cannot be cut further: no shorter bytes decode to the same elements."""
    values, at = RNG.choice(1024, 90, p=SKEWED.frequencies / TOTAL), np.arange(90)
    coder = RangeCoder(SKEWED)
    data = coder.encode(values, at)
    for last in range(256):
        try:
            assert (coder.decode(data[:-2] + bytes([last]), at) != values).any()
        except InvalidInput:
            continue
