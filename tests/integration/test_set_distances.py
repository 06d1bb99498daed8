"""Distances between sets of pictures, from what a run of `gocom eval` keeps."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from skimage import data

from gocom.common.image_files import png_bytes
from gocom.common.types import LinkSettings
from gocom.evaluation.compare import distances, grid, worker
from gocom.evaluation.compare.evaluate import evaluate
from gocom.evaluation.measure import kernel_distance as kernel
from gocom.evaluation.measure import optional_metrics
from gocom.evaluation.run import measure


@pytest.fixture
def few_are_enough(monkeypatch):
    for module in (worker, distances, kernel, optional_metrics):
        monkeypatch.setattr(module, "MIN_PICTURES", 4)


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "photos"
    source.mkdir()
    for place in range(5):
        pixels = data.astronaut()[40 * place : 40 * place + 96, 100:196]
        (source / f"{place}.png").write_bytes(png_bytes(pixels))
    return source


def of(folder, rates="own"):
    pictures = grid.picture_set("images", folder, None, rates, "clean,packet_erasure:rate=0.5", 0, 2)
    return grid.make_grid([pictures], "jpeg:quality=40+none", 96, LinkSettings())


@pytest.mark.slow
def test_large_sets_have_a_kernel_distance(few_are_enough, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_LINE_EACH_S", 0.0)
    log = io.StringIO()
    evaluate(of(folder), tmp_path / "out", "", console=Console(file=log, width=100))
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert "fid" not in found
    clean, lost = found["kernel_distance"]
    assert clean["pictures"] == 5 and clean["low"] <= clean["high"]
    assert clean["value"] < lost["value"]  # half of the packets lost: mid-grey pictures
    page = (tmp_path / "out/index.html").read_text()
    assert "Kernel distance" in page and f"{lost['value']:.4f}" in page
    # Without a terminal progress is lines.
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("3 of 15 cases, about 0:0") and lines[4] == "15 of 15 cases, about 0:00:00 left"


@pytest.mark.slow
def test_fid_where_a_user_has_it(few_are_enough, folder, tmp_path, monkeypatch):
    seen = []

    def distance(originals, images):
        seen.append((originals, images))
        return 12.5

    monkeypatch.setattr(worker, "more_metrics", lambda: ["fid"])
    monkeypatch.setattr(optional_metrics, "inception_features", lambda image: image.mean((1, 2)))
    monkeypatch.setitem(distances._DISTANCES, "fid", lambda a, b: {"value": distance(a, b)})
    evaluate(of(folder), tmp_path / "out", "")
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert [entry["value"] for entry in found["fid"]] == [12.5, 12.5] and len(found["kernel_distance"]) == 2
    (originals, clean), (again, lost) = seen
    assert originals.shape == clean.shape == lost.shape == (5, 3) and (originals == again).all()
    assert np.abs(originals - clean).max() < 0.05 < np.abs(originals - lost).max()
    assert "12.50" in (tmp_path / "out/index.html").read_text()


def test_small_sets_have_none(folder, tmp_path):
    evaluate(of(folder), tmp_path / "out", "")
    assert json.loads((tmp_path / "out/results.json").read_text())["kernel_distance"] == []
    assert "Kernel distance" not in (tmp_path / "out/index.html").read_text()
