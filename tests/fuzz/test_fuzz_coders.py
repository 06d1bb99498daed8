"""Any bytes through every decoder of coded elements, of element sets and of repair packets: a typed error, or values
in range. What was encoded comes back.
"""

import numpy as np
import pytest
from fuzz_messages import HARMS
from generative_codecs import CODINGS
from hypothesis import given
from hypothesis import strategies as st

from gocom.common import fec
from gocom.common.entropy.element_set_code import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput
from gocom.common.packetizer import MAX_ELEMENTS
from gocom.common.rounds import positions_to_spans, spans_to_positions
from gocom.common.systems import SYSTEMS

GRID = 4096
"""Elements of a segment: of a picture of 512x512."""
WITHHELD = (1000, GRID)
ANY_BYTES = st.one_of(st.none(), st.binary(max_size=200))


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize(("codec", "coding"), CODINGS)
def test_coded_elements(codec, coding, masked):
    specs = [spec for spec in SYSTEMS.get(codec).segments if coding in spec.codings]

    @given(st.sampled_from(specs), st.integers(1, 120), st.integers(0, 1 << 32), ANY_BYTES, HARMS)
    def check(spec, count, seed, any_bytes, harm):
        coder = spec.coder(coding, 512, 512, WITHHELD if masked else None)
        # What is drawn for the elements matters less than what is done to their bytes.
        rng = np.random.default_rng(seed)
        positions = rng.choice(GRID, count, replace=False)
        elements = rng.integers(0, spec.alphabet_size, count)
        if masked:
            elements = np.where(elements % 4, elements, -1)
        good = coder.encode(elements, positions)
        assert (coder.decode(good, positions) == elements).all()
        assert len(good) <= np.ceil(coder.bits(elements, positions).sum() / 8) + coder.overhead_bytes
        bad = harm(good) if any_bytes is None else any_bytes
        try:
            values = coder.decode(bad, positions)
        except InvalidInput:
            return
        assert values.shape == positions.shape and values.dtype == np.int64
        assert values.min() >= (-1 if masked else 0) and values.max() < spec.alphabet_size

    check()


@given(
    st.sets(st.integers(0, 3000), min_size=1, max_size=40),
    st.sampled_from([0, 1, 3001, MAX_ELEMENTS]),
    ANY_BYTES,
    HARMS,
)
def test_element_sets(positions, limit, any_bytes, harm):
    spans = positions_to_spans(np.array(sorted(positions)))
    good = pack_spans(spans)
    assert (unpack_spans(good, 3001) == spans).all()
    try:
        read = unpack_spans(harm(good) if any_bytes is None else any_bytes, limit)
    except InvalidInput:
        return
    there = spans_to_positions(read)
    assert (np.diff(there) > 0).all() and (not len(there) or 0 <= there[0] <= there[-1] < limit)
    assert (unpack_spans(pack_spans(read), limit) == read).all()


SYMBOL = fec.symbol_bytes(48)
SIZES = st.sampled_from([SYMBOL, SYMBOL, SYMBOL, 0, 8, 16, 65000])


@given(st.integers(2, 30), st.integers(1, 8), st.integers(0, 1 << 32), st.lists(HARMS, max_size=4), SIZES,
       st.sampled_from([None, None, 1, fec.MAX_SOURCE_PACKETS, 1 << 31]))  # fmt: skip
def test_repair_packets(count, overhead, seed, harms, size, announced):
    rng = np.random.default_rng(seed)
    longest = fec.source_payload_bytes(48)
    sources = [(i, 1, rng.bytes(rng.integers(1, longest + 1))) for i in range(count)]
    repair = fec.make_repair(sources, overhead, SYMBOL)
    lost = rng.choice(count, rng.integers(0, min(count, overhead) + 1), replace=False).tolist()
    left = {i: packet for i, packet in enumerate(sources) if i not in lost}
    whole = fec.recover(left, dict(enumerate(repair)), count, SYMBOL)
    # A decoder may need one packet more than were lost, seldom two.
    assert whole == dict(enumerate(sources)) or len(lost) > overhead - 2
    harmed = [harm(packet) for harm, packet in zip(harms, repair, strict=False)] + repair[len(harms) :]
    got = fec.recover(left, dict(enumerate(harmed)), announced or count, size)
    for number, (first, elements, payload) in got.items():
        assert number >= 0 and 0 <= first < 1 << 32 and 0 <= elements < 1 << 16 and len(payload) <= 65000
