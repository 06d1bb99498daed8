"""feature_imputing's orders, its withheld patches, and the sampler around nets whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.packetizer import depacketize, packetize
from gocom.common.samplers.feature_imputation import impute
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.systems.feature_imputing import (
    FEATURES,
    FeatureImputingHeader,
    PacketOrder,
    element_order,
    kept_patches,
    latent_channels,
)
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment

ROWS, COLUMNS = 16, 24


def lost_patches(order, number, interleave=True):
    """bool [h, w, C]: what the loss of one packet costs."""
    count = ROWS * COLUMNS * latent_channels()
    segment = Segment(FEATURES, np.arange(count) % 128, np.ones(count, np.float32), ElementCoding.FIXED)
    header = FeatureImputingHeader(packet_order=order)
    message = GoMessage("feature_imputing", header, 8 * COLUMNS, 8 * ROWS, (segment,))
    link = LinkSettings(105, interleave)
    frame, batch = packetize(message, link)
    (got,) = depacketize(frame, batch.select(batch.sequence != number), link).segments
    lost = np.empty(count, bool)
    lost[element_order(order, ROWS, COLUMNS)] = ~got.received
    return lost.reshape(ROWS, COLUMNS, latent_channels())


@pytest.mark.parametrize("order", PacketOrder)
def test_an_order_has_every_feature_once(order):
    found = element_order(order, ROWS, COLUMNS)
    assert sorted(found) == list(range(ROWS * COLUMNS * latent_channels()))


def test_a_spatial_packet_is_fifteen_whole_patches():
    lost = lost_patches(PacketOrder.SPATIAL, 3)
    assert lost.sum() == 120 and (lost.all(2) | ~lost.any(2)).all()
    in_a_row = np.flatnonzero(lost_patches(PacketOrder.SPATIAL, 3, interleave=False).all(2))
    assert (np.diff(in_a_row) == 1).all() and len(in_a_row) == 15
    assert (np.diff(np.flatnonzero(lost.all(2))) > 1).mean() > 0.7


def test_a_channel_packet_is_of_one_channel_or_two():
    lost = lost_patches(PacketOrder.CHANNEL, 5)
    assert lost.sum() == 120 and 1 <= lost.any((0, 1)).sum() <= 2


def test_a_random_packet_is_from_everywhere():
    lost = lost_patches(PacketOrder.RANDOM, 5)
    assert lost.sum() == 120 and lost.any((0, 1)).all() and lost.any(2).sum() > 90


@pytest.mark.parametrize("permille", [0, 1, 300, 950])
def test_so_many_patches_are_withheld(permille):
    kept = kept_patches(FeatureImputingHeader(withheld_permille=permille), ROWS, COLUMNS)
    assert (~kept).sum() == round(permille * len(kept) / 1000)


class MadeUpNet(torch.nn.Module):
    """A net of our imputer's kind, which makes its grid smaller by four."""

    config = SimpleNamespace(block_out_channels=(1, 1, 1))


class Oracle(MadeUpNet):
    """Knows the true latent: the v that leads there, whatever the noise."""

    def __init__(self, truth):
        super().__init__()
        self.truth, self.seen = truth, []

    def forward(self, x, t, return_dict):
        noisy = x[:, : latent_channels()]
        self.seen.append(x)
        alpha = LatentImputer(self).scheduler().alphas_cumprod[t.long()].view(-1, 1, 1, 1)
        noise = (noisy - alpha.sqrt() * self.truth) / (1 - alpha).sqrt()
        return (alpha.sqrt() * noise - (1 - alpha).sqrt() * self.truth,)


def grids(height=8, width=12, batch=2):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn((batch, latent_channels(), height, width), generator=generator)
    return y, torch.rand(y.shape, generator=generator) < 0.6


def seeds(*numbers):
    return [torch.Generator().manual_seed(number) for number in numbers]


@pytest.mark.parametrize(
    "settings",
    [ImputerSettings(deterministic=False), ImputerSettings(1), ImputerSettings(16, 1.0, False), ImputerSettings(4)],
)
def test_a_net_that_knows_leads_to_the_truth_and_what_arrived_is_put_back(settings):
    y, received = grids()
    damaged = torch.where(received, y, torch.full_like(y, 99.0))
    oracle = Oracle(y)
    steps = list(impute(LatentImputer(oracle), damaged, received, settings, seeds(1, 2)))
    assert len(steps) == settings.num_inference_steps
    torch.testing.assert_close(steps[-1], y, atol=2e-3, rtol=0)
    for step in steps:
        assert torch.equal(step[received], y[received])
    for x in oracle.seen:  # what was erased is never shown to the net
        noisy, known, mask = x.chunk(3, dim=1)
        assert torch.equal(mask > 0, received) and (known[~received] == 0).all() and noisy.abs().max() < 20


def test_sides_that_are_no_multiples_of_four():
    y, received = grids(7, 9)

    class Zero(MadeUpNet):
        def forward(self, x, t, return_dict):
            assert x.shape[2] % 4 == x.shape[3] % 4 == 0
            return (torch.zeros_like(x[:, : latent_channels()]),)

    *_, last = impute(LatentImputer(Zero()), y, received, ImputerSettings(3), seeds(0, 1))
    assert last.shape == y.shape and torch.isfinite(last).all() and torch.equal(last[received], y[received])


class Average(MadeUpNet):
    """A made-up net whose answer depends on the noise."""

    def forward(self, x, t, return_dict):
        noisy, known, _ = x.chunk(3, dim=1)
        return (0.3 * noisy.roll(1, 2) - 0.5 * known.roll(1, 3),)


def test_a_frame_does_not_depend_on_its_companions_and_the_seed_decides():
    y, received = grids()
    settings = ImputerSettings(5, 0.5, deterministic=False)
    *_, both = impute(LatentImputer(Average()), y, received, settings, seeds(1, 2))
    *_, alone = impute(LatentImputer(Average()), y[1:], received[1:], settings, seeds(2))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=0)
    *_, other = impute(LatentImputer(Average()), y[1:], received[1:], settings, seeds(3))
    assert (other - alone).abs().max() > 0.1
    fixed = ImputerSettings(5)
    *_, one = impute(LatentImputer(Average()), y, received, fixed, seeds(1, 2))
    *_, two = impute(LatentImputer(Average()), y, received, fixed, seeds(3, 4))
    assert torch.equal(one, two)
