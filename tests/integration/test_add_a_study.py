"""docs/add-a-study.md, done: its study in the plug-in package of docs/add-a-codec.md, and nothing else."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("add-a-codec.md", "add-a-study.md")
FACTS = {"block_px", "rate", "seed", "set", "picture", "bytes", "missing", "psnr_db", "ms_ssim", "distance"}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugin")
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text()
        for name, code in re.findall(r"```python file=(\S+)\n(.*?)```", text, re.DOTALL):
            path = folder / "my_plugins" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
    assert len((folder / "my_plugins" / "studies" / "thumbnail.py").read_text().splitlines()) <= 60
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea", "coffee"):
        Image.fromarray(np.ascontiguousarray(getattr(data, name)()[..., :3])).save(folder / f"{name}.png")
    return folder


def study(plugin: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "GOCOM_PLUGINS": "my_plugins", "PYTHONPATH": f"{plugin}:{ROOT / 'src'}"}
    command = [
        sys.executable,
        "-m",
        "gocom.client.cli",
        "eval",
        "--paper",
        "thumbnail",
        "--device",
        "cpu",
        *map(str, words),
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(240)
def test_study_from_the_page(plugin: Path, photos: Path, tmp_path: Path) -> None:
    words = ("--images", photos, "--count", 2, "--out", tmp_path, "--workers", 1)
    done = study(plugin, *words, "--experiments", "loss", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"page": str(tmp_path / "index.html")}

    found = rows(tmp_path / "rows" / "loss.csv")
    assert set(found[0]) >= FACTS and len(found) == 2 * 3 * (1 + 2 * 2)
    by_case = {(r["picture"], r["block_px"], r["rate"], r["seed"]): r for r in found}
    assert len(by_case) == len(found)
    clean = by_case["astronaut", "8", "0", ""]
    lossy = [by_case["astronaut", "8", "0.5", seed] for seed in "01"]
    assert clean["missing"] == "0.0" and all(0.2 < float(row["missing"]) < 0.8 for row in lossy)
    assert {row["bytes"] for row in lossy} == {clean["bytes"]}
    assert float(clean["psnr_db"]) > max(float(row["psnr_db"]) for row in lossy)

    text = (tmp_path / "README.md").read_text()
    assert "# thumbnail: a grey a block" in text and "2 pictures of images, 2 seeds." in text
    assert "Paper: Blocks of 8 pixels are better than blocks of 16 at any loss." in text and "| 16 | 19.5 |" in text
    assert "blocks of 8 px against 16. PSNR in dB: " in text and "figures/loss_rate.png" in text
    assert (tmp_path / "figures" / "loss_rate.png").read_bytes().startswith(b"\x89PNG")
    command = f"gocom eval --paper thumbnail --images {photos.name} --count 2 --experiments file measures it."
    assert text.count(f"**Not measured yet: {command}**") == 2, "the claim and the experiment say how to measure it"

    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    done = study(plugin, *words)
    assert done.returncode == 0 and str(tmp_path / "index.html") in "".join(done.stdout.split()), done.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in parts.items())
    jpeg = [r for r in rows(tmp_path / "rows" / "file.csv") if r["codec"] == "jpeg"]
    assert [(r["rate"], r["missing"]) for r in jpeg if r["rate"] == "0"] == [("0", "0.0")] * 2
    assert "Not measured yet" not in (tmp_path / "README.md").read_text()


def test_a_picture_that_cannot_be_read_is_named(plugin: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "astronaut.png").write_bytes((photos / "astronaut.png").read_bytes())
    (folder / "broken.png").write_bytes((photos / "chelsea.png").read_bytes()[:500])
    words = ("--images", folder, "--out", tmp_path / "out", "--workers", 1, "--experiments", "file")
    done = study(plugin, *words)
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stderr.split())
    assert said.count("left out: ") == 1 and "broken.png" in said.split("left out: ")[1]
    assert {row["picture"] for row in rows(tmp_path / "out" / "rows" / "file.csv")} == {"astronaut"}
