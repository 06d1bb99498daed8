"""The zoo: what each profile has, loading once, fingerprints, and what is said when files are missing or wrong."""

import json
import socket
import sys
from importlib import metadata

import numpy as np
import pytest
import torch
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.common import zoo as zoo_module
from gocom.common.errors import InvalidInput, Mismatch, NotReady, UnknownName
from gocom.common.net_sources import FULL, MICRO, PROFILES, HubFiles, NetSource
from gocom.common.package_files import damaged_files
from gocom.common.systems import SYSTEMS, lami_go
from gocom.common.systems import feature_imputing as features
from gocom.common.tensor_files import is_cut_off
from gocom.common.zoo import (
    Zoo,
    fingerprint,
    forget_files,
    held_knowledge,
    net_config,
    net_folder,
    net_source,
    open_zoo,
    size_bytes,
)
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS


@pytest.fixture
def fresh():
    """Nothing remembered of files and variables, before and after."""
    forget_files()
    yield
    forget_files()


@pytest.fixture
def full(fresh, monkeypatch, tmp_path):
    """The profile full with an empty cache of the hub, and no network."""
    monkeypatch.setenv("GOCOM_ZOO", "full")
    monkeypatch.setenv("GOCOM_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuse(*_):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path


def test_both_profiles_have_what_the_codecs_need():
    needed = {name for codec in SYSTEMS for name in SYSTEMS.get(codec).knowledge}
    assert needed and all(needed <= nets.keys() for nets in PROFILES.values())


def test_a_hub_source_is_pinned_to_a_commit():
    hub = [source.files for source in FULL.values() if isinstance(source.files, HubFiles)]
    assert hub and all(len(files.revision) == 40 and int(files.revision, 16) for files in hub)
    assert not any(isinstance(source.files, HubFiles) for source in MICRO.values())


def test_a_net_is_loaded_once_whoever_asks():
    zoo = Zoo("cpu")
    ends = [ENCODERS.get("feature_imputing")(zoo), DECODERS.get("feature_imputing")(zoo), ENCODERS.get("lami_go")(zoo)]
    assert ends[0].vae is ends[1].vae and ends[0].classifier is ends[2].captioner.classifier
    assert zoo.loads == {"vae": 1, "classifier": 1, "feature_imputer": 1, "vq_tokenizer": 1}
    assert open_zoo("cpu") is open_zoo("cpu")


def test_a_name_that_is_no_net_is_told_the_choices():
    with pytest.raises(UnknownName, match="net: no 'vea'; there are .*vae"):
        Zoo("cpu").get("vea")
    with pytest.raises(UnknownName, match="net: no 'feature_quantizer'; there are .*vae"):
        Zoo("cpu").get("feature_quantizer")  # tables are no net


def test_a_net_that_only_another_profile_has_names_it(full):
    with pytest.raises(NotReady, match="net text_encoder: the profile full has none; micro has one"):
        net_source("text_encoder")


@pytest.mark.parametrize("profile", ["tiny", "FULL", " "])
def test_a_profile_that_is_none(profile, monkeypatch):
    monkeypatch.setenv("GOCOM_ZOO", profile)
    with pytest.raises(InvalidInput, match="GOCOM_ZOO: .* is no profile; choose micro, full"):
        net_source("vae")
    result = CliRunner().invoke(app, ["zoo"])
    assert result.exit_code == 2 and "is no profile" in result.stderr


@pytest.mark.parametrize("word", ["maybe", "2"])
def test_offline_is_yes_or_no(word, full, monkeypatch):
    monkeypatch.setenv("GOCOM_OFFLINE", word)
    with pytest.raises(InvalidInput, match="GOCOM_OFFLINE: .* choose 0 or 1"):
        net_folder("vae")


def put(folder, source, revision=None, files=None):
    """Files of a hub's net as its cache has them, with a small content."""
    root = folder / f"models--{source.repository.replace('/', '--')}" / "snapshots" / (revision or source.revision)
    for file in source.files if files is None else files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        content = (8).to_bytes(8, "little") + b"{}      " if file.endswith(".safetensors") else b"{}"
        (root / file).write_bytes(content)
    return root


def test_without_a_network_a_missing_net_is_named_and_nothing_is_tried(full):
    source = FULL["vae"].files
    with pytest.raises(NotReady, match=f"net vae: {source.repository} at revision {source.revision} lacks config.json"):
        net_folder("vae")
    with pytest.raises(NotReady, match="is not on this machine; `GOCOM_ZOO=full gocom zoo --fetch` fetches it"):
        net_config("vae")
    put(full, source, revision="0" * 40)  # another revision is no help
    with pytest.raises(NotReady, match="lacks config.json, diffusion_pytorch_model.safetensors .*GOCOM_OFFLINE"):
        net_folder("vae")
    put(full, source, files=("config.json",))
    with pytest.raises(NotReady, match="lacks diffusion_pytorch_model.safetensors in the cache"):
        Zoo("cpu").get("vae")
    assert size_bytes("vae") is None


def test_files_that_are_there_need_no_network(full):
    root = put(full, FULL["vq_tokenizer"].files)
    assert net_folder("vq_tokenizer") == root and net_config("vq_tokenizer") == {}
    assert size_bytes("vq_tokenizer") == 18 and zoo_module.find_fault("vq_tokenizer") is None
    weights = root / "vqvae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert zoo_module.find_fault("vq_tokenizer") == "vqvae/diffusion_pytorch_model.safetensors is cut off"
    weights.unlink()
    assert zoo_module.find_fault("vq_tokenizer") == "vqvae/diffusion_pytorch_model.safetensors is missing"


def test_what_a_peer_makes_this_end_ask_for_fetches_nothing(full, monkeypatch):
    monkeypatch.setenv("GOCOM_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("fetched"))
    assert {"vae", "vq_tokenizer", "token_denoiser", "feature_imputer"} <= held_knowledge().keys()
    with pytest.raises(NotReady, match="net vq_tokenizer: .* is not on this machine"):
        SYSTEMS.get("lami_go").segments[lami_go.TOKENS].count(256, 256)
    assert CliRunner().invoke(app, ["codecs"]).exit_code == 0


def test_without_the_hubs_package_its_files_are_missing_and_no_error(full, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for command in ("codecs", "zoo"):
        assert CliRunner().invoke(app, [command]).exit_code == 0
    monkeypatch.setenv("GOCOM_OFFLINE", "0")
    with pytest.raises(NotReady, match="the package huggingface_hub, which fetches it, is not installed here"):
        net_folder("vae")


def test_files_of_packages_are_compared_with_their_wheels(monkeypatch, tmp_path):
    source = MICRO["text_encoder"].files
    assert zoo_module.find_fault("text_encoder") is None and damaged_files(source) == []
    weights = next(f for f in metadata.files(source.distribution) if f.name == "model.safetensors")
    place = tmp_path / "site-packages" / weights
    place.parent.mkdir(parents=True)

    def elsewhere(_):
        part = metadata.PackagePath(weights)
        part.hash, part.size, part.dist = weights.hash, weights.size, metadata.PathDistribution(place.parents[2] / "x")
        return [part]

    monkeypatch.setattr("gocom.common.package_files.metadata.files", elsewhere)
    assert damaged_files(source) == ["model/model.safetensors is missing"]
    place.write_bytes(b"cut")
    assert damaged_files(source) == ["model/model.safetensors is damaged: it is not the file of the package"]


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (
            ModuleNotFoundError("No module named 'diffusers'", name="diffusers"),
            NotReady,
            "needs diffusers, which is not",
        ),
        (RuntimeError("unexpected end\nof file"), Mismatch, r"cannot be loaded \(unexpected end\); `gocom doctor`"),
        (NotReady("net vae: gone"), NotReady, "^net vae: gone$"),
    ],
)
def test_a_loader_that_falls_over_names_its_net(raised, kind, words, monkeypatch):
    def fail(zoo):
        raise raised

    monkeypatch.setattr("gocom.common.nets.bundled_nets.load_vae", fail)
    with pytest.raises(kind, match=words):
        Zoo("cpu").get("vae")


def test_the_fingerprint_of_a_hub_net_is_its_revision_and_no_weights_are_read(full, monkeypatch):
    first = fingerprint("vae")
    root = put(full, FULL["vae"].files)
    (root / "diffusion_pytorch_model.safetensors").chmod(0)
    forget_files()
    assert fingerprint("vae") == first and len(first) == 32
    other = HubFiles(FULL["vae"].files.repository, "1" * 40, FULL["vae"].files.files)
    monkeypatch.setitem(zoo_module.PROFILES, "full", {**FULL, "vae": NetSource(other, "AutoencoderKL", "x:y")})
    forget_files()
    assert fingerprint("vae") != first


def test_random_weights_need_a_setting_and_are_written_on_pictures(full, monkeypatch):
    root = put(full, FULL["vae"].files)
    assert Zoo("cpu").label("vae") == ""
    (root / "RANDOM_WEIGHTS").touch()
    with pytest.raises(Mismatch, match="net vae: its weights are random, for tests only; GOCOM_RANDOM_WEIGHTS=1"):
        Zoo("cpu").get("vae")
    monkeypatch.setenv("GOCOM_RANDOM_WEIGHTS", "1")
    assert Zoo("cpu").label("vae") == "RANDOM WEIGHTS"


def test_a_config_that_cannot_be_read(full):
    root = put(full, FULL["vae"].files)
    for text, words in {"{": "cannot read config.json", "[]": "is no JSON object"}.items():
        (root / "config.json").write_text(text)
        forget_files()
        with pytest.raises(Mismatch, match=words):
            net_config("vae")


def test_cut_off_tensor_files_are_seen_by_their_length(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 4), "b": torch.ones(2)}, tmp_path / "whole.safetensors", {"format": "pt"})
    data = (tmp_path / "whole.safetensors").read_bytes()
    assert not is_cut_off(tmp_path / "whole.safetensors")
    for kept in (0, 7, 8, 40, len(data) - 1):
        (tmp_path / "cut.safetensors").write_bytes(data[:kept])
        assert is_cut_off(tmp_path / "cut.safetensors"), kept
    for strange in (data + b"x", b"\xff" * 64, (2).to_bytes(8, "little") + b"[]", (4).to_bytes(8, "little") + b"null"):
        (tmp_path / "cut.safetensors").write_bytes(strange)
        assert is_cut_off(tmp_path / "cut.safetensors"), strange
    assert is_cut_off(tmp_path / "none.safetensors")


