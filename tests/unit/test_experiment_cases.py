"""Which cases are sent, with which settings and seeds."""

import pytest
from toy_study import LOSS, SIDES, bench, study, use, write_pictures

from gocom.evaluation.experiment.cases import cases, measured
from gocom.evaluation.experiment.experiment import Experiment, Factor, erasure, option


@pytest.fixture
def sent(monkeypatch, tmp_path):
    """Experiment -> (keys, seed, settings) of each send of the first picture; nothing is really sent."""
    use(monkeypatch, study(SIDES))
    opened = bench(study(SIDES), write_pictures(tmp_path / "p"))

    def of(experiment):
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(
                opened, "job",
                lambda picture, keys, seed, **settings: found.append((keys, seed, settings)),
                raising=False,
            )  # fmt: skip
            patch.setattr(opened, "rows", lambda jobs: list(jobs) and [])
            measured(opened, experiment, opened.picture("images", 0))
        return found

    return of


def experiment(*factors, **given):
    return Experiment(name="one", title="One", sets={"images": 1}, factors=factors, **given)


def test_every_combination_is_sent_in_the_order_of_the_factors(sent):
    found = sent(experiment(option("quality", (20, 60)), option("max_rounds", (1, 2))))
    assert [keys for keys, *_ in found] == [
        {"quality": q, "max_rounds": r, "seed": None} for q in (20, 60) for r in (1, 2)
    ]
    assert found[1][2] == {"quality": 20, "max_rounds": 2}


def test_only_leaves_cases_out():
    one = experiment(option("quality", (20, 60)), option("max_rounds", (1, 2)), only=lambda k: k["quality"] > 20)
    assert [keys for keys, _ in cases(one)] == [{"quality": 60, "max_rounds": 1}, {"quality": 60, "max_rounds": 2}]


def test_without_factors_there_is_one_case(sent):
    assert sent(experiment(settings={"quality": 7})) == [({"seed": None}, 0, {"quality": 7})]


def test_a_channel_without_chance_is_sent_once(sent):
    found = sent(experiment(erasure((0, 0.1)), seeds=3))
    assert [(keys.get("seed", "own"), seed) for keys, seed, _ in found] == [
        (None, 0), ("own", 0), ("own", 1), ("own", 2),
    ]  # fmt: skip
    assert [settings["channel"] for *_, settings in found] == ["clean", *["packet_erasure:rate=0.1"] * 3]


def test_a_reverse_channel_has_chance_too(sent):
    lossy = Factor("feedback", {"clean": {}, "lossy": {"reverse_channel": "packet_erasure:rate=0.5"}})
    assert [(keys["feedback"], seed) for keys, seed, _ in sent(experiment(lossy, seeds=2))] == [
        ("clean", 0), ("lossy", 0), ("lossy", 1),
    ]  # fmt: skip


def test_later_factors_stand_over_earlier_ones_and_the_settings(sent):
    one = Factor("one", {"a": {"quality": 1, "scale": 2}})
    two = Factor("two", {"b": {"quality": 5}})
    ((_, _, settings),) = sent(experiment(one, two, settings={"quality": 9, "max_rounds": 3}))
    assert settings == {"quality": 5, "scale": 2, "max_rounds": 3}


def test_a_level_may_follow_from_the_picture_the_seed_and_what_is_known(sent):
    asked = []

    def level(given):
        asked.append((given.picture.name, given.seed, dict(given.settings)))
        return {"quality": 10 + given.seed}

    found = sent(experiment(erasure((0.1,)), Factor("fitted", {"yes": level}), seeds=2, settings={"scale": 2}))
    assert [(keys, seed, settings["quality"]) for keys, seed, settings in found] == [
        ({"rate": 0.1, "fitted": "yes"}, 0, 10), ({"rate": 0.1, "fitted": "yes"}, 1, 11),
    ]  # fmt: skip
    known = {"scale": 2, "channel": "packet_erasure:rate=0.1"}
    assert asked == [("p0", 0, known), ("p0", 1, known)]


def test_rows_say_which_case_they_are(monkeypatch, tmp_path):
    made = study(LOSS)
    use(monkeypatch, made)
    opened = bench(made, write_pictures(tmp_path / "p"))
    rows = measured(opened, LOSS, opened.picture("images", 1))
    assert [(r["set"], r["picture"], r["rate"], r["seed"]) for r in rows] == [
        ("images", "p1", 0, None), *[("images", "p1", 0.02, seed) for seed in range(3)],
    ]  # fmt: skip
    assert rows[0]["missing"] == 0 and rows[0]["psnr_db"] > 20 and rows[0]["packets"] > 10
    assert len({row["bytes"] for row in rows}) == 1 and rows[0]["bytes"] > 105 * 10
    assert all(0 <= row["missing"] < 0.5 for row in rows)
    lost = [row for row in rows if row["missing"]]
    assert lost and all(row["psnr_db"] < rows[0]["psnr_db"] for row in lost), "a file with holes is grey"


def test_a_measure_makes_its_rows_itself(monkeypatch, tmp_path):
    own = Experiment(
        name="own", title="", sets={"images": 1},
        measure=lambda bench, picture: ({"sum": 1, "at": i, "picture": f"{picture.name}+{i}"} for i in range(2)),
    )  # fmt: skip
    use(monkeypatch, study(own))
    opened = bench(study(own), write_pictures(tmp_path / "p"))
    assert measured(opened, own, opened.picture("images", 0)) == [
        {"set": "images", "picture": f"p0+{i}", "sum": 1, "at": i} for i in range(2)
    ]
