"""Rounds in the full grid, for every codec and every coding: segments that come late, grow, and are named.

Each test sends made-up elements, so it needs no net, and loses packets in every round.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gocom.common.packetizer import packetize
from gocom.common.pipeline import clean_channel, transmit
from gocom.common.rounds import merge_rounds, positions_to_spans, spans_to_positions
from gocom.common.systems import SYSTEMS
from gocom.common.types import (
    Bools,
    Budget,
    Feedback,
    FrameHeader,
    Goal,
    GoMessage,
    Ints,
    LinkSettings,
    ReceivedMessage,
    RoundSettings,
    Segment,
)
from gocom.common.wire.feedback import feedback_to_proto, wanted_from_proto
from gocom.transmitter.retransmission import resend

LINK = LinkSettings(max_payload_bytes=40)
SIDE_PX = 96
ROUNDS = RoundSettings(max_rounds=4)
LOSS = 0.3


def segments() -> Iterator[tuple[str, int, str]]:
    for codec in SYSTEMS:
        for kind, spec in enumerate(SYSTEMS.get(codec).segments):
            for coding in spec.codings:
                yield codec, kind, coding.value


def grid_size(codec: str, kind: int) -> int:
    count = SYSTEMS.get(codec).segments[kind].count
    return count(SIDE_PX, SIDE_PX) if count else 150


def part(codec: str, kind: int, coding: str, elements: Ints, at: Ints | None) -> Segment:
    chosen = elements if at is None else elements[at]
    code = next(c for c in SYSTEMS.get(codec).segments[kind].codings if c.value == coding)
    spans = None if at is None else positions_to_spans(at)
    return Segment(kind, chosen, np.ones(len(chosen), np.float32), code, spans=spans)


def send(codec: str, number: int, parts: list[Segment], seed: int = 0) -> tuple[ReceivedMessage, Bools]:
    """Send a round and lose some of its packets. Return it, and which packets arrived."""
    header = SYSTEMS.get(codec).header()
    message = GoMessage(codec, header, SIDE_PX, SIDE_PX, tuple(parts), 7, number, ROUNDS)
    count = len(packetize(message, LINK)[1])
    kept = np.random.default_rng([seed, number]).random(count) >= LOSS
    if count > 1:
        kept[0], kept[-1] = True, False  # some arrive and some are lost, the last one too
    received, _, _ = transmit(message, lambda _, batch: batch.erase(~kept), LINK)
    return received, kept


@pytest.mark.parametrize(("codec", "kind", "coding"), list(segments()))
def test_a_segment_comes_late_and_grows(codec: str, kind: int, coding: str) -> None:
    rng = np.random.default_rng(kind)
    spec, size = SYSTEMS.get(codec).segments[kind], grid_size(codec, kind)
    elements = rng.integers(0, spec.alphabet_size, size)
    others = [
        part(codec, other, "fixed", rng.integers(0, s.alphabet_size, grid_size(codec, other)), None)
        for other, s in enumerate(SYSTEMS.get(codec).segments)
        if other != kind
    ]
    shuffled = rng.permutation(size)
    pieces = [np.sort(p) for p in np.array_split(shuffled[: size * 3 // 4], 3)]
    # Round 0 is without the segment where the codec has another one; rounds 1 and 2 bring parts of it.
    first = others or [part(codec, kind, coding, elements, pieces[0])]
    rounds = [send(codec, 0, first)[0]]
    rounds += [send(codec, n, [part(codec, kind, coding, elements, pieces[n])])[0] for n in (1, 2)]

    merged = merge_rounds(rounds)[kind]
    sent = np.zeros(size, bool)
    for n, piece in enumerate(pieces):
        sent[piece] |= n > 0 or not others
    end = size if spec.count else int(np.flatnonzero(sent)[-1]) + 1
    assert len(merged.elements) == end
    assert (merged.elements[merged.received] == elements[:end][merged.received]).all()
    assert 0 < merged.received.sum() < sent.sum()
    assert not merged.received[~sent[:end]].any()
    assert (merged.erased == (sent[:end] & ~merged.received)).all()
    assert merged.withheld is None or (merged.withheld == ~sent[:end]).all()
    for received in rounds[1:]:
        (arrived,) = received.segments
        assert arrived.spans is not None
        assert merged.received[spans_to_positions(arrived.spans)[arrived.received]].all()


@pytest.mark.parametrize(("codec", "kind", "coding"), list(segments()))
def test_any_element_can_be_named_and_brought(codec: str, kind: int, coding: str) -> None:
    """Also one of a segment that no round has brought; the answer brings what the feedback named."""
    rng = np.random.default_rng(kind)
    size = grid_size(codec, kind)
    elements = rng.integers(0, SYSTEMS.get(codec).segments[kind].alphabet_size, size)
    whole = GoMessage(
        codec, SYSTEMS.get(codec).header(), SIDE_PX, SIDE_PX, (part(codec, kind, coding, elements, None),), 7, 0, ROUNDS
    )  # fmt: skip
    wanted = positions_to_spans(np.sort(rng.permutation(size)[: size // 3]))
    half = part(codec, kind, coding, elements, np.arange(size // 2))
    for known in ([], [half]):
        before = [send(codec, 0, known)[0]] if known else [unrelated_round(codec, kind)]
        feedback = Feedback(7, 0, {kind: wanted})
        headers: list[FrameHeader] = [message.frame for message in before]
        request = feedback_to_proto(feedback, headers, LINK)
        named = wanted_from_proto(request.wanted[0], headers, LINK)
        assert (named == wanted).all()
        answer = resend(whole, Feedback(7, 0, {kind: named}), Budget(), Goal(SYSTEMS.get(codec).options(), link=LINK))
        assert answer is not None
        received, _, _ = transmit(answer, clean_channel, LINK, {kind: wanted})
        merged = merge_rounds([*before, received])[kind]
        asked = spans_to_positions(wanted)
        assert merged.received[asked].all() and (merged.elements[asked] == elements[asked]).all()


def unrelated_round(codec: str, kind: int) -> ReceivedMessage:
    """A first round without that segment: another one, or nothing that arrived."""
    header = SYSTEMS.get(codec).header()
    others = [k for k in range(len(SYSTEMS.get(codec).segments)) if k != kind]
    if not others:
        return ReceivedMessage(FrameHeader(codec, header, SIDE_PX, SIDE_PX, (), 7, 0, ROUNDS), (), 0, 0)
    size = grid_size(codec, others[0])
    return send(codec, 0, [part(codec, others[0], "fixed", np.zeros(size, np.int64), None)])[0]
