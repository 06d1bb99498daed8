"""What the study of feature_imputing makes of rows."""

from gocom.common.systems.feature_imputing import Importance, PacketOrder
from gocom.common.types import ElementCoding
from gocom.evaluation.experiment import page
from gocom.evaluation.experiment.cases import cases
from gocom.evaluation.experiment.experiment import Against
from gocom.evaluation.experiment.views import against_table, sentences
from gocom.evaluation.probes.feature_filling import FILLS, IMPUTER
from gocom.evaluation.studies import STUDIES
from gocom.evaluation.studies import feature_imputing as study

EXPERIMENTS = {one.name: one for one in study.STUDY.experiments}


def row(picture, **keys):
    return {"set": "labelled", "picture": picture, "seed": 0, "bytes": 1000, "missing": 0.3} | keys


def way_rows(case_orders=(study.SPATIAL,)):
    """The imputer is better than every fill in distance; in accuracy it is not told apart from bilinear."""
    better = {IMPUTER: (0.3, 1), "bilinear": (0.4, 1), "zeros": (0.6, 0), "mean": (0.6, 0), "biharmonic": (0.5, 0)}
    return [
        row(picture, order=order, rate=rate, way=way, distance=distance + 0.01 * place, correct=correct, agrees=1,
            psnr_db=20.0 + 0.1 * place)
        for place, picture in enumerate("abcdef")
        for order in case_orders
        for rate in study.LOSSES
        for way, (distance, correct) in better.items()
    ]  # fmt: skip


def test_the_imputer_is_said_to_beat_what_it_beats():
    (against,) = [view for view in study.IMPUTING.views if isinstance(view, Against)]
    said = {text.partition(".")[0]: text for text in sentences(against, way_rows())}
    assert list(said) == [f"imputer against {fill}" for fill in FILLS], "drawn noise was not measured"
    assert "deep-feature distance: better everywhere" in said["imputer against bilinear"]
    assert "accuracy of 1000 classes in %: not told apart everywhere" in said["imputer against bilinear"]
    assert "accuracy of 1000 classes in %: better everywhere" in said["imputer against zeros"]
    table = against_table(against, way_rows())
    assert len(table.lines) == len(FILLS) * len(study.LOSSES)


def test_names_are_those_of_the_codec():
    assert set(study.ORDER.levels) == {order.value for order in PacketOrder}
    assert set(study.CODINGS) < {coding.value for coding in ElementCoding}
    assert study.NO_MAP["importance"] == Importance.UNIFORM.value


def test_more_pictures_and_orders_where_ways_differ_least():
    sent = [keys for keys, _ in cases(study.IMPUTING)]
    assert {(keys["rate"], keys["way"]) for keys in sent if keys["order"] != study.SPATIAL} == {(0.1, IMPUTER)}
    assert {keys["rate"] for keys in sent if keys["order"] == study.SPATIAL} == {0.0, *study.LOSSES}
    assert {keys["rate"] for keys, _ in cases(study.LEAST)} == {0.0, 0.1}
    assert study.LEAST.sets["labelled"] > study.IMPUTING.sets["labelled"] > study.FILLED_ORDERS.sets["labelled"]


def test_power_has_a_region_only_where_worth_differs():
    sent = [tuple(keys.values()) for keys, _ in cases(study.POWER)]
    assert len(sent) == 3 * (5 + 4) and not [keys for keys in sent if study.ALIKE in keys and "region apart" in keys]


def test_every_claim_is_answered_or_says_why_not(tmp_path):
    assert STUDIES.get("feature_imputing") is study.STUDY
    assert {name for claim in study.CLAIMS for name in claim.experiments} == set(EXPERIMENTS)
    assert all(claim.said and claim.differs for claim in study.CLAIMS)
    page.write(study.STUDY, {"imputing": way_rows()}, tmp_path, ["measured"], "gocom eval --paper feature_imputing")
    text = (tmp_path / "README.md").read_text()
    assert "72 % semantic accuracy" in text and "imputer against bilinear" in text
    assert text.count("--experiments") >= len(EXPERIMENTS) - 1 and "--experiments imputing " not in text
    assert (tmp_path / "figures" / "imputing_loss.png").stat().st_size > 5000
