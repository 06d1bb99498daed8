"""What the judge says of classes, against its net asked in full."""

import numpy as np
import pytest
import torch

from gocom.evaluation.measure.judge import IMAGENETTE, Judge, grey_like


@pytest.fixture(scope="module")
def judge():
    return Judge("cpu")


def scores(judge, image, made, label=None):
    (row,) = judge.scores([judge.original(image, label)], [made])
    return row


def test_agreement_is_with_the_guess_for_the_original(judge, photo):
    image, other = photo("chelsea", 256), photo("coffee", 256)
    guess = int(judge.classifier(torch.from_numpy(image[None])).argmax())
    assert judge.original(image).guess == guess
    assert scores(judge, image, image)["agrees"] == 1 and scores(judge, image, other)["agrees"] == 0
    blurred = image.reshape(3, 128, 2, 128, 2).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    same = int(judge.classifier(torch.from_numpy(blurred[None])).argmax()) == guess
    assert scores(judge, image, blurred)["agrees"] == same


def test_of_ten_classes_the_likeliest_counts(judge, photo):
    image = photo("chelsea", 256)
    logits = judge.classifier(torch.from_numpy(image[None]))[0]
    order = sorted(IMAGENETTE, key=lambda index: -logits[index])
    assert int(logits.argmax()) not in IMAGENETTE  # a cat: only among the ten is one of them the first
    first, second = (scores(judge, image, image, label) for label in order[:2])
    assert (first["correct"], first["correct_10"]) == (0, 1)
    assert (second["correct"], second["correct_10"]) == (0, 0)


def test_what_a_label_does_not_allow_is_left_out(judge, photo):
    image = photo("chelsea", 256)
    assert {"correct", "correct_10"} & scores(judge, image, image).keys() == set()
    guess = judge.original(image).guess
    elsewhere = scores(judge, image, image, label=guess)
    assert elsewhere["correct"] == 1 and "correct_10" not in elsewhere


def test_a_failed_picture_is_grey(judge, photo):
    image = photo("coffee", 256)
    grey = grey_like(image)
    assert grey.shape == image.shape and grey.dtype == np.float32 and (grey == 0.5).all()
    row = scores(judge, image, grey)
    assert row["psnr_db"] == pytest.approx(-10 * np.log10(np.mean((image.astype(np.float64) - 0.5) ** 2)))
    assert row["agrees"] == 0
