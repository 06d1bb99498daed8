"""One contract for every registered codec: no loss, total loss, one erased packet, same seed same bytes, any size."""

import numpy as np
import pytest
from generative_codecs import GENERATIVE, OWN

from gocom.common.errors import BudgetTooSmall, InvalidInput
from gocom.common.image_quality import psnr_db
from gocom.common.rounds import spans_to_positions
from gocom.common.systems import SYSTEMS
from gocom.common.systems.lami_go import TOKENS
from gocom.common.types import FeedbackPolicy, LinkSettings, Provenance
from gocom.common.wire.frame_messages import make_parameters
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS

FLOOR_DB = {"lami_go": 22.5, "feature_imputing": 24.0}
"""Of those below 26."""


def serialized(result):
    return b"".join(item.SerializeToString() for item in result.items)


def test_both_ends_of_every_system_are_there():
    assert OWN
    assert set(OWN) <= set(ENCODERS) and set(OWN) <= set(DECODERS)


@pytest.mark.parametrize("name", OWN)
def test_clean_picture_and_counted_bytes(codec, photo, name):
    image = photo("chelsea", 256)
    result = codec(name).send(image, "clean", seed=1)
    assert result.reconstruction.image.shape == image.shape
    assert psnr_db(image, result.reconstruction.image) > FLOOR_DB.get(name, 26)
    assert result.bytes.total_bytes == len(serialized(result))
    assert (result.reconstruction.provenance != Provenance.ERASED).all()
    assert not any(s.erased.any() for r in result.rounds for s in r.segments)


@pytest.mark.parametrize("name", OWN)
def test_total_loss(codec, photo, name):
    result = codec(name).send(photo(), "packet_erasure:rate=1", seed=1)
    assert result.rounds[0].packets_received == 0
    if name not in GENERATIVE:
        assert result.reconstruction is None and "missing" in result.reason
    else:
        assert (result.reconstruction.provenance != Provenance.RECEIVED).all()
        assert np.isfinite(result.reconstruction.image).all()


@pytest.mark.parametrize("name", OWN)
def test_some_loss_costs_its_own_elements(codec, photo, name):
    result = codec(name).send(photo("astronaut", 256), "packet_erasure:rate=0.3", seed=4)
    lost = result.rounds[0].packets_sent - result.rounds[0].packets_received
    assert lost > 0
    if name in GENERATIVE:
        share = (result.reconstruction.provenance == Provenance.ERASED).mean()
        assert 0 < share < 0.6
    else:
        assert result.reconstruction is None


@pytest.mark.parametrize("name", OWN)
def test_same_seed_same_bytes_and_picture(codec, photo, name):
    first, second = (codec(name).send(photo(), "packet_erasure:rate=0.2", seed=9, frame_index=3) for _ in range(2))
    assert serialized(first) == serialized(second)
    if first.reconstruction is not None:
        assert (first.reconstruction.image == second.reconstruction.image).all()


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("size", [(64, 64), (100, 67), (65, 200)])
def test_odd_sizes(codec, photo, name, size):
    image = np.ascontiguousarray(photo("coffee", 256)[:, : size[0], : size[1]])
    result = codec(name).send(image, "clean", seed=0)
    assert result.reconstruction.image.shape == image.shape
    assert result.reconstruction.provenance.shape == size


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_repair_carries_a_file_across_loss(codec, photo, name):
    failed = sum(
        codec(name).send(photo(), "packet_erasure:rate=0.2", seed=s, repair_overhead=1.0).reconstruction is None
        for s in range(10)
    )
    assert failed <= 1


@pytest.mark.parametrize("name", OWN)
def test_budget_is_kept_or_refused_with_its_floor(codec, photo, name):
    image = photo("astronaut", 256)
    with pytest.raises(BudgetTooSmall, match="at least") as refused:
        codec(name).send(image, "clean", seed=0, budget=60)
    floor = refused.value.floor_bytes
    assert floor > 60
    result = codec(name).send(image, "clean", seed=0, budget=floor + 50)
    assert result.bytes.total_bytes <= floor + 50


def test_received_tokens_are_never_changed(codec, photo):
    """Clean and unmasked: tokens received equal tokens sent, and the sampler does not run."""
    image = photo("astronaut", 256)
    result = codec("lami_go").send(image, "clean", seed=0, masking="none")
    tokens = codec("lami_go").encoder.analyse(image).tokens
    got = next(s for s in result.rounds[0].segments if s.kind == TOKENS)
    assert got.received.all() and (got.elements == tokens).all()
    assert "sample" not in result.reconstruction.seconds


