"""The profile full with tiny random nets of the real classes: both systems end to end through the three services."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tiny_hub_nets

from gocom.client import LocalStack
from gocom.common.image_files import to_float
from gocom.common.types import Provenance
from gocom.common.zoo import Zoo, forget_files, held_knowledge
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS

CODECS = ("lami_go", "feature_imputing")
CLASSES = {
    "vq_tokenizer": "VQModel",
    "token_denoiser": "UVit2DModel, CLIPTextModelWithProjection",
    "vae": "AutoencoderKL",
    "feature_imputer": "UNet2DConditionModel, CLIPTextModel",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A cache of the hub with tiny random nets, which the environment names, and no network."""
    cache = tmp_path_factory.mktemp("hub")
    tiny_hub_nets.save(cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOCOM_ZOO", "full")
        patch.setenv("GOCOM_OFFLINE", "1")
        patch.setenv("HF_HUB_CACHE", str(cache))
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))  # read at import in this process
        yield cache


@pytest.fixture(scope="module")
def stack(hub, tmp_path_factory):
    running = LocalStack(codecs=CODECS, device="cpu", log_folder=tmp_path_factory.mktemp("logs"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOCOM_RANDOM_WEIGHTS", "1")
        running.start()
    yield running
    running.stop()


def picture(height=128, width=160):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 2 % 256, columns * 3 % 256, (rows + columns) % 256], 2).astype(np.uint8)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [(256, 256), (200, 180)])
def test_pictures_go_through_the_three_services(stack, codec, size):
    with stack.client() as client:
        client.set_channel("packet_erasure:rate=0.3", seed=3)
        options = {"num_inference_steps": 3}
        (result,) = client.send([picture(*size)], codec=codec, options=options)
    assert result.outcome == "reconstructed" and result.image.shape == (*size, 3)
    assert 0 < result.packets_received < result.packets_sent
    assert set(np.unique(result.provenance)) >= {Provenance.RECEIVED, Provenance.ERASED}


def test_pictures_of_random_weights_say_so(stack):
    """The upper left corner is the label's: black with white letters."""
    with stack.client() as client:
        (result,) = client.send([picture()], codec="feature_imputing")
    corner = to_float(result.image[:14, :60]).mean(0)
    assert (corner < 0.1).mean() > 0.3 and (corner > 0.9).mean() > 0.05 and corner[0, 0] == 0


def test_the_logs_name_the_classes_and_that_they_are_random(stack):
    text = {name: (stack.log_folder / f"{name}.log").read_text() for name in ("transmitter", "receiver")}
    for net, kind in CLASSES.items():
        lines = [line for line in text["receiver"].splitlines() if "net loaded" in line and f"net={net} " in line]
        assert len(lines) == 1, net  # once, though both codecs of a process may need it
        assert kind.partition(",")[0] in lines[0] and "RANDOM WEIGHTS" in lines[0] and "hub " in lines[0]
    assert "VQModel" in text["transmitter"] and "UVit2DModel" not in text["transmitter"]


def test_codecs_of_a_process_share_a_net(hub, monkeypatch):
    monkeypatch.setenv("GOCOM_RANDOM_WEIGHTS", "1")
    forget_files()
    zoo = Zoo("cpu")
    ends = [registry.get(codec)(zoo) for registry in (ENCODERS, DECODERS) for codec in CODECS]
    assert ends[1].vae is ends[3].vae and zoo.loads["vae"] == zoo.loads["vq_tokenizer"] == 1
    forget_files()


def run(words, **environment):
    command = [sys.executable, "-m", "gocom.client", *words]
    environment = os.environ | environment
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=200)


def test_random_weights_need_the_setting(hub):
    found = run(["serve", "receiver", "--port", "0", "--warm", "feature_imputing", "--device", "cpu"])
    assert found.returncode == 1
    assert "its weights are random, for tests only; GOCOM_RANDOM_WEIGHTS=1 allows them" in found.stderr
    assert "Traceback" not in found.stderr


def test_the_profiles_hold_other_nets_and_the_same_tables(hub, monkeypatch):
    """A session whose ends hold different ones is refused: test_knowledge.py."""
    held = {}
    for profile in ("micro", "full"):
        monkeypatch.setenv("GOCOM_ZOO", profile)
        forget_files()
        held[profile] = held_knowledge()
    forget_files()
    assert held["micro"].keys() == held["full"].keys()
    same = {name for name, sha256 in held["micro"].items() if held["full"][name] == sha256}
    assert same == {"lami_go_tables", "feature_quantizer"}


def test_a_file_that_is_missing_is_named(hub, tmp_path):
    shutil.copytree(hub, tmp_path / "hub", symlinks=True)
    (weights,) = (tmp_path / "hub").glob("models--stabilityai*/snapshots/*/diffusion_pytorch_model.safetensors")
    data = weights.read_bytes()
    weights.write_bytes(data[:-100])
    doctor = run(["doctor", "--json", "--transmitter", "127.0.0.1:1"], HF_HUB_CACHE=str(tmp_path / "hub"),
                 GOCOM_RANDOM_WEIGHTS="1")  # fmt: skip
    assert json.loads(doctor.stdout)["models"]["vae"]["wrong"] == "diffusion_pytorch_model.safetensors is cut off"
    weights.unlink()
    found = run(["serve", "receiver", "--port", "0", "--warm", "feature_imputing"], HF_HUB_CACHE=str(tmp_path / "hub"))
    assert found.returncode == 1 and "lacks diffusion_pytorch_model.safetensors in the cache" in found.stderr
