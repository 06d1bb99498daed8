"""The study's parts that need no net: fillers, intervals, tables, budgets, files and the README."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import typer

from gocom.evaluation.lami_go import erasure, noise
from gocom.evaluation.lami_go.budgets import smallest_within
from gocom.evaluation.lami_go.refinement import deciles
from gocom.evaluation.lami_go.study import STUDY
from gocom.evaluation.measure.fillers import most_frequent_received, nearest_received
from gocom.evaluation.measure.judge import imagenet_class
from gocom.evaluation.report.tables import words
from gocom.evaluation.study.run import choose
from gocom.evaluation.study.store import Part, read_result, write_readme, write_result
from gocom.evaluation.study.tables import average, difference, sizes, table, where
from gocom.evaluation.study.world import chunks, spread

ABOUT = {
    "sources": {"street": "camvid.tar", "images": "kodak", "labelled": "val.tar"},
    "limit": None,
    "machine": "x86_64",
    "device": "cpu",
    "torch_threads": 2,
    "sampler": {"num_inference_steps": 8, "draw": "expected"},
    "nets": {"vq_tokenizer": "0123abcd"},
}


def grid(text):
    """Lines of digits, a dot is missing -> tokens int64 [h, w], received bool [h, w]."""
    lines = text.split()
    tokens = np.array([[0 if c == "." else int(c) for c in line] for line in lines], np.int64)
    return tokens, np.array([[c != "." for c in line] for line in lines])


def test_nearest_received():
    assert nearest_received(*grid("7...1 7...1"))[:, [0, 1, 3, 4]].tolist() == [[7, 7, 1, 1]] * 2
    assert nearest_received(*grid("... ...")).tolist() == [[0, 0, 0]] * 2


@pytest.mark.parametrize(
    ("text", "centre"),
    [
        ("6.6 9.. ...", 6),  # two against one
        ("6.. 9.. ...", 9),  # as frequent: the nearer
        ("112 1.3 322", 1),  # as frequent and as near: the smaller
        ("3...3 ..... ..... ..... 4....", 3),  # nothing around it: the next ring
    ],
)
def test_most_frequent_received(text, centre):
    tokens, received = grid(text)
    filled = most_frequent_received(tokens, received)
    assert filled[tokens.shape[0] // 2, tokens.shape[1] // 2] == centre
    assert (filled[received] == tokens[received]).all()


def test_most_frequent_of_nothing():
    assert not most_frequent_received(*grid("... ...")).any()


def rows_of(values, **keys):
    return [{"set": "images", "picture": str(i), "seed": s, **keys, "psnr_db": v} for i, s, v in values]


def test_tables_average_over_seeds_then_pictures():
    rows = rows_of([("a", 0, 10.0), ("a", 1, 20.0), ("b", 0, 30.0)])
    assert average(rows, "psnr_db")[0] == 22.5
    assert average(rows, "correct") is None and words(None) == "–"
    others = rows_of([("b", 0, 29.0), ("c", 0, 1.0)])
    assert difference(rows, others, "psnr_db") == (1.0, -math.inf, math.inf)  # of one picture
    assert difference(rows, [], "psnr_db") is None
    assert sizes(rows) == "2 pictures of images, 2 seeds"
    assert where(rows, seed=1)[0]["psnr_db"] == 20.0
    assert words((1.0, 0.5, 1.5), 1, sign=True) == "+1.0 (+0.5 to +1.5)"
    assert table(["a", "b"], [[1, 2]]) == "| a | b |\n| - | - |\n| 1 | 2 |\n"


def test_spread_chunks_classes():
    assert spread(10, 3) == [0, 3, 6] and spread(2, 5) == [0, 1]
    assert [list(c) for c in chunks([1, 2, 3], 2)] == [[1, 2], [3]]
    assert imagenet_class(9) == 701 and imagenet_class(None) is None


@pytest.mark.parametrize("budget", [0, 99, 100, 101, 555, 1000, 2000])
def test_smallest_within_a_budget(budget):
    sizes_ = [1000 - i for i in range(901)]
    found = smallest_within(0, 900, sizes_.__getitem__, budget)
    fits = [i for i in range(901) if sizes_[i] <= budget]
    assert found == (fits[0] if fits else None)


def test_deciles_of_a_perfect_and_of_a_blind_ranking():
    off = np.r_[np.ones(20), np.zeros(180)] + np.linspace(0, 0.1, 200) * np.r_[np.ones(20), np.zeros(180)]
    perfect = deciles(off, off)
    assert perfect["wrong_top"] == 1 and perfect["wrong_rest"] == 0 and perfect["spearman"] == pytest.approx(1)
    assert perfect["off_top"] > 1 and perfect["off_rest"] == 0
    assert deciles(np.zeros(200), off)["spearman"] == 0


def fake_rows():
    cells = {"bytes": 100, "missing": 0.25, "ms_ssim": 0.9, "distance": 0.3}
    return [
        {"set": "images", "picture": p, "seed": seed, "policy": policy, "channel": channel, "psnr_db": db} | cells
        for p in ("a", "b")
        for policy in erasure.POLICIES
        for channel, seed, db in (("clean", 0, 22.0), (erasure.ERASURE, 0, 20.5), (erasure.ERASURE, 1, 21.5))
    ]


def test_results_are_written_and_read_back(tmp_path):
    part = erasure.PART
    assert read_result(tmp_path, part) is None
    write_result(tmp_path, part, fake_rows(), 12.3, ABOUT)
    result = read_result(tmp_path, part)
    assert result["rows"] == fake_rows() and result["seconds"] == 12 and result["nets"] == ABOUT["nets"]
    write_result(tmp_path, part, [], 1, ABOUT)
    assert json.loads((tmp_path / "erasure.json").read_text())["rows"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["erasure.json"]


def test_readme_is_made_of_the_results_that_are_there(tmp_path):
    write_readme(tmp_path, STUDY)
    assert not list(tmp_path.iterdir())
    write_result(tmp_path, erasure.PART, fake_rows(), 12.3, ABOUT)
    write_readme(tmp_path, STUDY)
    text = (tmp_path / "README.md").read_text()
    command = "python -m gocom.evaluation.lami_go --images kodak --labelled val.tar --street camvid.tar --out"
    assert text.index(command) < text.index("LPIPS") < text.index("## 20 % packet erasure")
    assert "| erasure | 2 images | 0, 1 | 12 | x86_64, cpu, 2 torch threads | vq_tokenizer 0123abcd |" in text
    assert "nothing else is said: num_inference_steps 8, draw expected." in text
    assert "PRM 0.25: erasure costs 1.00 (1.00 to 1.00) dB; a limit of 3 dB holds" in text
    assert "## Coding" not in text
    assert (tmp_path / "erasure.md").read_text() in text


def test_readme_shows_the_plots(tmp_path):
    def draw(rows, out):
        (out / "plot.png").write_bytes(b"")
        return ["plot.png"]

    part = Part("one", "One", measure=lambda world: [], report=lambda rows: f"{len(rows)} rows\n", draw=draw)
    write_result(tmp_path, part, fake_rows(), 1, ABOUT)
    write_readme(tmp_path, replace(STUDY, parts=(part,)))
    assert "12 rows\n\n![plot.png](plot.png)" in (tmp_path / "README.md").read_text()


def test_noise_plot(tmp_path):
    cells = {"set": "images", "picture": "a", "seed": 0, "missing": 0.3, "ms_ssim": 0.9, "distance": 0.3, "psnr_db": 20}
    rows = [
        cells | {"experiment": noise.SETUP, "setup": number, "level": level, "bursty": bursty}
        for number in (1, 2, 3, 4)
        for level in (noise.PACKET_RATES if number in noise.PACKET_SETUPS else noise.BIT_RATES)
        for bursty in ((False, True) if level else (False,))
    ]
    assert noise.draw(rows, tmp_path) == ["noise.png"]
    assert (tmp_path / "noise.png").stat().st_size > 10_000


def test_parts_are_chosen_by_name():
    assert [part.name for part in choose(STUDY, "coding, denoiser")] == ["denoiser", "coding"]
    assert [part.name for part in choose(STUDY, None)] == [part.name for part in STUDY.parts]
    with pytest.raises(typer.BadParameter, match=r"no part nosuch; choose denoiser, coding"):
        choose(STUDY, "coding,nosuch")
