"""The page of LaMI-GO's figures and tables, made from a small synthetic set of rows."""

import json
import re
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from gocom.common.errors import InvalidInput
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.evaluation.lami_go import mixture, noise, policies, ratio, showtime, steps
from gocom.evaluation.lami_go.study import STUDY
from gocom.evaluation.papers import lami_go_figures as figures
from gocom.evaluation.papers import lami_go_numbers as numbers
from gocom.evaluation.papers import paper as paper_page
from gocom.evaluation.papers.items import Grid, Item, Status, cell, pair, verdict
from gocom.evaluation.papers.lami_go import PAPER
from gocom.evaluation.papers.lami_go_items import ITEMS
from gocom.evaluation.papers.page import section, write
from gocom.evaluation.study.store import write_result

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
EVERYTHING = [f"Fig. {i}" for i in range(1, 17)] + [f"Table {number}" for number in ROMAN]
ABOUT = {"sources": {}, "limit": None, "machine": "x86_64", "device": "cpu", "torch_threads": 1}


def about(part, **changed):
    now = {"nets": STUDY.nets(), "sampler": asdict(SamplerSettings()), "counts": STUDY.counts_of(part)}
    return ABOUT | now | changed


def rows_of(db, sets=("images", "street"), **keys):
    """Two pictures of each set; the second is 1 dB better."""
    return [
        {"set": name, "picture": picture, "seed": 0, "bytes": 1000, "missing": 0.25} | keys
        | {"psnr_db": db + more, "ms_ssim": 0.8, "distance": 0.9 - db / 100}
        | ({"correct": 1} if name == "labelled" else {})
        for name in sets
        for picture, more in (("a", 0.0), ("b", 1.0))
    ]  # fmt: skip


def policy_rows():
    sets = ("images", "labelled", "street")
    equal = [
        rows_of(22.0 - lost, sets, experiment=policies.EQUAL, channel=channel, policy=policy)
        for lost, channel in enumerate(policies.CHANNELS)
        for policy in policies.ORDER
    ]
    third = [
        rows_of(db, sets, experiment=policies.TABLE_III, channel="clean", policy=policy)
        for policy, db in ((policies.EBM, 24.5), (policies.FARTHEST, 18.5))
    ]
    return [row for rows in equal + third for row in rows]


def step_rows():
    found = []
    for tau, total in steps.STEPS:
        keys = {"steps": total, "renoise": tau}
        for i, policy in enumerate(steps.POLICIES):
            found += rows_of(20.0 + i, experiment=steps.POLICY, policy=policy, rate=0.0, **keys)
        for rate in steps.RATES:
            found += rows_of(20.0 - 4 * rate, experiment=steps.LOSS, policy="PRM 0.25", rate=rate, **keys)
    for tau, total in steps.CONVERGENCE_STEPS:
        for temperature in steps.TEMPERATURES:
            wrong = [1 - 0.5 * i / total for i in range(total)]
            keys = {"steps": total, "renoise": tau, "temperature": temperature, "wrong": wrong}
            found += rows_of(20.0, experiment=steps.CONVERGENCE, **keys)
    return found


def noise_rows():
    return [
        row
        for number in (1, 2, 3, 4)
        for level in (noise.PACKET_RATES if number in noise.PACKET_SETUPS else noise.BIT_RATES)
        for bursty in ((False, True) if level else (False,))
        for row in rows_of(
            22 - number * level, ("images",), experiment=noise.SETUP, setup=number, level=level, bursty=bursty
        )
    ]


def ratio_rows():
    keys = {"experiment": ratio.FILE, "at_floor": 0}
    cases = [("jpeg", ratio.AT_QUALITY), ("jpeg2000", ratio.AT_QUALITY), *((c, ratio.AT_PRM) for c in ratio.PEERS)]
    files = [rows_of(21.0, codec=codec, at=at, **keys) for codec, at in cases]
    original = [
        {"set": name, "picture": "a", "seed": 0, "codec": ratio.ORIGINAL, "at": "", "bytes": 99_999} | keys
        for name in ratio.SETS
    ]
    return sum([rows_of(24 - 9 * p, experiment=ratio.RATIO, ratio=p) for p in ratio.RATIOS] + files, original)


def mixture_rows():
    return [
        row
        for i, arm in enumerate(mixture.ARMS)
        for row in rows_of(22.0 - i, ("images", "labelled", "street"), arm=arm, steps=8, held=1.0, token_accuracy=0.2)
    ]


