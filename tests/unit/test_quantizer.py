"""The uniform quantizer: within half a step inside its bounds, the outermost level beyond them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from gocom.common.errors import Mismatch
from gocom.common.quantizer import UniformQuantizer, load_quantizer

QUANTIZER = UniformQuantizer(np.array([-4.0, -1.0, 0.5]), np.array([4.0, 3.0, 0.75]), 128)


@given(hnp.arrays(np.float32, (7, 3), elements=st.floats(-1e4, 1e4, width=32)))
def test_half_a_step_inside_and_the_outermost_level_beyond(values):
    levels = QUANTIZER.quantize(values)
    assert levels.dtype == np.int64 and levels.min() >= 0 and levels.max() < 128
    back = QUANTIZER.dequantize(levels)
    assert back.dtype == np.float32
    inside = np.clip(values.astype(np.float64), QUANTIZER.low, QUANTIZER.high)
    assert (np.abs(back - inside) <= QUANTIZER.step / 2 + 1e-6).all()


@given(hnp.arrays(np.int64, (5, 3), elements=st.integers(0, 127)))
def test_a_level_comes_back_as_it_was(levels):
    assert (QUANTIZER.quantize(QUANTIZER.dequantize(levels)) == levels).all()


def test_calibration_leaves_the_share_it_was_told_outside():
    values = np.random.default_rng(0).normal([0, 5, -3], [1, 2, 0.1], (100_000, 3))
    found = UniformQuantizer.calibrate(values, 128, 0.001)
    outside = ((values < found.low) | (values > found.high)).mean(0)
    assert outside == pytest.approx(np.full(3, 0.002), rel=0.05)


def test_bounds_that_are_none_are_refused(tmp_path):
    with pytest.raises(Mismatch, match="no ranges"):
        UniformQuantizer(np.array([1.0]), np.array([1.0]), 128)
    save_file({"low": np.zeros(2)}, tmp_path / "tables.safetensors")
    with pytest.raises(Mismatch, match="has no bounds"):
        load_quantizer(tmp_path / "tables.safetensors", 128)
