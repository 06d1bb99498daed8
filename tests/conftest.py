"""Pictures and codecs that several suites share."""

import os
import signal
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from gocom.common.image_files import square_crop, to_float

# With several processes of tests each has one thread, and so have the services that it starts. Read by torch at import.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a shell starts in the background ignores SIGINT, and under nohup SIGHUP; so would the programs that tests start.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
# gRPC's own handlers may crash a fork while streams are open (grpcio 1.85); read when grpc is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# Pictures of tests are torch's, unless a whole suite is tried in another engine (integration/test_engines.py).
os.environ["GOCOM_ENGINE"] = os.environ.get("GOCOM_TEST_ENGINE", "torch")
# Transmitters of tests must not find, or leave, frames in the user's own outbox.
os.environ["GOCOM_TRANSMITTER_OUTBOX"] = "off"


def photo_pixels(name: str, size: int) -> np.ndarray:
    from skimage import data

    return square_crop(np.ascontiguousarray(getattr(data, name)()[..., :3]), size)


@pytest.fixture(scope="session")
def photo():
    """(name, side) -> float32 [3, side, side] of a scikit-image sample picture."""
    return cache(lambda name="astronaut", size=128: to_float(photo_pixels(name, size)))


@pytest.fixture(scope="session")
def codec():
    """name -> both ends, loaded once on the CPU, with the engine of this run of tests."""
    from gocom.common.zoo import open_zoo
    from gocom.evaluation.run.codec_setup import Codec
    from gocom.receiver.decoders import DECODERS
    from gocom.transmitter.encoders import ENCODERS

    def load(name):
        return Codec(name, ENCODERS.get(name)(open_zoo("cpu")), DECODERS.get(name)(open_zoo("cpu")))

    return cache(load)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of research images (GOCOM_DATA); tests that need it skip without."""
    root = os.environ.get("GOCOM_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("GOCOM_DATA is not set to the folder of evaluation images")
    return Path(root)
