"""Fading between containers, with every codec there is."""

import subprocess
import sys

import numpy as np
import pytest
from engine import ROOT
from PIL import Image
from streamer import picture

from gocom.client.client import Client
from gocom.common.systems import SYSTEMS

FADING = "block_fading:snr_db={snr_db},coherence=8,modulation=qpsk,fading=rician,k_factor_db=6"
FRAMES = 6


@pytest.fixture
def client(stack):
    with Client(**{name: stack.addresses[name] for name in ("transmitter", "receiver", "channel")}) as made:
        yield made
        made.set_channel("clean")  # the stack is that of all tests


@pytest.mark.parametrize("codec", sorted(SYSTEMS))
def test_fading_reaches_every_codec(client, codec):
    client.set_channel(FADING.format(snr_db=60), seed=1)
    (whole,) = client.send([picture(0, 128)], codec)
    assert whole.outcome == "reconstructed" and whole.packets_received == whole.packets_sent

    client.set_channel(FADING.format(snr_db=12), seed=1)
    faded = list(client.send([picture(index, 128) for index in range(FRAMES)], codec))
    assert all(r.outcome == "reconstructed" or r.failure == "undecodable" for r in faded)
    sent, received = (sum(getattr(r, name) for r in faded) for name in ("packets_sent", "packets_received"))
    report = next(iter(client.watch_channel()))
    assert (report.packets_in, report.packets_out) == (sent, received) and 0 < received < sent
    assert [one.name for one in report.impairments] == ["block_fading"] and abs(report.impairments[0].z_score) < 4
    if SYSTEMS.get(codec).knowledge:  # what was lost is re-created
        assert all(r.outcome == "reconstructed" for r in faded)


@pytest.mark.parametrize("codec", sorted(name for name in SYSTEMS if SYSTEMS.get(name).knowledge))
@pytest.mark.parametrize("size", [(64, 64), (333, 100), (1024, 1024)])
def test_pictures_of_any_size_fade(client, codec, size):
    client.set_channel(FADING.format(snr_db=12), seed=2)
    sent = np.ascontiguousarray(np.tile(picture(0, 128), (8, 8, 1))[: size[0], : size[1]])
    (faded,) = client.send([sent], codec)
    assert faded.outcome == "reconstructed" and faded.image.shape == (*size, 3)
    # A handful of packets may all come through.
    assert faded.packets_received < faded.packets_sent or faded.packets_sent < 20


def test_the_command_line_sets_it(stack, client, tmp_path):
    Image.fromarray(np.asarray(picture(3, 128))).save(tmp_path / "photo.png")
    words = ["send", str(tmp_path / "photo.png"), "--channel", "block_fading:snr_db=10,coherence=8", "--json"]
    for flag, name in (("--transmitter", "transmitter"), ("--receiver", "receiver"), ("--channel-address", "channel")):
        words += [flag, stack.addresses[name]]
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", *words, "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and '"outcome": "reconstructed"' in done.stdout, done.stdout + done.stderr
