"""The contract of codecs that make up what the channel erased: coding, damage, whatever rounds come, batches, previews.

Beside it test_codecs.py, for all codecs. What the nets of one are worth is for its own suite.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from generative_codecs import CODINGS, GENERATIVE, choice_name, choices, few_steps

from gocom.common.crc32c import checksums
from gocom.common.csi import Csi
from gocom.common.errors import DecodeFailed
from gocom.common.packetizer import depacketize, packetize
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal, LinkSettings, Provenance
from gocom.common.wire.frame_messages import make_parameters

LINK = LinkSettings(max_payload_bytes=48)
LOSSY = "packet_erasure:rate=0.3"
every = pytest.mark.parametrize("name", GENERATIVE)


def message(codec, image, name, **options):
    """A first round."""
    goal = Goal(make_parameters(SYSTEMS.get(name).options, few_steps(name) | options))
    return opened(codec, image, name, goal).first(Csi(), Budget())


def opened(codec, image, name, goal):
    """The encoder's session."""
    encoder = codec(name).encoder
    return encoder.open(encoder.analyse(image), goal)


def received(sent, lost=0.3, seed=0):
    """What a channel leaves of it."""
    header, batch = packetize(sent, LINK)
    kept = np.random.default_rng(seed).random(len(batch)) >= lost
    return depacketize(header, batch.select(kept), LINK)


def made(codec, rounds, seed=0):
    """The picture of one codec's rounds, which has the size that its header says."""
    frame = rounds[0].frame
    *_, final = codec(frame.codec).decoder.reconstruct(rounds, generator=torch.Generator().manual_seed(seed))
    assert final.final and final.image.shape == (3, frame.height_px, frame.width_px)
    assert np.isfinite(final.image).all() and final.provenance.shape == final.image.shape[1:]
    return final


@pytest.mark.parametrize(("name", "coding"), CODINGS)
def test_codings_agree_on_the_picture(codec, photo, name, coding):
    result = codec(name).send(photo(), "clean", seed=0, coding=coding.value)
    reference = codec(name).send(photo(), "clean", seed=0)
    assert (result.reconstruction.image == reference.reconstruction.image).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [pytest.param(n, options, id=f"{n}{choice_name(options)}") for n in GENERATIVE for options in choices(n)],
)
def test_every_choice_makes_a_picture_and_changes_no_element(codec, photo, name, options):
    sent = message(codec, photo("coffee", 128)[:, :100, :67].copy(), name, **options)
    arrived = received(sent)
    for segment, mine in zip(arrived.segments, sent.segments, strict=True):
        assert (segment.elements[segment.received] == mine.elements[segment.received]).all()
    assert (made(codec, [arrived]).provenance == Provenance.ERASED).any()


@every
@pytest.mark.timeout(120)
def test_the_largest_size(codec, photo, name):
    image = np.tile(photo("coffee", 256), (1, 4, 4))
    result = codec(name).send(image, "packet_erasure:rate=0.1", seed=0, **few_steps(name))
    assert result.reconstruction.image.shape == (3, 1024, 1024)


@every
def test_a_round_keeps_its_budget(codec, photo, name):
    image, spec = photo("astronaut", 256), "packet_erasure:rate=0.5"
    sent = codec(name).send(image, spec, seed=2, max_rounds=2, round_budget_bytes=300, **few_steps(name))
    first = codec(name).send(image, spec, seed=2, **few_steps(name))
    assert len(sent.rounds) == 2
    later = sent.bytes.total_bytes - sent.bytes.feedback_bytes - first.bytes.total_bytes
    assert 200 < later <= 300 + 8  # the header says max_rounds and budget


@every
def test_twenty_damaged_frames_through_the_whole_decoder(codec, photo, name):
    """Random bytes in packets whose checksums fit cost no picture: what they say is a guess as good as another."""
    rng = np.random.default_rng(0)
    for number in range(20):
        options = choices(name)[number % len(choices(name))]
        header, batch = packetize(message(codec, photo(), name, **options), LINK)
        flips = rng.integers(0, 256, len(batch.payload)) * (rng.random(len(batch.payload)) < rng.choice([0.02, 1]))
        batch.payload = batch.payload ^ flips.astype(np.uint8)
        batch.checksum = checksums(batch, 0, 0)
        made(codec, [depacketize(header, batch, LINK)])


