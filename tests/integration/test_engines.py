"""Codecs with nets in OpenVINO: quality holds, what a transmitter sends does not change, and suites pass in it too."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from generative_codecs import GENERATIVE, few_steps

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.image_quality import psnr_db
from gocom.common.nets.engines import Engine, EngineName
from gocom.common.nets.graph_files import FOLDER_VARIABLE
from gocom.common.nets.openvino_engine import OpenVinoModule, Precision
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal, LinkSettings
from gocom.common.wire.frame_headers import header_to_proto
from gocom.common.wire.frame_messages import make_parameters
from gocom.common.zoo import Zoo
from gocom.evaluation.benches import golden
from gocom.evaluation.benches.engines import NETS, example_result, measure, on_engine, table

pytest.importorskip("openvino")
ROOT = Path(__file__).resolve().parents[2]
FLOAT32 = Engine(EngineName.OPENVINO, Precision.FLOAT32)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Folder of graphs of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("graphs")
        patch.setenv(FOLDER_VARIABLE, str(path))
        yield path


def test_every_codec_with_nets_is_measured():
    assert set(NETS) == set(GENERATIVE)


@pytest.mark.parametrize("name", NETS)
@torch.inference_mode()
def test_a_pass_of_each_net_is_within_1e_4_of_torchs(name):
    for net, attribute in NETS[name].items():
        module = getattr(Zoo("cpu", Engine()).get(net), attribute)
        difference = example_result(net, OpenVinoModule(module, Precision.FLOAT32)) - example_result(net, module)
        assert difference.abs().max() < 1e-4, net


@pytest.mark.parametrize("name", NETS)
def test_pictures_are_torchs(codec, photo, name):
    """At float32; in few steps, as one token on the edge changes what is drawn after it."""
    other = on_engine(name, FLOAT32)
    options, channel = few_steps(name), "packet_erasure:rate=0.25"
    ours, theirs = (c.send(photo("coffee"), channel, seed=1, **options) for c in (other, codec(name)))
    assert "sample" in ours.reconstruction.seconds
    assert psnr_db(ours.reconstruction.image, theirs.reconstruction.image) >= 45
    assert ours.rounds[0].frame == theirs.rounds[0].frame
    assert [item.SerializeToString() for item in ours.items] == [item.SerializeToString() for item in theirs.items]


@pytest.mark.parametrize("name", NETS)
def test_packets_are_the_same_after_the_nets_were_put_on_the_engine(codec, photo, name):
    """Also where both ends share a net, of which only the decoder runs in the engine."""

    def packets(encoder):
        goal = Goal(make_parameters(SYSTEMS.get(name).options, {}))
        message = encoder.open(encoder.analyse(photo()), goal).first(Csi(), Budget())
        assert message_bytes(message, LinkSettings()) > 100
        header, batch = packetize(message, LinkSettings())
        return header_to_proto(header).SerializeToString(deterministic=True), bytes(batch.payload)

    before = packets(codec(name).encoder)
    assert packets(on_engine(name, FLOAT32).encoder) == before
    (net,) = (net for net in vars(on_engine(name, FLOAT32).encoder).values() if isinstance(net, torch.nn.Module))
    assert isinstance(net.decoder, OpenVinoModule)
    assert not any(isinstance(part, OpenVinoModule) for part in net.encoder.modules())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_golden_metrics_hold(monkeypatch):
    monkeypatch.setattr(golden, "make_codec", lambda name, device: on_engine(name, FLOAT32))
    methods = [method for method in golden.golden_methods() if method.codec in NETS]
    known = json.loads(golden.PATH.read_text())
    names = {method.name for method in methods}
    known["cases"] = [case for case in known["cases"] if case["method"] in names]
    moved, _ = golden.compare(known, list(golden.measure(methods)))
    assert known["cases"] and not moved, "\n".join(moved)


@pytest.mark.slow
def test_most_tokens_of_photos_are_torchs(shared_data):
    from gocom.evaluation.run.codec_setup import pictures

    images = [image for _, image in pictures(shared_data / "eval" / "kodak", limit=6)]
    found = measure("lami_go", images, len(images))["openvino"]
    assert len(found.equal) == len(images) and min(found.equal) >= 0.8


def test_the_measurement_makes_its_table(photo):
    found = measure("feature_imputing", [photo()], 1)
    lines = table("feature_imputing", found)
    assert len(lines) == 2 + 3 and all(line.startswith("| feature_imputing | ") for line in lines[2:])
    assert found["openvino"].psnr_db[0] >= 45


SUITES = {
    "contract": ("tests/integration/test_generative_codecs.py", "not slow"),
    "kernels": ("tests/integration/test_kernels.py", "slow"),
    "parity": ("tests/integration/test_parity.py", "not slow"),
    "fuzz": ("tests/fuzz/test_fuzz_corpus.py", "not slow"),
    "services": ("tests/integration/test_batching.py", "not slow"),
}
"""Suites that the nets of a receiver run in: their file, and which of its tests."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_in_openvino(folder, suite):
    """Tests start with GOCOM_ENGINE=torch (conftest.py), unless GOCOM_TEST_ENGINE says otherwise."""
    file, marks = SUITES[suite]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", marks, file],
        cwd=ROOT, env={**os.environ, "GOCOM_TEST_ENGINE": "openvino"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
