"""A smaller picture in the file, enlarged by the receiver."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from gocom.common.errors import InvalidInput
from gocom.common.image_files import to_uint8
from gocom.common.image_quality import psnr_db
from gocom.common.systems.classical import CLASSICAL_CODECS, ClassicalOptions, Scale, scaled_size
from gocom.common.types import Goal, Provenance
from gocom.common.wire.frame_messages import codec_from_proto, codec_to_proto, make_parameters
from gocom.evaluation.run.codec_setup import make_codec
from gocom.transmitter.encoders.classical import ClassicalEncoder, ClassicalSession, encode_file
from gocom.v1 import transmitter_pb2


@pytest.fixture(scope="module")
def codecs():
    return {name: make_codec(name) for name in CLASSICAL_CODECS}


def file_of(result):
    return b"".join(segment.elements.astype(np.uint8).tobytes() for segment in result.rounds[0].segments)


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
@pytest.mark.parametrize("size", [(128, 128), (101, 77), (64, 65), (64, 64)])
def test_every_scale(codecs, photo, name, size):
    image = np.ascontiguousarray(photo("astronaut", 128)[:, : size[1], : size[0]])
    grey = psnr_db(image, np.full_like(image, 0.5))
    scores = []
    for scale in Scale:
        result = codecs[name].send(image, "clean", seed=0, quality=100, scale=int(scale))
        frame, made = result.rounds[0].frame, result.reconstruction
        assert (frame.width_px, frame.height_px) == size
        assert made.image.shape == image.shape
        assert (made.provenance == Provenance.RECEIVED).all()
        with Image.open(io.BytesIO(file_of(result))) as picture:
            assert picture.size == scaled_size(*size, scale) == tuple(-(-side // scale) for side in size)
        scores.append(psnr_db(image, made.image))
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > grey + 2


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
def test_at_scale_1_the_file_is_that_of_the_picture(codecs, photo, name):
    image = photo("coffee", 128)
    plain = encode_file(name, Image.fromarray(to_uint8(image)), 40)
    for options in ({}, {"scale": 1}):
        result = codecs[name].send(image, "clean", seed=0, quality=40, **options)
        assert hashlib.sha256(file_of(result)).digest() == hashlib.sha256(plain).digest()


def test_the_picture_is_where_it_was(codecs):
    """Enlarged, it is not shifted."""
    image = np.zeros((3, 128, 128), np.float32)
    image[:, 32:96, 32:96] = 1
    for scale in (2, 4, 8):
        made = codecs["jpeg2000"].send(image, "clean", seed=0, quality=100, scale=scale).reconstruction.image
        assert np.abs(made - made[:, ::-1, ::-1]).max() < 0.1
        assert made[:, 48:80, 48:80].min() > 0.8


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
@pytest.mark.parametrize("size", [(50, 38), (51, 38), (34, 26), (202, 154), (39, 51), (13, 9), (7, 5)])
def test_another_size_is_refused(codecs, photo, monkeypatch, name, size):
    """101x77 makes 51x39, 26x20 and 13x10."""

    def other(self, analysis, goal):
        session = ClassicalSession(name, analysis, goal)
        session.picture = session.picture.resize(size)
        return session

    monkeypatch.setattr(type(codecs[name].encoder), "open", other)
    image = np.ascontiguousarray(photo("astronaut", 128)[:, :77, :101])
    result = codecs[name].send(image, "clean", seed=0, quality=50)
    assert result.reconstruction is None
    assert result.reason == f"{name}: file says {size}, header 101x77"


def test_a_budget_is_kept_at_a_scale(codecs, photo):
    image = photo("astronaut", 128)
    best = codecs["webp"].send(image, "clean", seed=0, scale=2, budget=700)
    target = codecs["webp"].send(image, "clean", seed=0, scale=4, target_bytes=200)
    assert 600 < best.bytes.total_bytes <= 700
    assert 150 < len(file_of(target)) <= 200


@pytest.mark.parametrize("value", [0, 3, 16, -1, "3", "half", 1.5])
def test_other_scales_are_refused(value):
    with pytest.raises(InvalidInput, match="^scale: Input should be 1, 2, 4 or 8"):
        make_parameters(ClassicalOptions, {"scale": value})


@pytest.mark.parametrize("value", [1, "2", 4.0, "8"])
def test_scales_travel_in_a_request(value):
    options = make_parameters(ClassicalOptions, {"scale": value})
    assert options.scale == int(value)
    request = transmitter_pb2.TransmitRequest()
    codec_to_proto("webp", options, request.codec)
    assert request.codec.webp.scale == int(value)
    assert codec_from_proto(request.codec) == ("webp", options)
    encoder = ClassicalEncoder("webp", "cpu")
    opened = encoder.open(encoder.analyse(np.zeros((3, 64, 96), np.float32)), Goal(options, 0))
    assert opened.picture.size == (96 // options.scale, 64 // options.scale)
