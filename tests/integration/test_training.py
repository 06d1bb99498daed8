"""A recipe on a handful of made-up pictures: it learns, resumes where it stopped, and writes a card that is true."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from common.nets.loading import load_net
from common.nets.vq_tokenizer import VQTokenizer
from training.loop import LoopOptions, learning_rate_at, train
from training.vq_tokenizer import VQTokenizerRecipe


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for i in range(4):
        small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / "data" / f"{i}.png")
    return tmp_path


@pytest.mark.timeout(200)
def test_train_resume_export(folder, monkeypatch):
    clock = itertools.count()  # a step takes a second, however busy the machine is
    monkeypatch.setattr("training.loop.time", SimpleNamespace(monotonic=lambda: float(next(clock))))

    def recipe():
        return VQTokenizerRecipe(folder / "data", folder / "data", batch=2, crop_px=32, device="cpu", seed=0)

    options = LoopOptions(minutes=0.5, warmup_steps=5, work_dir=folder / "work", out_dir=folder / "out")
    first = train(recipe(), options)
    assert 20 <= first.step <= 31
    saved = torch.load(folder / "work" / "vq_tokenizer" / "state.pt", weights_only=True)
    assert json.loads(saved["progress"])["step"] == first.step
    second = train(recipe(), replace(options, minutes=1.0))
    assert second.step > first.step and second.elapsed_s > first.elapsed_s
    assert second.losses[-1][1]["l1"] < first.losses[0][1]["l1"]
    card = (folder / "out" / "CARD.md").read_text()
    assert f"| steps | {second.step} |" in card and "psnr_db" in card
    assert (folder / "out" / "loss.png").stat().st_size > 1000
    net = load_net(VQTokenizer, folder / "out", torch.device("cpu"))
    x = torch.rand(1, 3, 64, 64)
    assert net.decode(net.encode(x)[0]).shape == x.shape


def test_learning_rate_warms_up_and_ends_near_zero():
    options = LoopOptions(learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(0, 0, options) == pytest.approx(0.1)
    assert learning_rate_at(0, 50, options) == pytest.approx(1.0)
    assert learning_rate_at(1, 500, options) == pytest.approx(0.02)
