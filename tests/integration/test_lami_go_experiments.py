"""The lami_go study on one photo: every experiment gives rows, budgets are spent, nothing is held without mixture."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.pipeline import sampler_generator
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import MaskingPolicy, TSchedule
from gocom.evaluation.experiment.bench import Bench
from gocom.evaluation.experiment.cases import Asked, measured
from gocom.evaluation.experiment.experiment import Against, Means
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.experiment.rows import where
from gocom.evaluation.experiment.views import compared, means_table
from gocom.evaluation.probes import token_filling
from gocom.evaluation.probes.equal_bytes import AtOnce, FileLike, fit
from gocom.evaluation.probes.stage_seconds import BatchSeconds, StageSeconds
from gocom.evaluation.probes.token_experiments import mixture_arms
from gocom.evaluation.probes.token_filling import AtRandom, Convergence, Fill, Sampled, Sent, tokens_of
from gocom.evaluation.studies.lami_go import LOSSY, PDM, STUDY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SHORT = {"num_inference_steps": 2, "renoise_steps": 1}


@pytest.fixture(scope="module")
def bench(photo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "chelsea"):
        (folder / f"{name}.png").write_bytes(png_bytes(to_uint8(photo(name, 256))))
    return Bench(STUDY, PictureSets(dict.fromkeys(STUDY.sets, folder), 1), "cpu")


@pytest.fixture(scope="module")
def picture(bench):
    return bench.picture("images", 0)


def short(way):
    return replace(way, settings={**way.settings, **SHORT}) if isinstance(way, Sampled) else way


def few(factor):
    levels = [*factor.levels.items()]
    if factor.name == "steps":  # they take as long as they are many
        return replace(factor, levels=dict(levels[:1]))
    return replace(factor, levels=dict(levels if len(levels) < 5 else levels[:: len(levels) - 1]))


def cut(experiment):
    """The experiment with one seed, the first and the last level of long factors, and few steps of the sampler."""
    measure = experiment.measure
    if isinstance(measure, Fill | Convergence):
        measure = replace(measure, ways={name: short(way) for name, way in [*measure.ways.items()][:3]})
    elif isinstance(measure, StageSeconds):
        measure = replace(measure, cases=dict([*measure.cases.items()][:1]))
    elif isinstance(measure, BatchSeconds):
        measure = replace(measure, sizes=(1, 2))
    elif measure is not None:
        return experiment
    factors = tuple(few(factor) for factor in experiment.factors)
    return replace(experiment, measure=measure, factors=factors, seeds=1)


@pytest.mark.parametrize("experiment", STUDY.experiments, ids=lambda one: one.name)
def test_every_experiment_gives_rows_that_its_views_show(bench, experiment):
    name = next(iter(experiment.sets))
    small = cut(experiment)
    picture = bench.picture(name, bench.pictures.chosen(small, name)[0])
    rows = measured(bench, small, picture)
    assert rows and {row["picture"] for row in rows} == {picture.name}
    if experiment.factors:
        assert all(row["bytes"] > 300 and 3 < row["psnr_db"] < 40 and 0 <= row["missing"] <= 1 for row in rows)
    for view in experiment.views:
        if isinstance(view, Means):
            assert means_table(view, rows).lines
            assert {*view.fields} - {"correct"} <= {field for row in rows for field in row}, "photos have no class"
        elif isinstance(view, Against):
            assert all(any(line.found.values()) for line in compared(view, rows))


def test_everything_at_once_spends_its_budget(bench, picture):
    whole = bench.send(picture, masking="none").bytes.total_bytes
    at_once = AtOnce(bench, picture)
    for budget in (700, 1000, whole + 300, whole + 800):
        options = at_once.within(budget)
        spent = bench.send(picture, **options).bytes.total_bytes
        assert budget - 130 < spent <= budget
        assert (options["mask_ratio"] > 0) == (budget < whole)
        assert ("repair_overhead" in options) == (budget > whole)
    assert at_once.within(10)["mask_ratio"] == 0.9


@pytest.mark.parametrize("policy", [MaskingPolicy.PRM, MaskingPolicy.EBM])
def test_fitted_options_are_what_the_budget_gives(bench, picture, policy):
    fitted = bench.send(picture, **fit(bench, picture, policy, 1000))
    budgeted = bench.send(picture, masking=policy.value, mask_ratio=0.0, budget=1000)
    packets = [[item.SerializeToString() for item in sent.items[1:]] for sent in (fitted, budgeted)]
    assert packets[0] == packets[1]
    # A mask that follows from the options is in the opening of the session; one that a budget chose is in the header.
    said = 9 if policy is MaskingPolicy.PRM else 0
    assert budgeted.bytes.total_bytes - fitted.bytes.total_bytes == said
    assert 980 < budgeted.bytes.total_bytes <= 1000


def test_a_file_has_the_bytes_of_another_send_or_its_smallest(bench, picture):
    jpeg_40 = {"codec": "jpeg", "quality": 40}

    def sent(like, codec):
        asked = Asked(bench, picture, {}, 0, {})
        return bench.send(picture, **FileLike(like, codec)(asked)).bytes.total_bytes

    budget = bench.send(picture, **jpeg_40).bytes.total_bytes
    assert sent(jpeg_40, "jpeg") == budget and 0.9 * budget < sent(jpeg_40, "jpeg2000") <= budget
    assert sent({"mask_ratio": 0.9}, "jpeg") == bench.send(picture, codec="jpeg", quality=0).bytes.total_bytes


def test_code_lengths_add_up(bench, picture):
    (coding,) = [one for one in STUDY.experiments if one.name == "coding"]
    rows = list(coding.measure(bench, picture))
    assert all(row["ideal_bytes"] <= row["payload_bytes"] + 1 for row in rows)
    assert all(row["total_bytes"] == row["payload_bytes"] + row["packet_bytes"] + row["frame_bytes"] for row in rows)
    single = where(rows, {"of": ("none", "prm"), "coding": "fixed", "packets_of": "a single packet"})
    assert [row["bits_an_element"] for row in single] == [10.0] * len(single) and len(single) == 4


def test_without_mixture_nothing_is_held(bench, picture):
    truth, arrived = tokens_of(bench, picture), Sent(PDM)(bench, picture, 0)
    assert arrived.mean() == 0.75
    arms, pairs = mixture_arms({3: {"num_inference_steps": 3, "renoise_steps": 2}})
    made = {}
    for label, arm in arms.items():
        tokens, again = (arm.tokens(bench, picture, arrived, 0) for _ in range(2))
        assert (tokens == again).all() and tokens.min() >= 0 and tokens.max() < 1024
        held = made[label] = (tokens == truth)[arrived].mean()
        assert held == 1 if arm.held else 0 < held < 0.6
    off = [made[pair.one["filled_by"]] for pair in pairs]
    assert off[2] > off[0], "matched, without re-noising, the least is lost"


def test_without_mixture_the_first_look_has_what_was_received(bench, picture):
    truth, arrived = tokens_of(bench, picture), Sent(PDM)(bench, picture, 0)
    decoder, looked = token_filling.decoder_of(bench), []

    def bind(captions, known):
        assert not known.any()
        denoise, other = decoder.denoiser.bind(captions, known)
        return lambda x, t: looked.append((x[0].numpy().copy(), float(t[0]))) or denoise(x, t), other

    watched = SimpleNamespace(device=decoder.device, tokenizer=decoder.tokenizer, denoiser=SimpleNamespace(bind=bind))

    def look(settings):
        looked.clear()
        tokens, known = (torch.from_numpy(a)[None] for a in (truth, arrived))
        list(token_filling._unheld(watched, tokens, known, ["a cat"], settings, [sampler_generator(0, 0, 0)]))
        return list(looked)

    first, second = look(SamplerSettings(num_inference_steps=2, renoise_steps=0))
    assert (first[0][arrived] == truth[arrived]).all() and (first[0] != truth)[~arrived].mean() > 0.9
    assert not (second[0][arrived] == truth[arrived]).all()
    assert first[1] == pytest.approx(0.25) and second[1] == pytest.approx(0.125)
    first, second = look(SamplerSettings(num_inference_steps=2, t_schedule=TSchedule.PAPER))
    assert (first[1], second[1]) == (1.0, 0.5)


def test_the_same_is_missing_at_a_rate_and_at_higher_ones(bench, picture):
    low, high = (AtRandom(rate)(bench, picture, 0) for rate in (0.25, 0.5))
    assert 0.7 < low.mean() < 0.8 and 0.45 < high.mean() < 0.55 and not (high & ~low).any()
    lossy = Sent({"masking": "none", "channel": LOSSY})
    assert (lossy(bench, picture, 1) != lossy(bench, picture, 2)).any()


def test_the_judge_guesses_as_its_net_does(bench, picture):
    images, judge = [picture.image, picture.image[:, ::-1].copy()], bench.judge
    guesses = judge.guesses(judge.features(images))
    assert guesses == judge.classifier(torch.from_numpy(np.stack(images))).argmax(1).tolist()
    original = judge.original(images[0], label=guesses[0])
    same, other = judge.scores([original, original], images)
    assert same["correct"] == 1 and same["distance"] == pytest.approx(0, abs=1e-5) and other["distance"] > 0.05