def showtime_rows():
    return [
        row | dict.fromkeys((*showtime.STAGES, "all"), total / 100)
        for _, total in showtime.STEPS
        for row in rows_of(22.0, ("images",), experiment=showtime.STAGE, steps=total)
    ]


ROWS = {
    "policies": policy_rows, "steps": step_rows, "noise": noise_rows, "ratio": ratio_rows, "mixture": mixture_rows,
    "showtime": showtime_rows,
}  # fmt: skip


PARTS = {part.name: part for part in STUDY.parts}


def made(folder, without=(), paper=PAPER, **changed):
    for name, rows in ROWS.items():
        if name not in without:
            write_result(folder, PARTS[name], rows(), 1, about(name, **changed))
    path = paper.write(folder, folder)
    return path.read_text(), (path.parent / "README.md").read_text()


def section_of(text, name):
    """README.md's section whose heading has this name."""
    (found,) = [part for part in text.split("\n## ")[1:] if name in part.split(":")[0].split(", ")]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("whole"))


UNPLOTTED = replace(PAPER, draw=lambda results, out: [])
"""Plots take seconds, and `whole` has them."""


def test_every_figure_and_table_of_the_paper_is_there_once(whole):
    assert sorted(name for item in ITEMS for name in item.names) == sorted(EVERYTHING)
    for name in EVERYTHING:
        assert section_of(whole[1], name)
        assert re.search(rf"<h2>[^<]*\b{re.escape(name)}\b", whole[0])


def test_the_page_needs_nothing_but_itself(whole):
    text = whole[0]
    assert "http" not in text and "<script" not in text and "<link" not in text
    sources = re.findall(r'src="([^"]{,30})', text)
    assert len(sources) == 6 and all(source.startswith("data:image/png;base64,") for source in sources)


def test_ours_stand_beside_the_papers(whole):
    readme = whole[1]
    line = "| Cityscapes | lowest-distanced | 18.44 | street | 25.00 (18.65 to 31.35) | 0.655 (0.655 to 0.655) |"
    assert line in section_of(readme, "Table III")
    assert "PSNR in dB +6.00 (+6.00 to +6.00), better" in section_of(readme, "Table III")
    assert "| 28/32 | 30.55 | 0.1560 | 5.99 | 20.10" in section_of(readme, "Table VIII")
    assert "| 5 % | 25.49 | 0.1270 | 22.35" in section_of(readme, "Table IX")
    assert "| JPEG (quality = 40) | 10.28 | 35.72 |" in section_of(readme, "Table VII")
    assert "| lami_go, PRM p = 0.25 | 1000 (1000 to 1000) |" in section_of(readme, "Table VII")
    assert "| LaMI-GO | 4/8 | 29.84 | 0.1327 | 1.29 |" in section_of(readme, "Table X")
    assert "Paella's t and draws: PSNR in dB -1.00 (-1.00 to -1.00), worse" in section_of(readme, "Fig. 13")
    assert "last minus first of 62 steps, street, temperature 1: -0.492" in section_of(readme, "Fig. 14")
    assert "missing |" not in readme and "Out of date" not in readme


def test_what_cannot_be_had_says_why(whole):
    for name, why in (("Table V", "MiDaS"), ("Table II", "FID's weights")):
        assert why in section_of(whole[1], name).split("**Why not.**")[1]
    assert all(item.said and item.differs for item in ITEMS)


def test_a_missing_part_is_said_to_be_missing(tmp_path):
    text, readme = made(tmp_path, ["mixture", "noise"], UNPLOTTED)
    for name, part in (("Fig. 13", "mixture"), ("Fig. 10", "noise"), ("Fig. 11", "noise"), ("Table IX", "noise")):
        found = section_of(readme, name)
        assert f"Missing: the study's part {part}, which was not measured yet. `{PAPER.command}`" in found
        assert "| - |" not in found
    assert readme.count(" missing | ") == 4 and text.count("<td>missing</td>") == 4
    assert "Missing" not in section_of(readme, "Table III")
    assert "**Paper.** Three pictures" in section_of(readme, "Fig. 13")


def test_nothing_measured_is_a_page_too(tmp_path):
    readme = (UNPLOTTED.write(tmp_path, tmp_path).parent / "README.md").read_text()
    assert "Nothing has been measured yet" in readme and all(section_of(readme, name) for name in EVERYTHING)


