"""LPIPS, DISTS and FID: what is missing is said, nothing is fetched, and their libraries are called as they want it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.errors import InvalidInput, NotReady
from evaluation import optional_metrics
from evaluation.optional_metrics import available, dists, fid, lpips

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = {
    "LPIPS": "alexnet-owt-7be5be79.pth",
    "DISTS": "vgg16-397923af.pth",
    "FID": "weights-inception-2015-12-05-6726825d.pth",
}
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
    "torch_fidelity.py": """
import torch
def calculate_metrics(*, input1, input2, **settings):
    global seen
    assert isinstance(input1, torch.utils.data.Dataset) and input1[0].dtype == torch.uint8
    batch = next(iter(torch.utils.data.DataLoader(input1, batch_size=64)))
    seen = settings | {"batch": batch, "first": input2[0]}
    return {"frechet_inception_distance": 1.5}
""",
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Torch hub's folder of checkpoints, empty, and nets of nobody remembered."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for net in (optional_metrics._lpips_net, optional_metrics._dists_net):
        net.cache_clear()
    yield folder
    for net in (optional_metrics._lpips_net, optional_metrics._dists_net):
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
    for folder in ("torchmetrics", "torchmetrics/functional", "torchmetrics/functional/image"):
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


IMAGE, OTHER = np.zeros((3, 4, 5), np.float32), np.ones((3, 4, 5), np.float32)
CALLS = {
    "LPIPS": lambda: lpips(IMAGE, OTHER),
    "DISTS": lambda: dists(IMAGE, OTHER),
    "FID": lambda: fid([IMAGE] * 500, [OTHER] * 500),
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
    assert set(available().values()) == {"ready"}
    assert lpips(IMAGE, OTHER) == 2.0  # from -1 to 1
    net = sys.modules["lpips"].Net
    assert net.seen == (-1.0, 1.0)
    assert optional_metrics._lpips_net().settings == {"net": "alex", "version": "0.1", "verbose": False}
    assert dists(IMAGE, OTHER) == 1.0
    assert sys.modules["torchmetrics.functional.image.dists"].Net.seen == (0.0, 1.0)

    assert fid([IMAGE] * 500, [OTHER / 2] * 501) == 1.5
    seen = sys.modules["torch_fidelity"].seen
    assert seen.pop("feature_extractor_weights_path") == str(weights / WEIGHTS["FID"])
    assert seen["batch"].shape == (64, 3, 4, 5) and int(seen["batch"].max()) == 128 and int(seen["first"].max()) == 0
    assert seen["fid"] is True and seen["cuda"] is False


def test_what_cannot_be_compared(libraries, weights):
    for metric in (lpips, dists):
        with pytest.raises(InvalidInput, match="image: shapes"):
            metric(IMAGE, OTHER[:, :2])
    with pytest.raises(InvalidInput, match="images: 499 pictures; FID needs 500"):
        fid([IMAGE] * 500, [OTHER] * 499)


def test_saying_what_there_is_imports_nothing_heavy():
    code = (
        "import sys; from evaluation.optional_metrics import available; available();"
        "sys.exit(bool({'torch', 'lpips', 'torchmetrics', 'torch_fidelity'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
