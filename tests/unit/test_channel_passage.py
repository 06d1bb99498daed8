"""A round in batches: the same fate as all at once and as ever, and checksums that follow flipped bits."""

from __future__ import annotations

import hashlib

import google_crc32c
import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.cached_rng import LONG_WINDOW, WINDOW, CachedRng, draw_cached
from gocom.channel_emulator.fault_bases.crc_update import crc_deltas
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.counter_rng import CounterRng
from gocom.common.crc32c import checksums
from gocom.common.packet_batch import PacketBatch, join_batches

FRAME = FrameInfo(7, 2, (True, False), (1000, 2100, 3000))
SPECS = {
    "packet_erasure:rate=0.2": "098ed802b743ccbc",
    "packet_erasure:rate=0.4,segment=1": "8cd7da25b926579d",
    "gilbert_elliott:p=0.02,r=0.25": "44cc1b4c8f1c7885",
    "bit_flip:rate=1e-3,damage=deliver": "86d157b750da41e8",
    "bit_flip:rate=1e-4": "9449a9520b17f57b",
    "burst_bit_flip:p=1e-4,r=0.02,damage=deliver": "88f838921180ad17",
    "gilbert_elliott:p=0.05,r=0.2,loss_bad=0.8+bit_flip:rate=2e-3,damage=deliver+packet_erasure:rate=0.1": (
        "3d2472f086ef9bab"
    ),
}
"""Channels, and the fingerprint of what they do to `packets()` (seed 11): a change of it is a change of every seed."""


ALIKE = (
    "burst_bit_flip:p=1e-3,r=0.02,rate_good=1e-4,damage=deliver",
    "packet_erasure:rate=0.3+burst_bit_flip:p=1e-3,r=0.02",
    "burst_bit_flip:p=0.2,r=0.5,damage=deliver",
    "block_fading:snr_db=9,coherence=7,damage=deliver",
    "packet_erasure:rate=0.3+block_fading:snr_db=9,coherence=7,modulation=qam16,damage=deliver",
    "block_fading:snr_db=9,coherence=7",
    "packet_erasure:rate=0.3+bit_flip:rate=1e-3,damage=deliver",
)
"""Channels that take packets of one size together."""


