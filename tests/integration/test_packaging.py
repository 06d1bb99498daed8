"""What an installation puts onto a machine: one name, the nets, and a plugin that disturbs no other project."""

import os
import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "channel_emulator", "client", "common", "deploy", "evaluation", "models", "proto", "receiver", "src", "training",
    "transmitter", "pyproject.toml", "README.md",
)  # fmt: skip


def run(*words, cwd, **environment):
    """A command that must succeed; its output."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(source distribution, wheel made of it), from a copy: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, symlinks=True, ignore=ignore)
        else:
            shutil.copy(ROOT / part, source / part)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", ".", cwd=source)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """A folder in which nothing but the wheel is installed; in front of sys.path it hides the editable installation."""
    target = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, built[1],
        cwd=target)  # fmt: skip
    return target


def test_one_name_is_installed(installed):
    assert sorted(path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")) == ["bin", "gocom"]


def test_the_wheel_has_what_the_source_has(built):
    with zipfile.ZipFile(built[1]) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    kept = {".py", ".pyi", ".json", ".html", ".safetensors"}
    expected = {"gocom/__init__.py", "gocom/py.typed"} | {
        str(Path("gocom", link.name, path.relative_to(link.resolve())))
        for link in (ROOT / "src" / "gocom").iterdir()
        if link.is_dir()
        for path in link.resolve().rglob("*")
        if path.suffix in kept
    }
    cards = {name for name in packed if name.endswith("CARD.md")}
    assert packed - cards == expected
    assert cards
    with tarfile.open(built[0]) as sdist:
        assert not [member.name for member in sdist.getmembers() if member.issym()]  # links are for the checkout


def test_what_is_installed_comes_from_the_wheel(installed, tmp_path):
    code = "import gocom.common.model_files as m; print(m.model_folder('vq_tokenizer'))"
    (found,) = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert Path(found) == installed / "gocom" / "models" / "vq_tokenizer"
    assert (Path(found) / "diffusion_pytorch_model.safetensors").stat().st_size > 1_000_000


@pytest.mark.slow
def test_a_picture_from_another_folder(installed, tmp_path):
    code = "from skimage import data, io; io.imsave('photo.jpg', data.astronaut()[:256, :256])"
    run(sys.executable, "-c", code, cwd=tmp_path)
    words = ("send", "photo.jpg", "--codec", "lami_go", "--local", "--out", "out", "--json")
    line = run(sys.executable, "-m", "gocom.client.cli", *words, cwd=tmp_path, PYTHONPATH=str(installed))
    assert '"outcome": "reconstructed"' in line
    assert (tmp_path / "out" / "photo.lami_go.received.png").exists()


@pytest.fixture
def project(tmp_path):
    """A project whose folders have the names of ours, and a test that uses them and the plugin."""
    for name in ("client", "common", "receiver"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"MINE = {name!r}\n")
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent("""
        import client, common, receiver

        def test_own_folders(channel, gocom_stack, tmp_path):
            assert (client.MINE, common.MINE, receiver.MINE) == ("client", "common", "receiver")
            channel.set("packet_erasure:rate=1")
            from PIL import Image
            Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "red.png")
            with gocom_stack.client() as sender:
                (lost,) = sender.send([tmp_path / "red.png"], codec="jpeg")
                channel.set("clean")
                (whole,) = sender.send([tmp_path / "red.png"], codec="jpeg")
            assert (lost.outcome, whole.outcome) == ("failed", "reconstructed")
        """)
    )
    return tmp_path


def test_a_project_with_folders_of_the_same_names(installed, project):
    said = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=project, PYTHONPATH=str(installed))
    assert "1 passed" in said


def test_the_plugin_imports_nothing_until_it_is_used(installed, tmp_path):
    # Not by -X importtime alone: what pytest imports by a name in a string it does not show.
    (tmp_path / "conftest.py").write_text(
        "import pathlib, sys\n"
        "def pytest_sessionfinish():\n"
        "    pathlib.Path('modules.txt').write_text('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    timed = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    modules = set((tmp_path / "modules.txt").read_text().split()) | timed
    assert not {name for name in modules if name.split(".")[0] in ("grpc", "numpy", "PIL", "pydantic", "torch")}
    ours = {name for name in modules if name.split(".")[0] == "gocom"}
    assert ours == {"gocom", "gocom.client", "gocom.client.pytest_plugin"}
