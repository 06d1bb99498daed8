"""Pieces of the recipes: what the denoiser is shown, what the decoder starts from, how tables are counted."""

import numpy as np
import pytest
import torch

from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import TOTAL, NeighbourTables, row_frequencies
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.corruption import corrupt, rectangles
from gocom.training.lami_go_tables import byte_classes, count_grid, count_text, lean, token_classes
from gocom.training.pictures import blockiness, gradient_l1
from gocom.training.vq_decoder import with_more_blocks


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
    new = with_more_blocks(old, 3)
    tokens = torch.randint(16, (1, 8, 8))
    assert len(new.decoder[4]) == 3
    assert torch.equal(old.decode(tokens), new.decode(tokens))
    assert with_more_blocks(old, 1) is old


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
