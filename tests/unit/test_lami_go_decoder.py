"""lami_go's decoder with the bundled nets, on small pictures of which parts are made to be missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gocom.common.errors import DecodeFailed
from gocom.common.nets.token_denoiser import TEXT_DIM
from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader, TokenDraw
from gocom.common.types import ElementCoding, FrameHeader, Provenance, ReceivedMessage, ReceivedSegment, SegmentHeader
from gocom.common.zoo import open_zoo
from gocom.receiver.decoders import DECODERS
from gocom.receiver.decoders.lami_go import LamiGoDecoder, missing_by_uncertainty

SIDE, COUNT = 64, 64
TEXT = b"a woman in orange"


@pytest.fixture(scope="module")
def decoder():
    return DECODERS.get("lami_go")(open_zoo("cpu"))


def message(seed=0, lost=0.4, withheld=None, caption=TEXT, size=(SIDE, SIDE), count=None, **header):
    """One round with random tokens, of which a share did not arrive."""
    rng = np.random.default_rng(seed)
    count = -(-size[0] // 8) * -(-size[1] // 8) if count is None else count
    received = rng.random(count) >= lost
    if withheld is not None:
        received &= ~withheld
    tokens = np.where(received, rng.integers(1024, size=count), 0)
    letters = np.frombuffer(caption or bytes(9), np.uint8).astype(np.int64)
    segments = (
        ReceivedSegment(CAPTION, letters, np.full(len(letters), caption is not None)),
        ReceivedSegment(TOKENS, tokens, received, withheld=withheld),
    )
    frames = tuple(SegmentHeader(s.kind, len(s.elements), ElementCoding.FIXED, 1) for s in segments)
    fields = LamiGoHeader(**({"num_inference_steps": 3, "draw": "argmax"} | header))
    return ReceivedMessage(FrameHeader("lami_go", fields, size[1], size[0], frames), segments, 2, 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def final(decoder, arrived, seed=0):
    *_, picture = decoder.reconstruct([arrived], generator=generator(seed))
    return picture


def test_each_pixel_says_where_it_comes_from(decoder):
    withheld = np.arange(COUNT) % 4 == 0
    arrived = message(withheld=withheld, size=(60, 62))
    picture = final(decoder, arrived)
    received = arrived.segments[TOKENS].received
    expected = np.where(received, Provenance.RECEIVED, np.where(withheld, Provenance.WITHHELD, Provenance.ERASED))
    assert picture.image.shape == (3, 60, 62) and picture.provenance.shape == (60, 62)
    assert (picture.provenance[::8, ::8].ravel() == expected).all()
    assert {int(v) for v in np.unique(picture.provenance)} == {0, 1, 2}


def test_what_was_withheld_is_not_asked_for_but_may_be_uncertain(decoder):
    withheld = np.arange(COUNT) % 4 == 0
    arrived = message(withheld=withheld, caption=None)
    picture = final(decoder, arrived)
    asked = np.zeros(COUNT, bool)
    for start, length in picture.wanted[TOKENS]:
        asked[start : start + length] = True
    assert (asked == arrived.segments[TOKENS].erased).all() and asked.any()
    assert picture.wanted[CAPTION].tolist() == [[0, 9]] and picture.caption is None
    missing = np.flatnonzero(~arrived.segments[TOKENS].received)
    assert sorted(picture.uncertain[TOKENS]) == missing.tolist() and set(picture.uncertain) == {TOKENS}


def test_a_token_that_a_later_round_brings_is_received_even_if_it_was_withheld():
    first = message(withheld=np.ones(COUNT, bool))
    segment = first.segments[TOKENS]
    segment.received[5] = True
    provenance = LamiGoDecoder.arrived_frame([first], generator()).provenance()
    assert provenance[0, 40] == Provenance.RECEIVED and provenance[0, 0] == Provenance.WITHHELD


def test_uncertainty_and_quality_are_those_of_the_last_step(decoder):
    arrived = message(lost=0.6)
    picture = final(decoder, arrived)
    segment = arrived.segments[TOKENS]
    *_, step = decoder.fill(
        torch.from_numpy(segment.elements).view(1, 8, 8), torch.from_numpy(segment.received).view(1, 8, 8),
        [TEXT.decode()], SamplerSettings(num_inference_steps=3, draw=TokenDraw.ARGMAX), [generator()],
    )  # fmt: skip
    u = step.uncertainty(decoder.tokenizer.codebook).numpy().ravel()[picture.uncertain[TOKENS]]
    assert (np.diff(u) <= 0).all() and u[0] > u[-1] > 0
    right = segment.received.sum() + float(step.probability.numpy().ravel()[~segment.received].sum())
    assert picture.quality_estimate == pytest.approx(right / COUNT) and 0 < picture.quality_estimate < 1


def test_the_least_certain_come_first_and_equals_in_raster_order():
    uncertainty = np.array([[0.0, 0.005], [2.5, 0.005]], np.float32)
    received = np.array([[True, False], [False, False]])
    assert missing_by_uncertainty(uncertainty, received).tolist() == [2, 1, 3]


def test_nothing_missing_needs_no_sampler(decoder):
    picture = final(decoder, message(lost=0))
    assert picture.quality_estimate == 1 and not picture.uncertain and not picture.wanted
    assert set(picture.seconds) == {"decode"}


def test_there_must_be_tokens_and_they_must_be_those_of_the_picture(decoder):
    for strange in (message(count=63, lost=0.0), replace(message(), segments=())):
        with pytest.raises(DecodeFailed, match="no round has announced tokens"):
            final(decoder, strange)


def test_a_preview_a_step_and_then_the_picture(decoder):
    """The last step's picture is the final one, and is not made twice."""
    pictures = list(decoder.reconstruct([message()], generator=generator(), previews=True))
    assert [(p.step, p.final) for p in pictures] == [(1, False), (2, False), (0, True)]
    assert (pictures[0].image != pictures[1].image).any() and (pictures[1].image != pictures[2].image).any()
    assert pictures[0].quality_estimate is None and not pictures[0].wanted and pictures[2].wanted
    assert [p.seconds["sample"] for p in pictures] == sorted(p.seconds["sample"] for p in pictures)


