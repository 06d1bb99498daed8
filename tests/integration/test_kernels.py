"""Transmitter and receiver on different CPU kernels: integers agree exactly, argmax pictures to 30 dB or more."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.quality import psnr_db

ROOT = Path(__file__).resolve().parents[2]
KERNELS = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "native": {},
}
CODE = """
import pickle, sys
import numpy as np
from common.packetizer import depacketize, packetize
from common.pipeline import sampler_generator
from common.systems.lami_go import LamiGoHeader, LamiGoOptions, keep_mask, token_table
from common.csi import Csi
from common.types import Budget, Goal, LinkSettings
side, path = sys.argv[1:]
link = LinkSettings()
if side == "send":
    from transmitter.encoders import ENCODERS
    image = np.load(path)
    session = ENCODERS.get("lami_go")("cpu").open(image, Goal(LamiGoOptions(draw="argmax", caption="a woman")))
    result = packetize(session.first(Csi(), Budget()), link), session.tokens
else:
    from receiver.decoders import DECODERS
    header, batch = pickle.load(open(path, "rb"))
    batch = batch.select(np.arange(len(batch)) % 5 != 3)
    received = depacketize(header, batch, len(batch), link)
    *_, final = DECODERS.get("lami_go")("cpu").reconstruct([received], generator=sampler_generator(0, 0, 0))
    keep = keep_mask(header.header, 128, 128)
    result = final.image, [s.elements for s in received.segments], keep, token_table().frequencies
pickle.dump(result, sys.stdout.buffer)
"""


def run(side, path, kernel):
    environment = {**os.environ, **KERNELS[kernel], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, side, str(path)], env=environment, capture_output=True, check=True
    )
    return pickle.loads(done.stdout)


@pytest.mark.timeout(200)
def test_two_kernels_agree(tmp_path, photo):
    np.save(tmp_path / "image.npy", photo("astronaut", 128))
    (header, batch), tokens = run("send", tmp_path / "image.npy", "default")
    with open(tmp_path / "packets.pickle", "wb") as file:
        pickle.dump((header, batch), file)
    there = {kernel: run("receive", tmp_path / "packets.pickle", kernel) for kernel in KERNELS}
    image, elements, keep, table = there["default"]
    other_image, other_elements, other_keep, other_table = there["native"]
    assert (keep == other_keep).all() and (table == other_table).all()
    assert all((a == b).all() for a, b in zip(elements, other_elements, strict=True))
    arrived = elements[1] != 0
    assert 0.3 < arrived.mean() < 0.75 and keep[arrived].all()
    assert (elements[1][arrived] == tokens[arrived]).all()
    assert psnr_db(image, other_image) >= 30
