"""Sends of experiments: those of the pipeline and of the services; a study that was killed comes to the same."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_parity import stack

from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.types import FeedbackPolicy
from gocom.evaluation.experiment import study_run
from gocom.evaluation.experiment.bench import Bench
from gocom.evaluation.experiment.experiment import Study
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.measure.judge import grey_like
from gocom.evaluation.studies import STUDIES

LOSSY = "packet_erasure:rate=0.3"
ROUNDS = {"max_rounds": 2, "round_budget_bytes": 200}
FEW_STEPS = {"mask_ratio": 0.3, "num_inference_steps": 2, "caption": "a cat"}
CASES = {
    "jpeg": {"quality": 10, "max_rounds": 3},
    "feature_imputing": {"withhold": 0.2, "num_inference_steps": 2},
    "lami_go": FEW_STEPS | ROUNDS | {"feedback_policy": FeedbackPolicy.UNCERTAIN},
}


@pytest.fixture(scope="module")
def photos(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea"):
        (folder / f"{name}.png").write_bytes(png_bytes(to_uint8(photo(name, 256))))
    return folder


@pytest.fixture(scope="module")
def bench(photos):
    study = Study(
        system="lami_go", title="", sets={"images": "photos"}, experiments=(), peers=tuple(CASES),
        unseen=("masking", "mask_ratio_permille", "mask_seed", "mask_pattern"),
    )  # fmt: skip
    return Bench(study, PictureSets({"images": photos}), "cpu")


def wire(sent):
    return [item.SerializeToString() for item in sent.items]


@pytest.mark.parametrize("name", CASES)
async def test_sends_are_those_of_the_pipeline_and_of_the_services(name, bench):
    pictures = [bench.picture("images", i) for i in range(2)]
    assert [picture.name for picture in pictures] == ["astronaut", "chelsea"]
    jobs = [bench.job(p, {"arm": "A"}, LOSSY, seed=3, codec=name, **CASES[name]) for p in pictures]
    real = [
        bench.real(name).send(p.image, LOSSY, seed=3, frame_index=p.index, **CASES[name]) for p in pictures
    ]  # fmt: skip
    assert len(real[0].rounds) == CASES[name].get("max_rounds", 1)
    for job, whole in zip(jobs, real, strict=True):
        assert wire(job.sent) == wire(whole) and job.sent.bytes == whole.bytes
        assert len(job.sent.rounds) == len(whole.rounds)
        for mine, theirs in zip(job.sent.rounds, whole.rounds, strict=True):
            assert np.array_equal(mine.packet_bytes, theirs.packet_bytes)
            for one, other in zip(mine.segments, theirs.segments, strict=True):
                assert np.array_equal(one.received, other.received)
    images = [bench.images([job])[0] for job in jobs]
    wanted = [grey_like(p.image) if w.reconstruction is None else w.reconstruction.image
              for p, w in zip(pictures, real, strict=True)]  # fmt: skip
    assert all(np.array_equal(to_uint8(image), to_uint8(other)) for image, other in zip(images, wanted, strict=True))
    rows, scores = bench.rows(jobs), bench.scores(pictures, wanted)
    for row, score, whole in zip(rows, scores, real, strict=True):
        assert row["psnr_db"] == pytest.approx(score["psnr_db"], abs=1e-3), "frames of a batch differ by rounding"
        assert (row["bytes"], row["seed"], row["arm"]) == (whole.bytes.total_bytes, 3, "A")

    settings = dict(CASES[name])
    options = {key: settings.pop(key) for key in list(settings) if key in FEW_STEPS | {"quality": 0, "withhold": 0}}
    async with stack() as (client, recorder):
        await client.set_channel(LOSSY, seed=3)
        pixels = [to_uint8(picture.image) for picture in pictures]
        sending = client.send(pixels, name, options=options, seed=3, timeout_s=100, **settings)
        results = [result async for result in sending]
    # Later rounds of a frame may go between those of the next one.
    assert sorted(recorder.sent) == sorted(item for job in jobs for item in wire(job.sent))
    for result, job, image in zip(results, jobs, images, strict=True):
        assert result.bytes_total == job.sent.bytes.total_bytes
        found = to_uint8(grey_like(image)) if result.image is None else result.image
        assert np.array_equal(found, to_uint8(image))


def test_the_first_picture_is_made_once(bench, monkeypatch):
    """Sends that differ in later rounds alone share their first; another seed or option has one of its own."""
    picture, decoder = bench.picture("images", 1), bench.real().decoder
    made, reconstruct = [], decoder.reconstruct
    monkeypatch.setattr(
        decoder, "reconstruct", lambda rounds, **more: made.append(len(rounds)) or reconstruct(rounds, **more)
    )
    settings = FEW_STEPS | {"max_rounds": 2, "feedback_policy": FeedbackPolicy.UNCERTAIN}
    sends = [bench.send(picture, LOSSY, seed=8, round_budget_bytes=most, **settings) for most in (200, 400)]
    assert made == [1] and [len(sent.rounds) for sent in sends] == [2, 2]
    assert sends[0].bytes.total_bytes < sends[1].bytes.total_bytes
    bench.send(picture, LOSSY, seed=9, round_budget_bytes=200, **settings)
    bench.send(picture, LOSSY, seed=8, round_budget_bytes=200, **settings | {"num_inference_steps": 1})
    assert made == [1, 1, 1]


def test_what_arrived_alike_is_decoded_once(bench, monkeypatch):
    """Also where a header differs in what its decoder does not look at."""
    picture = bench.picture("images", 0)
    jobs = [
        bench.job(picture, {"masking": masking}, masking=masking, mask_ratio=0.0, num_inference_steps=1)
        for masking in ("none", "prm")
    ] + [bench.job(picture, {"masking": "a quarter"}, mask_ratio=0.25, num_inference_steps=1)]
    decoded, decode = [], bench.decode
    monkeypatch.setattr(bench, "decode", lambda jobs: decoded.extend(jobs) or decode(jobs))
    rows = bench.rows(jobs)
    assert len(decoded) == 2 and [row["masking"] for row in rows] == ["none", "prm", "a quarter"]
    assert rows[0]["psnr_db"] == rows[1]["psnr_db"] > rows[2]["psnr_db"]
    assert (rows[0]["missing"], rows[2]["missing"]) == (0, pytest.approx(0.25, abs=0.01))


def test_a_sampler_may_have_a_seed_of_its_own(bench):
    picture = bench.picture("images", 0)
    settings = {"mask_ratio": 0.5, "num_inference_steps": 1, "draw": "multinomial"}
    jobs = [bench.job(picture, {}, LOSSY, seed=3, sampler_seed=own, **settings) for own in (None, 3, 4)]
    same, again, other = bench.decode(jobs)
    assert np.array_equal(same, again) and not np.array_equal(same, other)
    whole = bench.real().send(picture.image, LOSSY, seed=3, sampler_seed=4, frame_index=0, **settings)
    assert np.abs(whole.reconstruction.image - other).max() < 1e-3
    assert {row["seed"] for row in bench.rows(jobs)} == {3}


# a study that was killed

STUDY = """
from gocom.evaluation.experiment.experiment import Experiment, Study, erasure, option
from gocom.evaluation.studies import STUDIES

