"""The report's files: made from any grid, the same each time, and complete in themselves."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sweep_rows import ERASURES, full_grid, row, steady, timing

from gocom.evaluation.compare.page import write_report
from gocom.evaluation.compare.rows import COLUMNS, TIMINGS
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.wall import walls
from gocom.evaluation.report import plots
from gocom.evaluation.run.store import write_csv

FEW = {"clean": 0.0, "packet_erasure:rate=0.2": 0.2, "gilbert_elliott:p=0.02,r=0.2": 0.09,
       "gilbert_elliott:p=0.05,r=0.1": 0.33,
       "bit_flip:rate=0.0001,damage=deliver": 0.0, "bit_flip:rate=0.001,damage=deliver": 0.0,
       "block_fading:snr_db=5": 0.2}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def coarse():
    """Figures of few pixels: it is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "DPI", 40)
        yield


def report(folder, rows, timings=(), **about):
    write_csv(folder / "results.csv", rows, COLUMNS)
    if timings:
        write_csv(folder / "timings.csv", timings, TIMINGS)
    named = {"methods": list({r["method"]: 0 for r in rows}), "channels": list({r["channel"]: 0 for r in rows})}
    (folder / "results.json").write_text(json.dumps(named | about), "utf-8")
    return write_report(folder).read_text("utf-8")


class Checker(HTMLParser):
    """Tags that are open, and all that would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.fetched += [
            v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:image/png;base64,", "#"))
        ]
        assert tag not in ("script", "link")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def figures(folder):
    return sorted(path.name for path in (folder / "figures").iterdir())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "wall").mkdir()
    Image.fromarray(np.full((32, 32, 3), (200, 30, 30), np.uint8)).save(folder / "wall/a.png")
    rows, timings = full_grid(
        pictures=6, seeds=(0,), rates=(0.12, 0.5), methods=("lami_go", "jpeg", "jpeg+fec", "jpeg+arq"), channels=FEW
    )
    labelled = full_grid(
        pictures=6,
        seeds=(0,),
        rates=(0.5,),
        methods=("lami_go", "jpeg+fec"),
        channels=ERASURES,
        labels=True,
        set_name="labelled",
    )
    wall = [{"photo": "astronaut", "method": method, "channel": "clean", "file": "wall/a.png", "bytes": 1000.0,
             "psnr_db": 20.0, "failed": method == "jpeg"} for method in ("lami_go", "jpeg")]  # fmt: skip
    kernel = [{"method": "lami_go", "channel": "clean", "rate_bpp": 0.5, "value": 0.0123, "low": 0.011, "high": 0.013,
               "pictures": 500}]  # fmt: skip
    page = report(
        folder, rows + labelled[0], timings + labelled[1], command="gocom eval --images <kodak>", commit="0123abc",
        created="2026-01-01T00:00:00Z", sets={"images": {"source": "kodak", "pictures": 6}}, size_px=256, seeds=[0],
        nets={"vq_tokenizer": "1b2b59ab"}, environment={"python": "3.11", "packages": {"torch": "2.9"}}, wall=wall,
        kernel_distance=kernel,
    )  # fmt: skip
    return folder, page


def test_page_needs_nothing_else(made):
    folder, page = made
    checker = Checker()
    checker.feed(page)
    assert checker.fetched == []
    assert checker.open == []
    assert page.count("data:image/png;base64,") == len(figures(folder))


def test_page_says_what_was_run(made):
    _, page = made
    for text in ("gocom eval --images &lt;kodak&gt;", "0123abc", "2026-01-01T00:00:00Z", "vq_tokenizer",
                 "<td>images</td><td>kodak</td><td>6</td>", "<td>labelled</td><td>labelled</td><td>6</td>", "0.0123",
                 "a file in packets",
                 "bytes for equal quality"):  # fmt: skip
        assert text in page, text


def test_every_figure_that_has_data_is_there(made):
    folder, _ = made
    names = set(figures(folder))
    assert names >= {
        "images_rate_quality.png", "images_loss_0.12bpp.png", "images_loss_0.5bpp.png",         
        "images_bit_errors_0.5bpp.png", "images_bursts_0.5bpp.png", "images_bytes.png",
        "images_latency.png", "labelled_loss_0.5bpp.png", "wall_1.png", "images_outcomes.png",
    }  # fmt: skip
    assert "images_snr_0.5bpp.png" not in names  # of one place
    assert "labelled_rate_quality.png" not in names and "labelled_bursts_0.5bpp.png" not in names


def test_readme_shows_every_figure(made):
    folder, _ = made
    text = (folder / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"\(figures/(\S+)\)", text)) == figures(folder)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block


def test_a_failed_tile_is_grey(made):
    folder, _ = made
    with Image.open(folder / "figures/wall_1.png") as picture:
        found = dict((colour, count) for count, colour in picture.convert("RGB").getcolors(1 << 24))
    area = 30 * 30
    assert found.get((127, 127, 127), 0) + found.get((128, 128, 128), 0) > area
    assert sum(count for (r, g, b), count in found.items() if r > 180 and g < 60 and b < 60) > area


def test_a_wall_is_of_rising_loss_where_there_is_some(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "figures").mkdir()
    heights = []
    fading = "block_fading:snr_db=10,fading=rayleigh"
    for channels in (["clean", fading], ["clean", "packet_erasure:rate=0.1", "packet_erasure:rate=0.5", fading]):
        rows, _ = full_grid(pictures=2, methods=("lami_go",), channels=dict.fromkeys(channels, 0.1))
        tiles = [
            {"photo": "cat", "method": "lami_go", "channel": c, "file": "a.png", "psnr_db": 20.0} for c in channels
        ]
        (drawn,) = walls(Results(rows), tiles, tmp_path)
        with Image.open(drawn.path) as picture:
            heights.append(picture.height)
    assert heights[0] / 2 == pytest.approx(heights[1] / 3, rel=0.15)  # fading is in the first alone


def test_the_same_rows_give_the_same_files(tmp_path):
    rows, timings = full_grid(pictures=6, seeds=(0,), rates=(0.25,), methods=("lami_go", "jpeg+fec"), channels=ERASURES)
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "figures").mkdir(parents=True)
        (folder / "figures" / "old.png").write_bytes(b"of an earlier report")
        report(folder, rows, timings)
        made.append({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")})
    assert made[0] == made[1]
    assert "figures/old.png" not in made[0]


@pytest.mark.parametrize(
    "rows",
    [
        [row()],
        [row("jpeg+arq", channel="block_fading:snr_db=5")],
        steady("lami_go", 20.0, rate_bpp=None, ms_ssim=None),
        [row(picture=p, psnr_db=float("inf"), set="a & b") for p in "ab"] + [row("webp", p, set="a & b") for p in "ab"],
        [row(channel="gone.yaml"), row("brand_new:x=1", channel="gone.yaml"), row("lami_go:masking=none")],
    ],
    ids=["one row", "one classical", "own rate", "equal pictures", "unknown"],
)
def test_any_grid_has_a_report(tmp_path, rows):
    page = report(tmp_path, rows, [timing(r) for r in rows[:1]])
    Checker().feed(page)
    assert (
        "nan" not in page.lower().replace("determinan", "") or "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()
    )
