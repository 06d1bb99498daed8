"""Masking policies: which tokens are withheld, how the receiver learns it, and what a lost packet costs."""

import numpy as np
import pytest

from gocom.common.byte_account import message_bytes
from gocom.common.errors import InvalidInput
from gocom.common.packetizer import depacketize, packetize
from gocom.common.patch_grid import grid_shape
from gocom.common.systems.lami_go import (
    TOKENS,
    LamiGoHeader,
    MaskingPolicy,
    ebm_keep_mask,
    keep_mask,
)
from gocom.common.types import ElementCoding, FrameHeader, GoMessage, LinkSettings, Segment

RNG = np.random.default_rng(3)
COUNT = 1024
TOKEN_VALUES = RNG.integers(0, 1024, COUNT)
IMPORTANCE = np.ones(COUNT, np.float32)
KEEP = ebm_keep_mask(RNG.random(COUNT).astype(np.float32), 256, farthest=False)
LINKS = [LinkSettings(interleave=True), LinkSettings(interleave=False)]


def masked(width_px=256, height_px=256, frame_index=0, **header):
    """The mask of a frame of this size."""
    return keep_mask(FrameHeader("lami_go", LamiGoHeader(**header), width_px, height_px, (), frame_index))


def message(masking, coding=ElementCoding.CONTEXT, keep=None, **header):
    segment = Segment(TOKENS, TOKEN_VALUES, IMPORTANCE, coding, keep=keep)
    return GoMessage("lami_go", LamiGoHeader(masking=masking, **header), 256, 256, (segment,))


def test_prm_withholds_exactly_its_share_and_another_seed_others():
    one, other = (
        masked(250, 130, masking=MaskingPolicy.PRM, mask_ratio_permille=350, mask_seed=seed) for seed in (1, 2)
    )
    rows, columns = grid_shape(250, 130, 8)
    assert len(one) == rows * columns == 17 * 32
    assert (~one).sum() == (~other).sum() == round(0.35 * len(one))
    assert (one != other).any()


def test_the_seed_of_prm_is_the_frame_index_unless_the_header_has_one():
    prm = {"masking": MaskingPolicy.PRM, "mask_ratio_permille": 350}
    masks = [masked(frame_index=index, **prm) for index in (0, 7)]
    assert (masks[0] != masks[1]).any()
    for index, mask in zip((0, 7), masks, strict=True):
        assert (masked(frame_index=3, mask_seed=index, **prm) == mask).all()


def test_pdm_is_the_pattern_of_equation_15():
    keep = masked(masking=MaskingPolicy.PDM).reshape(32, 32)
    for a in range(32):
        for b in range(32):
            assert keep[a, b] == (not (a % 2 == 0 and b % 2 == 0))
    shares = [1 - masked(240, 240, masking=MaskingPolicy.PDM, mask_pattern=p).mean() for p in range(3)]
    assert shares == pytest.approx([1 / 4, 1 / 2, 1 / 3], abs=0.02)


def test_ebm_withholds_the_closest_and_its_opposite_the_farthest():
    distance = np.array([0.5, 0.1, 0.9, 0.2], np.float32)
    assert ebm_keep_mask(distance, 2, farthest=False).tolist() == [True, False, True, False]
    assert ebm_keep_mask(distance, 2, farthest=True).tolist() == [False, True, False, True]


@pytest.mark.parametrize("link", LINKS, ids=["interleaved", "raster"])
@pytest.mark.parametrize("coding", list(ElementCoding))
@pytest.mark.parametrize("masking", [MaskingPolicy.NONE, MaskingPolicy.PRM, MaskingPolicy.PDM, MaskingPolicy.EBM])
def test_both_ends_agree_on_tokens_and_mask(masking, coding, link):
    ratio = {"mask_ratio_permille": 250} if masking is MaskingPolicy.PRM else {}
    keep = KEEP if masking is MaskingPolicy.EBM else None
    sent = message(masking, coding, keep, **ratio)
    header, batch = packetize(sent, link)
    got = depacketize(header, batch, link).segments[0]
    if keep is None:
        keep = keep_mask(sent)
    keep = np.ones(COUNT, bool) if keep is None else keep
    assert (got.received == keep).all()
    assert (got.elements[keep] == TOKEN_VALUES[keep]).all()
    assert not got.erased.any()
    assert got.withheld is None if keep.all() else (got.withheld == ~keep).all()


@pytest.mark.parametrize("link", LINKS, ids=["interleaved", "raster"])
@pytest.mark.parametrize("coding", list(ElementCoding))
@pytest.mark.parametrize("keep", [None, KEEP], ids=["none", "ebm"])
def test_a_lost_packet_costs_its_own_elements_only(keep, coding, link):
    """Each packet is coded on its own, and takes its slice of the mask along: nothing else changes."""
    header, batch = packetize(message(MaskingPolicy.NONE, coding, keep), link)
    whole = depacketize(header, batch, link).segments[0]
    for lost in (0, len(batch) // 2, len(batch) - 1):
        kept_packets = np.arange(len(batch)) != lost
        got = depacketize(header, batch.select(kept_packets), link).segments[0]
        assert (got.elements[got.received] == whole.elements[got.received]).all()
        gone = whole.received & ~got.received
        unknown = gone if keep is None else gone | (whole.withheld & ~(got.withheld | got.received))
        assert unknown.sum() == batch.element_count[lost]
        assert (got.received | unknown | ~whole.received).all()


def test_the_slices_of_the_mask_are_counted():
    """EBM pays for its mask: about the entropy of the mask more than PRM, which sends as many tokens."""
    prm = message_bytes(message(MaskingPolicy.PRM, ElementCoding.RANGE, mask_ratio_permille=250), LINKS[0])
    ebm = message_bytes(message(MaskingPolicy.EBM, ElementCoding.RANGE, KEEP), LINKS[0])
    entropy_bytes = COUNT * -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)) / 8
    assert ebm - prm == pytest.approx(entropy_bytes, rel=0.35)


def test_a_mask_that_keeps_everything_is_no_mask_and_one_that_keeps_nothing_is_refused():
    """Both ends go by the same rule, also where the header says a mask of its own."""
    prm = {"mask_ratio_permille": 250}
    header, batch = packetize(message(MaskingPolicy.PRM, keep=np.ones(COUNT, bool), **prm), LINKS[0])
    got = depacketize(header, batch, LINKS[0]).segments[0]
    assert got.received.sum() == 768 and (got.elements[got.received] == TOKEN_VALUES[got.received]).all()
    with pytest.raises(InvalidInput, match="withholds all 1024"):
        packetize(message(MaskingPolicy.EBM, keep=np.zeros(COUNT, bool)), LINKS[0])


def test_a_mask_of_another_length_is_refused():
    wrong = Segment(TOKENS, TOKEN_VALUES[:1000], IMPORTANCE[:1000], ElementCoding.RANGE)
    sent = GoMessage("lami_go", LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=250), 256, 256, (wrong,))
    with pytest.raises(InvalidInput, match="element_count: 1000 of 'tokens', the mask is for 1024"):
        packetize(sent, LINKS[0])
