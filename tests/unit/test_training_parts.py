"""Pieces of the recipes: what the denoiser is shown, what the decoder starts from, how tables are counted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import TOTAL, NeighbourTables, row_frequencies
from gocom.common.errors import GoComError, InvalidInput
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.added_layers import grown
from gocom.training.corruption import corrupt, rectangles
from gocom.training.data import data_terms, vivid
from gocom.training.discriminator import Adversary
from gocom.training.lami_go_tables import byte_classes, count_grid, count_text, lean, token_classes
from gocom.training.pictures import blockiness, lattice
from gocom.training.terms import PictureTerms, Weights, gradient_l1, shifted
from gocom.training.weight_average import averaged


def windows(batch=400):
    return torch.randint(1024, (batch, 16, 16), generator=torch.Generator().manual_seed(0))


def test_what_is_replaced_is_never_trusted_and_t_says_how_much():
    tokens = windows()
    noisy, replaced, trusted, t = corrupt(tokens, 1024, torch.Generator().manual_seed(1))
    assert (noisy[~replaced] == tokens[~replaced]).all()
    assert not (trusted.bool() & replaced).any()
    assert t.tolist() == pytest.approx(replaced.flatten(1).float().mean(1).tolist())
    assert 0.97 < (noisy != tokens)[replaced].float().mean() < 1
    silent = trusted.flatten(1).sum(1) == 0
    assert silent.float().mean() == pytest.approx(0.3, abs=0.08)
    # Of the unknown positions some are right already: those a sampler has guessed.
    guessed = (trusted == 0) & ~replaced & ~silent[:, None, None]
    assert guessed.any()
    everything = ~guessed.flatten(1).any(1) & ~silent
    assert everything.sum() / (~silent).sum() == pytest.approx(0.5, abs=0.12)


def test_the_same_generator_gives_the_same_windows():
    one, two = (corrupt(windows(8), 1024, torch.Generator().manual_seed(4)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_rectangles_are_rectangles():
    generator = torch.Generator().manual_seed(0)
    for mask in rectangles(50, 16, 16, lambda n: torch.rand(n, generator=generator)):
        rows, columns = mask.any(1), mask.any(0)
        assert (mask == rows[:, None] & columns[None]).all()
        assert 2 <= rows.sum() <= 14 and 2 <= columns.sum() <= 14


def test_a_decoder_with_more_blocks_begins_as_the_one_before():
    old = VQTokenizer(codebook_size=16, quarter_channels=16, eighth_channels=32, decoder_blocks=(1, 1))
    for block in old.decoder[4]:
        torch.nn.init.normal_(block.conv2.weight)
    new = grown(old, blocks=3)
    tokens = torch.randint(16, (1, 8, 8))
    assert len(new.decoder[4]) == 3
    assert torch.equal(old.decode(tokens), new.decode(tokens))
    assert grown(old, blocks=1) is old


@pytest.mark.parametrize("kind", [Vae, VQTokenizer])
def test_a_decoder_with_a_head_begins_as_the_one_before(kind):
    old = kind(quarter_channels=16, eighth_channels=32)
    new = grown(old, full_channels=4)
    assert new.config.full_channels == 4 and new.config.decoder_blocks == old.config.decoder_blocks
    z = torch.randn(1, old.decoder[0].in_channels, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(new.decode_latent(z), old.decode_latent(z), rtol=0, atol=1e-6)
        seen = new.decoder[:8](z)
        assert seen.shape == (1, 7, 64, 64)
        extra = seen[:, 3:, 4:-4, 4:-4].unfold(2, 4, 4).unfold(3, 4, 4)
        assert extra.amax((-1, -2)).sub(extra.amin((-1, -2))).abs().max() < 1e-5, "all phases begin with one filter"
        torch.nn.init.normal_(new.decoder[8].conv2.weight)
        assert (new.decode_latent(z) - old.decode_latent(z)).abs().max() > 1e-3
    assert grown(new, full_channels=4) is new and grown(new) is new


def test_a_lattice_of_four_pixels_is_seen_and_noise_is_none():
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(2, 3, 96, 100, generator=generator)
    assert lattice(noise) == pytest.approx(1, abs=0.15)
    halftone = 0.05 * torch.randn(4, 4, generator=generator).repeat(24, 25)
    assert lattice(noise + halftone) > 1.2
    assert lattice(0.5 + halftone + 0.01 * noise) > 30
    terms = PictureTerms(Weights(perceptual=0, lattice=1), torch.device("cpu"))
    punished, let_be = (float(terms.loss(noise + more, noise, 0)["lattice"]) for more in (halftone, 0.05 * noise))
    assert punished > 1e-3 > 50 * let_be


def test_terms_say_what_they_are_made_of():
    weights = Weights.parse("st_lpips=1, adversarial=0.05", Weights(gradient=0.5, perceptual=0))
    assert weights == Weights(gradient=0.5, perceptual=0, st_lpips=1, adversarial=0.05)
    assert weights.words() == (
        "L1 + 2 MSE + 0.5 gradient L1 + 1 ST-LPIPS (AlexNet) + 0.05 hinge of two patch discriminators "
        "(from 40% of the run on)"
    )
    assert "ST-LPIPS" in weights.teachers() and "EfficientNet" not in weights.teachers()
    for text, message in (("lpips=1", "lpips"), ("gradient=x", "gradient=x"), ("gradient=-1", "is not 0 or more")):
        with pytest.raises(GoComError, match=message):
            Weights.parse(text, Weights())
    with pytest.raises(InvalidInput, match="dino-folder"):
        PictureTerms(Weights(perceptual=0, dino=1), torch.device("cpu"))


def test_terms_are_zero_for_equal_pictures_and_come_in_their_time():
    weights = Weights(perceptual=1, semantic=1, adversarial=0.1, perceptual_from=0.3, adversarial_from=0.5)
    terms, x = PictureTerms(weights, torch.device("cpu")), torch.rand(2, 3, 64, 64)
    x_hat = (x + 0.1 * torch.rand_like(x)).requires_grad_()
    assert terms.loss(x, x, 0.0)["loss"] == 0
    assert terms.loss(x_hat, x, 0.29).keys() == {"loss", "l1", "mse", "gradient"}
    assert terms.loss(x, x, 0.4)["loss"] < 1e-6 < terms.loss(x_hat, x, 0.4)["semantic"]
    late = terms.loss(x_hat, x, 0.5)
    assert late.keys() == {"loss", "l1", "mse", "gradient", "perceptual", "semantic", "adversarial"}
    late["loss"].backward()
    assert x_hat.grad.abs().sum() > 0
    before = [p.clone() for p in terms.adversary.nets.parameters()]
    terms.after_step()
    assert any((a != b).any() for a, b in zip(before, terms.adversary.nets.parameters(), strict=True))


def test_frozen_nets_see_both_pictures_at_the_same_random_place():
    x, places = torch.arange(3 * 16 * 24.0).reshape(1, 3, 16, 24), set()
    for _ in range(50):
        a, b = shifted(x, x + 1)
        assert a.shape == (1, 3, 9, 17) and torch.equal(a + 1, b)
        places.add(float(a.flatten()[0]))
    assert len(places) > 20


def test_discriminators_learn_and_come_back():
    torch.manual_seed(0)
    adversary, x = Adversary(torch.device("cpu"), learning_rate=2e-3), torch.rand(4, 3, 32, 32)
    smooth = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    losses = [float(adversary.learn(smooth, x)) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert adversary.fooled(x) < adversary.fooled(smooth)
    other = Adversary(torch.device("cpu"))
    other.load_state_dict(adversary.state_dict())
    with torch.no_grad():
        for net in (*other.nets, *adversary.nets):
            net.eval()
        assert torch.equal(other.fooled(x), adversary.fooled(x))


def test_an_average_follows_quickly_at_first_and_slowly_later():
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = averaged(net, decay=0.9)
    average.update_parameters(net)
    torch.nn.init.ones_(net.weight)
    average.update_parameters(net)
    assert float(average.module.weight.detach()) == pytest.approx(1 - 2 / 11)
    torch.nn.init.zeros_(net.weight)
    for _ in range(200):
        average.update_parameters(net)
    torch.nn.init.ones_(net.weight)
    average.update_parameters(net)
    assert float(average.module.weight.detach()) == pytest.approx(0.1, abs=1e-4)


def test_vivid_is_farther_from_grey_and_1_changes_nothing():
    x = 0.4 + 0.2 * torch.rand(2, 3, 8, 8)
    made = vivid(x, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(made[0], x[0])
    torch.testing.assert_close(made[1].mean(0), x[1].mean(0))
    assert made[1].std(0).mean() == pytest.approx(2 * float(x[1].std(0).mean()), rel=1e-4)


def test_a_card_names_the_terms_of_each_source_once():
    terms = data_terms([Path(f"{name}.tar") for name in ("bsds", "imagenette-00", "imagenette-01", "mine")])
    assert terms == "BSDS500: research use; imagenette (ImageNet): research use; mine.tar: unknown"


def test_blockiness_sees_a_lattice():
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    smooth = (smooth + smooth.transpose(2, 3)) / 2
    assert blockiness(smooth) == pytest.approx(1, abs=1e-3)
    steps = smooth + 0.1 * (torch.arange(64) // 8 % 2)
    assert blockiness(steps) > 2
    assert gradient_l1(smooth, smooth) == 0 < gradient_l1(steps, smooth)


def test_counted_tables_code_what_they_were_counted_on():
    rng = np.random.default_rng(0)
    classes = token_classes(rng.normal(size=(64, 4)).astype(np.float32), 5)
    assert sorted(set(classes.tolist())) == list(range(classes.max() + 1))
    nothing = int(classes.max()) + 1
    counts = np.zeros(((nothing + 1) ** 2, 64))
    grid = np.repeat(rng.integers(0, 64, (16, 1)), 16, axis=1)  # rows of one token each
    count_grid(counts, grid, classes)
    assert counts[-1].sum() == 256  # each position once with neither neighbour
    rows = row_frequencies(lean(counts)).astype(np.int64)
    assert (rows.sum(1) == 1 << 16).all() and rows.min() >= 1
    coder = ContextCoder(NeighbourTables(classes, rows * (TOTAL >> 16)), 16, None)
    together = coder.bits(grid.ravel(), np.arange(256)).mean()
    alone = coder.bits(grid.ravel()[:1], np.arange(1)).mean()
    assert together < 0.9 * alone


def test_letters_follow_letters():
    letters = byte_classes()
    assert letters[ord("A")] == letters[ord("a")] != letters[ord("b")]
    counts = np.zeros((letters.max() + 2, 256))
    text = np.frombuffer(b"a dog", np.uint8).astype(np.int64)
    count_text(counts, text, letters)
    assert counts.sum() == 5
    assert counts[letters[ord("d")], ord("o")] == 1 and counts[letters.max() + 1, ord("a")] == 1
