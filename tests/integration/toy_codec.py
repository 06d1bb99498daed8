"""A codec without nets for tests of the services: one value of 0 to 255 a patch of 8x8, resent when asked.

Feedback that names no elements but a label or a text gets the row of patches of that number, or of the text's length.
"""

import time
from dataclasses import replace
from typing import ClassVar

import numpy as np

from gocom.common.codec_interfaces import Analysis
from gocom.common.errors import BudgetTooSmall, DecodeFailed
from gocom.common.rounds import merge_rounds, missing_spans
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import ElementCoding, Parameters, Provenance, Reconstruction, Segment
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession

NAME = "toy"


class ToyHeader(Parameters):
    decode: str = "picture"


class ToyOptions(Parameters):
    encode: str = "message"
    decode: str = "picture"
    seconds: float = 0.0


class ToySession(ResendingSession):
    feedback: ClassVar = []
    """What all sessions were asked; a test that looks at it empties it first."""

    def __init__(self, analysis, goal):
        super().__init__(NAME, analysis, goal)
        self.image = analysis.image

    def first(self, csi, budget):
        options = self.goal.options
        time.sleep(options.seconds)
        if options.encode == "crash":
            raise RuntimeError("the toy encoder fell over")
        if budget.max_bytes and budget.max_bytes < 100:
            raise BudgetTooSmall(NAME, budget.max_bytes, 100)
        self.sent = self.message()
        return self.sent

    def message(self, operating_point=None):
        values = (self.image[0, ::8, ::8] * 255).round().astype(np.int64).ravel()
        return self.compose([Segment(0, values, np.ones(len(values), np.float32), ElementCoding.FIXED)])

    def refine(self, feedback, csi, budget):
        self.feedback.append(feedback)
        if feedback.wanted or not (feedback.labels or feedback.text):
            return super().refine(feedback, csi, budget)
        (first,), width = self.sent.segments, self.image.shape[2] // 8
        row = [*feedback.labels, len(feedback.text or "")][0] % (len(first.elements) // width)
        spans = np.array([[row * width, width]])
        part = first.elements[row * width : (row + 1) * width]
        segment = replace(first, elements=part, importance=np.ones(width, np.float32), spans=spans)
        return replace(self.sent, segments=(segment,), round=feedback.round + 1)


class ToyEncoder:
    def __init__(self, zoo):
        self.zoo = zoo

    def analyse(self, image):
        return Analysis(image)

    def open(self, analysis, goal):
        return ToySession(analysis, goal)


class ToyDecoder:
    def __init__(self, zoo):
        self.zoo = zoo

    def reconstruct(self, rounds, *, generator, previews=False):
        frame = rounds[0].frame
        values = merge_rounds(rounds)[0]
        if frame.header.decode == "crash":
            raise RuntimeError("the toy decoder fell over")
        if frame.header.decode == "slow":
            time.sleep(0.3)
        if frame.header.decode == "all" and not values.received.all():
            raise DecodeFailed("toy: not all is there")
        shape = (-(-frame.height_px // 8), -(-frame.width_px // 8))
        blocks = np.kron((values.elements / 255).reshape(shape), np.ones((8, 8)))[: frame.height_px, : frame.width_px]
        image = np.stack([blocks] * 3).astype(np.float32)
        provenance = np.full(blocks.shape, Provenance.RECEIVED, np.uint8)
        if previews:
            yield Reconstruction(image, provenance, step=1, final=False)
        wanted = {} if values.received.all() else {0: missing_spans(values.received)}
        yield Reconstruction(image, provenance, wanted=wanted, seconds={"sample": 0.0})


if NAME not in SYSTEMS:
    SYSTEMS.add(NAME, System(NAME, ToyHeader, ToyOptions, (SegmentSpec("values", 256),)))
    ENCODERS.add(NAME, ToyEncoder)
    DECODERS.add(NAME, ToyDecoder)
