"""2,000 damaged packets through the bitstream decoder: elements in range and masks that fit, or a typed error.

The damage is done behind the checksum, as a faulty or hostile sender would: the checksum is made to fit.
"""

from dataclasses import replace

import numpy as np
import pytest

from common.checksum import checksums
from common.errors import GoComError
from common.packetizer import depacketize, packetize
from common.systems.lami_go import CAPTION, CODEBOOK_SIZE, TOKENS, LamiGoHeader, MaskingPolicy, closest_first
from common.types import ElementCoding, GoMessage, LinkSettings, Segment

COUNT = 1024
ROUNDS = 2000


def first_round(rng, coding, masked):
    keep = closest_first(rng.random(COUNT).astype(np.float32), 256, farthest=False) if masked else None
    tokens = Segment(TOKENS, rng.integers(0, CODEBOOK_SIZE, COUNT), np.ones(COUNT, np.float32), coding, keep=keep)
    letters = np.frombuffer(b"a photo of a dog on a beach", np.uint8).astype(np.int64)
    caption = Segment(CAPTION, letters, np.ones(len(letters), np.float32), coding, 1.0)
    masking = MaskingPolicy.EBM if masked else MaskingPolicy.NONE
    return GoMessage("lami_go", LamiGoHeader(masking=masking), 256, 256, (caption, tokens))


def damage(batch, rng):
    """One packet changed: bits flipped, cut, lengthened, replaced, or claiming other elements."""
    victim = int(rng.integers(len(batch)))
    payloads = batch.payloads()
    data = bytearray(payloads[victim])
    kind = rng.integers(5)
    first, count = batch.first_element.copy(), batch.element_count.copy()
    if kind == 0:
        for bit in rng.integers(0, len(data) * 8, rng.integers(1, 40)):
            data[bit // 8] ^= 128 >> bit % 8
    elif kind == 1:
        data = data[: rng.integers(0, len(data))]
    elif kind == 2:
        data += rng.bytes(int(rng.integers(1, 300)))
    elif kind == 3:
        data = bytearray(rng.bytes(int(rng.integers(1, 105))))
    else:
        first[victim] = rng.integers(0, 1 << int(rng.integers(1, 32)))
        count[victim] = rng.integers(0, 1 << int(rng.integers(1, 32)))
    payloads[victim] = bytes(data)
    out = replace(
        batch,
        payload=np.frombuffer(b"".join(payloads), np.uint8),
        length=np.array([len(p) for p in payloads], np.int64),
        first_element=first,
        element_count=count,
    )
    out.checksum = checksums(out, 0, 0)
    return out


@pytest.mark.parametrize("masked", [False, True], ids=["all", "ebm"])
@pytest.mark.parametrize("coding", list(ElementCoding))
def test_damaged_packets(coding, masked):
    rng = np.random.default_rng([list(ElementCoding).index(coding), masked])
    link = LinkSettings()
    header, batch = packetize(first_round(rng, coding, masked), link)
    errors = 0
    for _ in range(ROUNDS // (2 * len(ElementCoding))):
        try:
            got = depacketize(header, damage(batch, rng), len(batch), link)
        except GoComError:
            errors += 1
            continue
        for segment, frame, size in zip(got.segments, header.segments, (256, CODEBOOK_SIZE), strict=True):
            assert segment.elements.shape == segment.received.shape == (frame.element_count,)
            assert segment.elements.min() >= 0 and segment.elements.max() < size
            assert segment.withheld is None or not (segment.received & segment.withheld).any()
    assert errors == 0  # damage of a packet is an erasure at worst
