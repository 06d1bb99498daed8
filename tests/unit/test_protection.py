"""Unequal protection: expected loss held to exact sums and to real losses; the choice held to brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common import fec
from gocom.common.byte_account import message_bytes
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import Csi
from gocom.common.packetizer import packetize
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment
from gocom.transmitter.resources.residual_loss import lost_shares
from gocom.transmitter.resources.unequal_protection import protect, without_repair

LINK = LinkSettings(32)


def message(caption: int, tokens: int, caption_importance: float = 1.0, seed: int = 0) -> GoMessage:
    rng = np.random.default_rng(seed)
    segments = [
        Segment(kind, rng.integers(0, size, count), np.full(count, worth, np.float32), ElementCoding.FIXED)
        for kind, size, count, worth in ((CAPTION, 256, caption, caption_importance), (TOKENS, 1024, tokens, 0.5))
        if count
    ]
    return GoMessage("lami_go", LamiGoHeader(), 128, 128, tuple(segments))


def file_message(count: int) -> GoMessage:
    segment = Segment(0, np.arange(count) % 256, np.ones(count, np.float32), ElementCoding.FIXED)
    return GoMessage("jpeg", ClassicalHeader(), 128, 128, (segment,))


def by_enumeration(source: int, repair: int, rate: float, burst: float, whole: bool) -> float:
    """Over every pattern of losses."""
    leave = min(1 / burst, 1 - rate)
    enter = rate * leave / (1 - rate)
    total = 0.0
    for lost in itertools.product((0, 1), repeat=source + repair):
        chance = rate if lost[0] else 1 - rate
        for before, now in itertools.pairwise(lost):
            bad = 1 - leave if before else enter
            chance *= bad if now else 1 - bad
        gone, left = sum(lost[:source]), repair - sum(lost)
        stays = 1.0 if left < 0 else 0.0 if source == 1 else 256.0 ** -(left + 1)
        total += chance * stays * (float(gone > 0) if whole else gone / source)
    return total


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("rate", "burst"), [(0.1, 1.0), (0.3, 1.0), (0.2, 4.0), (0.6, 3.0)])
@pytest.mark.parametrize("source", [1, 2, 5])
def test_expected_loss_is_the_sum_over_all_patterns(source: int, rate: float, burst: float, whole: bool) -> None:
    shares = lost_shares(source, 5, Csi(rate, 0.0, burst), whole=whole)
    expected = [by_enumeration(source, repair, rate, burst, whole) for repair in range(6)]
    assert shares == pytest.approx(expected, abs=1e-9)


def test_ends_of_the_range() -> None:
    assert lost_shares(7, 3, Csi(0.0)).tolist() == [0.0]
    assert lost_shares(7, 3, Csi(1.0, 0.0, 1e9)).tolist() == [1.0]
    assert lost_shares(1, 3, Csi(0.2)) == pytest.approx([0.2, 0.04, 0.008, 0.0016])
    assert lost_shares(40, 0, Csi(0.2, 0.0, 7.0)) == pytest.approx([0.2])
    assert len(lost_shares(5, 8000, Csi(0.1))) < 100, "no further than is of use"
    with np.errstate(all="raise"):
        assert lost_shares(3000, 60, Csi(0.01, 0.0, 5.0))[0] == pytest.approx(0.01)


@pytest.mark.parametrize("spec", ["packet_erasure:rate=0.25", "gilbert_elliott:p=0.05,r=0.2"])
@pytest.mark.parametrize("repair", [0, 3, 5])
def test_expected_loss_is_what_the_channel_and_raptorq_leave(spec: str, repair: int) -> None:
    """The emulator's losses, the RaptorQ decoder; the channel state is what the emulator says of itself."""
    sent = with_repair(message(60, 300), (repair, repair))
    header, batch = packetize(sent, LINK)
    payloads = batch.payloads()
    channel = Chain.from_profile(parse_spec(spec, seed=7))
    csi, frames = channel.csi(32), 1500
    shares = np.zeros((frames, 2))
    for frame in range(frames):
        there, first = ~channel.apply(batch, FrameInfo(frame)).erased, 0
        for index, segment in enumerate(header.segments):
            k = segment.source_packets
            arrived = {i: payloads[first + i] for i in range(k + repair) if there[first + i]}
            sources = {i: (0, 1, payload) for i, payload in arrived.items() if i < k}
            extra = {i: payload for i, payload in arrived.items() if i >= k}
            recovered = len(fec.recover(sources, extra, k, fec.symbol_bytes(LINK.max_payload_bytes)))
            back = recovered if k > 1 else min(1, len(arrived))
            shares[frame, index] = 1 - back / k
            first += k + repair
    for index, segment in enumerate(header.segments):
        expected = lost_shares(segment.source_packets, repair, csi)[-1]
        z = (shares[:, index].mean() - expected) / (shares[:, index].std() / math.sqrt(frames))
        assert abs(z) < 4, (index, expected, shares[:, index].mean())


def objective(sent: GoMessage, csi: Csi) -> float:
    """What protection minimises, from the packets themselves."""
    total = 0.0
    header, _ = packetize(sent, LINK)
    for segment, frame in zip(sent.segments, header.segments, strict=True):
        shares = lost_shares(frame.source_packets, frame.repair_packets, csi, whole=sent.codec == "jpeg")
        total += float(segment.importance.sum(dtype=float)) * shares[min(frame.repair_packets, len(shares) - 1)]
    return total


def with_repair(sent: GoMessage, counts: tuple[int, ...]) -> GoMessage:
    segments = tuple(
        Segment(s.kind, s.elements, s.importance, s.coding, repair_packets=count)
        for s, count in zip(sent.segments, counts, strict=True)
    )
    return GoMessage(sent.codec, sent.header, 128, 128, segments)


