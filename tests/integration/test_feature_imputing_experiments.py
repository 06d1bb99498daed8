"""The study of feature_imputing on two small photos: sends are the pipeline's, experiments measure what they say."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.types import Provenance
from gocom.evaluation.experiment import pictures as picture_sets
from gocom.evaluation.experiment.bench import Bench
from gocom.evaluation.experiment.cases import jobs, measured
from gocom.evaluation.experiment.experiment import Experiment, Factor, fading
from gocom.evaluation.experiment.rows import where
from gocom.evaluation.probes import draws, side_by_side
from gocom.evaluation.probes.channel_state import GAINS, Knowing
from gocom.evaluation.probes.feature_filling import EXACT, FILLS, IMPUTER
from gocom.evaluation.studies import feature_imputing as study

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOSSY = "packet_erasure:rate=0.3"
SIDE_PX = 128
CAT = 281


@pytest.fixture(scope="module")
def source(photo, tmp_path_factory):
    """A tar of two photos with imagenette's classes."""
    path = tmp_path_factory.mktemp("photos") / "labelled.tar"
    with tarfile.open(path, "w") as tar:
        for label, name in enumerate(("astronaut", "chelsea")):
            for kind, content in (("png", png_bytes(to_uint8(photo(name, SIDE_PX)))), ("cls", str(label).encode())):
                member = tarfile.TarInfo(f"{name}.{kind}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def bench(source):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_sets, "SIDE_PX", SIDE_PX)
        yield Bench(study.STUDY, picture_sets.PictureSets(dict.fromkeys(("images", "labelled"), source)), "cpu")


def cut(experiment, **levels):
    """With one seed, and only these levels of factors."""
    factors = [
        Factor(factor.name, {value: factor.levels[value] for value in levels.get(factor.name, factor.levels)})
        for factor in experiment.factors
    ]
    return replace(experiment, factors=tuple(factors), seeds=1)


def rows_of(bench, experiment, index=1, **levels):
    picture = bench.picture(next(iter(experiment.sets)), index)
    return measured(bench, cut(experiment, **levels), picture)


def test_sends_are_those_of_the_pipeline(bench, codec):
    picture = bench.picture("images", 1)
    for options in ({}, {"target_class": CAT, "roi_share": 0.2}, {"importance": "uniform", "withhold": 0.2}):
        job = bench.job(picture, {"arm": "A"}, LOSSY, seed=3, **options)
        (row,) = bench.rows([job])
        real = codec("feature_imputing").send(picture.image, LOSSY, seed=3, frame_index=picture.index, **options)
        assert [i.SerializeToString() for i in job.sent.items] == [i.SerializeToString() for i in real.items]
        (scores,) = bench.scores([picture], [real.reconstruction.image])
        assert row["psnr_db"] == pytest.approx(scores["psnr_db"], abs=1e-3)
        assert row["bytes"] == real.bytes.total_bytes and row["arm"] == "A"
        gone = (real.reconstruction.provenance[::8, ::8] != Provenance.RECEIVED).mean()
        assert row["missing"] == pytest.approx(gone, abs=0.01)


def test_seven_bits_cost_little(bench):
    quantized, exact = rows_of(bench, study.CLEAN)
    assert exact["features"] == EXACT and 0 < exact["psnr_db"] - quantized["psnr_db"] < 0.5


def test_imputing_and_filling_meet_the_same_losses(bench):
    rows = rows_of(bench, study.IMPUTING, rate=(0.0, 0.1))
    for order, rate in ((order, rate) for order in study.ORDER.levels for rate in (0.0, 0.1)):
        found = where(rows, {"order": order, "rate": rate})
        if rate == 0 and order != study.SPATIAL:
            assert not found
            continue
        drawn = {study.DRAWN} if order == study.SPATIAL else set()
        assert {row["way"] for row in found} == {IMPUTER, *FILLS, *drawn}
        assert len({row["missing"] for row in found}) == 1 and (found[0]["missing"] > 0) == (rate > 0)
        assert len({row["distance"] for row in found}) == (len(found) if rate else 1)
    clean = where(rows, {"rate": 0.0})
    assert clean[0]["psnr_db"] > max(row["psnr_db"] for row in where(rows, {"rate": 0.1}))


def test_orders_and_their_fills_are_measured(bench):
    rows = rows_of(bench, study.ORDERS, rate=(0.48,))
    assert {row["order"] for row in rows} == set(study.ARMS) and len({row["psnr_db"] for row in rows}) == len(rows)
    rows = rows_of(bench, study.FILLED_ORDERS, rate=(0.5,), order=(study.RANDOM,))
    assert {row["way"] for row in rows} == {IMPUTER, *FILLS}


def test_the_transmitter_knows_the_gains_that_the_channel_draws(bench):
    picture, known = bench.picture("labelled", 0), []

    def gains(asked):
        level = Knowing(GAINS)(asked)
        known.append(np.asarray(level["csi"].snr_db))
        return level

    few = Experiment(
        name="gains", title="Gains", sets={"labelled": 1}, seeds=3,
        factors=(fading((6,)), Factor("known", {GAINS: gains}), Factor("power", {"equal": {}, "wise": study.BY_WORTH})),
    )  # fmt: skip
    plain = bench.send(picture).rounds[0].packets_sent
    *_, last = found = list(jobs(bench, few, picture))
    assert len(found) == 2 * 3 and all(len(snr_db) == plain for snr_db in known)
    assert all(len(set(snr_db)) == -(-plain // 4) for snr_db in known), "four packets share a gain"
    equal = [(job, snr_db) for job, snr_db in zip(found, known, strict=True) if job.keys["power"] == "equal"]
    lost = [np.asarray(job.sent.rounds[0].packet_bytes) < 0 for job, _ in equal]
    met, missed = (np.concatenate([snr_db[gone == which] for gone, (_, snr_db) in zip(lost, equal, strict=True)])
                   for which in (False, True))  # fmt: skip
    assert len(met) and len(missed) and met.mean() > missed.mean() + 3
    powers = np.concatenate([np.asarray(item.batch.power) for item in last.sent.items if item.HasField("batch")])
    assert powers.mean() == pytest.approx(1, abs=1e-3) and powers.std() > 0.1


def test_powers_are_of_mean_one_and_by_importance(bench):
    rows = rows_of(bench, study.POWER, snr_db=(6,))
    assert len(rows) == 9 and all(0 < row["missing"] < 1 for row in rows)
    sizes = {row["power"]: row["bytes"] for row in where(rows, {"layout": study.WHOLE})}
    assert sizes[study.WORTH] > sizes[study.EQUAL], "powers are on the wire"


def test_steps_have_their_seconds(bench):
    one, many = rows_of(bench, study.TIME, steps=(1, 8), start=(draws.NO_NOISE,))
    assert 0 < one["seconds"] < many["seconds"] and one["distance"] != many["distance"]


def test_draws_differ_and_the_default_does_not(bench):
    rows = rows_of(bench, study.INVENTION, rate=(0.48,))
    drawn = where(rows, {"start": draws.NOISE})
    assert len(drawn) == draws.DRAWS and len(rows) == 1 + draws.DRAWS
    assert {row["seed"] for row in drawn} == {0} and len({row["psnr_db"] for row in drawn}) == len(drawn)
    for field in draws.BETWEEN[1:]:
        assert {row[field] for row in drawn} == {drawn[0][field]} and drawn[0][field] > 0
    complete = where(rows_of(bench, study.INVENTION, rate=(0.0,)), {"start": draws.NOISE})
    assert [row[draws.BETWEEN[2]] for row in complete] == [0] * draws.DRAWS
    assert [row[draws.BETWEEN[0]] for row in complete] == [100] * draws.DRAWS


def test_tasks_judge_either_half(bench):
    rows = rows_of(bench, study.TASKS, index=0, snr_db=(8,))
    assert len(rows) == 2 * 4
    for power in (study.MAP_A, study.MAP_B, study.SAME, study.EQUAL):
        one, other = where(rows, {"power": power})
        assert [one["judged"], other["judged"]] == [side_by_side.LEFT, side_by_side.RIGHT]
        assert one["bytes"] == other["bytes"] and one["psnr_db"] != other["psnr_db"]


def test_the_map_of_a_class_lies_on_the_half_that_shows_it(bench):
    both = side_by_side.pair(bench, bench.picture("labelled", 0))
    assert both.image.shape == (3, SIDE_PX, 2 * SIDE_PX) and both.right.name == "chelsea"
    for side, picture in enumerate((both.left, both.right)):
        session = bench.session(both, target_class=picture.original.guess, roi_share=0.25)
        middle = session.region["roi_left"] + session.region["roi_columns"] / 2
        assert (middle > SIDE_PX // 8) == bool(side)


def test_entropy_codes_save_bytes(bench):
    rows = rows_of(bench, study.CODING, rate=(0.0, 0.3))
    assert len(rows) == 3 * (3 + 1)
    size = {row["coding"]: row["bytes"] for row in where(rows, {"order": study.SPATIAL, "rate": 0.0})}
    assert size["range"] < size["huffman"] < size["fixed"]


def test_peers_and_repair_keep_to_their_bytes(bench):
    rows = rows_of(bench, study.PEERS, rate=(0.0, 0.48))
    methods = (study.OURS, study.LAMI_GO, study.FILE, study.FEC)
    for codec in (study.OURS, study.LAMI_GO):
        (own,) = where(rows, {"bytes_of": codec, "method": codec, "rate": 0.0})
        within = where(rows, {"bytes_of": codec})
        assert {row["method"] for row in within} == set(methods)
        if codec == study.OURS:
            assert all(0.5 * own["bytes"] < row["bytes"] <= own["bytes"] for row in within)
    rows = rows_of(bench, study.PROTECTION, rate=(0.3,))
    (plain,) = where(rows, {"repair": study.NONE})
    assert len(rows) == 3 and all(0.8 * plain["bytes"] < row["bytes"] <= plain["bytes"] for row in rows)
