"""What a stranger sees first: its sentences are made from the numbers, whoever wins."""

import numpy as np
import pytest
from PIL import Image
from sweep_rows import ERASURES, row, steady

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.first_screen import first_screen
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.measure.metrics import METRIC
from gocom.evaluation.report import plots


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    monkeypatch.setattr(plots, "DPI", 40)


def grid(pixels, looks, losses=ERASURES, rates=(0.1,), peers=("jpeg+fec",)):
    """Of lami_go minus that of each peer, in dB and (less is better) in distance: a function of the loss and rate."""
    rows = []
    for channel, loss in losses.items():
        for rate in rates:
            at = {"channel": channel, "packet_erasure_rate": loss, "rate_bpp": rate,
                  "bytes_total": round(10_000 * rate)}  # fmt: skip
            rows += steady("lami_go", 20.0 + pixels(loss, rate), distance=0.4 - looks(loss, rate), **at)
            for peer in peers:
                rows += steady(peer, 20.0, distance=0.4, **at)
    return rows


def said(rows, tmp_path, wall=()):
    (tmp_path / "figures").mkdir(exist_ok=True)
    found = first_screen(Results(rows), wall, tmp_path)
    assert found.figure.path.exists()
    return found.sentences


def test_semantic_wins_in_looks_where_much_is_lost_and_loses_in_pixels(tmp_path):
    rows = grid(lambda loss, rate: -1, lambda loss, rate: 0.1 if loss >= 0.2 else 0)
    assert said(rows, tmp_path) == (
        "8 pictures were sent over a network that loses packets, by describing them and as ordinary image files "
        "(JPEG), with the same number of bytes.",
        "Describing wins in how alike the pictures look (where 20 % or more of the packets are lost).",
        "It loses in how exact the pixels are (always).",
    )


def test_files_win(tmp_path):
    _, wins, loses = said(grid(lambda *_: -1, lambda *_: -0.1), tmp_path)
    assert wins == "Describing wins nowhere here."
    assert loses == "It loses in how alike the pictures look (always) and how exact the pixels are (always)."


def test_semantic_wins_everything(tmp_path):
    _, wins, loses = said(grid(lambda *_: 1, lambda *_: 0.1), tmp_path)
    assert wins == "Describing wins in how alike the pictures look (always) and how exact the pixels are (always)."
    assert loses == "It loses nowhere here."


def test_nobody_wins(tmp_path):
    _, wins, loses = said(grid(lambda *_: 0, lambda *_: 0), tmp_path)
    assert wins == "Describing wins nowhere here."
    assert loses == "It loses nowhere either: no difference can be told."


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        (lambda loss, rate: 0.1 * (loss == 0), "(where nothing is lost)"),
        (lambda loss, rate: 0.1 * (loss == 0.5), "(where 50 % of the packets are lost)"),
        (lambda loss, rate: 0.1 * (loss <= 0.1), "(where 10 % or less of the packets are lost)"),
        (lambda loss, rate: 0.1 * (loss in (0.05, 0.2)), "(where 5 % or 20 % of the packets are lost)"),
        (lambda loss, rate: 0.1 * (rate == 0.2), "(with 2,000 bytes)"),
        (lambda loss, rate: 0.1 * (rate > 0.1 and loss > 0.2), "(with 2,000 bytes where 50 % of the packets are lost)"),
        (lambda loss, rate: 0.1 * (loss > rate), "(in 3 of 10 cases)"),
    ],
)  # fmt: skip
def test_where_it_wins(tmp_path, looks, words):
    _, wins, loses = said(grid(lambda *_: 0, looks, rates=(0.1, 0.2)), tmp_path)
    assert wins == f"Describing wins in how alike the pictures look {words}."
    assert loses == "It loses nowhere here."


def test_files_that_ask_again(tmp_path):
    """Sent once, files lose; with retransmissions they win."""
    rows = grid(lambda *_: 1, lambda *_: 0.1)
    for channel, loss in ERASURES.items():
        rows += steady("webp+arq", 30.0, distance=0.1, channel=channel, packet_erasure_rate=loss)
    done, wins, loses = said(rows, tmp_path)
    assert "(JPEG and WebP)" in done and "(always)" in wins
    assert loses == (
        "It loses nowhere here; where files can ask for their lost packets again, it wins in 0 of all 15 cases and "
        "loses in 10."
    )


def test_it_agrees_with_the_tables(tmp_path):
    rows = grid(lambda loss, rate: 0.5 - loss * 5, lambda *_: 0)
    results = Results(rows)
    outcomes = [results.standing(Cell("images", "lami_go", 0.1, c), METRIC["psnr_db"], once=True) for c in ERASURES]
    assert outcomes == ["won", "won", "level", "lost", "lost"]
    _, wins, loses = said(rows, tmp_path)
    assert wins == "Describing wins in how exact the pixels are (where 5 % or less of the packets are lost)."
    assert loses == "It loses in how exact the pixels are (where 20 % or more of the packets are lost)."


def test_without_losses_or_with_one_picture(tmp_path):
    rows = [row(), row("jpeg", channel="clean")]
    done, wins, loses = said(rows, tmp_path)
    assert done.startswith("A picture was sent over a faulty network, by describing it and as")
    assert wins == "Describing wins nowhere here."
    assert loses == "It loses nowhere either: no difference can be told."
    fading = {f"block_fading:snr_db={snr}": 0.1 for snr in (5, 10)}
    _, wins, _ = said(grid(lambda *_: 0, lambda *_: 0.1, fading), tmp_path)
    assert wins == "Describing wins in how alike the pictures look (always)."


def test_one_side_has_no_first_screen(tmp_path):
    assert first_screen(Results(steady("lami_go", 20.0)), [], tmp_path) is None
    assert first_screen(Results(steady("jpeg", 20.0)), [], tmp_path) is None


def test_pictures_of_the_wall_are_shown(tmp_path):
    """The original, and three losses described and as the file that is best on the wall: red is in the strip."""
    rows = grid(lambda *_: -1, lambda *_: 0.1, peers=("jpeg+fec", "webp+fec"))
    colours = {"original": (0, 255, 0), "lami_go": (255, 0, 0), "jpeg+fec": (0, 0, 255), "webp+fec": (255, 0, 255)}
    wall = []
    for name, colour in colours.items():
        Image.fromarray(np.full((32, 32, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
        wall += [{"photo": "cat", "method": name, "channel": channel, "file": f"{name}.png", "bytes": 1000,
                  "psnr_db": {"webp+fec": 30.0}.get(name, 20.0), "failed": False} for channel in ERASURES]  # fmt: skip
    said(rows, tmp_path, wall)
    with Image.open(tmp_path / "figures/first.png") as picture:
        found = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 24)}
    area = found[colours["original"]]
    assert found[colours["lami_go"]] == pytest.approx(3 * area, rel=0.1)
    assert found[colours["webp+fec"]] == pytest.approx(3 * area, rel=0.1)
    assert colours["jpeg+fec"] not in found
