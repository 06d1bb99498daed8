"""The page of a study: every claim has what the paper says, what was found, or how to find it."""

import re
from html.parser import HTMLParser

import pytest
from toy_study import SIDES, study

from gocom.evaluation.experiment import page
from gocom.evaluation.experiment.experiment import Against, Claim, Experiment, Means, Numbers, Status, option, ours

COMMAND = "gocom eval --paper jpeg --images photos"
LATER = Experiment(name="later", title="Later", sets={"images": 1}, note="A note.")
PAIRS = Experiment(
    name="pairs", title="Pairs", sets={"images": 1}, factors=(option("quality", (20, 60)),),
    views=(Against(ours("quality", 60, (20,)), (), ("bytes",), title="More"), Means(("quality",), ("distance",))),
    findings=lambda rows: [f"{len(rows)} rows were found."],
)  # fmt: skip
CLAIMS = (
    Claim(
        names="Fig. 1", shows="sizes", said="They grow.", experiments=("sides",), differs="Other photos.",
        numbers=Numbers(("quality", "bytes"), ((20, 1000), (60, "2000 | more"))),
    ),
    Claim(names="Table II", shows="both", said="Both.", experiments=("sides", "pairs", "later"), status=Status.IN_PART),
    Claim(names="Fig. 3", shows="a street", said="Much.", differs="There is no street.", status=Status.NOT_HERE),
)  # fmt: skip
ROWS = [
    {"set": "images", "picture": f"p{i}", "quality": quality, "seed": None, "bytes": 10 * quality + i, "psnr_db": 30.0}
    for quality in (20, 60) for i in range(6)
]  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    made = study(SIDES, PAIRS, LATER, claims=CLAIMS, lead=("About `jpeg`.",), differences=(("net", "large", "none"),))
    path = page.write(made, {"sides": ROWS, "pairs": ROWS}, out, ["Machine: <one>."], COMMAND)
    assert path == out / "index.html"
    return path


@pytest.fixture(scope="module")
def text(written):
    return (written.parent / "README.md").read_text()


def section(text, title):
    (found,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found


def test_the_overview_says_where_each_claim_is_answered(text):
    lines = section(text, "What the paper shows, and where it is answered").split("\n")
    assert "| Fig. 1 | sizes | here | sides |" in lines
    assert "| Table II | both | **not measured yet** | sides, pairs, later |" in lines
    assert "| Fig. 3 | a street | cannot be had here | – |" in lines
    assert "| net | large | none |" in section(text, "What differs everywhere")


def test_a_claim_has_the_papers_words_and_numbers_beside_what_was_found(text):
    found = section(text, "Fig. 1: sizes")
    assert "Paper: They grow." in found and "What differs: Other photos." in found
    assert "The paper's numbers" in found and "| 20 | 1000 |" in found and "| 60 | 2000 \\| more |" in found
    assert "Here, `sides`: see its tables and figures." in found and "Not measured" not in found
    found = section(text, "Table II: both")
    assert "Here, `sides`: see Fig. 1." in found
    assert "Here, `pairs`: 60 against 20. bytes: +400 (+400 to +400), worse. 12 rows were found." in found


def test_a_claim_that_is_not_measured_says_so_and_how_to(text):
    assert f"**Not measured yet: {COMMAND} --experiments later measures it.**" in section(text, "Table II: both")
    found = section(text, "Experiment `later`: Later")
    assert f"**Not measured yet: {COMMAND} --experiments later measures it.**" in found and "A note." in found


def test_what_cannot_be_had_says_why(text):
    found = section(text, "Fig. 3: a street")
    assert "Why not: There is no street." in found and "Not measured" not in found and "Here" not in found


def test_an_experiment_has_its_tables_and_figures(text, written):
    found = section(text, "Experiment `sides`: Two qualities")
    assert "6 pictures of images." in found and "| 20 | 202 (" in found and "figures/sides_size.png" in found
    assert (written.parent / "figures" / "sides_size.png").is_file()
    found = section(text, "Experiment `pairs`: Pairs")
    assert "12 rows were found." in found and "### More" in found and "One minus the other. Less is better" in found
    assert "| 20 |" in found, "the table of a field that nobody has has dashes"


def test_a_view_without_rows_leaves_no_table(tmp_path):
    empty = Experiment(
        name="empty", title="Empty", sets={"images": 1}, factors=(option("quality", (20,)),),
        views=(Means(("quality",), where={"quality": 9}), Against(ours("quality", 20, (9,)))),
    )  # fmt: skip
    page.write(study(empty), {"empty": ROWS}, tmp_path, [], COMMAND)
    assert "|" not in (tmp_path / "README.md").read_text().split("Experiment `empty`")[1]


class Cells(HTMLParser):
    """Texts of all cells, and sources of all pictures."""

    def __init__(self):
        super().__init__()
        self.cells, self.pictures, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.inside = self.inside or tag in ("td", "th")
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def plain(cell):
    return re.sub(r"[\s()*`\\]", "", cell)


def test_both_pages_say_the_same(written, text):
    parser = Cells()
    parser.feed(written.read_text())
    tables = [line for line in text.split("\n") if line.startswith("|") and not set(line) <= set("|- ")]
    cells = [cell for line in tables for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert list(map(plain, parser.cells)) == list(map(plain, cells)) and len(cells) > 40
    assert len(parser.pictures) == text.count("![") == 1 and parser.pictures[0].startswith("data:image/png;base64,")
    html = re.sub(r"<[^>]+>", "", written.read_text())
    for sentence in ("Machine: &lt;one&gt;.", "About jpeg.", "Paper: Much.", f"{COMMAND} --experiments later"):
        assert sentence in html
    assert "Machine: <one>." in text and f"`{COMMAND}`" in text


def test_the_page_of_all_has_every_claim(tmp_path):
    studies = {"one": study(SIDES, PAIRS, LATER, claims=CLAIMS), "two": study(SIDES, title="The other")}
    pages = {name: tmp_path / name / "index.html" for name in studies}
    page.write_all(studies, pages, {"one": {"sides": ROWS, "pairs": ROWS}, "two": {}}, tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "| Fig. 1 | sizes | They grow. | Here, `sides`: see its tables and figures. | here | Other photos. |" in text
    assert "| Fig. 1 | a size | Bytes grow with quality. | – | **not measured yet** | – |" in text
    assert "one/index.html" in section(text, "JPEG") and "two/index.html" in section(text, "The other")