@pytest.mark.parametrize(
    ("caption", "tokens", "spare", "csi"),
    [
        (20, 100, 200, Csi(0.1)),
        (20, 100, 260, Csi(0.3)),
        (45, 120, 330, Csi(0.2, 0.0, 4.0)),
        (80, 60, 400, Csi(0.25)),
        (10, 200, 333, Csi(0.4, 0.0, 2.5)),
        (30, 150, 127, Csi(0.05)),
    ],
)
@pytest.mark.parametrize("worth", [0.05, 1.0])
def test_the_choice_is_what_brute_force_finds(caption: int, tokens: int, spare: int, csi: Csi, worth: float) -> None:
    sent = message(caption, tokens, worth)
    budget = message_bytes(without_repair(sent), LINK) + spare
    chosen, why = protect(sent, LINK, budget, csi)
    best = min(
        objective(with_repair(sent, counts), csi)
        for counts in itertools.product(range(12), repeat=2)
        if message_bytes(with_repair(sent, counts), LINK) <= budget
    )
    assert max(s.repair_packets for s in why) < 12 and message_bytes(chosen, LINK) <= budget
    assert objective(chosen, csi) == pytest.approx(best, rel=1e-12)
    assert sum(s.importance * s.loss_with for s in why) == pytest.approx(best, rel=1e-9)


def test_taking_the_best_next_step_would_do_worse() -> None:
    """A file of many packets: the first repair packets gain next to nothing, all of them everything."""
    sent, csi = file_message(1500), Csi(0.1)
    chosen, (why,) = protect(sent, LINK, message_bytes(sent, LINK) + 1500, csi)
    one = protect(sent, LINK, message_bytes(sent, LINK) + 700, csi)[1][0]
    assert why.loss_without > 0.99 and why.loss_with < 0.05 < one.loss_with
    assert packetize(chosen, LINK)[0].segments[0].repair_packets == why.repair_packets > 15


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 200), st.integers(0, 900), st.integers(0, 5000), st.floats(0, 1), st.floats(1, 20),
    st.integers(1, 130), st.booleans(),
)  # fmt: skip
def test_bytes_never_exceed_the_budget(
    caption: int, tokens: int, spare: int, rate: float, burst: float, batch_packets: int, powered: bool
) -> None:
    link = LinkSettings(32, batch_packets=batch_packets)
    sent = message(caption, tokens)
    if powered:
        sent = GoMessage("lami_go", sent.header, 128, 128, sent.segments, power=lambda worth: np.full_like(worth, 2))
    budget = message_bytes(without_repair(sent), link) + spare
    chosen, why = protect(sent, link, budget, Csi(rate, 0.0, burst))
    assert message_bytes(chosen, link) <= budget
    header, _ = packetize(chosen, link)
    assert [(s.source_packets, s.repair_packets) for s in why] == [
        (s.source_packets, s.repair_packets) for s in header.segments
    ]
    assert all(0 <= s.loss_with <= s.loss_without + 1e-12 for s in why)


def test_more_loss_more_repair() -> None:
    sent = message(0, 300)
    budget = 2 * message_bytes(sent, LINK)
    for burst in (1.0, 3.0):
        counts = [protect(sent, LINK, budget, Csi(rate, 0.0, burst))[1][0] for rate in (0.0, 0.001, 0.02, 0.1, 0.3)]
        losses = [c.loss_with for c in counts]
        assert losses == sorted(losses)
    assert counts[0].repair_packets == 0, "nothing is lost"
    need = [
        next(r for r, share in enumerate(lost_shares(19, 60, Csi(rate))) if share < 1e-4)
        for rate in (0.001, 0.02, 0.1, 0.3)
    ]
    assert need == sorted(need) and need[0] < need[-1]


def test_the_important_segment_gets_more() -> None:
    shares = {}
    for worth in (0.01, 1.0):
        sent = message(150, 120, worth)
        _, why = protect(sent, LINK, message_bytes(without_repair(sent), LINK) + 250, Csi(0.15))
        shares[worth] = {s.name: s.repair_packets for s in why}
    assert shares[1.0]["caption"] > shares[0.01]["caption"]
    assert shares[1.0]["tokens"] < shares[0.01]["tokens"]


def test_damage_is_not_tolerated_where_there_is_repair() -> None:
    sent = message(0, 300)
    tolerant = Segment(TOKENS, sent.segments[0].elements, sent.segments[0].importance, ElementCoding.FIXED, 0.0, True)
    sent = GoMessage("lami_go", sent.header, 128, 128, (tolerant,))
    for rate, expected in ((0.0, True), (0.2, False)):
        chosen, _ = protect(sent, LINK, 2 * message_bytes(sent, LINK), Csi(rate))
        assert chosen.segments[0].damage_tolerant is expected


def test_shares_are_kept_and_are_those_of_any_other_bound() -> None:
    csi = Csi(0.3, mean_burst_packets=2.0)
    most = lost_shares(20, 64, csi)
    for repair in (0, 1, 5, 33):
        assert (lost_shares(20, repair, csi) == most[: repair + 1]).all()
    assert np.shares_memory(lost_shares(20, 64, csi), most)
    with pytest.raises(ValueError, match="read-only"):
        most[0] = 0.0


def test_a_segment_too_large_to_protect_is_left_alone() -> None:
    sent = file_message(17 * 8193)
    chosen, (why,) = protect(sent, LINK, message_bytes(sent, LINK) + 10_000, Csi(0.1))
    assert why.repair_packets == chosen.segments[0].repair_packets == 0


def test_a_message_without_segments() -> None:
    empty = GoMessage("jpeg", ClassicalHeader(), 128, 128, ())
    assert protect(empty, LINK, 100, Csi(0.1)) == (empty, ())
