"""The lami_go study on two photos: its sends are the pipeline's, its files are there, and it goes on where it ended."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.pipeline import sampler_generator
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import MaskingPolicy, TSchedule
from gocom.common.types import FeedbackPolicy, LinkSettings
from gocom.evaluation.lami_go import __main__ as study
from gocom.evaluation.lami_go import erasure, mixture, ratio
from gocom.evaluation.lami_go.budgets import AtOnce, fit
from gocom.evaluation.lami_go.counts import ERASURE, Counts
from gocom.evaluation.lami_go.study import STUDY
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.measure.judge import Judge

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def photos(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea"):
        (folder / f"{name}.png").write_bytes(png_bytes(to_uint8(photo(name, 256))))
    return folder


@pytest.fixture(scope="module")
def world(photos):
    return World(dict.fromkeys(("images", "labelled", "street"), photos), device="cpu")


def test_sends_are_those_of_the_pipeline(world, codec):
    picture = world.pictures("images", 2)[1]
    settings = {"mask_ratio": 0.3, "num_inference_steps": 2, "caption": "a cat"}
    job = world.job(picture, {}, ERASURE, seed=3, **settings)
    (first,) = world.decode([job])
    settings |= {"max_rounds": 2, "round_budget_bytes": 200, "feedback_policy": FeedbackPolicy.UNCERTAIN}
    later = world.job(picture, {"arm": "A"}, ERASURE, seed=3, first=first, **settings)
    (row,) = world.rows([later])
    real = codec("lami_go").send(picture.image, ERASURE, seed=3, frame_index=picture.index, **settings)
    assert [i.SerializeToString() for i in later.sent.items] == [i.SerializeToString() for i in real.items]
    assert len(real.rounds) == 2 and row["bytes"] == real.bytes.total_bytes and row["arm"] == "A"
    (scores,) = world.judge.scores([picture.original], [real.reconstruction.image])
    assert row["psnr_db"] == pytest.approx(scores["psnr_db"], abs=1e-3)


def test_what_is_the_same_is_decoded_once(world, monkeypatch):
    picture = world.pictures("images", 1)[0]
    jobs = [
        world.job(picture, {"interleave": interleave}, "clean", link=LinkSettings(interleave=interleave), **options)
        for options in ({"mask_ratio": 0.0}, {"masking": "prm", "mask_ratio": 0.25, "num_inference_steps": 1})
        for interleave in (True, False)
    ]
    decoded = []
    decode = world.decode
    monkeypatch.setattr(world, "decode", lambda jobs: decoded.extend(jobs) or decode(jobs))
    rows = world.rows(jobs)
    assert len(decoded) == 2
    assert [row["interleave"] for row in rows] == [True, False] * 2
    assert rows[0]["psnr_db"] == rows[1]["psnr_db"] > rows[2]["psnr_db"] == rows[3]["psnr_db"]
    assert rows[0]["bytes"] != rows[1]["bytes"]


def test_everything_at_once_spends_its_budget(world):
    picture = world.pictures("images", 1)[0]
    whole = world.send(picture, "clean", seed=0, masking="none").bytes.total_bytes
    at_once = AtOnce(world, picture)
    for budget in (700, 1000, whole + 300, whole + 800):
        options = at_once.within(budget)
        spent = world.send(picture, "clean", seed=0, **options).bytes.total_bytes
        assert budget - 130 < spent <= budget
        assert (options["mask_ratio"] > 0) == (budget < whole)
        assert ("repair_overhead" in options) == (budget > whole)
    assert at_once.within(10)["mask_ratio"] == 0.9


@pytest.mark.parametrize("policy", [MaskingPolicy.PRM, MaskingPolicy.EBM])
def test_fitted_options_are_what_the_budget_gives(world, policy):
    picture = world.pictures("images", 1)[0]
    options = fit(world, picture, policy, 1000)
    fitted = world.send(picture, "clean", seed=0, **options)
    budgeted = world.send(picture, "clean", seed=0, masking=policy.value, mask_ratio=0.0, budget=1000)
    packets = [[item.SerializeToString() for item in sent.items[1:]] for sent in (fitted, budgeted)]
    assert packets[0] == packets[1]
    # A mask that follows from the options is in the opening of the session; one that a budget chose is in the header.
    said = 9 if policy is MaskingPolicy.PRM else 0
    assert budgeted.bytes.total_bytes - fitted.bytes.total_bytes == said
    assert 980 < budgeted.bytes.total_bytes <= 1000


def test_the_judge_guesses_as_its_net_does(world):
    images = [picture.image for picture in world.pictures("images", 2)]
    judge: Judge = world.judge
    assert (
        judge.guesses(judge.features(images)) == judge.classifier(torch.from_numpy(np.stack(images))).argmax(1).tolist()
    )
    original = judge.original(images[0], label=judge.guesses(judge.features(images))[0])
    same, other = judge.scores([original, original], images)
    assert same["correct"] == 1 and other["correct"] == 0
    assert same["distance"] == pytest.approx(0, abs=1e-5) and other["distance"] > 0.1


def test_without_mixture_nothing_is_held(world):
    pictures = world.pictures("images", 2)
    truth, received = world.tokens_of(pictures), mixture._received(world, pictures)
    assert received.mean() == 0.75
    made = {}
    for label, arm in mixture.ARMS.items():
        settings = SamplerSettings(**({"num_inference_steps": 3, "renoise_steps": 2} | dict(arm.settings)))
        made[label] = [
            mixture.fill(
                world, pictures, truth, received, arm, settings, [sampler_generator(0, i, 0) for i in range(2)]
            )
            for _ in range(2)
        ]
        tokens, again = made[label]
        assert (tokens == again).all() and tokens.min() >= 0 and tokens.max() < 1024
        held = (tokens == truth)[received].mean()
        assert held == 1 if arm.mixture else 0 < held < 0.6
    gentle = (made[f"without: {kind}"][0] == truth for kind in ("t matched, no re-noising", "Paella's t and draws"))
    more, less = (hit[received].mean() for hit in gentle)
    assert more > less


def test_without_mixture_the_first_look_has_what_was_received(world):
    pictures = world.pictures("images", 1)
    truth, received = world.tokens_of(pictures), mixture._received(world, pictures)
    looked = []
    real = world.decoder.denoiser.bind

    def bind(captions, known):
        assert not known.any()
        denoise, other = real(captions, known)
        return lambda x, t: looked.append((x.numpy().copy(), float(t[0]))) or denoise(x, t), other

    watched = SimpleNamespace(
        device=world.decoder.device, tokenizer=world.decoder.tokenizer, denoiser=SimpleNamespace(bind=bind)
    )

    def look(settings):
        looked.clear()
        tokens, known = (torch.from_numpy(a) for a in (truth, received))
        mixture._without(watched, tokens, known, ["a cat"], settings, [sampler_generator(0, 0, 0)])
        return list(looked)

    first, second = look(SamplerSettings(num_inference_steps=2, renoise_steps=0))
    assert (first[0][received] == truth[received]).all() and (first[0] != truth)[~received].mean() > 0.9
    assert not (second[0][received] == truth[received]).all()
    assert first[1] == pytest.approx(0.25) and second[1] == pytest.approx(0.125)
    first, second = look(SamplerSettings(num_inference_steps=2, t_schedule=TSchedule.PAPER))
    assert (first[1], second[1]) == (1.0, 0.5)


def test_shares_withheld_and_files(world, monkeypatch):
    monkeypatch.setattr(ratio, "COUNTS", Counts(ratio=1))
    monkeypatch.setattr(ratio, "RATIOS", (0.0, 0.25, 0.35))
    monkeypatch.setattr(ratio, "SETS", ("images",))
    rows = ratio.measure(world)
    sent = [row["bytes"] for row in rows if row["experiment"] == ratio.RATIO]
    assert sent == sorted(sent, reverse=True) and len(sent) == 3
    files = {(row["codec"], row["at"]): row for row in rows if row["experiment"] == ratio.FILE}
    jpeg, jpeg2000 = (files[codec, ratio.AT_QUALITY] for codec in ratio.PEERS)
    assert jpeg2000["bytes"] <= jpeg["bytes"] < files[ratio.ORIGINAL, ""]["bytes"]
    for codec in ratio.PEERS:
        row = files[codec, ratio.AT_PRM]
        assert row["bytes"] <= sent[1] or row["at_floor"]
        assert row["psnr_db"] < files[codec, ratio.AT_QUALITY]["psnr_db"]
    text = ratio.report(rows)
    assert "| images | original (PNG) |" in text and "| images | lami_go, PRM p = 0.35 |" in text


def test_a_study_end_to_end_goes_on_where_it_ended(photos, world, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "STUDY", replace(STUDY, make_world=lambda *arguments: world))
    monkeypatch.setattr(erasure, "COUNTS", Counts(erasure_seeds=1))
    monkeypatch.setattr(erasure, "POLICIES", {"PRM 0.25": {"mask_ratio": 0.25, "num_inference_steps": 2}})
    app = study.typer.Typer()
    app.command()(study.main)
    sources = [argument for name in ("images", "labelled", "street") for argument in (f"--{name}", str(photos))]
    command = [*sources, "--out", str(tmp_path), "--device", "cpu", "--parts"]
    assert CliRunner().invoke(app, [*command, "erasure"]).exit_code == 0
    rows = json.loads((tmp_path / "erasure.json").read_text())["rows"]
    assert len(rows) == 2 * 2 and {row["picture"] for row in rows} == {"astronaut", "chelsea"}
    assert all(row["bytes"] > 900 and 10 < row["psnr_db"] < 40 and 0 < row["ms_ssim"] < 1 for row in rows)
    written = (tmp_path / "erasure.json").stat().st_mtime_ns

    assert CliRunner().invoke(app, [*command, "erasure,coding"]).exit_code == 0
    assert (tmp_path / "erasure.json").stat().st_mtime_ns == written
    tokens = [r for r in json.loads((tmp_path / "coding.json").read_text())["rows"] if r["of"] == "tokens"]
    assert all(row["ideal_bytes"] <= row["payload_bytes"] + 1 for row in tokens)
    assert all(row["total_bytes"] == row["payload_bytes"] + row["packet_bytes"] + row["frame_bytes"] for row in tokens)
    fixed = [row["bits_a_token"] for row in tokens if row["coding"] == "fixed" and row["payload"] == 65000]
    assert fixed == [10.0] * len(fixed)
    text = (tmp_path / "README.md").read_text()
    assert "## Coding" in text and "## 20 % packet erasure" in text

    monkeypatch.setattr(study, "STUDY", replace(STUDY, make_world=None))  # nothing left to measure: no nets are loaded
    assert CliRunner().invoke(app, [*command, "erasure,coding"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "nosuch"]).exit_code == 2