@pytest.mark.parametrize(
    "options",
    [
        {"t_schedule": "paper"},
        {"temperature": 5.0, "draw": "multinomial"},
        {"guidance_scale": 6.0},
        {"renoise_steps": 0},
        {"num_inference_steps": 1},
    ],
)
def test_every_setting_of_the_header_reaches_the_sampler(decoder, options):
    usual, other = (final(decoder, message(**h)) for h in ({"draw": options.get("draw", "argmax")}, options))
    assert (usual.image != other.image).any()


def test_guidance_zero_ignores_the_text(decoder):
    ignored, none = (final(decoder, message(**h)) for h in ({"guidance_scale": 0.0}, {"caption": None}))
    assert (ignored.image == none.image).all()
    assert (final(decoder, message()).image != none.image).any()


def fill(decoder, captions, received=None, **options):
    rng = generator(1)
    tokens = torch.randint(1024, (len(captions), 8, 8), generator=rng)
    some = torch.rand(tokens.shape, generator=rng) < 0.5
    generators = [generator(i) for i in range(len(captions))]
    settings = SamplerSettings(num_inference_steps=2, draw=TokenDraw.ARGMAX)
    *_, step = decoder.fill(tokens, some if received is None else received, captions, settings, generators, **options)
    return step.tokens


def test_the_trusted_channel_can_be_switched_off(decoder):
    assert (fill(decoder, [None]) != fill(decoder, [None], trusted=False)).any()
    nothing = torch.zeros(1, 8, 8, dtype=torch.bool)  # then there is nothing to trust either way
    assert (fill(decoder, [None], nothing) == fill(decoder, [None], nothing, trusted=False)).all()


def test_captions_of_a_batch_stay_with_their_frames(decoder):
    """Shorter captions are padded, and frames without one get the net's stand-in for no text."""
    long = "two dogs and a cat on a sofa in the sun"
    text, mask = decoder.denoiser.encode_captions(["a dog", None, long])
    assert text.shape == (3, mask.shape[1], TEXT_DIM) and mask.sum(1).tolist() == [4, 1, mask.shape[1]]
    assert (text[1, 0] == decoder.denoiser.null_text[0]).all()
    assert torch.equal(text[0, :4], decoder.denoiser.encode_captions(["a dog"])[0][0])
    assert decoder.denoiser.encode_captions([None, ""]) == (None, None)


def test_a_batch_gives_the_pictures_of_single_frames(decoder):
    """Of several sizes and settings, with and without captions and losses, in their order."""
    frames = [
        [message(0)],
        [message(1, caption=b"two dogs on a sofa in the sun", lost=0.8)],
        [message(2, size=(64, 72))],
        [message(3, caption=None)],
        [message(4, lost=0)],
        [message(5, num_inference_steps=2)],
        [message(6, size=(61, 64))],
    ]
    together = decoder.reconstruct_batch(frames, generators=[generator(i) for i in range(len(frames))])
    for seed, (rounds, picture) in enumerate(zip(frames, together, strict=True)):
        alone = final(decoder, rounds[0], seed)
        np.testing.assert_allclose(picture.image, alone.image, atol=1e-4)
        assert (picture.provenance == alone.provenance).all() and picture.caption == alone.caption
        assert picture.quality_estimate == pytest.approx(alone.quality_estimate, abs=1e-5)
        assert {k: set(v) for k, v in picture.uncertain.items()} == {k: set(v) for k, v in alone.uncertain.items()}
        assert picture.final and picture.step == 0
