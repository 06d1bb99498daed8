"""What tests of operating points share: codecs, a picture, and sends of it."""

import numpy as np
import pytest

from gocom.common.systems.classical import CLASSICAL_CODECS, Scale
from gocom.common.types import LinkSettings
from gocom.evaluation.compare.files import Files, Point
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.plan import Planner
from gocom.evaluation.run.codec_setup import make_codec

LINK = LinkSettings()
FRAME = 3
NONE, FEC, ARQ = Protection.NONE, Protection.FEC, Protection.ARQ
ERASURE = "packet_erasure:rate=0.2"
CHANNELS = [
    ERASURE, "gilbert_elliott:p=0.05,r=0.25", "bit_flip:rate=2e-4", "block_fading:snr_db=15,coherence=2",
    "rate_limit:rate_kbps=60,queue_ms=60+duplicate:rate=0.2+reorder:rate=0.2",
]  # fmt: skip


@pytest.fixture(scope="module")
def codecs():
    return {name: make_codec(name) for name in CLASSICAL_CODECS}


@pytest.fixture(scope="module")
def image():
    """float32 [3, 64, 96], with edges, slopes and some noise."""
    y, x = np.mgrid[:64, :96] / 96
    colours = np.stack([x, (y + x) % 0.5, np.sin(9 * x) * np.cos(7 * y) / 2 + 0.5])
    colours[:, 20:40, 30:60] = np.array([0.9, 0.2, 0.1])[:, None, None]
    noise = np.random.default_rng(5).normal(0, 0.03, colours.shape)
    return np.clip(colours + noise, 0, 1).astype(np.float32)


@pytest.fixture
def planner(codecs, image):
    return Planner(codecs, image, FRAME, LINK)


def files_of(codec, image, link=LINK):
    return Files(codec, image, {}, FRAME, link)


def points():
    return [Point(scale, quality) for scale in Scale for quality in range(101)]


def sent(codec, image, settings, channel="clean", seed=0):
    return codec.send(image, channel, seed=seed, frame_index=FRAME, link=LINK, **settings)
