"""A recipe on a handful of made-up pictures: it learns, resumes where it stopped, and writes a card that is true."""

import itertools
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from PIL import Image

from gocom.common.errors import InvalidInput
from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.nets.loading import load_net
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.common.samplers.feature_imputation import impute
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.systems.feature_imputing import latent_channels
from gocom.training.compare_pictures import load, sheet, table
from gocom.training.export import save_half
from gocom.training.feature_imputer import FeatureImputerRecipe
from gocom.training.feature_masks import LEAST, MOST, ROI, ROI_SHARES, draw_masks, draw_region
from gocom.training.held_out import HeldOut
from gocom.training.loop import LoopOptions, learning_rate_at, train
from gocom.training.picture_recipe import PictureOptions
from gocom.training.terms import Weights
from gocom.training.vae import VaeRecipe, begin_from
from gocom.training.vq_tokenizer import VQTokenizerRecipe


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(4):
        small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / "data" / f"{i}.png")
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """A step takes a second, however busy the machine is."""
    count = itertools.count()
    monkeypatch.setattr("gocom.training.loop.time", SimpleNamespace(monotonic=lambda: float(next(count))))


def tokenizer(folder, **values):
    """From random weights by pixels alone, unless said otherwise."""
    known = {"batch": 2, "crop_px": 40, "weights": Weights(perceptual=0)}
    return VQTokenizerRecipe(PictureOptions(folder / "data", folder / "data", **(known | values)))


def vae(folder, **values):
    known = {"batch": 4, "crop_px": 40, "weights": Weights(perceptual=0.03, perceptual_from=0.5)}
    return VaeRecipe(PictureOptions(folder / "data", folder / "data", **(known | values)))


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_train_resume_export(folder, clock):
    def recipe():
        return tokenizer(folder)

    options = LoopOptions(minutes=0.5, warmup_steps=5, work_dir=folder / "work", out_dir=folder / "out")
    first = train(recipe(), options)
    assert 20 <= first.step <= 31
    saved = torch.load(folder / "work" / "vq_tokenizer" / "state.pt", weights_only=True)
    assert json.loads(saved["progress"])["step"] == first.step
    second = train(recipe(), replace(options, minutes=1.0))
    assert second.step > first.step and second.elapsed_s > first.elapsed_s
    assert second.metrics[-1][1]["psnr_db"] > first.metrics[-1][1]["psnr_db"]
    card = (folder / "out" / "CARD.md").read_text()
    assert f"| steps | {second.step} |" in card and "psnr_db" in card
    assert (folder / "out" / "loss.png").stat().st_size > 1000
    net = load_net(VQTokenizer, folder / "out", torch.device("cpu"))
    x = torch.rand(1, 3, 64, 64)
    assert net.decode(net.encode(x)[0]).shape == x.shape


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_run_that_was_stopped_for_an_hour_goes_on(folder, monkeypatch):
    count = itertools.count()

    def seconds():
        steps = next(count)
        return float(steps + 3600 * (steps > 5))

    monkeypatch.setattr("gocom.training.loop.time", SimpleNamespace(monotonic=seconds))
    recipe = tokenizer(folder)
    done = train(recipe, LoopOptions(minutes=1.0, warmup_steps=5, work_dir=folder / "work", out_dir=folder / "out"))
    assert done.elapsed_s == pytest.approx(60, abs=1.5)
    assert 25 <= done.step <= 36, "one step counted for half a minute, the others for a second"


