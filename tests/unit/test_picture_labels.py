"""Words on a picture."""

import numpy as np
import pytest

from gocom.common.picture_labels import write_label


@pytest.mark.parametrize("size", [(64, 64), (100, 90), (256, 512)])
def test_words_are_white_on_black_in_a_corner_and_the_rest_stays(size):
    image = np.full((3, *size), 0.5, np.float32)
    labelled = write_label(image, "RANDOM WEIGHTS")
    changed = np.argwhere(np.abs(labelled - image).max(0) > 0.01)
    bottom, right = changed.max(0) + 1
    assert labelled.shape == image.shape and labelled.dtype == np.float32
    assert changed.min() == 0 and bottom < size[0] / 4 and size[1] / 3 < right <= size[1]
    inside = labelled[:, :bottom, :right]
    assert inside.min() == 0 and inside.max() > 0.7 and (image == 0.5).all()
    np.testing.assert_allclose(labelled[:, bottom:], 0.5, atol=0.003)
