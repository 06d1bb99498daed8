"""What a few photos score is what they scored: tests/golden/metrics.json, and that a small change would be seen."""

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from gocom.evaluation.benches import golden
from gocom.evaluation.benches.golden import (
    FIELDS,
    PATH,
    PHOTOS,
    REGENERATE,
    compare,
    golden_methods,
    means,
    measure,
    write,
)
from gocom.evaluation.compare.methods import Protection, parse_methods

GOLDEN = json.loads(PATH.read_text())


@pytest.mark.timeout(600)
def test_nothing_moved():
    moved, _ = compare(GOLDEN, list(measure(golden_methods())))
    assert not moved, "quality or bytes moved:\n  " + "\n  ".join(moved) + f"\nIf that is meant: {REGENERATE}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "of", "photos"),
    [
        ("lami_go:num_inference_steps=7", "lami_go", PHOTOS),  # 8 are the default
        ("feature_imputing:num_inference_steps=9", "feature_imputing", PHOTOS),  # 10 are the default
        ("jpeg:quality=49", "jpeg:quality=50", PHOTOS[:1]),
        ("jpeg2000:quality=49", "jpeg2000:quality=50", PHOTOS[:1]),
        ("webp:quality=49", "webp:quality=50", PHOTOS[:1]),
        ("avif:quality=49", "avif:quality=50", PHOTOS[:1]),
    ],
)
def test_a_small_change_is_seen(changed, of, photos):
    """In the pictures, whatever their bytes."""
    known = [case for case in GOLDEN["cases"] if case["photo"] in photos and case["method"] == of]
    found = [case | {"method": of} for case in measure(parse_methods([changed], (Protection.NONE,)), photos)]
    moved, _ = compare(GOLDEN | {"cases": known}, found)
    assert any(f": {field} " in line for line in moved for field in ("psnr_db", "ms_ssim", "distance")), found


def test_each_difference_is_named_with_its_size():
    cases = [dict(case) for case in GOLDEN["cases"] if case["method"] in ("jpeg:quality=50", "lami_go")]
    known = GOLDEN | {"cases": [dict(case) for case in cases]}
    assert compare(known, cases)[0] == []
    jpeg = next(case for case in cases if case["method"].startswith("jpeg"))
    jpeg["bytes_total"] += 1
    moved, largest = compare(known, cases)
    before = jpeg["bytes_total"] - 1
    assert (
        moved[0] == f"astronaut, jpeg:quality=50, clean, seed 1: bytes_total {before} -> {before + 1} (+1, allowed 0)"
    )
    assert any(line.startswith("jpeg, case: bytes_total 1,") for line in largest)
    assert any(re.match(r"mean, jpeg:quality=50, clean, seed all: bytes_total .*\+0\.333", line) for line in moved)
    missing, _ = compare(known, cases[1:])
    assert f"astronaut, {cases[0]['method']}, {cases[0]['channel']}, seed 1: not measured" in missing
    extra, _ = compare(GOLDEN | {"cases": known["cases"][1:]}, cases)
    assert any(line.endswith("not in the golden file") for line in extra)


@pytest.mark.parametrize("field", ["psnr_db", "ms_ssim", "distance"])
def test_a_shift_of_all_cases_is_seen_where_that_of_one_is_not(field):
    """The mean of lami_go's cases is held more tightly than a case."""
    known = GOLDEN | {"cases": [case for case in GOLDEN["cases"] if case["method"] == "lami_go"]}
    shift = GOLDEN["tolerances"]["lami_go"]["case"][field] * 0.4
    shifted = [case | {field: case[field] + shift} for case in known["cases"]]
    one = [*shifted[:1], *known["cases"][1:]]
    moved, _ = compare(known, shifted)
    assert moved and all(line.startswith("mean, lami_go") for line in moved)
    assert compare(known, one)[0] == []


def test_the_command_fails_where_something_moved_and_writes_when_told(tmp_path, monkeypatch):
    path, changed = tmp_path / "metrics.json", [dict(case) for case in GOLDEN["cases"]]
    path.write_text(PATH.read_text())
    app = typer.Typer()
    app.command()(golden.main)
    monkeypatch.setattr(golden, "measure", lambda methods: changed)
    assert CliRunner().invoke(app, ["--path", str(path)]).exit_code == 0
    changed[0]["psnr_db"] -= 1
    result = CliRunner().invoke(app, ["--path", str(path)])
    assert result.exit_code == 1 and "(-1, allowed 0.2)" in result.stdout and REGENERATE in result.stdout
    assert path.read_text() == PATH.read_text()
    assert CliRunner().invoke(app, ["--path", str(path), "--write"]).exit_code == 0
    assert json.loads(path.read_text()) == GOLDEN | {"cases": changed}
    assert CliRunner().invoke(app, ["--path", str(path)]).exit_code == 0


def test_the_file_is_a_line_a_case(tmp_path):
    write(GOLDEN, tmp_path / "metrics.json")
    text = (tmp_path / "metrics.json").read_text()
    assert text == PATH.read_text() and json.loads(text) == GOLDEN
    lines = text.splitlines()
    assert sum('"photo"' in line for line in lines) == len(GOLDEN["cases"])
    assert all(case.keys() >= FIELDS.keys() for case in means(GOLDEN["cases"]))