STUDIES.add("jpeg", Study(system="jpeg", title="JPEG", sets={"images": "photos"}, experiments=(
    Experiment(name="sizes", title="", sets={"images": 5}, factors=(option("quality", (10, 50)),)),
    Experiment(name="losses", title="", sets={"images": 5}, factors=(erasure((0, 0.01)),), seeds=2),
)))
"""


@pytest.fixture
def five(tmp_path):
    folder = tmp_path / "five"
    folder.mkdir()
    y, x = np.mgrid[:96, :96]
    for i in range(5):
        pixels = np.stack([x * (i + 1), y * 2 + x, (x * y) // (i + 1)], -1).astype(np.uint8)
        (folder / f"{i}.png").write_bytes(png_bytes(pixels))
    return folder


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A study of jpeg, for this process and those that it starts."""
    (tmp_path / "killed_plugin" / "studies").mkdir(parents=True)
    (tmp_path / "killed_plugin" / "studies" / "jpeg.py").write_text(STUDY)
    monkeypatch.setenv("GOCOM_PLUGINS", "killed_plugin")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(STUDIES, "_items", {})
    monkeypatch.setattr(STUDIES, "_loaded", set())
    yield
    for name in [name for name in sys.modules if name.startswith("killed_plugin")]:
        del sys.modules[name]


def csv_files(out):
    return {path.name: path.read_bytes() for path in (out / "rows").iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_and_begun_again_it_has_the_same_rows(plugin, five, tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    study_run.run("jpeg", {"images": five}, undisturbed, device="cpu", workers=1)
    assert {name: len(rows.splitlines()) for name, rows in csv_files(undisturbed).items()} == {
        "sizes.csv": 1 + 5 * 2, "losses.csv": 1 + 5 * 3,
    }  # fmt: skip

    words = [sys.executable, "-m", "gocom.client.cli", "eval", "--paper", "jpeg", "--images", str(five)]
    words += ["--out", str(killed), "--workers", "2", "--device", "cpu", "--json"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 100
    while len(list((killed / "parts").glob("*.json"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr and process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    kept = {path.name: path.stat().st_mtime_ns for path in (killed / "parts").glob("*.json")}
    assert 2 <= len(kept) < 10 and not (killed / "rows").exists()

    for workers in (1, 2):
        out = tmp_path / f"resumed by {workers}"
        shutil.copytree(killed, out)
        study_run.run("jpeg", {"images": five}, out, device="cpu", workers=workers)
        assert all((out / "parts" / name).stat().st_mtime_ns == then for name, then in kept.items())
        assert csv_files(out) == csv_files(undisturbed)
        assert sorted(path.name for path in (out / "parts").iterdir()) == sorted(
            path.name for path in (undisturbed / "parts").iterdir()
        ), "halves of files are replaced"
