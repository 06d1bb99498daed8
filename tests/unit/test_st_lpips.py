"""ST-LPIPS: 0 for equal pictures, more for what looks worse, and the numbers of its authors' weights."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage import data

from gocom.common.errors import InvalidInput
from gocom.common.image_files import square_crop, to_float
from gocom.evaluation.measure.optional_metrics import st_lpips
from gocom.evaluation.measure.st_lpips import StLpips
from gocom.evaluation.measure.st_lpips_weights import weights_path

pytestmark = pytest.mark.skipif(weights_path("vgg") is None, reason="needs the weights in stlpips-pytorch")
PHOTO = Image.fromarray(square_crop(np.ascontiguousarray(data.astronaut()), 256))


def pixels(picture):
    return to_float(np.asarray(picture))


def jpeg(quality):
    file = io.BytesIO()
    PHOTO.save(file, "jpeg", quality=quality)
    return pixels(Image.open(file))


def blurred(radius):
    return pixels(PHOTO.filter(ImageFilter.GaussianBlur(radius)))


@pytest.mark.parametrize(("trunk", "expected"), [("alex", (0.0088, 0.0445, 0.680)), ("vgg", (0.0556, 0.173, 0.638))])
def test_what_looks_worse_is_farther(trunk, expected):
    photo = pixels(PHOTO)
    assert st_lpips(photo, photo, trunk) == 0
    found = [st_lpips(worse, photo, trunk) for worse in (jpeg(50), jpeg(10), blurred(3))]
    assert found == sorted(found)
    assert found == pytest.approx(expected, rel=0.05)  # another build of jpeg moves the last digits
    shifted = np.roll(photo, 1, axis=2)
    assert st_lpips(shifted, photo, trunk) < 0.5 * found[2], "a shift by a pixel is not a blur"


def test_a_gradient_reaches_the_picture_that_was_made_and_no_weight():
    net = StLpips("alex")
    x, x_hat = torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96, requires_grad=True)
    distances = net(x_hat, x)
    assert distances.shape == (2,) and (distances > 0).all()
    distances.sum().backward()
    assert x_hat.grad.abs().sum() > 0 and not list(net.parameters())
    assert net.between(net.features(x[:1]), net.features(x[1:])) == pytest.approx(float(net(x[:1], x[1:])), rel=1e-4)
    with pytest.raises(InvalidInput, match="image: shapes"):
        net(x_hat, x[..., :64])
