"""Studies as work: names of tasks follow from what they depend on; runs of studies that cannot be are refused."""

import csv
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import pytest
from toy_study import LOSS, SIDES, study, use, write_pictures
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.systems import SYSTEMS
from gocom.evaluation import commands
from gocom.evaluation.experiment import study_run, study_work
from gocom.evaluation.experiment.experiment import Claim, Factor, Means, option
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.experiment.study_work import StudyWork
from gocom.evaluation.studies import STUDIES


@dataclass(frozen=True)
class Sampler:
    steps: int = 3


@pytest.fixture
def photos(tmp_path):
    return write_pictures(tmp_path / "photos")


@pytest.fixture
def digest(monkeypatch, photos):
    """(experiment, study's other fields) -> digest of the experiment."""

    def of(experiment=SIDES, source=photos, system="jpeg", **more):
        made = replace(study(experiment, claims=()), system=system, **more)
        use(monkeypatch, made, system)
        return StudyWork(system, {"images": source}).digest(experiment)

    return of


def level(asked):
    return {"quality": 20}


def other_level(asked):
    return {"quality": 60}


def few(keys):
    return keys["quality"] < 40


def missing(sent):
    return 0.0


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"scale": 2}},
        {"factors": (option("quality", (20, 61)),)},
        {"factors": (option("scale", (20, 60)),)},
        {"seeds": 2},
        {"only": few},
        {"factors": (Factor("quality", {20: level, 60: level}),)},
    ],
)
def test_what_is_sent_changes_the_digest(digest, changed):
    assert digest() == digest()
    assert digest(replace(SIDES, views=(), **changed)) != digest()


def test_functions_count_by_their_names_and_what_they_are_given(digest):
    def of(function):
        return digest(replace(SIDES, factors=(Factor("quality", {20: function}),)))

    assert len({of(level), of(other_level), of(partial(level, a=1)), of(partial(level, a=2))}) == 4
    assert of(partial(level, a=1)) == of(partial(level, a=1))
    # A function that leaves all cases is none.
    assert digest(replace(SIDES, only=lambda keys: True)) == digest()


def test_nets_sampler_pictures_and_system_change_the_digest(digest, photos, monkeypatch, tmp_path):
    plain = digest()
    assert digest(sampler=Sampler()) != plain != digest(sampler=Sampler(4)) != digest(sampler=Sampler())
    assert digest(missing=missing) != plain
    assert digest(system="webp") != plain
    assert digest(source=write_pictures(tmp_path / "others", seed=1)) != plain
    assert digest(source=write_pictures(tmp_path / "more", count=4)) != plain
    assert digest(source=write_pictures(tmp_path / "same")) == plain
    monkeypatch.setattr(study_work, "fingerprint", lambda name: b"1" * 32)
    with_net = digest(peers=("lami_go",))
    assert with_net != plain
    monkeypatch.setattr(study_work, "fingerprint", lambda name: b"2" * 32)
    assert SYSTEMS.get("lami_go").knowledge and digest(peers=("lami_go",)) != with_net


@pytest.mark.parametrize(
    "shown",
    [
        {"title": "Another"},
        {"note": "In other words"},
        {"views": (Means(("quality",)),)},
        {"findings": lambda rows: ["found"]},
        {"sets": {"images": 2}},
    ],
)
def test_what_is_only_shown_does_not(digest, shown):
    assert digest(replace(SIDES, **shown)) == digest()


def test_the_order_of_a_set_does_not_matter(digest):
    """It is another one in each process: names of tasks would never be found again."""
    one, other = frozenset(["c", "a", "b"]), {"b", "a", "c"}
    assert digest(replace(SIDES, settings={"x": one})) == digest(replace(SIDES, settings={"x": other}))
    assert study_work._plain(one) == ["a", "b", "c"]


def test_tasks_are_named_uniquely_and_have_as_many_cases_as_are_sent(monkeypatch, photos):
    use(monkeypatch, study(SIDES, LOSS, replace(LOSS, name="some", only=lambda keys: keys["rate"] == 0)))
    work = StudyWork("jpeg", {"images": photos, "useless": photos})
    tasks = work.tasks()
    assert len({task.name for task in tasks}) == len(tasks) == 3 + 2 + 2
    assert [task.cases for task in tasks] == [2] * 3 + [6] * 2 + [3] * 2
    assert [(task.experiment, task.index) for task in tasks[3:5]] == [("loss", 0), ("loss", 1)]
    assert all(task.name.replace("-", "").replace("_", "").isalnum() for task in tasks)
    assert list(work.record()) == ["packages"]
    some = StudyWork("jpeg", {"images": photos}, ["loss"], limit=1)
    assert [task.name for task in some.tasks()] == [tasks[3].name]
    again = pickle.loads(pickle.dumps(some))
    assert again.tasks() == some.tasks() and list(again.sources) == ["images"]


def test_a_process_that_reads_other_pictures_refuses(monkeypatch, photos):
    """Rows would be kept under the digest of those that the run began with."""
    use(monkeypatch, study(SIDES))
    work = StudyWork("jpeg", {"images": photos})
    (first, *_), again = work.tasks(), pickle.loads(pickle.dumps(work))
    assert len(again.worker("cpu").run(first).rows) == 2
    (photos / "p0.png").write_bytes((photos / "p1.png").read_bytes())
    with pytest.raises(InvalidInput, match="images: .* has other pictures or nets than the run began with"):
        pickle.loads(pickle.dumps(work)).worker("cpu").run(first)


def test_the_opposite_picture_does_not_depend_on_the_limit(photos):
    whole, two = (PictureSets({"images": photos}, limit) for limit in (None, 2))
    assert [whole.opposite("images", i) for i in range(3)] == [two.opposite("images", i) for i in range(3)] == [2, 0, 1]


