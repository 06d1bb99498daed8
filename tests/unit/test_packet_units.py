"""Elements that belong together: the interleaver moves them as one, and a packet ends with a whole unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.packetizer import depacketize, packetize
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Parameters, Segment

NAME = "units_for_tests"


class UnitHeader(Parameters):
    unit: int = 8
    withheld: int = 0
    thinned: int = 0


def keep(frame):
    """Without some units, and some elements of each unit."""
    header = frame.header
    kept = np.ones((frame.width_px * frame.height_px // header.unit, header.unit), bool)
    kept[: header.withheld] = False
    kept[:, : header.thinned] = False
    return kept.ravel()


@pytest.fixture(scope="module", autouse=True)
def system():
    if NAME not in SYSTEMS:
        spec = SegmentSpec("values", 128, keep=keep, unit=lambda frame: frame.header.unit)
        SYSTEMS.add(NAME, System(NAME, UnitHeader, Parameters, (spec,)))


def message(unit, units, withheld=0, thinned=0):
    elements = np.random.default_rng(1).integers(0, 128, unit * units)
    segment = Segment(0, elements, np.ones(len(elements), np.float32), ElementCoding.FIXED)
    return GoMessage(NAME, UnitHeader(unit=unit, withheld=withheld, thinned=thinned), unit, units, (segment,), 3)


@given(
    unit=st.integers(1, 150), units=st.integers(1, 60), payload=st.integers(32, 200), interleave=st.booleans(),
    withheld=st.integers(0, 59), lost=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_what_arrives_is_right_and_units_are_lost_as_one(unit, units, payload, interleave, withheld, lost):
    withheld = min(withheld, units - 1)
    sent, link = message(unit, units, withheld), LinkSettings(payload, interleave, 5, 16)
    header, batch = packetize(sent, link)
    assert int(batch.length.max()) <= payload
    kept = np.random.default_rng(unit).random(len(batch)) >= lost
    (got,) = depacketize(header, batch.select(kept), link).segments
    assert (got.elements[got.received] == sent.segments[0].elements[got.received]).all()
    counts = batch.element_count if len(batch) > 1 else np.array([keep(sent).sum()])
    assert int(got.received.sum()) == int(counts[kept].sum())
    if got.withheld is not None:
        assert (~got.withheld).tolist() == keep(sent).tolist()
    if unit * 7 <= payload * 8:
        whole = got.received.reshape(units, unit)
        assert (whole.all(1) | ~whole.any(1)).all()


def packets_of_units(interleave):
    """[P, 15]: which units each full packet of 105 bytes holds, in order."""
    sent, link = message(8, 150), LinkSettings(105, interleave)
    header, batch = packetize(sent, link)
    found = []
    for number in range(len(batch)):
        (got,) = depacketize(header, batch.select(np.arange(len(batch)) == number), link).segments
        found.append(np.flatnonzero(got.received.reshape(150, 8).all(1)))
    return np.stack(found)


def test_the_interleaver_scatters_units_and_raster_order_does_not():
    raster, scattered = packets_of_units(False), packets_of_units(True)
    assert raster.shape == scattered.shape == (10, 15)
    assert (np.diff(raster, axis=1) == 1).all()
    assert (np.diff(scattered, axis=1) == 1).mean() < 0.3
    assert sorted(scattered.ravel()) == list(range(150))


@pytest.mark.parametrize("interleave", [True, False])
@pytest.mark.parametrize(("thinned", "expected"), [(12, [6 * 20] * 8), (9, [5 * 23] * 9 + [3 * 23])])
def test_units_of_which_elements_are_withheld_are_whole_with_what_is_left(interleave, thinned, expected):
    """Of 32 in a unit 20 are left, or 23: of 120 in a packet 96 were taken, which is a multiple of 32 and no more."""
    _, batch = packetize(message(32, 50, withheld=2, thinned=thinned), LinkSettings(105, interleave))
    assert batch.element_count.tolist() == expected
