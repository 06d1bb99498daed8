"""A codec without nets whose segments come late, grow, and answer to what the consumer asked for.

round 0    base: the mean of each block of 16x16 pixels
round 1    detail: the mean of each patch of 8x8 pixels in a third of the picture; note: what was asked for
round 2    another third of detail; the note grows
any        what the feedback names of base and detail, also detail that was never sent
"""

import numpy as np

from gocom.common.codec_interfaces import Analysis
from gocom.common.patch_grid import grid_shape, pad_to_patches, paint_patches
from gocom.common.rounds import clip_spans, erased_spans, merge_rounds, positions_to_spans, spans_to_positions
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import ElementCoding, GoMessage, Parameters, Provenance, Reconstruction, Segment
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession

NAME = "growing"
BASE, DETAIL, NOTE = 0, 1, 2
BLOCK_PX, DETAIL_PX, UNIT = 16, 8, 4


class Empty(Parameters):
    pass


def means(image, size):
    padded = pad_to_patches(image, size)
    blocks = padded.reshape(3, padded.shape[1] // size, size, -1, size).mean((0, 2, 4))
    return np.rint(blocks * 255).astype(np.int64).ravel()


class GrowingSession(ResendingSession):
    def __init__(self, analysis, goal):
        super().__init__(NAME, analysis, goal)
        self.base, self.detail = means(analysis.image, BLOCK_PX), means(analysis.image, DETAIL_PX)
        self.shuffled = np.random.default_rng(0).permutation(len(self.detail) // UNIT)
        self.note = b""

    def message(self, operating_point=None):
        return self.compose([self.part(BASE, self.base, None)])

    def part(self, kind, elements, at):
        chosen = elements if at is None else elements[at]
        spans = None if at is None else positions_to_spans(at)
        return Segment(kind, chosen, np.ones(len(chosen), np.float32), ElementCoding.FIXED, spans=spans)

    def refine(self, feedback, csi, budget):
        number = feedback.round + 1
        named = {
            kind: spans_to_positions(clip_spans(spans, len(elements)))
            for kind, elements in ((BASE, self.base), (DETAIL, self.detail))
            if (spans := feedback.wanted.get(kind)) is not None
        }
        units = np.array_split(self.shuffled, 3)[number - 1] if number < 3 else self.shuffled[:0]
        fresh = (units[:, None] * UNIT + np.arange(UNIT)).ravel()
        detail = np.union1d(fresh, named.get(DETAIL, fresh)).astype(np.int64)
        words = f"{number}:{','.join(map(str, feedback.labels))}:{feedback.text or ''};".encode()
        start, self.note = len(self.note), self.note + words
        letters = np.frombuffer(self.note, np.uint8).astype(np.int64)
        parts = [self.part(NOTE, letters, np.arange(start, len(letters)))]
        parts += [self.part(DETAIL, self.detail, detail)] if len(detail) else []
        parts += [self.part(BASE, self.base, named[BASE])] if BASE in named else []
        return GoMessage(
            NAME, Empty(), self.width_px, self.height_px, tuple(parts), self.goal.frame_index, number, self.goal.rounds
        )


class GrowingEncoder:
    def __init__(self, zoo):
        self.zoo = zoo

    def analyse(self, image):
        return Analysis(image)

    def open(self, analysis, goal):
        return GrowingSession(analysis, goal)


class GrowingDecoder:
    """Detail where it arrived, else the base, else grey. The note is the caption, with a ? for each missing letter."""

    def __init__(self, zoo):
        self.zoo = zoo

    def reconstruct(self, rounds, *, generator, previews=False):
        frame, segments = rounds[0].frame, merge_rounds(rounds)
        size = frame.width_px, frame.height_px

        def paint(kind, patch_px, missing):
            segment = segments.get(kind)
            shape = grid_shape(*size, patch_px)
            if segment is None:
                return np.full(size[::-1], missing), np.zeros(size[::-1], bool)
            there = np.where(segment.received, segment.elements, missing)
            masks = (there.astype(np.uint8), segment.received.astype(np.uint8))
            values, received = (paint_patches(a.reshape(shape), *size, patch_px) for a in masks)
            return values, received.astype(bool)

        base, has_base = paint(BASE, BLOCK_PX, 128)
        detail, has_detail = paint(DETAIL, DETAIL_PX, 0)
        grey = np.where(has_detail, detail, base).astype(np.float32) / 255
        provenance = np.where(
            has_detail, Provenance.RECEIVED, np.where(has_base, Provenance.WITHHELD, Provenance.ERASED)
        )
        note = segments.get(NOTE)
        letters = None if note is None else np.where(note.received, note.elements, ord("?")).astype(np.uint8)
        yield Reconstruction(
            np.stack([grey] * 3), provenance.astype(np.uint8), wanted=erased_spans(segments),
            caption=None if letters is None else letters.tobytes().decode(),
        )  # fmt: skip


if NAME not in SYSTEMS:
    SEGMENTS = (
        SegmentSpec("base", 256, count=lambda width, height: int(np.prod(grid_shape(width, height, BLOCK_PX)))),
        SegmentSpec(
            "detail",
            256,
            count=lambda width, height: int(np.prod(grid_shape(width, height, 8))),
            unit=lambda frame: UNIT,
        ),
        SegmentSpec("note", 256, max_elements=4096),
    )
    SYSTEMS.add(NAME, System(NAME, Empty, Empty, SEGMENTS))
    ENCODERS.add(NAME, GrowingEncoder)
    DECODERS.add(NAME, GrowingDecoder)