def test_the_zoo_command_lists_nets_with_size_licence_and_use():
    result = CliRunner().invoke(app, ["zoo", "--json"])
    records = {record["net"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert result.exit_code == 0 and records.keys() == MICRO.keys()
    assert records["vae"] | {"bytes": 0} == {
        "net": "vae", "profile": "micro", "class": "Vae", "bytes": 0, "from": "models/vae",
        "licence": MICRO["vae"].licence, "used_by": ["feature_imputing"], "state": "ready",
    }  # fmt: skip
    assert records["vae"]["bytes"] > 1e6 and records["classifier"]["used_by"] == [
        "lami_go", "feature_imputing", "task classify",
    ]  # fmt: skip
    assert CliRunner().invoke(app, ["zoo"]).stdout.startswith("profile micro (GOCOM_ZOO chooses among micro, full)")


def test_the_zoo_command_says_what_is_missing_and_cannot_fetch_it_offline(full):
    result = CliRunner().invoke(app, ["zoo", "--json"])
    states = {record["net"]: record["state"] for record in map(json.loads, result.stdout.splitlines())}
    assert states["vae"] == states["token_denoiser"] == "not on this machine" and states["classifier"] == "ready"
    result = CliRunner().invoke(app, ["zoo", "--fetch"])
    assert result.exit_code == 1 and "GOCOM_OFFLINE or HF_HUB_OFFLINE forbids fetching" in result.stderr


def test_the_doctor_looks_at_the_active_profile(full):
    put(full, FULL["vae"].files, files=("config.json",))
    root = put(full, FULL["vq_tokenizer"].files)
    (root / "RANDOM_WEIGHTS").touch()
    result = CliRunner().invoke(app, ["doctor", "--json", "--transmitter", "127.0.0.1:1"])
    record = json.loads(result.stdout)
    assert record["profile"] == "full" and result.exit_code == 1
    assert record["models"]["vae"]["wrong"] == "diffusion_pytorch_model.safetensors is missing"
    assert (
        record["models"]["feature_imputer"]["missing"]
        and "is not on this machine" in (record["models"]["feature_imputer"]["wrong"])
    )
    assert "its weights are random" in record["models"]["vq_tokenizer"]["wrong"]


def test_a_name_that_no_profile_has_is_a_folder_of_a_plug_in(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("GOCOM_MODELS", str(tmp_path))
    with pytest.raises(NotReady, match="model: no 'my_net' in"):
        fingerprint("my_net")
    (tmp_path / "my_net").mkdir()
    (tmp_path / "my_net" / "config.json").write_text('{"a": 1}')
    assert net_folder("my_net") == tmp_path / "my_net" and net_config("my_net") == {"a": 1}
    assert len(fingerprint("my_net")) == 32


@pytest.fixture
def other_geometry(fresh, monkeypatch, tmp_path):
    """Bundled tables, and configs of autoencoders of another geometry."""
    for name in ("lami_go_tables", "feature_quantizer"):
        (tmp_path / name).symlink_to(net_folder(name).resolve())
    for name, config in {
        "vq_tokenizer": {"_class_name": "VQModel", "num_vq_embeddings": 300, "block_out_channels": [8] * 5},
        "vae": {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": [8] * 4},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    monkeypatch.setenv("GOCOM_MODELS", str(tmp_path))
    remembered = lami_go.token_table, lami_go.token_neighbours, features.feature_table, features.feature_quantizer
    for function in remembered:
        function.cache_clear()
    yield
    for function in remembered:
        function.cache_clear()


def test_what_messages_depend_on_follows_from_the_configs(other_geometry):
    tokens, latent = SYSTEMS.get("lami_go").segments[lami_go.TOKENS], SYSTEMS.get("feature_imputing").segments[0]
    assert tokens.alphabet_size == 300 and tokens.count(256, 250) == 256 and tokens.columns(256, 250) == 16
    assert latent.alphabet_size == 128 and latent.count(256, 250) == 32 * 32 * 4
    for coding in tokens.codings:
        coder = tokens.coder(coding, 256, 256)
        elements = positions = np.arange(256)
        assert (coder.decode(coder.encode(elements, positions), positions) == elements).all(), coding


def test_tables_of_other_nets_are_uniform_and_the_quantizer_symmetric(other_geometry):
    table, neighbours = lami_go.token_table(), lami_go.token_neighbours()
    assert len(table.frequencies) == 300 and np.ptp(table.frequencies) <= 1
    assert neighbours.frequencies.shape == (2, 300) and not neighbours.uses_above
    quantizer = features.feature_quantizer()
    assert quantizer.high.tolist() == [4.5] * 4 == (-quantizer.low).tolist() and quantizer.levels == 128
    assert np.ptp(features.feature_table().frequencies) <= 1


def hub_error(kind, words):
    """An error of the hub's library, without the server's answer that it usually holds."""
    error = kind.__new__(kind)
    Exception.__init__(error, words)
    return error


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (hub_error(RevisionNotFoundError, "404"), "the hub has no such revision"),
        (hub_error(RepositoryNotFoundError, "401"), "the hub has no such repository, or it asks for a login"),
        (
            hub_error(HfHubHTTPError, "500 Sorry\nlong story"),
            r"config.json cannot be fetched \(500 Sorry\)",
        ),
        (LocalEntryNotFoundError("no connection"), r"config.json cannot be fetched \(no connection\)"),
        (OSError(28, "No space left on device"), r"config.json cannot be fetched \(.*No space left on device\)"),
    ],
)
def test_a_net_that_cannot_be_fetched_says_why(raised, words, full, monkeypatch):
    def fail(*_, **__):
        raise raised

    monkeypatch.setenv("GOCOM_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    source = FULL["vae"].files
    with pytest.raises(NotReady, match=f"net vae: {source.repository} at revision {source.revision}: {words}"):
        net_folder("vae")


def test_missing_files_are_fetched_at_the_pinned_revision(full, monkeypatch):
    asked = set()

    def fetch(repository, file, revision):
        asked.add((repository, file, revision))
        put(full, HubFiles(repository, revision, (file,)))

    monkeypatch.setenv("GOCOM_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    result = CliRunner().invoke(app, ["zoo", "--fetch", "--json"])
    hub = [source.files for source in FULL.values() if isinstance(source.files, HubFiles)]
    assert asked == {(files.repository, file, files.revision) for files in hub for file in files.files}
    assert result.exit_code == 0 and all(json.loads(line)["state"] == "ready" for line in result.stdout.splitlines())