@pytest.mark.timeout(200)
def test_a_vae_begins_with_a_tokenizer_and_has_a_latent_of_unit_variance(folder, clock):
    tokenizer(folder).save(folder / "words")
    options = LoopOptions(minutes=0.5, warmup_steps=5, work_dir=folder / "work", out_dir=folder / "vae")
    recipe = vae(folder, start_from=folder / "words")
    done = train(recipe, options)
    assert done.losses[-1][1]["l1"] < recipe.pictures.draw().sub(0.5).abs().mean()
    assert "perceptual" in done.losses[-1][1]
    card = (folder / "vae" / "CARD.md").read_text()
    assert "| began with | the weights of words |" in card and "psnr_db" in card
    net = load_net(Vae, folder / "vae", torch.device("cpu"))
    with torch.inference_mode():
        y = net.encode(recipe.pictures.draw(64))
        assert y.std(dim=(0, 2, 3)).sub(1).abs().max() < 0.3 and y.mean(dim=(0, 2, 3)).abs().max() < 0.3
        assert net.decode(y).shape == (64, 3, 40, 40)
    again = vae(folder, start_from=folder / "vae")
    assert again.evaluate()["psnr_db"] == pytest.approx(done.metrics[-1][1]["psnr_db"], abs=0.1)
    sharper = vae(folder, start_from=folder / "vae", decoder_only=True, full_channels=4)
    train(sharper, replace(options, minutes=0.2, out_dir=folder / "sharper"))
    card, other = (folder / "sharper" / "CARD.md").read_text(), load_net(Vae, folder / "sharper", torch.device("cpu"))
    assert "| trained | the decoder alone |" in card
    with torch.inference_mode():
        x = recipe.pictures.draw()
        torch.testing.assert_close(other.encode(x), net.encode(x), rtol=0, atol=0)
        assert (other.decode(net.encode(x)) - net.decode(net.encode(x))).abs().max() > 1e-3
    with pytest.raises(InvalidInput, match="start-from"):
        vae(folder, decoder_only=True)


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_tokenizer_goes_on_with_all_terms_and_from_any_step(folder, clock):
    tokenizer(folder).save(folder / "words")
    weights = Weights(perceptual=0.03, semantic=0.03, adversarial=0.02, adversarial_from=0.2)
    loop = LoopOptions(steps=12, warmup_steps=2, work_dir=folder / "work", out_dir=folder / "out")

    def recipe(**values):
        return tokenizer(folder, start_from=folder / "words", weights=weights, full_channels=4, blocks=3, **values)

    first = train(recipe(), loop)
    assert first.step == 12
    saved = torch.load(folder / "work" / "vq_tokenizer" / "state.pt", weights_only=True)
    assert saved["parts"].keys() == {"average", "adversary", "codebook"}
    again = recipe()
    second = train(again, replace(loop, steps=14))
    assert second.step == 14 and int(again.average.n_averaged) == 14
    card = (folder / "out" / "CARD.md").read_text()
    assert "hinge of two patch discriminators" in card and "| taught by | EfficientNet-lite0" in card
    assert "| data terms | data: unknown |" in card and "+ 0.25 commitment" in card and "lattice" in card
    net, old = (load_net(VQTokenizer, folder / name, torch.device("cpu")) for name in ("out", "words"))
    assert not torch.equal(net.codebook, old.codebook)
    alone = recipe(decoder_only=True)
    assert alone.name == "vq_tokenizer_decoder"
    train(alone, replace(loop, out_dir=folder / "sharper"))
    sharper, x = load_net(VQTokenizer, folder / "sharper", torch.device("cpu")), torch.rand(1, 3, 64, 64)
    assert torch.equal(sharper.codebook, old.codebook) and torch.equal(sharper.encode(x)[0], old.encode(x)[0])
    assert sharper.config.full_channels == 4 and len(sharper.decoder[4]) == 3
    with pytest.raises(InvalidInput, match="start-from"):
        tokenizer(folder, decoder_only=True)


