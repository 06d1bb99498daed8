"""A codec that keeps a segment back until it is asked for: both ends count its elements alike, round after round."""

import io

import numpy as np
import pytest
from PIL import Image
from toy_world import kinds, request

from gocom.channel_emulator.chain import Chain
from gocom.common.channel_spec import parse_spec
from gocom.common.codec_interfaces import Analysis
from gocom.common.errors import DecodeFailed
from gocom.common.pipeline import run
from gocom.common.rounds import erased_spans, merge_rounds
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import ElementCoding, Goal, LinkSettings, Parameters, Provenance, Reconstruction, Segment
from gocom.receiver.decoders import DECODERS
from gocom.receiver.feedback_policy import policy_for
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession
from gocom.transmitter.retransmission import resend

NAME = "two_layers"
HIGH, LOW = 0, 1
"""The upper and the lower four bits of each patch's value."""
LINK = LinkSettings(max_payload_bytes=32)


class TwoLayersHeader(Parameters):
    pass


class TwoLayersSession(ResendingSession):
    def __init__(self, analysis, goal):
        super().__init__(NAME, analysis, goal)
        self.image = analysis.image

    def all(self):
        values = (self.image[0, ::8, ::8] * 255).round().astype(np.int64).ravel()
        parts = ((HIGH, values >> 4), (LOW, values & 15))
        segments = [Segment(k, v, np.ones(len(v), np.float32), ElementCoding.FIXED) for k, v in parts]
        return self.compose(segments)

    def message(self, operating_point=None):
        return self.compose(self.all().segments[:1])

    def refine(self, feedback, csi, budget):
        return resend(self.all(), feedback, budget, self.goal)


class TwoLayersEncoder:
    def __init__(self, zoo):
        pass

    def analyse(self, image):
        return Analysis(image)

    def open(self, analysis, goal):
        return TwoLayersSession(analysis, goal)


class TwoLayersDecoder:
    def __init__(self, zoo):
        pass

    def reconstruct(self, rounds, *, generator, previews=False):
        """Ask for what is missing of what was sent, and for the lower bits as soon as there are none."""
        frame, merged = rounds[0].frame, merge_rounds(rounds)
        if HIGH not in merged:
            raise DecodeFailed("two_layers: no upper bits")
        shape = (frame.height_px // 8, frame.width_px // 8)
        count = shape[0] * shape[1]
        low = merged[LOW].elements if LOW in merged else np.zeros(count, np.int64)
        blocks = np.kron(((merged[HIGH].elements << 4 | low) / 255).reshape(shape), np.ones((8, 8)))
        wanted = erased_spans(merged) | ({} if LOW in merged else {LOW: np.array([[0, count]])})
        yield Reconstruction(
            np.stack([blocks] * 3).astype(np.float32), np.full(blocks.shape, Provenance.RECEIVED, np.uint8),
            wanted=wanted,
        )  # fmt: skip


if NAME not in SYSTEMS:

    def patches(width_px, height_px):
        return -(-width_px // 8) * -(-height_px // 8)

    specs = (SegmentSpec("high", 16, count=patches), SegmentSpec("low", 16, count=patches))
    SYSTEMS.add(NAME, System(NAME, TwoLayersHeader, Parameters, specs))
    ENCODERS.add(NAME, TwoLayersEncoder)
    DECODERS.add(NAME, TwoLayersDecoder)


def shades(size=128):
    """Every patch of another grey, and a PNG of them."""
    grey = np.kron((np.arange((size // 8) ** 2) * 37 % 256).reshape(size // 8, -1), np.ones((8, 8))).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(np.stack([grey] * 3, -1)).save(out, "PNG")
    return grey, out.getvalue()


def in_process(image, spec, frame_index):
    """The same without services."""
    goal = Goal(Parameters(), frame_index, max_rounds=20, link=LINK, last_frame=-1)
    return run(
        image, goal, encoder=TwoLayersEncoder("cpu"),
        decoder=TwoLayersDecoder("cpu"), channel=Chain.from_profile(parse_spec(spec)), ask=policy_for,
    )  # fmt: skip


@pytest.mark.parametrize("frame_index", [0, 1, 2])
async def test_what_was_kept_back_is_asked_for_until_it_is_there(world, frame_index):
    """Lost packets of a segment that came first as requested are named in the order of that round at both ends."""
    spec, (grey, data) = "packet_erasure:rate=0.4", shades()
    expected = in_process(np.stack([grey] * 3).astype(np.float32) / 255, spec, frame_index)
    brought = [{segment.kind for segment in received.segments} for received in expected.rounds]
    assert brought[0] == {HIGH} and LOW in brought[1] and len(brought) > 2
    assert (np.round(expected.reconstruction.image[0] * 255) == grey).all()
    await world.all(spec)
    events = await world.transmit(request(frame_index, image=data, codec=NAME, max_rounds=20))
    assert kinds(events)[-1] == "completed", events
    (got,) = await world.subscribe(1)
    picture = np.asarray(Image.open(io.BytesIO(got.reconstruction.image_png)))
    assert (picture[..., 0] == grey).all()
    sent = [e.sent for e in events if e.HasField("sent")]
    assert [one.packets for one in sent] == [received.packets_sent for received in expected.rounds]
    total = sum(one.bytes.total_bytes for one in sent)
    assert total == expected.bytes.total_bytes - expected.bytes.feedback_bytes