def test_damaged_tokens_are_delivered_only_where_tolerated(codec, photo):
    """UDP-Lite style flips reach fixed-length tokens; captions stay under their checksum."""
    spec = "bit_flip:rate=0.01,damage=deliver"
    result = codec("lami_go").send(photo(), spec, seed=0, coding="fixed", masking="none", caption_repair_overhead=0)
    tokens = result.rounds[0].segments[1]
    wrong = (tokens.elements != codec("lami_go").encoder.analyse(photo()).tokens).mean()
    assert tokens.received.all() and 0.03 < wrong < 0.2
    erased = codec("lami_go").send(photo(), "bit_flip:rate=0.01", seed=0, coding="fixed", masking="none")
    assert not erased.rounds[0].segments[1].received.all()
    # Whatever is left of a caption is right: its damaged packets are erased, even where damage is delivered.
    captions = [
        codec("lami_go").send(
            photo(), spec, seed=s, coding="fixed", caption="a woman in orange", caption_repair_overhead=0,
            num_inference_steps=1, renoise_steps=0,
        ).reconstruction.caption
        for s in range(8)
    ]  # fmt: skip
    assert set(captions) == {None, "a woman in orange"}


def test_caption_lost_is_unconditional(codec, photo):
    result = codec("lami_go").send(photo(), "packet_erasure:rate=1", seed=0)
    assert result.reconstruction.caption is None
    assert codec("lami_go").send(photo(), "clean", seed=0, caption="a woman").reconstruction.caption == "a woman"


def test_prm_masks_exactly_the_ratio(codec, photo):
    result = codec("lami_go").send(photo("astronaut", 256), "clean", seed=0, mask_ratio=0.35, mask_seed=5)
    withheld = (result.reconstruction.provenance == Provenance.WITHHELD).mean()
    assert withheld == pytest.approx(0.35, abs=0.5 / 1024)


def test_wrong_options_are_refused():
    with pytest.raises(InvalidInput, match="renoise_steps"):
        make_parameters(SYSTEMS.get("lami_go").options, {"renoise_steps": -1})


def test_no_interleaver_and_large_payloads(codec, photo):
    result = codec("lami_go").send(photo(), "clean", seed=0, link=LinkSettings(1200, False))
    assert result.rounds[0].packets_sent == 3  # caption twice, tokens once


@pytest.mark.parametrize("name", OWN)
def test_further_rounds_bring_what_is_missing(codec, photo, name):
    spec = "packet_erasure:rate=0.4"
    once = codec(name).send(photo("astronaut", 256), spec, seed=2)
    often = codec(name).send(photo("astronaut", 256), spec, seed=2, max_rounds=8)
    assert any(s.erased.any() for s in once.rounds[0].segments)
    assert 2 <= len(often.rounds) <= 8
    assert often.bytes.total_bytes > once.bytes.total_bytes
    assert often.bytes.total_bytes == len(serialized(often)) + often.bytes.feedback_bytes
    assert 0 < often.bytes.feedback_bytes < 0.1 * often.bytes.total_bytes
    assert often.reconstruction is not None and (often.reconstruction.provenance != Provenance.ERASED).all()


@pytest.mark.parametrize("policy", ["none", "prm", "pdm", "ebm", "ebm_farthest"])
def test_masking_policies_make_pictures(codec, photo, policy):
    image = photo("chelsea", 128)
    clean = codec("lami_go").send(image, "clean", seed=1, masking=policy)
    link = LinkSettings(48)  # enough packets that some are lost and some are not
    lossy = codec("lami_go").send(image, "packet_erasure:rate=0.3", seed=2, masking=policy, link=link)
    withheld = (clean.reconstruction.provenance == Provenance.WITHHELD).mean()
    assert withheld == (0 if policy == "none" else pytest.approx(0.25, abs=0.01))
    assert (lossy.reconstruction.provenance == Provenance.ERASED).any()
    assert psnr_db(image, clean.reconstruction.image) > psnr_db(image, lossy.reconstruction.image) > 14


def test_ebm_keeps_to_a_budget(codec, photo):
    image = photo("chelsea", 128)
    free = codec("lami_go").send(image, "clean", seed=1, masking="ebm").bytes.total_bytes
    tight = codec("lami_go").send(image, "clean", seed=1, masking="ebm", budget=free - 60)
    assert tight.bytes.total_bytes <= free - 60
    assert (tight.reconstruction.provenance == Provenance.WITHHELD).mean() > 0.3


@pytest.mark.timeout(100)
def test_a_round_for_the_least_certain(codec, photo):
    """Withheld tokens are named too; the estimate of quality rises, and can end the rounds."""
    options = {"seed": 2, "masking": "prm", "mask_ratio": 0.4}
    more = {"max_rounds": 3, "round_budget_bytes": 80, "feedback_policy": FeedbackPolicy.UNCERTAIN}
    image, spec = photo("astronaut", 128), "packet_erasure:rate=0.2"
    once = codec("lami_go").send(image, spec, **options)
    often = codec("lami_go").send(image, spec, **options, **more)
    assert len(often.rounds) == 3 and often.bytes.feedback_bytes > 0
    later = often.rounds[1].segments[-1]
    assert once.rounds[0].segments[TOKENS].withheld[spans_to_positions(later.spans)].any()
    assert often.reconstruction.quality_estimate > once.reconstruction.quality_estimate
    assert psnr_db(image, often.reconstruction.image) > psnr_db(image, once.reconstruction.image)
    enough = codec("lami_go").send(image, spec, **options, **more, quality_target=0.05)
    assert len(enough.rounds) == 1