def run(photos, out, *, name="jpeg", sets=("images",), **more):
    return study_run.run(name, dict.fromkeys(sets, photos), out, device="cpu", **more)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"name": "jpg"}, UnknownName, "paper: no 'jpg'; there are all, jpeg"),
        ({"sets": ()}, InvalidInput, "paper: jpeg also needs --images (photos)"),
        ({"sets": ("images", "street")}, InvalidInput, "street: jpeg has no use for it; it takes images"),
        ({"experiments": ["side"]}, UnknownName, "experiments: no 'side'; there are loss, sides"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name_with_the_choices(monkeypatch, photos, tmp_path, given, error, said):
    use(monkeypatch, study(SIDES, LOSS))
    with pytest.raises(error) as raised:
        run(photos, tmp_path / "out", **given)
    assert str(raised.value) == said and not (tmp_path / "out").exists()


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_measures_what_is_missing(monkeypatch, photos, tmp_path):
    use(monkeypatch, study(SIDES, LOSS))
    out = tmp_path / "out"
    assert run(photos, out, experiments=["sides"]) == out / "index.html"
    assert [path.name for path in (out / "rows").iterdir()] == ["sides.csv"]
    found = rows(out / "rows" / "sides.csv")
    assert [(r["picture"], r["quality"]) for r in found] == [(f"p{i}", q) for i in range(3) for q in ("20", "60")]
    assert all(float(a["psnr_db"]) < float(b["psnr_db"]) for a, b in zip(found[::2], found[1::2], strict=True))
    parts = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    run(photos, out)
    assert all(path.stat().st_mtime_ns == then for path, then in parts.items())
    assert len(list((out / "parts").iterdir())) == 5 and len(rows(out / "rows" / "loss.csv")) == 2 * 4
    text = (out / "README.md").read_text()
    assert "Not measured yet" not in text and "Sets: images of photos." in text
    # A view or a title that changes writes the page anew, and measures nothing.
    use(monkeypatch, study(replace(SIDES, title="Renamed"), LOSS))
    monkeypatch.setattr(study_work, "measured", lambda *arguments: pytest.fail("it was measured before"))
    run(photos, out)
    assert "Experiment `sides`: Renamed" in (out / "README.md").read_text()


def test_all_runs_every_study_with_its_own_sets(monkeypatch, photos, tmp_path):
    webp = replace(
        study(SIDES, claims=(Claim(names="T", shows="s", said="w", experiments=("sides",)),)), system="webp", title="W"
    )
    use(monkeypatch, study(LOSS))
    monkeypatch.setitem(STUDIES._items, "webp", webp)
    page = run(photos, tmp_path, name="all", experiments=["sides"], limit=1)
    assert page == tmp_path / "index.html"
    assert rows(tmp_path / "webp" / "rows" / "sides.csv") and not list((tmp_path / "jpeg").glob("rows/*"))
    text = page.with_name("README.md").read_text()
    assert "## JPEG" in text and "## W" in text and "| T | s | w | Here, `sides`: " in text
    assert (
        "gocom eval --paper jpeg --images photos --count 1 --experiments loss"
        in (tmp_path / "jpeg" / "README.md").read_text()
    )


def test_pictures_that_cannot_be_read_are_told(monkeypatch, photos, tmp_path):
    use(monkeypatch, study(SIDES))
    (photos / "p9.png").write_bytes(b"no picture")
    told = []
    run(photos, tmp_path / "out", left_out=told.append)
    (reason,) = told
    assert "p9.png" in reason and len(rows(tmp_path / "out" / "rows" / "sides.csv")) == 3 * 2


# the command


def gocom_eval(*words):
    done = CliRunner().invoke(app, ["eval", *map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--paper", "jpg"], "paper: no 'jpg'; there are all, jpeg"),
        (["--paper", "jpeg"], "paper: jpeg also needs --images (photos)"),
        (["--paper", "jpeg", "--images", "{}", "--labelled", "{}"], "labelled: jpeg has no use for it"),
        (
            ["--paper", "jpeg", "--images", "{}", "--experiments", "x,sides"],
            "experiments: no 'x'; there are loss, sides",
        ),
        (
            ["--paper", "jpeg", "--images", "{}", "--rates", "1"],
            "rates: has no meaning with --paper, which takes count,",
        ),
        (["--paper", "all", "--images", "{}", "--services"], "services: has no meaning with --paper"),
        (["--images", "{}", "--experiments", "sides"], "experiments: is for --paper"),
    ],
)
def test_options_that_do_not_go_together_are_refused(monkeypatch, photos, words, said):
    use(monkeypatch, study(SIDES, LOSS))
    code, output = gocom_eval(*(word.format(photos) for word in words))
    assert code == 2 and said in output


def test_the_command_runs_a_study_and_fails_where_a_picture_was_left_out(monkeypatch, photos, tmp_path):
    use(monkeypatch, study(SIDES, LOSS))
    words = ("--paper", "jpeg", "--images", photos, "--experiments", "sides, loss", "--workers", 1, "--device", "cpu")
    monkeypatch.chdir(tmp_path)
    code, output = gocom_eval(*words, "--count", 1)
    assert code == 0 and output.endswith("out/paper/jpeg/index.html")
    assert len(rows(tmp_path / "out" / "paper" / "jpeg" / "rows" / "sides.csv")) == 2
    (photos / "p9.png").write_bytes(b"no picture")
    code, output = gocom_eval(*words, "--json")
    assert code == 1 and output.count("left out: ") == 1 and "p9.png" in output
    assert '{"page": "out/paper/jpeg/index.html"}' in output


def test_the_help_names_our_studies_without_torch():
    code = "import sys, gocom.evaluation.commands; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(commands._STUDIES) <= set(STUDIES)
