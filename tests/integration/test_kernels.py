"""Transmitter and receiver on different CPU kernels and numbers of threads, every codec with nets alike.

What the wire depends on agrees exactly, wherever it is worked out: packets of a message, the order of its elements,
those withheld, tables, elements, masks, what is asked for again, and the noise that samplers draw. Pictures agree to
30 dB or more. It is 136 dB where no token on the edge falls to the other side; in few steps, for one that does changes
what is drawn after it (in eight steps it cost one of sixteen pictures of lami_go all but 28 dB).

What the transmitter's nets say of a picture may differ, and does no harm: it is what is sent.
"""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generative_codecs import GENERATIVE, choice_name, few_steps, pairwise

from gocom.common.image_quality import psnr_db

SLOWEST = "AVX2" if os.environ["GOCOM_ENGINE"] == "openvino" else "SSE41"
"""OpenVINO has no group normalisation for CPUs without AVX2."""
KERNELS = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": SLOWEST, "OMP_NUM_THREADS": "1"},
    "native": {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},  # on a busy machine ten times as quick
}
TIGHT = 0.7
"""Of what a message costs: so much that part of the picture has to be withheld."""
CASES = [  # options pairwise: each value together with each of every other option
    *((name, options, None) for name in GENERATIVE for options in pairwise(name)),
    *((name, {}, TIGHT) for name in GENERATIVE),
]
IDS = [f"{name}{choice_name(options)}-{share or 1}" for name, options, share in CASES]


def run(kernel, *arguments):
    """kernel_ends.py in a process of its own."""
    environment = {**os.environ, **KERNELS[kernel]}
    command = [sys.executable, str(Path(__file__).with_name("kernel_ends.py")), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return pickle.loads(done.stdout)


@pytest.fixture(scope="module")
def ends(tmp_path_factory, photo):
    """Messages of one machine, and by kernel what each makes of them: (exact, segments, image) of each case."""
    folder = tmp_path_factory.mktemp("ends")

    def kept(name, data):
        (folder / name).write_bytes(pickle.dumps(data))
        return folder / name

    cases = kept("cases", [(name, few_steps(name) | options, share) for name, options, share in CASES])
    messages = run("default", "send", kept("image", photo("astronaut", 128)), cases)
    return messages, {kernel: run(kernel, "receive", kept("messages", messages), cases) for kernel in KERNELS}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_two_kernels_agree(ends, number):
    messages, received = ends
    exact, segments, image = received["default"][number]
    other, _, other_image = received["native"][number]
    assert exact.keys() == other.keys() and len(exact) > 6
    for what, value in exact.items():
        assert np.array_equal(value, other[what]), what
    for sent, got in zip(messages[number].segments, segments, strict=True):
        assert (got.elements[got.received] == sent.elements[got.received]).all()
    largest = max(segments, key=lambda segment: len(segment.elements))
    assert 0.2 < largest.received.mean() < 0.9 and largest.erased.any()
    assert psnr_db(image, other_image) >= 30