def packets(count: int = 3000, frame: FrameInfo = FRAME, size: int | None = None) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    length = 40 + index * 37 % 90 if size is None else ones * size
    batch = PacketBatch(
        (np.arange(int(length.sum())) % 251).astype(np.uint8), length, index, index, ones,
        np.zeros(count, np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip
    batch.checksum = checksums(batch, frame.frame_index, frame.round)
    return batch


def chain(spec: str) -> Chain:
    return Chain.from_profile(parse_spec(spec, 11))


def fingerprint(batch: PacketBatch) -> str:
    """Of what arrives."""
    left = batch.select(~batch.erased)
    columns = (left.sequence, left.payload, left.checksum)
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()[:16]


@pytest.mark.parametrize("spec", SPECS)
def test_the_fate_of_packets_is_what_it_always_was(spec: str) -> None:
    assert fingerprint(chain(spec).apply(packets(), FRAME)) == SPECS[spec]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [1000, 128, 50, 7])
def test_a_passage_in_batches_is_the_chain_at_once(spec: str, size: int) -> None:
    at_once, impairer = chain(spec).impairer(FRAME), chain(spec).impairer(FRAME)
    whole, parts = at_once.apply(packets()), [impairer.apply(part) for part in packets().slices(size)]
    assert fingerprint(join_batches(parts)) == fingerprint(whole)
    for one, other in zip(impairer.event_counts(), at_once.event_counts(), strict=True):
        assert (one.trials, one.events) == (other.trials, other.events)
        assert (one.expected, one.variance) == pytest.approx((other.expected, other.variance), rel=1e-9)


@pytest.mark.parametrize("spec", ALIKE)
def test_packets_of_one_size_in_batches_and_in_any_order(spec: str) -> None:
    """A window draws for them what a batch draws, also for some of them, and behind another fault."""
    everything = packets(size=60)
    whole, impairer = chain(spec).apply(everything, FRAME), chain(spec).impairer(FRAME)
    parts = everything.slices(150)
    assert fingerprint(join_batches([impairer.apply(part) for part in parts])) == fingerprint(whole)
    rng = np.random.default_rng(4)
    for number in (3, 14, 19, 2):
        keep = np.zeros(len(everything), bool)
        keep[150 * number : 150 * (number + 1)] = rng.random(150) < 0.6
        assert fingerprint(impairer.apply(everything.select(keep))) == fingerprint(whole.select(keep))


@pytest.mark.parametrize("spec", SPECS)
def test_a_passage_takes_batches_in_any_order(spec: str) -> None:
    """Also packets of a batch: gaps, the same again, windows left and come back to."""
    rng, everything = np.random.default_rng(3), packets()
    whole = chain(spec).apply(everything, FRAME)
    impairer = chain(spec).impairer(FRAME)
    for _ in range(40):
        start = int(rng.integers(0, 2800))
        keep = np.zeros(len(everything), bool)
        keep[start : start + 200] = rng.random(200) < 0.7
        left = impairer.apply(everything.select(keep))
        assert fingerprint(left) == fingerprint(whole.select(keep))
    backwards = join_batches([everything.select(np.arange(3000) == index) for index in range(1400, 1300, -1)])
    left = impairer.apply(backwards)
    assert np.array_equal(left.erased[::-1], whole.erased[1301:1401])


def test_windows_are_made_from_the_second_batch_on_and_few_are_kept() -> None:
    rng, made = CachedRng(1, "x", 0, 0), []

    def make(sequence: np.ndarray, rng: CounterRng) -> np.ndarray:
        made.append(len(sequence))
        return rng.uniform(sequence)

    plain = CounterRng(1, "x", 0, 0)
    for start in (0, 100, 200, WINDOW - 50, WINDOW + 700, 3 * LONG_WINDOW, 300):
        batch = packets(100)
        batch.sequence = np.arange(start, start + 100)
        assert np.array_equal(draw_cached(rng, batch, "key", make), plain.uniform(batch.sequence))
    # Alone; a window; out of it; over its edge, alone; two more windows; the first one again.
    assert made == [100, WINDOW, 100, LONG_WINDOW - WINDOW, LONG_WINDOW, WINDOW]
    batch.sequence = batch.sequence[::-3]
    assert np.array_equal(draw_cached(rng, batch, "key", make), plain.uniform(batch.sequence)) and len(made) == 6


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 105, 1200, 65_000])
def test_shares_of_bits_are_what_a_crc_says(size: int) -> None:
    rng = np.random.default_rng(size)
    data = rng.integers(0, 256, size, dtype=np.uint8)
    place, bit = rng.integers(0, size, 5), rng.integers(0, 8, 5)
    damaged = data.copy()
    np.bitwise_xor.at(damaged, place, (128 >> bit).astype(np.uint8))
    patch = np.bitwise_xor.reduce(crc_deltas(size - 1 - place, bit))
    assert google_crc32c.value(data.tobytes()) ^ int(patch) == google_crc32c.value(damaged.tobytes())


def test_a_packet_that_came_with_a_wrong_checksum_keeps_a_wrong_one() -> None:
    sent = packets(600)
    sent.checksum[::2] ^= 1
    left = chain("bit_flip:rate=1e-2,damage=deliver").apply(sent, FRAME)
    wrong = left.checksum != checksums(left, FRAME.frame_index, FRAME.round)
    touched = left.select(~left.erased & (left.sequence < FRAME.segment_ends[0]))
    assert len(touched) > 150
    assert np.array_equal(wrong[~left.erased], (left.sequence % 2 == 0)[~left.erased])
