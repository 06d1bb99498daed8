"""feature_imputing with its nets: what arrived is kept, what was erased is imputed, and worth follows the map."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gocom.common.csi import Csi
from gocom.common.errors import DecodeFailed
from gocom.common.image_quality import psnr_db
from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.rounds import merge_rounds
from gocom.common.systems.feature_imputing import (
    FEATURES,
    ROI,
    FeatureImputingHeader,
    FeatureImputingOptions,
    PacketOrder,
    element_order,
    elements_sent,
    feature_quantizer,
    latent_channels,
    region_of_interest,
)
from gocom.common.types import Budget, Goal, LinkSettings, Provenance, ReceivedSegment
from gocom.receiver.decoders.feature_imputing import FeatureImputingDecoder

NAME = "feature_imputing"
arrived_frame = FeatureImputingDecoder(None, LatentImputer(None), torch.device("cpu")).arrived_frame


def session(codec, image, **options):
    encoder = codec(NAME).encoder
    return encoder.open(encoder.analyse(image), Goal(FeatureImputingOptions(**options)))


@pytest.mark.parametrize("order", PacketOrder)
def test_nothing_lost_nothing_imputed(codec, photo, order):
    image = photo("astronaut", 256)
    result = codec(NAME).send(image, "clean", seed=0, packet_order=order.value)
    (segment,) = result.rounds[0].segments
    sent = session(codec, image).levels
    assert segment.received.all()
    assert (segment.elements == sent.ravel()[element_order(order, *sent.shape[:2])]).all()
    assert "sample" not in result.reconstruction.seconds


def test_seven_bits_cost_little(codec, photo):
    image = photo("astronaut", 256)
    vae = codec(NAME).encoder.vae
    with torch.inference_mode():
        unquantized = vae.decode(vae.encode(torch.from_numpy(image)[None]))[0].numpy()
    sent = codec(NAME).send(image, "clean", seed=0).reconstruction.image
    assert psnr_db(image, sent) > psnr_db(image, unquantized) - 0.3


@pytest.mark.parametrize("order", PacketOrder)
def test_imputing_is_better_than_the_mean(codec, photo, order):
    """Of the features that were erased: closer to the truth than 0, which is their mean."""
    image = photo("chelsea", 256)
    result = codec(NAME).send(image, "packet_erasure:rate=0.3", seed=1, packet_order=order.value)
    (segment,) = result.rounds[0].segments
    levels = session(codec, image).levels
    where = np.zeros(levels.size, bool)
    where[element_order(order, *levels.shape[:2])] = segment.received
    zeros = np.where(where.reshape(levels.shape), feature_quantizer().dequantize(levels), np.float32(0))
    with torch.inference_mode():
        filled = codec(NAME).decoder.vae.decode(torch.from_numpy(zeros.transpose(2, 0, 1).copy())[None])[0].numpy()
    assert psnr_db(image, result.reconstruction.image) > psnr_db(image, filled) + 0.5


def test_deterministic_is_the_same_whatever_the_seed(codec, photo):
    spec = "packet_erasure:rate=0.4"
    pictures = [
        codec(NAME).send(photo(), spec, seed=3, sampler_seed=s, deterministic=fixed).reconstruction.image
        for fixed in (True, False)
        for s in (1, 2)
    ]
    assert (pictures[0] == pictures[1]).all() and not (pictures[2] == pictures[3]).all()


def test_previews_come_step_by_step_and_are_batched_alike(codec, photo):
    result = codec(NAME).send(photo(), "packet_erasure:rate=0.3", seed=1, deterministic=False)
    decoder = codec(NAME).decoder
    steps = list(decoder.reconstruct(result.rounds, generator=torch.Generator().manual_seed(0), previews=True))
    assert [(s.step, s.final) for s in steps] == [*((n, False) for n in range(1, 10)), (0, True)]
    generators = [torch.Generator().manual_seed(0), torch.Generator().manual_seed(5)]
    both = decoder.reconstruct_batch([result.rounds] * 2, generators=generators)
    assert psnr_db(both[0].image, steps[-1].image) > 45
    assert psnr_db(both[1].image, steps[-1].image) < 45


def test_the_map_says_what_a_patch_is_worth(codec, photo):
    """What carries the class is worth more than what does not; any class can be asked for."""
    image = photo("chelsea", 256)
    guessed, cat, flat = (
        session(codec, image, **options).worth for options in ({}, {"target_class": 281}, {"importance": "uniform"})
    )
    assert guessed.shape == (32, 32) and guessed.max() == 1 and 0 < guessed.min() < 0.3
    assert (flat == 1).all() and not np.allclose(cat, session(codec, image, target_class=817).worth)
    message = session(codec, image).first(Csi(), Budget())
    assert (message.segments[0].importance.reshape(-1, latent_channels()) == guessed.reshape(-1, 1)).all()


def test_a_budget_withholds_patches(codec, photo):
    image = photo("chelsea", 256)
    result = codec(NAME).send(image, "clean", seed=0, budget=3000)
    assert 2600 < result.bytes.total_bytes <= 3000
    (segment,) = result.rounds[0].segments
    assert 0.5 < segment.withheld.mean() < 0.75 and not segment.erased.any()
    assert psnr_db(image, result.reconstruction.image) > 15


def test_large_packets_hold_whole_patches(codec, photo):
    result = codec(NAME).send(photo("astronaut", 256), "packet_erasure:rate=0.3", seed=2, link=LinkSettings(500))
    received = result.rounds[0].segments[0].received.reshape(-1, latent_channels())
    assert (received.all(1) | ~received.any(1)).all() and not received.all()


def test_a_region_of_interest_travels_apart(codec, photo):
    """Its packets are its own; losing all others leaves it whole, and the reverse."""
    image = photo("chelsea", 256)
    opened = session(codec, image, roi_share=0.2)
    header = opened.first(Csi(), Budget()).header
    inside = region_of_interest(header, *opened.worth.shape)
    assert 0.15 < inside.mean() < 0.22 and opened.worth[inside].mean() > 1.5 * opened.worth[~inside].mean()
    for lost, left in ((1, inside), (0, ~inside)):  # the region goes first
        result = codec(NAME).send(image, f"packet_erasure:rate=1,segment={lost}", seed=0, roi_share=0.2)
        provenance = result.reconstruction.provenance[::8, ::8]
        assert ((provenance == Provenance.RECEIVED) == left).all() and (provenance[~left] == Provenance.ERASED).all()
    whole = codec(NAME).send(image, "clean", seed=0, roi_share=0.2)
    assert (whole.reconstruction.image == codec(NAME).send(image, "clean", seed=0).reconstruction.image).all()
    assert "sample" not in whole.reconstruction.seconds


@pytest.mark.parametrize("order", PacketOrder)
def test_a_region_within_a_budget_and_asked_for_again(codec, photo, order):
    image = photo("chelsea", 256)
    settings = {"roi_share": 0.3, "packet_order": order.value, "coding": "range"}
    small = codec(NAME).send(image, "clean", seed=0, budget=3500, **settings)
    assert 3200 < small.bytes.total_bytes <= 3500
    kinds = [segment.kind for segment in small.rounds[0].segments]
    inside = region_of_interest(small.rounds[0].frame.header, 32, 32)
    kept = small.reconstruction.provenance[::8, ::8] == Provenance.RECEIVED
    assert kinds == [ROI, FEATURES] and kept[inside].all() and 0.05 < kept[~inside].mean() < 0.6
    twice = codec(NAME).send(image, "packet_erasure:rate=0.3", seed=0, max_rounds=2, **settings)
    merged = merge_rounds(twice.rounds)
    for kind in (FEATURES, ROI):
        (first,) = [segment for segment in twice.rounds[0].segments if segment.kind == kind]
        assert (
            merged[kind].erased.mean() < 0.6 * first.erased.mean()
            and not (merged[kind].received & first.withheld).any()
        )


def test_a_region_beyond_the_picture_is_cut(codec):
    header = FeatureImputingHeader(roi_top=30, roi_left=0, roi_rows=128, roi_columns=128)
    assert region_of_interest(header, 32, 4).sum() == 8
    assert elements_sent(header, ROI, 32, 4).sum() == 8 * latent_channels()
    assert not elements_sent(header.model_copy(update={"roi_top": 100}), ROI, 32, 4).any()


def test_a_small_further_round_brings_the_region_first(codec, photo):
    sent = codec(NAME).send(
        photo("chelsea", 256), "packet_erasure:rate=0.4", seed=0, roi_share=0.2, max_rounds=2, round_budget_bytes=600
    )
    first, more = sent.rounds
    brought = {segment.kind: len(segment.elements) for segment in more.segments}
    (region,) = [segment for segment in first.segments if segment.kind == ROI]
    assert brought.get(ROI, 0) == min(region.erased.sum(), sum(brought.values())) > 0


def test_a_later_round_that_lies_about_a_region_takes_nothing_away(codec, photo):
    sent = codec(NAME).send(photo(), "packet_erasure:rate=0.3", seed=1)
    (first,) = sent.rounds
    strange = ReceivedSegment(ROI, np.zeros(5, np.int64), np.ones(5, bool))
    later = replace(first, frame=replace(first.frame, round=1), segments=(strange,))
    frame = arrived_frame([first, later], torch.Generator())
    assert (frame.received == arrived_frame([first], torch.Generator()).received).all()
    with pytest.raises(DecodeFailed, match="no round has announced features"):
        arrived_frame([replace(first, segments=(strange,))], torch.Generator())
