"""Before a receiver says SERVING every codec that it warms has made a picture, or is loaded where it has no nets."""

import math
from dataclasses import replace

import pytest
from generative_codecs import GENERATIVE
from grpc_health.v1 import health_pb2, health_pb2_grpc
from toy_codec import NAME, ToyDecoder

from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import NotReady
from gocom.common.patch_grid import grid_shape
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import CLASSICAL_CODECS
from gocom.common.types import Provenance
from gocom.receiver.frame_decoding import warm_up


class Loaded:
    """A registry of decoders that are there already; `seen` has their pictures."""

    def __init__(self, codec):
        self.codec, self.seen = codec, []

    def get(self, name):
        return lambda device: self

    def reconstruct(self, rounds, **settings):
        frame = rounds[0].frame
        for picture in self.codec(frame.codec).decoder.reconstruct(rounds, **settings):
            self.seen.append(picture)
            yield picture


@pytest.mark.parametrize("name", GENERATIVE)
def test_the_nets_of_a_codec_have_run(codec, name):
    loaded = Loaded(codec)
    warm_up(CodecWorker(loaded, "cpu", "decode"), name)
    (picture,) = loaded.seen
    assert picture.final and picture.image.shape == (3, 256, 256)
    assert (picture.provenance == Provenance.ERASED).all() and picture.seconds["sample"] > 0


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
def test_a_codec_without_nets_is_loaded(name):
    class Registry:
        def get(self, name):
            asked.append(name)
            return lambda device: object()  # which has no `reconstruct`

    asked = []
    warm_up(CodecWorker(Registry(), "cpu", "decode"), name)
    assert asked == [name]


@pytest.fixture
def with_nets(monkeypatch):
    """The toy, as if it had a net; what is given replaces fields of its segment's specification."""

    def change(**fields):
        system = SYSTEMS.get(NAME)
        segments = (replace(system.segments[0], **fields),)
        monkeypatch.setitem(SYSTEMS._items, NAME, replace(system, knowledge=("toy_net",), segments=segments))

    return change


async def test_one_that_makes_no_picture_keeps_the_service_from_serving(world, with_nets):
    with_nets()  # it is not told how many values a picture has
    with pytest.raises(NotReady, match=rf"^{NAME}: no picture in the warm-up pass \(ValueError: "):
        await world.receiver()


async def test_a_picture_of_the_right_number_of_elements_is_enough(world, with_nets, monkeypatch):
    with_nets(count=lambda *size: math.prod(grid_shape(*size, 8)))
    real, pictures = ToyDecoder.reconstruct, []

    def reconstruct(self, rounds, **settings):
        for picture in real(self, rounds, **settings):
            pictures.append(picture.image.shape)
            yield picture

    monkeypatch.setattr(ToyDecoder, "reconstruct", reconstruct)
    await world.receiver()
    assert pictures == [(3, 256, 256)]
    answer = await health_pb2_grpc.HealthStub(world.link_channel).Check(health_pb2.HealthCheckRequest(service=""))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_net_that_falls_over_is_named(world, with_nets, monkeypatch):
    with_nets(count=lambda *size: math.prod(grid_shape(*size, 8)))

    def reconstruct(self, rounds, **settings):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(ToyDecoder, "reconstruct", reconstruct)
    with pytest.raises(NotReady, match=rf"^{NAME}: .*\(RuntimeError: out of memory\)$"):
        await world.receiver()
    assert not hasattr(world, "receiving")
