"""Tables, plots and pages of all studies: what they write from any content."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from gocom.evaluation.report import plots
from gocom.evaluation.report.page import Figure, FirstScreen, Section, write_page
from gocom.evaluation.report.plots import Bars, Line, Panel, Picture, Tiles, plot
from gocom.evaluation.report.tables import Mark, Table, to_markdown, words

TABLE = Table(
    "A `b` <c>", ("A note.",), ("name", "PSNR"),
    (("x|y", Mark("20.00 (19.00 to 21.00)", "best")), ("z", Mark("late", "classical"))),
)  # fmt: skip


def test_an_interval_in_words():
    assert words((1.0, 0.5, 1.5), 1, sign=True) == "+1.0 (+0.5 to +1.5)"
    assert words((-0.001, -0.004, 0.004), 2, sign=True) == "+0.00 (+0.00 to +0.00)"
    assert words((3.0, -math.inf, math.inf)) == "3.00 (one picture)"
    assert words(None) == "–" and words((math.nan,) * 3) == "–"


def test_a_table_as_markdown():
    assert to_markdown(TABLE) == (
        "### A `b` <c>\n\nA note.\n\n| name | PSNR |\n| - | - |\n| x\\|y | **20.00 (19.00 to 21.00)** |\n| z | late |\n"
    )
    assert to_markdown(Table("", (), ("a",), ())) == "| a |\n| - |\n"


class Reader(HTMLParser):
    """Tags that are open, all that would be fetched, and the text."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.anchors, self.text = [], [], {}, ""

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        given = dict(attrs)
        self.anchors |= {given["id"]: tag} if "id" in given else {}
        links = [value for name, value in attrs if name in ("src", "href")]
        self.fetched += [link for link in links if not link.startswith(("data:image/png;base64,", "#"))]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "figures").mkdir()
    png = tmp_path / "figures/a.png"
    Image.new("RGB", (4, 4)).save(png)
    figure = Figure(png, "A figure", ("What it shows.",))
    sections = [
        Section("First & <last>", ("Some `code` & text.",), (TABLE,), (figure,), "first", note="Missing."),
        Section("Below", tables=(TABLE,), level=3, folded=True),
    ]
    path = write_page(tmp_path, "A <title>", ["A lead."], sections, FirstScreen(("One.", "Two.", "Three."), figure))
    return path.read_text("utf-8"), (tmp_path / "README.md").read_text("utf-8")


def test_a_page_needs_nothing_else(page):
    reader = Reader()
    reader.feed(page[0])
    assert reader.open == [] and reader.fetched == [] and "<script" not in page[0]
    assert page[0].count("data:image/png;base64,") == 2 and reader.anchors == {"first": "h2"}
    assert 'href="#first"' in page[0]


def test_a_page_has_all_that_it_is_given(page):
    html, readme = page
    reader = Reader()
    reader.feed(html)
    body = reader.text.rpartition("A <title>")[2]  # the window's title comes before
    shown = ["One.", "Two.", "Three.", "A figure", "What it shows.", "A lead.", "First & <last>"]
    places = [body.index(text) for text in shown]
    assert places == sorted(places)
    for text in (*shown, "Missing.", "A note."):
        assert text in body and text in readme, text
    assert "<code>code</code> &amp; text" in html and '<td class="best">20.00<small>19.00 to 21.00</small></td>' in html
    assert '<p class="bad">Missing.</p>' in html and "<details" in html
    assert readme.startswith("# A <title>\n\nOne.\n\nTwo.") and "![A figure](figures/a.png)" in readme
    assert re.search(r"^### Below\n\n#### A `b`", readme, re.MULTILINE) and "**Missing.**" in readme


def test_a_page_without_anything(tmp_path):
    text = write_page(tmp_path / "new", "Empty", (), ()).read_text("utf-8")
    Reader().feed(text)
    assert "<h1>Empty</h1>" in text and 'class="first"' not in text
    assert (tmp_path / "new/README.md").read_text("utf-8") == "# Empty\n"


LINE = Line("a", [1, 2], [1.0, 2.0], [(0.5, 1.5), (-math.inf, math.inf)])


def drawn(path):
    with Image.open(path) as picture:
        return dict((colour, count) for count, colour in picture.convert("RGB").getcolors(1 << 24)), picture.size


def test_every_kind_of_panel_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "DPI", 60)
    curves = Panel("x", "y", [LINE, Line("b", [1, 2], [2.0, 1.0], color="#ff0000")], level=(1.5, "goal"), log_x=True,
                   ticks=([1, 2], ["one", "two"]))  # fmt: skip
    bars = Bars("bytes", ["m", "n"], {"header": [1, 1], "file": [5, 9]}, [((6, 5, 7), "6"), (None, "10")])
    tiles = Tiles(["0 %", "5 %"], ["r"], [[Mark("+1", "semantic"), None]], "map")
    red = Picture(np.full((8, 8, 3), (200, 0, 0), np.uint8), "above", "beside", "below")
    plot([[curves, curves], [bars, tiles], [red, Picture(None), red]], "Everything", tmp_path / "all.png")
    found, (width, height) = drawn(tmp_path / "all.png")
    assert width == pytest.approx(60 * 10.8, abs=2) and height > 300
    assert found[(200, 0, 0)] > 1.8 * found[(127, 127, 127)] > 1000  # two pictures, and one that never came
    assert found[(0xF2, 0xB9, 0x8F)] > 500 and found[(255, 0, 0)] > 100


def test_a_label_keeps_its_colour_and_files_are_the_same(tmp_path):
    panels = [[Panel("x", "y", [LINE]), Panel("x", "z", [Line("b", [1], [1.0]), LINE])]]
    for name in ("one.png", "two.png"):
        plot(panels, "", tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    found, _ = drawn(tmp_path / "one.png")
    first, second = ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2))  # of the palette, found as near as its own palette is
    near = [sum(n for c, n in found.items() if np.abs(np.subtract(c, of)).max() < 12) for of in (first, second)]
    assert near[0] > near[1] > 20  # two lines of a, a point of b