def test_results_of_other_nets_are_said_to_be_out_of_date(tmp_path):
    _, readme = made(tmp_path, ["noise", "showtime"], UNPLOTTED, nets={"vq_tokenizer": "00000000"})
    assert "Out of date: the study's parts steps, policies, which were measured with" in section_of(readme, "Table IV")


def test_only_what_has_rows_is_drawn(tmp_path):
    assert figures.draw({"mixture": mixture_rows()}, tmp_path) == ["mixture.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["mixture.png"]


def test_lines_of_a_plot_keep_their_colours(tmp_path):
    figures.draw({"steps": step_rows()}, tmp_path)
    pixels = np.asarray(Image.open(tmp_path / figures.POLICIES_PNG).convert("RGB")).reshape(-1, 3).astype(int)
    for color in (to_rgb(f"C{i}") for i in range(4)):
        assert (np.abs(pixels - 255 * np.array(color)).max(1) < 24).sum() > 200


def test_words_of_a_page_are_escaped(tmp_path):
    item = Item(
        ("Fig. 1",), "a < b", Status.HERE, "said", "differs", ("x",), lambda results: [Grid(["a|b"], [["<i>"]])]
    )
    shown = section(item, {"x": [{}]}, [], [], "command")
    assert shown.grids and shown.status == "here" and shown.remark is None
    text = write(tmp_path, "title", [], Grid(["a"], []), [shown]).read_text()
    assert "<td>&lt;i&gt;</td>" in text and "a &lt; b" in text and "<i>" not in text
    assert "| a\\|b |" in (tmp_path / "README.md").read_text()


def test_the_papers_numbers_are_whole():
    for data in numbers.TABLE_IV.values():
        assert all(len(line) == len(numbers.STEPS) for line in data.values())
    assert numbers.TABLE_IV["fixed (PDM), 1/4"]["COCO-Stuff"][-1][1] == dict(numbers.TABLE_II)["LaMI-GO (194/200)"]
    by_name = {name: rest for name, *rest in numbers.TABLE_VII}
    assert by_name["LaMI-GO, PRM p = 0.25"][1] == numbers.TABLE_IV["random (PRM), 0.25"]["Cityscapes"][-1][1]


def test_verdicts():
    assert verdict((1.0, 0.5, 1.5)) == "better" and verdict((1.0, 0.5, 1.5), lower_is_better=True) == "worse"
    assert verdict((-1.0, -1.5, -0.5)) == "worse" and verdict((-1.0, -1.5, -0.5), lower_is_better=True) == "better"
    assert verdict((0.1, -0.1, 0.3)) == "not told apart" and verdict(None) == "not measured"
    assert cell([], "psnr_db") == "–" and pair(rows_of(20.0), set="street") == [
        "20.50 (14.15 to 26.85)", "0.700 (0.700 to 0.700)"
    ]  # fmt: skip


def test_run_measures_what_is_missing_then_writes_the_page(tmp_path, monkeypatch):
    asked, said = [], []
    monkeypatch.setattr(paper_page, "run", lambda *arguments: asked.append(arguments))
    write_result(tmp_path, PARTS["policies"], policy_rows(), 1, about("policies"))
    write_result(tmp_path, PARTS["noise"], noise_rows(), 1, about("noise", nets={}))
    write_result(tmp_path, PARTS["mixture"], mixture_rows(), 1, about("mixture", counts={"mixture": 1}))
    sources = {name: tmp_path for name in ("images", "labelled", "street")}
    with pytest.raises(InvalidInput, match="lami_go also needs --street"):
        UNPLOTTED.run({"images": tmp_path, "labelled": tmp_path}, tmp_path, None, "cpu", said.append)
    assert not asked
    path = UNPLOTTED.run(sources, tmp_path, 3, "cpu", said.append)
    assert path == tmp_path / "paper_lami_go" / "index.html" and path.is_file()
    ((study, given, out, parts, limit, device),) = asked
    assert (study, given, out, parts, limit, device) == (STUDY, sources, tmp_path, STUDY.parts, 3, "cpu")
    assert "noise" in said[0] and "mixture" in said[0] and "policies" not in said[0] and said[-1] == str(path)
    assert json.loads((tmp_path / "policies.json").read_text())["rows"] == policy_rows()


def test_counts_of_a_part_are_its_own():
    for study in (STUDY,):
        found = [study.counts_of(part.name) for part in study.parts]
        assert {name for counts in found for name in counts} == {field.name for field in fields(study.counts)}
        assert sum(map(len, found)) == len(fields(study.counts)), "a field belongs to one part"
        assert all(found), "every part's work is counted"