def strange(first, later):
    """Rounds that no transmitter sends, and a session can bring all the same: by what is wrong with them."""
    frame, segments = first.frame, first.segments
    yield "no segments", [replace(first, segments=())]
    yield "the first round is not there", [later]
    yield "the first round comes last", [later, first]
    yield "the first round twice", [first, first]
    yield "another size", [replace(first, frame=replace(frame, width_px=frame.width_px + 8))]
    for i, segment in enumerate(segments):
        others = segments[:i], segments[i + 1 :]
        yield f"no segment {i}", [replace(first, segments=others[0] + others[1])]
        short = replace(segment, elements=segment.elements[1:], received=segment.received[1:], withheld=None)
        yield f"segment {i} is short", [replace(first, segments=(*others[0], short, *others[1]))]
        none = replace(segment, elements=segment.elements[:0], received=segment.received[:0], withheld=None)
        yield f"segment {i} is empty", [replace(first, segments=(*others[0], none, *others[1]))]
        beyond = replace(segment, spans=np.array([[len(segment.elements) - 2, len(segment.elements)]]))
        yield f"segment {i} goes on past its end", [first, replace(later, segments=(beyond,))]


@every
def test_strange_rounds_are_a_picture_or_a_typed_error(codec, photo, name):
    sent = message(codec, photo(), name)
    first, failed = received(sent), set()
    spans = {s.kind: np.array([[1, min(9, len(s.elements) - 1)]]) for s in sent.segments}
    parts = [replace(s, elements=s.elements[1:10], importance=s.importance[1:10], spans=spans[s.kind], keep=None)
             for s in sent.segments]  # fmt: skip
    later = received(replace(sent, segments=tuple(parts), round=1), lost=0)
    made(codec, [first, later])
    for what, rounds in strange(first, later):
        try:
            made(codec, rounds)
        except DecodeFailed as error:
            assert str(error).startswith(f"{name}: ") and len(str(error)) < 200, what
            failed.add(what)
    # A round that says where its elements belong is enough for a picture, whichever it is. A whole segment of another
    # size says nothing of that kind.
    assert "no segments" in failed
    whole = ("the first round", "past its end")
    assert not any(words in what for what in failed for words in whole), failed


@every
def test_previews_lead_to_the_picture_there_is_without_them(codec, photo, name):
    rounds = [received(message(codec, photo(), name))]
    decoder = codec(name).decoder
    *steps, last = decoder.reconstruct(rounds, generator=torch.Generator().manual_seed(0), previews=True)
    assert steps and [s.step for s in steps] == list(range(1, len(steps) + 1)) and not any(s.final for s in steps)
    assert last.final and (last.image == made(codec, rounds).image).all()
    assert all((s.provenance == last.provenance).all() for s in steps)


@every
def test_a_batch_gives_the_pictures_of_single_frames(codec, photo, name):
    """Of several sizes, choices and losses, each with its own randomness, in their order."""
    cases = [({}, 96, 0.3), *((options, 128, 0.4) for options in choices(name)), ({}, 128, 0), ({}, 96, 1)]
    frames = [[received(message(codec, photo("chelsea", side), name, **options), lost, i)]
              for i, (options, side, lost) in enumerate(cases)]  # fmt: skip
    generators = [torch.Generator().manual_seed(i) for i in range(len(frames))]
    together = codec(name).decoder.reconstruct_batch(frames, generators=generators)
    for seed, (rounds, picture) in enumerate(zip(frames, together, strict=True)):
        alone = made(codec, rounds, seed)
        np.testing.assert_allclose(picture.image, alone.image, atol=1e-4)
        assert (picture.provenance == alone.provenance).all() and picture.caption == alone.caption
        assert {k: v.tolist() for k, v in picture.wanted.items()} == {k: v.tolist() for k, v in alone.wanted.items()}
        assert picture.quality_estimate == pytest.approx(alone.quality_estimate, abs=1e-5)
        assert picture.final and picture.step == 0


@every
def test_what_was_lost_is_wanted_and_what_was_withheld_is_not(codec, photo, name):
    free = sum(len(payload) for payload in packetize(message(codec, photo(), name), LINK)[1].payloads())
    goal = Goal(make_parameters(SYSTEMS.get(name).options, few_steps(name)))
    sent = opened(codec, photo(), name, goal).first(Csi(), Budget(int(0.9 * free)))
    arrived = received(sent)
    wanted = made(codec, [arrived]).wanted
    assert any(s.withheld is not None for s in arrived.segments)
    for segment in arrived.segments:
        named = np.zeros(len(segment.elements), bool)
        for start, length in wanted.get(segment.kind, ()):
            named[start : start + length] = True
        assert (named == segment.erased).all()
