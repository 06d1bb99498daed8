"""The feature_imputing study on two photos: its sends are the pipeline's, its parts measure what they say."""

from dataclasses import fields, replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gocom.common.csi import CsiKind
from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.systems.feature_imputing import FeatureImputingOptions
from gocom.common.types import Goal, Provenance
from gocom.evaluation.feature_imputing import __main__ as command
from gocom.evaluation.feature_imputing import coding, imputing, invention, peers, power, protection, tasks
from gocom.evaluation.feature_imputing.counts import Counts
from gocom.evaluation.feature_imputing.study import STUDY
from gocom.evaluation.feature_imputing.world import World
from gocom.evaluation.study.tables import where

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LOSSY = "packet_erasure:rate=0.3"
FEW = Counts(**{f.name: 1 if f.name.endswith("seeds") else 2 for f in fields(Counts)})


@pytest.fixture(scope="module")
def photos(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea"):
        (folder / f"{name}.png").write_bytes(png_bytes(to_uint8(photo(name, 128))))
    return folder


@pytest.fixture(scope="module")
def world(photos):
    return World(dict.fromkeys(("images", "labelled"), photos), device="cpu")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    for module in (coding, imputing, invention, peers, power, protection, tasks):
        monkeypatch.setattr(module, "COUNTS", FEW)


def test_sends_are_those_of_the_pipeline(world, codec):
    picture = world.pictures("images", 2)[1]
    for options in ({}, {"target_class": 281, "roi_share": 0.2}, {"importance": "uniform", "withhold": 0.2}):
        job = world.job(picture, {"arm": "A"}, LOSSY, seed=3, **options)
        (row,) = world.rows([job])
        real = codec("feature_imputing").send(picture.image, LOSSY, seed=3, frame_index=picture.index, **options)
        assert [i.SerializeToString() for i in job.sent.items] == [i.SerializeToString() for i in real.items]
        (scores,) = world.judge.scores([picture.original], [real.reconstruction.image])
        assert row["psnr_db"] == pytest.approx(scores["psnr_db"], abs=1e-3)
        assert row["bytes"] == real.bytes.total_bytes and row["arm"] == "A"
        gone = (real.reconstruction.provenance[::8, ::8] != Provenance.RECEIVED).mean()
        assert row["missing"] == pytest.approx(gone, abs=0.01)


def test_imputing_and_filling_meet_the_same_losses(world, monkeypatch):
    monkeypatch.setattr(imputing, "RATES", (0.3,))
    monkeypatch.setattr(imputing, "SETS", ("images",))
    rows = imputing.measure(world)
    for order in imputing.ORDERS:
        found = where(rows, order=order, rate=0.3, picture="chelsea")
        assert {row["way"] for row in found} == set(imputing.WAYS) - ({imputing.DRAWN} if order != "spatial" else set())
        assert len({row["missing"] for row in found}) == 1 and 0.1 < found[0]["missing"] < 0.6
        assert len({row["distance"] for row in found}) == len(found)
    (clean,) = where(rows, way=imputing.CLEAN, picture="chelsea")
    assert clean["psnr_db"] > max(row["psnr_db"] for row in where(rows, picture="chelsea", rate=0.3))


def test_the_transmitter_knows_the_gains_that_the_channel_draws(world):
    picture = world.pictures("images", 1)[0]
    plain = world.send(picture, "clean", seed=0).rounds[0].packets_sent
    kind = CsiKind.INSTANTANEOUS.value
    known = power.channel_state(power.CHANNEL.format(snr_db=6), 2, picture.index, plain, kind)
    assert len(known.snr_db) == plain and len(set(known.snr_db)) == -(-plain // 4)
    job = power.allocated(world, picture, {}, 6, 2, kind, power.EQUAL, plain)
    (message,) = job.sent.rounds
    lost = np.asarray(message.packet_bytes) < 0
    assert lost.any() and not lost.all()
    snr = np.asarray(known.snr_db)
    assert snr[~lost].mean() > snr[lost].mean() + 3
    wise = power.allocated(world, picture, {}, 6, 2, kind, power.SEMANTIC, plain)
    powers = np.concatenate([np.asarray(item.batch.power) for item in wise.sent.items if item.HasField("batch")])
    assert powers.mean() == pytest.approx(1, abs=1e-3) and powers.std() > 0.1


def test_draws_differ_and_the_default_does_not(world, monkeypatch):
    monkeypatch.setattr(invention, "RATES", (0.5,))
    rows = invention.measure(world)
    drawn = where(rows, start=invention.DRAWN)
    assert len(drawn) == 2 * FEW.invention_draws and all(row["spread"] > 0 and row["apart"] > 0 for row in drawn)
    assert {row["seed"] for row in drawn} == {0} and len({row["psnr_db"] for row in drawn}) == len(drawn)
    assert "drawn noise" in invention.report(rows)


def test_peers_and_repair_keep_to_their_bytes(world, monkeypatch):
    monkeypatch.setattr(peers, "RATES", (0.0, 0.48))
    monkeypatch.setattr(protection, "RATES", (0.3,))
    rows = peers.measure(world)
    assert {row["method"] for row in rows} == set(peers.METHODS)
    assert all(row["bytes"] <= row["budget"] for row in where(rows, at=peers.OWN))
    assert "| feature_imputing's own | jpeg2000+fec |" in peers.report(rows).replace("| 0.48 ", "| ")
    assert {name for name in peers.METHODS if where(rows, at=peers.OWN, rate=0.48, method=name)} == set(peers.METHODS)
    rows = protection.measure(world)
    for picture in ("astronaut", "chelsea"):
        (plain,) = where(rows, picture=picture, repair=protection.NONE)
        assert all(row["bytes"] <= plain["bytes"] for row in where(rows, picture=picture))


def test_tasks_judge_either_half(world, monkeypatch):
    monkeypatch.setattr(tasks, "SNRS_DB", (8,))
    chosen = [
        replace(picture, original=replace(picture.original, label=picture.original.guess))
        for picture in world.pictures("labelled", 2)
    ]
    monkeypatch.setattr(world, "pictures", lambda name, count: chosen)
    rows = tasks.measure(world)
    assert len(rows) == 2 * 2 * len(tasks.ARMS)
    for name in tasks.ARMS:
        one, other = (where(rows, map=name, task=task, picture="chelsea") for task in (tasks.A, tasks.B))
        assert one[0]["bytes"] == other[0]["bytes"] and one[0]["psnr_db"] != other[0]["psnr_db"]
    both = np.concatenate([picture.image for picture in chosen], axis=2)
    for side, picture in enumerate(chosen):
        options = FeatureImputingOptions(target_class=picture.original.label, roi_share=0.25)
        box = world.encoder.open(world.encoder.analyse(both), Goal(options)).region
        middle = box["roi_left"] + box["roi_columns"] / 2
        assert (middle > 32) == bool(side), "the map of a class lies on the half that shows it"
    assert tasks.B in tasks.report(rows)


def test_a_study_end_to_end(photos, world, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "STUDY", replace(STUDY, make_world=lambda *arguments: world))
    monkeypatch.setattr(coding, "RATES", (0.0, 0.3))
    app = command.typer.Typer()
    app.command()(command.main)
    sources = ["--images", str(photos), "--labelled", str(photos), "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(app, [*sources, "--parts", "coding"])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "README.md").read_text()
    assert "python -m gocom.evaluation.feature_imputing --images" in text and "## Entropy coding of each packet" in text
    assert "| fixed | spatial |" in text and CliRunner().invoke(app, [*sources, "--parts", "nosuch"]).exit_code == 2


def test_more_pictures_and_orders_where_ways_differ_least(world, monkeypatch):
    monkeypatch.setattr(imputing, "SETS", ("images",))
    monkeypatch.setattr(imputing, "COUNTS", Counts(imputing_least=9, imputing_spatial=4, imputing_others=2))
    monkeypatch.setattr(world, "pictures", lambda name, count: list(range(count)))
    asked = []
    monkeypatch.setattr(imputing, "_of_picture", lambda world, picture, rates: asked.append(rates) or [])
    imputing.measure(world)
    spatial, *others = ([len(rates[order]) for rates in asked] for order in imputing.ORDERS)
    assert sorted(spatial) == [1] * 5 + [3] * 4
    for counts in others:
        assert sorted(counts) == [0] * 5 + [1] * 2 + [3] * 2
        assert all(few <= many for few, many in zip(counts, spatial, strict=True))
