"""Rounds from packets to packets: segments that come first in any round, grow in any round, and lose packets."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.channel_emulator.chain import frame_info
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.common.byte_account import frame_items
from gocom.common.element_order import feedback_order, transmission_order
from gocom.common.packetizer import depacketize, packetize
from gocom.common.rounds import erased_spans, merge_rounds, missing_spans, positions_to_spans, spans_to_positions
from gocom.common.systems.feature_imputing import (
    FEATURES,
    ROI,
    FeatureImputingHeader,
    PacketOrder,
    elements_sent,
    latent_channels,
)
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader, MaskingPolicy, keep_mask
from gocom.common.types import (
    Budget,
    ElementCoding,
    Feedback,
    FrameDefaults,
    Goal,
    GoMessage,
    LinkSettings,
    RoundSettings,
    Segment,
    SegmentForm,
    StreamPosition,
)
from gocom.common.wire.feedback import feedback_to_proto, wanted_from_proto
from gocom.common.wire.frame_headers import defaults_from_proto, defaults_to_proto
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.receiver.round_assembly import RoundAssembler
from gocom.transmitter.retransmission import resend
from gocom.v1 import link_pb2

RNG = np.random.default_rng(7)
ROUNDS = RoundSettings(8)
SIDE, COUNT = 128, 256
"""Tokens of a picture of 128x128."""
TOKEN_VALUES = RNG.integers(0, 1024, COUNT)
LETTERS = RNG.integers(97, 123, 200)
PLAIN = LamiGoHeader()
CODINGS = [ElementCoding.FIXED, ElementCoding.CONTEXT]


def segment(kind, values, spans=None, coding=ElementCoding.CONTEXT, **fields):
    """The elements of a whole segment, or those at some positions."""
    spans = None if spans is None else np.array(spans)
    chosen = values if spans is None else values[spans_to_positions(spans)]
    return Segment(kind, chosen, np.ones(len(chosen), np.float32), coding, spans=spans, **fields)


class Stream:
    """Both ends of a link, with what is lost between them; header, batches and end go over it as bytes."""

    def __init__(self, header=PLAIN, codec="lami_go", link=LinkSettings(48, batch_packets=5)):
        self.codec, self.header, self.link = codec, header, link
        forms = (SegmentForm(0, ElementCoding.CONTEXT), SegmentForm(1, ElementCoding.CONTEXT))
        if codec != "lami_go":
            forms = (SegmentForm(0, ElementCoding.FIXED),)
        self.defaults = FrameDefaults(codec, header, SIDE, SIDE, forms, ROUNDS)
        opening = link_pb2.SessionOpen(defaults=defaults_to_proto(self.defaults))
        self.assembler = RoundAssembler(defaults_from_proto(opening.defaults), 1 << 20, 1 << 12)
        self.reader, self.last, self.received, self.asked = HeaderReader(opening), -1, [], {}

    def message(self, *segments, round_=0, frame_index=0):
        position = StreamPosition(self.defaults, self.last)
        return GoMessage(self.codec, self.header, SIDE, SIDE, segments, frame_index, round_, ROUNDS, None, position)

    def send(self, message, lost=()):
        """The round as received, without some packets by their numbers."""
        header, batch = packetize(message, self.link)
        items = [
            link_pb2.SendRequest.FromString(item.SerializeToString())
            for item in frame_items(header, batch, self.link.batch_packets)
        ]
        assert self.reader.read(items[0].header) == frame_info(header)
        index, position = self.assembler.advance(items[0].header)
        assert index == message.frame_index
        self.assembler.begin(items[0].header, position, self.asked)
        for item in items[1:-1]:
            part = batch_from_proto(item.batch)
            kept = ~np.isin(part.sequence, lost)
            if kept.any():
                self.assembler.add(batch_to_proto(part.select(kept)))
        arrived = self.assembler.end()
        got = depacketize(arrived.header, arrived.packets, self.link)
        assert got.packets_sent == len(batch)
        assert got.packets_received == np.count_nonzero(~np.isin(batch.sequence, lost))
        self.last = self.last if message.round else message.frame_index
        self.received.append(got)
        return got

    def merged(self):
        return merge_rounds(self.received)

    def ask(self, wanted, content):
        """A further round of what a receiver asks for, both read from the message on its way back."""
        headers = [received.frame for received in self.received]
        request = feedback_to_proto(Feedback(0, headers[-1].round, wanted), headers, self.link)
        self.asked = {item.kind: wanted_from_proto(item, headers, self.link) for item in request.wanted}
        for kind, spans in wanted.items():
            assert (self.asked[kind] == spans).all()
        return resend(content, Feedback(0, headers[-1].round, self.asked), Budget(), Goal(self.header, link=self.link))


def test_the_caption_first_the_tokens_in_pieces_later():
    stream = Stream()
    stream.send(stream.message(segment(CAPTION, LETTERS)))
    assert sorted(stream.merged()) == [CAPTION] and stream.merged()[CAPTION].received.all()
    first = stream.send(stream.message(segment(TOKENS, TOKEN_VALUES, [[10, 100], [200, 6]]), round_=1), lost=[1])
    tokens = stream.merged()[TOKENS]
    brought = np.concatenate([np.arange(10, 110), np.arange(200, 206)])
    assert len(tokens.elements) == COUNT and 0 < tokens.erased.sum() < len(brought)
    assert np.flatnonzero(~tokens.withheld).tolist() == brought.tolist()
    assert tokens.received.sum() == first.segments[0].received.sum()
    stream.send(stream.message(segment(TOKENS, TOKEN_VALUES, [[0, 10], [250, 6]]), round_=2))
    grown = stream.merged()[TOKENS]
    assert grown.received.sum() == tokens.received.sum() + 16 and (grown.erased == tokens.erased).all()
    assert (grown.elements[grown.received] == TOKEN_VALUES[grown.received]).all()
    assert stream.merged()[CAPTION].elements.tolist() == LETTERS.tolist()


def test_what_was_never_sent_can_be_asked_for_and_lost_and_asked_for_again():
    stream = Stream()
    content = stream.message(segment(CAPTION, LETTERS), segment(TOKENS, TOKEN_VALUES))
    stream.send(stream.message(segment(CAPTION, LETTERS)), lost=[1])
    wanted = erased_spans(stream.merged()) | {TOKENS: np.array([[0, COUNT]])}
    answer = stream.ask(wanted, content)
    assert [s.as_requested for s in answer.segments] == [True, True]
    stream.send(answer, lost=[2, 4])
    merged = stream.merged()
    assert merged[CAPTION].received.all() and merged[TOKENS].withheld is None
    assert 0 < merged[TOKENS].erased.sum() < COUNT
    answer = stream.ask(erased_spans(merged), content)
    headers = [received.frame for received in stream.received]
    request = feedback_to_proto(Feedback(0, 1, erased_spans(merged)), headers, stream.link)
    assert request.wanted[0].in_packet_order, "of the round that brought the tokens first"
    stream.send(answer)
    assert all(s.received.all() for s in stream.merged().values())
    assert (stream.merged()[TOKENS].elements == TOKEN_VALUES).all()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_rounds_with_any_losses_are_what_arrived_of_them(data):
    """Element for element: received, erased in every round that brought it, or brought by none."""
    stream = Stream(link=LinkSettings(data.draw(st.integers(32, 120)), data.draw(st.booleans()), 3, 4))
    sent = {CAPTION: np.zeros(len(LETTERS), bool), TOKENS: np.zeros(COUNT, bool)}
    came = {kind: np.zeros(len(mask), bool) for kind, mask in sent.items()}
    values = {CAPTION: LETTERS, TOKENS: TOKEN_VALUES}
    for round_ in range(data.draw(st.integers(1, 4))):
        kinds = data.draw(st.lists(st.sampled_from([CAPTION, TOKENS]), min_size=1, unique=True))
        segments = []
        for kind in kinds:
            chosen = None
            if data.draw(st.booleans()):
                positions = data.draw(st.sets(st.integers(0, len(values[kind]) - 1), min_size=1, max_size=60))
                chosen = positions_to_spans(np.array(sorted(positions)))
            overhead = data.draw(st.sampled_from([0.0, 0.0, 0.5]))
            coding = data.draw(st.sampled_from(CODINGS))
            segments.append(segment(kind, values[kind], chosen, coding, repair_overhead=overhead))
        message = stream.message(*segments, round_=round_)
        count = len(packetize(message, stream.link)[1])
        lost = data.draw(st.lists(st.integers(0, count - 1), max_size=count))
        for kind, got in zip(kinds, stream.send(message, lost).segments, strict=True):
            at = np.arange(len(values[kind])) if got.spans is None else spans_to_positions(got.spans)
            sent[kind][at] = True
            came[kind][at[got.received]] = True
            assert (got.elements[got.received] == values[kind][at[got.received]]).all()
            assert got.received.all() or lost
    merged = stream.merged()
    for kind, segment_ in merged.items():
        size = len(segment_.elements)  # of the caption: up to the last letter that any round brought
        assert (segment_.received == came[kind][:size]).all() and not came[kind][size:].any()
        assert (segment_.erased == (sent[kind] & ~came[kind])[:size]).all() and not sent[kind][size:].any()
        assert (segment_.elements[segment_.received] == values[kind][:size][segment_.received]).all()
    assert set(merged) == {kind for kind in sent if sent[kind].any()}


@pytest.mark.parametrize("coding", CODINGS)
def test_the_rule_of_the_header_holds_in_every_round_that_names_no_elements(coding):
    """PRM withholds the same tokens in a later round as in a first one, and none of those that are named."""
    codec = LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=400)
    stream = Stream(codec)
    keep = keep_mask(stream.message())
    stream.send(stream.message(segment(CAPTION, LETTERS)))
    got = stream.send(stream.message(segment(TOKENS, TOKEN_VALUES, coding=coding), round_=1), lost=[0])
    assert (got.segments[0].withheld == ~keep).all() and 0 < got.segments[0].erased.sum() < keep.sum()
    spans = missing_spans(keep)
    got = stream.send(stream.message(segment(TOKENS, TOKEN_VALUES, spans, coding), round_=2), lost=[1])
    assert got.segments[0].withheld is None and len(got.segments[0].elements) == (~keep).sum()
    tokens = stream.merged()[TOKENS]
    assert tokens.withheld is None
    lost = [stream.received[1].segments[0].erased.sum(), got.segments[0].erased.sum()]
    assert min(lost) > 0 and tokens.erased.sum() == sum(lost)
    assert (tokens.elements[tokens.received] == TOKEN_VALUES[tokens.received]).all()


@pytest.mark.parametrize("order", PacketOrder)
def test_units_stay_together_in_later_rounds(order):
    """All channels of a patch in spatial order, also of patches of which a round brings only some features."""
    grid = SIDE // 8
    values = RNG.integers(0, 128, grid * grid * latent_channels())
    codec = FeatureImputingHeader(packet_order=order, withheld_permille=250)
    stream = Stream(codec, "feature_imputing", LinkSettings(64, batch_packets=5))
    fixed = ElementCoding.FIXED
    first = stream.send(stream.message(segment(FEATURES, values, coding=fixed)), lost=[3])
    sent = elements_sent(codec, FEATURES, grid, grid)
    (got,) = first.segments
    assert (got.withheld == ~sent).all() and got.erased.sum() > 0
    if order is PacketOrder.SPATIAL:
        patches = got.erased.reshape(-1, latent_channels())
        assert (patches.all(1) == patches.any(1)).all()
    # Patches of which only some features are asked for, and whole ones that were withheld.
    wanted = {FEATURES: positions_to_spans(np.flatnonzero(got.erased | ~sent)[3:])}
    whole = stream.message(segment(FEATURES, values, coding=fixed))
    answer = stream.ask(wanted, whole)
    got = stream.send(answer, lost=[0, 2]).segments[0]
    at = spans_to_positions(got.spans)
    assert (got.elements[got.received] == values[at[got.received]]).all() and got.erased.sum() > 0
    if order is PacketOrder.SPATIAL:
        for patch in np.unique(at // latent_channels()):
            fate = got.received[at // latent_channels() == patch]
            assert fate.all() or not fate.any()
    merged = stream.merged()[FEATURES]
    stream.send(stream.ask(erased_spans({FEATURES: merged}), whole))
    merged = stream.merged()[FEATURES]
    assert merged.received.sum() == len(values) - 3, "but for those that nobody asked for"
    assert (merged.elements[merged.received] == values[merged.received]).all()


def test_a_region_of_interest_that_comes_later():
    """It has the same grid as the rest, and holds what the header says in whichever round it is sent."""
    grid = SIDE // 8
    values = RNG.integers(0, 128, grid * grid * latent_channels())
    codec = FeatureImputingHeader(roi_top=2, roi_left=3, roi_rows=5, roi_columns=6)
    stream = Stream(codec, "feature_imputing", LinkSettings(64, batch_packets=5))
    fixed = ElementCoding.FIXED
    stream.send(stream.message(segment(FEATURES, values, coding=fixed)))
    stream.send(stream.message(segment(ROI, values, coding=fixed), round_=1), lost=[0])
    merged, inside = stream.merged(), elements_sent(codec, ROI, grid, grid)
    assert inside.sum() == 5 * 6 * latent_channels()
    assert (merged[FEATURES].withheld == inside).all() and not merged[FEATURES].erased.any()
    assert (merged[ROI].withheld == ~inside).all() and 0 < merged[ROI].erased.sum() < inside.sum()
    answer = stream.ask(erased_spans(merged), stream.message(segment(ROI, values, coding=fixed)))
    stream.send(answer)
    assert (stream.merged()[ROI].received == inside).all()


def test_the_order_of_a_round_goes_on_with_all_that_it_does_not_bring():
    stream = Stream(LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=400))
    keep = keep_mask(stream.message())
    whole = packetize(stream.message(segment(TOKENS, TOKEN_VALUES)), stream.link)[0]
    order = transmission_order(whole, whole.segments[0], stream.link)
    assert sorted(order.tolist()) == list(range(COUNT))
    assert set(order[: keep.sum()].tolist()) == set(np.flatnonzero(keep).tolist())
    assert order[keep.sum() :].tolist() == np.flatnonzero(~keep).tolist()
    part = packetize(stream.message(segment(TOKENS, TOKEN_VALUES, [[5, 3], [9, 1]]), round_=1), stream.link)[0]
    order = transmission_order(part, part.segments[0], stream.link)
    assert set(order[:4].tolist()) == {5, 6, 7, 9} and order[4:].tolist() == [
        i for i in range(COUNT) if i not in (5, 6, 7, 9)
    ]
    letters = packetize(stream.message(segment(CAPTION, LETTERS, [[5, 3], [9, 1]]), round_=1), stream.link)[0]
    order = transmission_order(letters, letters.segments[0], stream.link)
    assert sorted(order.tolist()) == list(range(10)), "a caption is as long as is known so far"
    assert (feedback_order([part, letters, whole], CAPTION, stream.link) == order).all()
    assert feedback_order([part], CAPTION, stream.link) is None


@pytest.mark.parametrize("repair", [0, 2])
def test_a_segment_of_one_packet_says_nothing_of_its_elements(repair):
    """Nor do its copies: the header says what is in it."""
    stream = Stream()
    short = segment(CAPTION, LETTERS[:20], repair_packets=repair)
    tokens = segment(TOKENS, TOKEN_VALUES, repair_packets=repair)
    _, batch = packetize(stream.message(short, tokens), stream.link)
    alone = 1 + repair
    assert not batch.first_element[:alone].any() and not batch.element_count[:alone].any()
    assert batch.element_count[alone:].sum() == COUNT and not batch.element_count[len(batch) - repair :].any()
    for lost in range(alone):
        again = Stream()
        got = again.send(again.message(short, tokens), lost=[n for n in range(alone) if n != lost])
        assert got.segments[0].received.all() and got.segments[0].elements.tolist() == LETTERS[:20].tolist()
        assert got.segments[1].received.all()
    got = stream.send(stream.message(short, tokens), lost=range(alone))
    assert not got.segments[0].received.any() and got.segments[1].received.all()


def test_numbers_beyond_those_announced_are_no_packets():
    stream = Stream()
    header, batch = packetize(stream.message(segment(TOKENS, TOKEN_VALUES)), stream.link)
    beyond = replace(batch, sequence=batch.sequence + len(batch))
    got = depacketize(header, beyond, stream.link)
    assert got.packets_received == 0 and not got.segments[0].received.any()
