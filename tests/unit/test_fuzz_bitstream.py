"""2,000 damaged packets of every codec with nets through the bitstream decoder: elements in range and masks that fit.

The damage is done behind the checksum, as a faulty or hostile sender would: the checksum is made to fit.
"""

from dataclasses import replace

import numpy as np
import pytest
from generative_codecs import CODINGS, drawn_message

from gocom.common.crc32c import checksums
from gocom.common.packetizer import depacketize, packetize
from gocom.common.systems import spec_of
from gocom.common.types import LinkSettings

ROUNDS = 2000
OF_A_MESSAGE = 10
"""Packets damaged one after the other, before another message is drawn."""
LINK = LinkSettings(max_payload_bytes=64)


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


@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
@pytest.mark.parametrize(("name", "coding"), CODINGS)
def test_damaged_packets(name, coding, masked):
    rng = np.random.default_rng([CODINGS.index((name, coding)), masked])
    cases = ROUNDS // (2 * sum(other == name for other, _ in CODINGS))
    for number in range(-(-cases // OF_A_MESSAGE)):
        message = drawn_message(name, coding, rng, masked=masked, overhead=number % 3 / 2)
        header, batch = packetize(message, LINK)
        clean = depacketize(header, batch, LINK)
        for segment, sent in zip(clean.segments, message.segments, strict=True):
            assert (segment.elements[segment.received] == sent.elements[segment.received]).all()
            assert not segment.erased.any()
        for _ in range(OF_A_MESSAGE):
            check(depacketize(header, damage(batch, rng), LINK))  # an erasure at worst, and no error


def check(got):
    for segment, announced in zip(got.segments, got.frame.segments, strict=True):
        size = spec_of(got.frame.codec, segment.kind).alphabet_size
        assert segment.elements.shape == segment.received.shape == (announced.element_count,)
        assert segment.elements.min() >= 0 and segment.elements.max() < size
        assert not segment.elements[~segment.received].any()
        assert segment.withheld is None or not (segment.received & segment.withheld).any()
