"""LPIPS, DISTS, FID and ST-LPIPS: what is missing is said, nothing is fetched, libraries are called as they want it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gocom.common.errors import InvalidInput, NotReady
from gocom.evaluation.compare import worker
from gocom.evaluation.measure import optional_metrics
from gocom.evaluation.measure.optional_metrics import available, dists, fid, inception_features, lpips, st_lpips

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = {
    "LPIPS": "alexnet-owt-7be5be79.pth",
    "DISTS": "vgg16-397923af.pth",
    "FID": "weights-inception-2015-12-05-6726825d.pth",
}
NETS = optional_metrics._lpips_net, optional_metrics._dists_net, optional_metrics._inception_net
NET = """
import torch
class Net:
    def __init__(self, **settings):
        self.settings = settings
    def eval(self):
        return self
    def __call__(self, a, b):
        assert a.shape == b.shape == (1, 3, 4, 5) and a.dtype == b.dtype == torch.float32
        assert torch.is_inference_mode_enabled()
        Net.seen = (float(a.min()), float(b.max()))
        return (a - b).abs().mean().reshape(1, 1, 1, 1)
"""
STUBS = {
    "lpips.py": NET + "LPIPS = Net\n",
    "torchmetrics/functional/image/dists.py": NET + "DISTSNetwork = Net\n",
    "torch_fidelity/feature_extractor_inceptionv3.py": """
import torch
class FeatureExtractorInceptionV3:
    def __init__(self, name, features_list, feature_extractor_weights_path=None):
        assert features_list == ["2048"]
        self.weights = feature_extractor_weights_path
    def __call__(self, x):
        assert x.dtype == torch.uint8 and x.shape == (1, 3, 4, 5) and torch.is_inference_mode_enabled()
        return (x.float().mean() * torch.ones(1, 2048),)
""",
    "torch_fidelity/metric_fid.py": """
KEY_METRIC_FID = "frechet_inception_distance"
def fid_features_to_statistics(features):
    return features.mean(), len(features)
def fid_statistics_to_metric(stat_1, stat_2, verbose):
    global seen
    seen = stat_1, stat_2
    return {KEY_METRIC_FID: 1.5}
""",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch hub's folder of checkpoints, empty, and nets of nobody remembered."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for net in NETS:
        net.cache_clear()
    yield folder
    for net in NETS:
        net.cache_clear()


@pytest.fixture
def no_libraries(monkeypatch):
    monkeypatch.setattr(optional_metrics, "find_spec", lambda name: None)


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    for name, code in STUBS.items():
        path = tmp_path / "stubs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    for folder in ("torchmetrics", "torchmetrics/functional", "torchmetrics/functional/image", "torch_fidelity"):
        (tmp_path / "stubs" / folder / "__init__.py").touch()
    forget()
    monkeypatch.syspath_prepend(str(tmp_path / "stubs"))
    yield
    forget()


def forget():
    for name in [n for n in sys.modules if n.partition(".")[0] in ("lpips", "torchmetrics", "torch_fidelity")]:
        del sys.modules[name]


@pytest.fixture
def weights(hub):
    for name in WEIGHTS.values():
        (hub / name).touch()
    return hub


FEATURES = np.zeros((500, 2048), np.float32)
IMAGE, OTHER = np.zeros((3, 4, 5), np.float32), np.ones((3, 4, 5), np.float32)
CALLS = {
    "LPIPS": lambda: lpips(IMAGE, OTHER),
    "DISTS": lambda: dists(IMAGE, OTHER),
    "FID": lambda: inception_features(IMAGE),
}


@pytest.mark.parametrize("name", CALLS)
def test_without_its_library(name, no_libraries, weights):
    assert available()[name].startswith("the library is missing: pip install ")
    with pytest.raises(NotReady, match=f"{name}: the library is missing"):
        CALLS[name]()


@pytest.mark.parametrize("name", CALLS)
def test_without_its_weights(name, libraries, hub):
    assert available()[name].startswith(f"weights are missing: {hub / WEIGHTS[name]} from https://")
    with pytest.raises(NotReady, match=f"{name}: weights are missing"):
        CALLS[name]()
    assert not list(hub.iterdir())


def test_the_folder_is_where_torch_hub_looks(monkeypatch, tmp_path):
    import torch

    places = [{"TORCH_HOME": str(tmp_path / "a")}, {"XDG_CACHE_HOME": str(tmp_path / "b")}, {}]
    for place in places:
        for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in place.items():
            monkeypatch.setenv(name, value)
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        assert {m.weights.parent for m in optional_metrics._METRICS.values()} == {folder}


def test_libraries_are_called_as_they_want_it(libraries, weights):
    assert {name: available()[name] for name in CALLS} == dict.fromkeys(CALLS, "ready")
    assert lpips(IMAGE, OTHER) == 2.0  # from -1 to 1
    net = sys.modules["lpips"].Net
    assert net.seen == (-1.0, 1.0)
    assert optional_metrics._lpips_net().settings == {"net": "alex", "version": "0.1", "verbose": False}
    assert dists(IMAGE, OTHER) == 1.0
    assert sys.modules["torchmetrics.functional.image.dists"].Net.seen == (0.0, 1.0)

    features = inception_features(OTHER / 2)
    assert features.shape == (2048,) and features.dtype == np.float32 and features[0] == 128
    assert optional_metrics._inception_net().weights == str(weights / WEIGHTS["FID"])
    assert fid(FEATURES, np.stack([features] * 501)) == 1.5
    assert sys.modules["torch_fidelity.metric_fid"].seen == ((128, 501), (0, 500))


def test_st_lpips_without_its_weights(monkeypatch):
    monkeypatch.setattr("gocom.evaluation.measure.st_lpips_weights.find_spec", lambda name: None)
    optional_metrics._st_lpips_net.cache_clear()
    assert available()["ST-LPIPS"].endswith("is missing: pip install --no-deps stlpips-pytorch")
    assert "st_lpips" not in worker.more_metrics()
    with pytest.raises(NotReady, match="ST-LPIPS: .*stlpips-pytorch"):
        st_lpips(IMAGE, OTHER)


def test_a_package_without_the_file_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "stlpips_pytorch").mkdir()
    (tmp_path / "stlpips_pytorch" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert available()["ST-LPIPS"] != "ready"
    weights = tmp_path / "stlpips_pytorch" / "weights" / "vST0.0"
    weights.mkdir(parents=True)
    (weights / "vgg_shift_tolerant.pth").touch()
    assert available()["ST-LPIPS"] == "ready" and "st_lpips" in worker.more_metrics()


def test_what_cannot_be_compared(libraries, weights):
    for metric in (lpips, dists):
        with pytest.raises(InvalidInput, match="image: shapes"):
            metric(IMAGE, OTHER[:, :2])
    with pytest.raises(InvalidInput, match="images: 499 pictures; FID needs 500"):
        fid(FEATURES, FEATURES[1:])


def test_saying_what_there_is_imports_nothing_heavy():
    code = (
        "import sys; from gocom.evaluation.measure.optional_metrics import available; available();"
        "sys.exit(bool({'torch', 'lpips', 'torchmetrics', 'torch_fidelity', 'stlpips_pytorch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
