"""Nets that are missing, cut short or changed are named, by `gocom doctor` and by whoever loads them."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.common.entropy.frequency_tables import load_table
from gocom.common.errors import Mismatch
from gocom.common.model_files import CARD, card_rows, find_damage, model_folder
from gocom.common.quantizer import load_quantizer
from gocom.common.systems import SYSTEMS
from gocom.common.zoo import forget_files

NETS = sorted({name for codec in SYSTEMS for name in SYSTEMS.get(codec).knowledge})
TABLES = "feature_quantizer"


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with a copy of a small model, and with links to the others."""
    for name in NETS:
        if name == TABLES:
            shutil.copytree(model_folder(name), tmp_path / name)
        else:
            (tmp_path / name).symlink_to(model_folder(name).resolve())
    monkeypatch.setenv("GOCOM_MODELS", str(tmp_path))
    forget_files()
    yield tmp_path
    forget_files()


@pytest.mark.parametrize("name", NETS)
def test_every_bundled_net_is_what_its_card_states(name):
    assert find_damage(name) is None
    assert all(row in (model_folder(name) / CARD).read_text() for row in card_rows(model_folder(name)))


def truncate(folder):
    file = folder / "tables.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def flip(folder):
    file = folder / "tables.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "tables.safetensors is damaged: it is not the file that CARD.md states": truncate,
    "tables.safetensors is damaged": flip,
    "tables.safetensors is missing": lambda folder: (folder / "tables.safetensors").unlink(),
    "other.json is not in CARD.md": lambda folder: (folder / "other.json").write_text("{}"),
    "cannot be checked: its CARD.md states no SHA-256": lambda folder: (folder / CARD).unlink(),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_the_doctor_names_a_net_that_is_not_whole(words, models):
    DAMAGES[words](models / TABLES)
    nobody = [word for flag in ("transmitter", "receiver") for word in (f"--{flag}", "127.0.0.1:1")]
    result = CliRunner().invoke(app, ["doctor", "--json", *nobody])
    found = json.loads(result.stdout)["models"]
    assert words in found.pop(TABLES)["wrong"] and result.exit_code == 1
    assert not any(net["wrong"] for net in found.values())


def test_the_doctor_names_a_net_that_is_missing(models):
    shutil.rmtree(models / TABLES)
    result = CliRunner().invoke(app, ["doctor", "--transmitter", "127.0.0.1:1", "--json"])
    assert json.loads(result.stdout)["models"][TABLES]["wrong"].startswith(f"no {TABLES!r} in {models}; ")
    assert result.exit_code == 0


@pytest.mark.parametrize("damage", [truncate, lambda folder: (folder / "tables.safetensors").unlink()])
def test_tables_that_cannot_be_read_are_a_mismatch(damage, models):
    damage(models / TABLES)
    for load in (lambda path: load_table(path, "features"), lambda path: load_quantizer(path, 128)):
        with pytest.raises(Mismatch, match=r"model feature_quantizer: cannot read tables\.safetensors"):
            load(models / TABLES / "tables.safetensors")


@pytest.mark.parametrize("file", ["config.json", "diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("left", [0, 0.5, None])
def test_a_net_that_cannot_be_loaded_is_a_mismatch(file, left, tmp_path):
    torch = pytest.importorskip("torch")
    from gocom.common.nets.loading import load_net
    from gocom.common.nets.vae import Vae

    folder = tmp_path / "vae"
    shutil.copytree(model_folder("vae"), folder)
    data = (folder / file).read_bytes()
    if left is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(data[: int(len(data) * left)])
    with pytest.raises(Mismatch, match="model vae: .*gocom doctor"):
        load_net(Vae, folder, torch.device("cpu"))


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "", "cpu:7:7"])
def test_a_device_that_is_not_there_is_named(device):
    pytest.importorskip("torch")
    from gocom.common.errors import InvalidInput
    from gocom.common.nets.loading import resolve_device

    with pytest.raises(InvalidInput, match="device: .* cannot be used on this machine; choose auto, cpu"):
        resolve_device(device)