@pytest.mark.timeout(200)
def test_nets_are_compared_on_the_same_pictures(folder):
    torch.manual_seed(0)
    save_half(Vae(quarter_channels=8, eighth_channels=8), folder / "vae")
    save_half(VQTokenizer(quarter_channels=8, eighth_channels=8), folder / "words")
    nets = [load(folder / name, torch.device("cpu")) for name in ("vae", "words")]
    pictures = HeldOut(folder / "data", torch.device("cpu"), limit=3, perceptual=False)
    lines = table(["one", "two"], nets, pictures)
    assert lines[0] == "data: 3 pictures, centre square, 256x256" and lines[2] == "| metric | one | two |"
    for name in ("psnr_db", "feature_distance", "agrees", "lattice"):
        (line,) = (line for line in lines if line.startswith(f"| {name} |"))
        assert re.fullmatch(r"\| \w+ \| \S+ \| \S+ \(\S+, \S+ to \S+\) \|", line)
    assert sheet(nets, [photo.x for photo in pictures.photos]).size == (3 * 256, 3 * 256)
    same = pictures.means(lambda x: x)
    assert same["psnr_db"] == np.inf and same["feature_distance"] < 1e-5
    assert same["agrees"] == same["blockiness"] == same["lattice"] == 1 and "correct" not in same


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_feature_imputer_learns_what_is_missing(folder, clock):
    torch.manual_seed(0)
    save_half(Vae(quarter_channels=8, eighth_channels=8), folder / "vae")
    for path in (folder / "data").iterdir():
        Image.open(path).resize((136, 136)).save(path)

    def recipe():
        return FeatureImputerRecipe(
            folder / "data", folder / "data", "cpu", 0, folder / "vae", folder / "work", channels=(16, 32, 32)
        )

    options = LoopOptions(
        minutes=0.5, warmup_steps=5, learning_rate=3e-3, work_dir=folder / "work", out_dir=folder / "out"
    )
    first = train(recipe(), options)
    second = train(recipe(), replace(options, minutes=1.0))
    assert second.step > first.step
    assert second.metrics[-1][1]["rmse_50%"] < 0.9 * first.metrics[-1][1]["rmse_50%"]
    card = (folder / "out" / "CARD.md").read_text()
    assert "rmse_50%" in card and "decay 0.999" in card
    imputer = LatentImputer(load_net(UNet2DModel, folder / "out", torch.device("cpu")))
    y = torch.randn(1, latent_channels(), 16, 16)
    *_, filled = impute(imputer, y, torch.zeros(y.shape, dtype=torch.bool), ImputerSettings(2), [torch.Generator()])
    assert filled.shape == y.shape and torch.isfinite(filled).all()


def test_small_pictures_are_refused(folder):
    save_half(Vae(quarter_channels=8, eighth_channels=8), folder / "vae")
    with pytest.raises(InvalidInput, match="128 px"):
        FeatureImputerRecipe(folder / "data", folder / "data", "cpu", 0, folder / "vae", folder / "work")


def test_masks_are_of_packets_and_of_all_orders():
    masks = draw_masks(np.random.default_rng(0), 300, 16, 16)
    assert masks.shape == (300, latent_channels(), 16, 16) and set(masks.unique().tolist()) <= {0.0, 1.0}
    whole = (masks == masks[:, :1]).flatten(1).all(1)
    assert 0.35 < whole.float().mean() < 0.65, "about half are of the spatial order"
    # A region of interest has 0.3 of the positions on average, and loses next to nothing there.
    fares_better = ROI * sum(ROI_SHARES) / 2 * ((LEAST + MOST) / 2 - LEAST / 2)
    assert masks.mean() == pytest.approx(1 - (LEAST + MOST) / 2 + fares_better, abs=0.03)


def test_regions_of_masks_are_rectangles_of_the_shares_asked_for():
    rng, shares, corners = np.random.default_rng(0), [], set()
    for _ in range(200):
        inside = draw_region(rng, 16, 24)
        (top, bottom), (left, right) = ((found.min(), found.max() + 1) for found in np.nonzero(inside))
        assert inside[top:bottom, left:right].all() and inside.sum() == (bottom - top) * (right - left)
        shares.append(inside.mean())
        corners.add((top, left))
    assert ROI_SHARES[0] - 0.03 < min(shares) < 0.2 and 0.4 < max(shares) < ROI_SHARES[1] + 0.03 and len(corners) > 50


def test_a_projected_tokenizer_loses_what_was_projected_away_and_no_more():
    torch.manual_seed(0)
    old = VQTokenizer(codebook_dim=4, quarter_channels=8, eighth_channels=8).eval()
    new = Vae(latent_channels=4, quarter_channels=8, eighth_channels=8, decoder_blocks=(4, 2)).eval()
    x = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        z = old.encode_latent(x)
        begin_from(new, old, z.permute(0, 2, 3, 1).reshape(-1, 4))
        mean, _ = new.posterior(x)
        torch.testing.assert_close(mean.std(dim=(0, 2, 3)), torch.ones(4), rtol=0.01, atol=0.01)
        # All four directions are kept, so nothing is lost where no border's padding is seen.
        inner = (..., slice(16, 48), slice(16, 48))
        errors = (new.decode_latent(mean) - old.decode_latent(z)).abs()
        assert errors[inner].max() < 1e-4


def test_learning_rate_warms_up_and_ends_near_zero():
    options = LoopOptions(learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(0, 0, options) == pytest.approx(0.1)
    assert learning_rate_at(0, 50, options) == pytest.approx(1.0)
    assert learning_rate_at(1, 500, options) == pytest.approx(0.02)
