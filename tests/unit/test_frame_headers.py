"""Frame headers and the opening that they leave out: round trips, sizes, bounds, and messages that name the field."""

from dataclasses import replace

import numpy as np
import pytest
from generative_codecs import GENERATIVE, drawn_message, refused_values

from gocom.channel_emulator.chain import frame_info
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.errors import GoComError, InvalidInput, Mismatch, UnknownName
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS, SegmentSpec, System, first_message
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader, LamiGoOptions, MaskingPolicy
from gocom.common.types import (
    ElementCoding,
    FeedbackPolicy,
    FrameDefaults,
    FrameHeader,
    Goal,
    LinkSettings,
    Parameters,
    RoundSettings,
    Segment,
    SegmentForm,
    SegmentHeader,
    StreamPosition,
)
from gocom.common.wire.frame_headers import (
    WIRE_VERSION,
    check_version,
    defaults_from_proto,
    defaults_to_proto,
    header_from_proto,
    header_to_proto,
    stream_position,
)
from gocom.v1 import link_pb2

ROUNDS = RoundSettings(2, 500, FeedbackPolicy.UNCERTAIN, 0.75)
CODED, PLAIN = ElementCoding.CONTEXT, ElementCoding.FIXED
CODEC = LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=250, num_inference_steps=4)
FORMS = (SegmentForm(CAPTION, CODED), SegmentForm(TOKENS, CODED, True))
DEFAULTS = FrameDefaults("lami_go", CODEC, 256, 256, FORMS, ROUNDS)
OPENING = link_pb2.SessionOpen(defaults=defaults_to_proto(DEFAULTS))
COUNT = 1024
"""Tokens of a picture of 256x256."""


def plain(index=0, last=None, **changes):
    """A header that says nothing that the opening does not say but the length of its caption."""
    segments = (SegmentHeader(CAPTION, 20, CODED, 1), SegmentHeader(TOKENS, COUNT, CODED, 1, 0, True))
    values = dict(codec="lami_go", header=CODEC, width_px=256, height_px=256, segments=segments, rounds=ROUNDS)
    position = StreamPosition(DEFAULTS, index - 1 if last is None else last)
    return FrameHeader(**(values | dict(frame_index=index, position=position) | changes))


def full(**changes):
    """A header of a further round in which everything differs from the opening."""
    codec = LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=300, mask_seed=7)
    segments = (
        SegmentHeader(CAPTION, 20, ElementCoding.RANGE, 1, 1, as_requested=True, withheld_count=3),
        SegmentHeader(TOKENS, 768, ElementCoding.RANGE, 10, 2, True, np.array([[0, 700], [710, 68]])),
    )
    values = dict(codec="lami_go", header=codec, width_px=256, height_px=200, segments=segments, frame_index=3, round=2)
    return plain(**(values | dict(rounds=RoundSettings(3)) | changes))


def through(header, position=None):
    """The header as it arrives."""
    wire = link_pb2.FrameHeader.FromString(header_to_proto(header).SerializeToString())
    return header_from_proto(wire, position or stream_position(header))


def same(one, other):
    """As == of headers, whose spans are arrays."""
    assert replace(one, segments=()) == replace(other, segments=())
    for a, b in zip(one.segments, other.segments, strict=True):
        assert replace(a, spans=None) == replace(b, spans=None)
        assert (a.spans is None) == (b.spans is None) and (a.spans is None or (a.spans == b.spans).all())
    return True


@pytest.mark.parametrize("index", [0, 1, 300])
def test_where_nothing_differs_a_header_is_the_length_of_the_caption(index):
    sent = plain(index)
    assert header_to_proto(sent).ByteSize() == 3
    item = link_pb2.SendRequest(header=header_to_proto(sent))
    assert item.ByteSize() == 5
    assert same(through(sent), sent)
    assert HeaderReader(OPENING).read(header_to_proto(plain())) == frame_info(plain())


def test_everything_may_differ():
    sent = full()
    assert same(through(sent), sent)
    assert HeaderReader(OPENING).read(header_to_proto(sent)) == frame_info(sent)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({}, set()),
        ({"width_px": 264}, {"width_px"}),
        ({"height_px": 64}, {"height_px"}),
        ({"header": CODEC.model_copy(update={"mask_seed": 0})}, {"codec"}),
        ({"rounds": RoundSettings()}, {"rounds"}),
        ({"rounds": RoundSettings(3, 500, FeedbackPolicy.UNCERTAIN, 0.75)}, {"rounds"}),
    ],
)
def test_what_differs_is_said_and_no_more(change, fields):
    sent = plain(5, **change)
    tokens = SYSTEMS.get("lami_go").segments[TOKENS].count(sent.width_px, sent.height_px)
    sent = replace(sent, segments=(sent.segments[0], replace(sent.segments[1], element_count=tokens)))
    wire = header_to_proto(sent)
    assert {field.name for field, _ in wire.ListFields()} == fields | {"element_count"}
    assert wire.HasField("rounds") == ("rounds" in fields), "also where it is empty"
    assert same(through(sent), sent)


@pytest.mark.parametrize(
    "segments",
    [
        plain().segments[:1],
        plain().segments[1:],
        plain().segments[::-1],
        (plain().segments[0], replace(plain().segments[1], damage_tolerant=False)),
        (replace(plain().segments[0], coding=PLAIN), plain().segments[1]),
    ],
)
def test_other_segments_are_listed(segments):
    sent = plain(segments=segments)
    wire = header_to_proto(sent)
    assert len(wire.segments) == len(segments) and same(through(sent), sent)
    assert HeaderReader(OPENING).read(wire) == frame_info(sent)


def test_another_codec_and_size_than_the_session_has():
    segments = (SegmentHeader(0, 3000, PLAIN, 29, 9),)
    sent = plain(codec="jpeg", header=ClassicalHeader(), width_px=64, height_px=1024, segments=segments)
    wire = header_to_proto(sent)
    assert same(through(sent), sent) and wire.codec.HasField("jpeg")
    assert HeaderReader(OPENING).codec(wire) == "jpeg" != HeaderReader(OPENING).codec(header_to_proto(plain()))
    del wire.segments[:]
    with pytest.raises(
        InvalidInput, match=r"^header.segments: missing, and the session's are those of lami_go, not of"
    ):
        header_from_proto(wire, StreamPosition(DEFAULTS))


@pytest.mark.parametrize("name", ["webp", "feature_imputing"])
def test_segments_that_look_like_those_of_another_codec_are_listed(name):
    """Kind, coding and tolerance of damage are equal, and what they mean is not."""
    opened = FrameDefaults("jpeg", ClassicalHeader(), 64, 64, (SegmentForm(0, PLAIN),))
    segment = SegmentHeader(0, 512 if name == "feature_imputing" else 9, PLAIN, 1)
    sent = FrameHeader(name, SYSTEMS.get(name).header(), 64, 64, (segment,), position=StreamPosition(opened))
    wire = header_to_proto(sent)
    assert len(wire.segments) == 1 and wire.codec.WhichOneof("codec") == name and same(through(sent), sent)


def test_no_segments_at_all_cannot_be_said():
    with pytest.raises(InvalidInput, match=r"^segments: none"):
        header_to_proto(plain(segments=()))
    bare = replace(DEFAULTS, segments=())
    nothing = plain(segments=(), position=StreamPosition(bare))
    assert header_to_proto(nothing).ByteSize() == 0 and same(through(nothing), nothing)


def test_columns_are_there_if_needed():
    caption, tokens = plain().segments
    for source, repair in ((1, 0), (1, 2), (7, 0), (7, 2)):
        sent = plain(segments=(caption, replace(tokens, source_packets=source, repair_packets=repair)))
        wire = header_to_proto(sent)
        assert list(wire.source_packets) == ([1, 7] if source > 1 else [])
        assert list(wire.repair_packets) == ([0, 2] if repair else [])
        assert same(through(sent), sent)
        assert HeaderReader(OPENING).read(wire) == frame_info(sent)
    empty = plain(segments=(replace(caption, element_count=0, source_packets=0), tokens))
    assert same(through(empty), empty) and list(header_to_proto(empty).source_packets) == [0, 1]


def test_the_number_of_elements_is_said_where_it_does_not_follow():
    caption, tokens = plain().segments
    spans = np.array([[3, 40], [900, 2]])
    for segment, said in (
        (replace(tokens, element_count=42, spans=spans), []),
        (replace(tokens, element_count=42, as_requested=True), [42]),
        (replace(caption, element_count=42, spans=spans - [[0, 0], [800, 0]]), []),
        (replace(caption, element_count=42, as_requested=True), [42]),
        (replace(caption, element_count=42), [42]),
        (tokens, []),
    ):  # fmt: skip
        sent = plain(segments=(segment,), round=1)
        assert list(header_to_proto(sent).element_count) == said and same(through(sent), sent)


def test_a_frame_index_is_said_if_it_does_not_follow():
    for index, last, said in ((0, -1, False), (8, 7, False), (8, 8, True), (8, -1, True), (0, 7, True)):
        wire = header_to_proto(plain(index, last))
        assert wire.HasField("frame_index") == said
        assert header_from_proto(wire, StreamPosition(DEFAULTS, last)).frame_index == index
    later = header_to_proto(plain(8, 7, round=1))
    assert later.HasField("frame_index")
    later.ClearField("frame_index")
    for read in (
        lambda: header_from_proto(later, StreamPosition(DEFAULTS, 7)),
        lambda: HeaderReader(OPENING).read(later),
    ):
        with pytest.raises(InvalidInput, match=r"^header.frame_index: missing in round 1; only a first round may"):
            read()


def test_no_frame_follows_the_last_one_that_there_can_be():
    wire, last = header_to_proto(plain()), (1 << 32) - 1
    with pytest.raises(InvalidInput, match=r"^header.frame_index: missing after frame 4294967295"):
        header_from_proto(wire, StreamPosition(DEFAULTS, last))
    reader = HeaderReader(OPENING)
    assert reader.read(header_to_proto(plain(last, 0))) == frame_info(plain(last))
    with pytest.raises(InvalidInput, match=r"^header.frame_index: missing after frame 4294967295"):
        reader.read(wire)


def test_the_emulator_follows_the_frames_of_a_stream():
    """A further round of an earlier frame does not move on, and a frame that is sent again does."""
    reader, indices = HeaderReader(OPENING), []
    for index, round_, last in ((0, 0, -1), (1, 0, 0), (0, 1, 1), (2, 0, 1), (7, 0, 2), (1, 0, 7), (2, 0, 1)):
        wire = header_to_proto(plain(index, last, round=round_))
        assert wire.HasField("frame_index") == (bool(round_) or index != last + 1)
        info = reader.read(wire)
        indices.append((info.frame_index, info.round))
    assert indices == [(0, 0), (1, 0), (0, 1), (2, 0), (7, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "width_px", 63), "width_px: 63 is not in 64 to 1024"),
        (lambda m: setattr(m, "height_px", 1025), "height_px: 1025 is not in 64 to 1024"),
        (lambda m: setattr(m.segments[0], "kind", 9), "segments.kind"),
        (lambda m: setattr(m.segments[0], "kind", 1), "segments.kind: .* repeats"),
        (lambda m: m.segments.add(), "segments: 3, lami_go has 2"),
        (lambda m: setattr(m.segments[0], "coding", 77), "segments.coding: no value 77; choose fixed, .*, context"),
        (lambda m: m.element_count.__setitem__(0, 2**31), "header.element_count: 2147483648 of 'caption' is more than"),
        (lambda m: m.element_count.append(1), "header.element_count: more entries than segments that need one"),
        (lambda m: m.ClearField("element_count"), "header.element_count: too few entries, none for 'caption'"),
        (lambda m: m.source_packets.__setitem__(0, 21), "header.source_packets: 21 of 'caption' is more than 20"),
        (lambda m: m.source_packets.append(1), "header.source_packets: 3 entries for 2 segments"),
        (lambda m: m.source_packets.pop(), "header.source_packets: 1 entries for 2 segments"),
        (lambda m: m.source_packets.__setitem__(0, 2**31), "header.source_packets: 2147483648 is more than 16777216"),
        (lambda m: m.repair_packets.append(1), "header.repair_packets: 3 entries for 2 segments"),
        (lambda m: m.repair_packets.__setitem__(0, 65537), "header.repair_packets: 65537 is more than 65536"),
        (lambda m: setattr(m.segments[1], "resent", b"\x00"), "elements: no number of spans"),
        (lambda m: setattr(m.segments[1], "resent", pack_spans(np.array([[799, 2]]))), "elements: span 0 ends at 801"),
        (lambda m: setattr(m.segments[1], "as_requested", True), "segments.resent: set, and as_requested too"),
        (lambda m: setattr(m.segments[0], "withheld_count", 20), "segments.withheld_count: 20 of 20"),
        (lambda m: setattr(m, "round", 3), r"header.round: 3 is not below max_rounds \(3\)"),
        (lambda m: setattr(m.rounds, "max_rounds", 65), "max_rounds: 65 is more than 64"),
        (lambda m: setattr(m.rounds, "feedback_policy", 9), "feedback_policy: no value 9; choose erased, uncertain"),
        (lambda m: setattr(m.codec.lami_go, "mask_ratio_permille", 1000), "mask_ratio_permille"),
    ],
)
def test_bad_headers_name_the_field(change, message):
    wire = header_to_proto(full())
    change(wire)
    with pytest.raises(InvalidInput, match=f"^{message}"):
        header_from_proto(wire, StreamPosition(DEFAULTS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.source_packets.append(1), "header.source_packets: 3 entries for 2 segments"),
        (lambda m: m.repair_packets.pop(), "header.repair_packets: 1 entries for 2 segments"),
        (lambda m: m.source_packets.__setitem__(0, 65536), "header: 65549 packets are more than 65536"),
        (lambda m: m.source_packets.__setitem__(0, 2**32 - 1), "header: 4294967308 packets are more than 65536"),
        (lambda m: m.segments.extend(255 * [link_pb2.SegmentHeader()]), "header.segments: 257 are more than 256"),
    ],
)
def test_headers_that_the_emulator_refuses(change, message):
    wire = header_to_proto(full())
    change(wire)
    with pytest.raises(InvalidInput, match=f"^{message}"):
        HeaderReader(OPENING).read(wire)


def test_an_opening_of_many_segments_is_refused():
    """Each header, of two bytes, would take them all up again."""
    opening = link_pb2.SessionOpen(defaults={"segments": 257 * [{}]})
    with pytest.raises(InvalidInput, match=r"^defaults.segments: 257 are more than 256"):
        HeaderReader(opening)


def test_what_the_emulator_reads_of_an_opening_of_nothing():
    reader = HeaderReader(link_pb2.SessionOpen())
    info = reader.read(link_pb2.FrameHeader())
    assert (info.frame_index, info.damage_tolerant, info.packets) == (0, (), 0)
    assert reader.codec(link_pb2.FrameHeader()) == "" and reader.max_rounds(link_pb2.FrameHeader()) == 0
    other = link_pb2.FrameHeader(codec={"extension": {"codec": "nobody's"}}, rounds={"max_rounds": 3})
    assert reader.codec(other) == "extension" and reader.max_rounds(other) == 3
    assert HeaderReader(OPENING).max_rounds(link_pb2.FrameHeader()) == 2
    assert HeaderReader(OPENING).max_rounds(link_pb2.FrameHeader(rounds={})) == 0


def test_the_opening_comes_back():
    assert defaults_from_proto(link_pb2.FrameDefaults.FromString(OPENING.defaults.SerializeToString())) == DEFAULTS
    one_round = replace(DEFAULTS, rounds=RoundSettings())
    assert not defaults_to_proto(one_round).HasField("rounds")
    assert defaults_from_proto(defaults_to_proto(one_round)) == one_round


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.ClearField("codec"), "codec: no '.none.'"),
        (lambda m: setattr(m, "width_px", 0), "width_px: 0 is not in 64 to 1024"),
        (lambda m: setattr(m, "height_px", 2**31), "height_px: 2147483648 is not in 64 to 1024"),
        (lambda m: setattr(m.segments[1], "kind", 0), "segments.kind: .* repeats"),
        (lambda m: setattr(m.segments[1], "kind", 2), "segments.kind"),
        (lambda m: m.segments.add(), "segments: 3, lami_go has 2"),
        (lambda m: setattr(m.segments[1], "coding", 9), "segments.coding: no value 9; choose fixed"),
        (lambda m: setattr(m.segments[1], "resent", b"\x00\x01\x00"), "defaults.segments: hold kind, coding and"),
        (lambda m: setattr(m.segments[1], "as_requested", True), "defaults.segments: hold kind, coding and"),
        (lambda m: setattr(m.segments[1], "withheld_count", 1), "defaults.segments: hold kind, coding and"),
        (lambda m: setattr(m.rounds, "max_rounds", 65), "max_rounds: 65 is more than 64"),
        (lambda m: setattr(m.rounds, "max_rounds", 1), "max_rounds: 1; round_budget_bytes"),
        (lambda m: setattr(m.codec.lami_go, "mask_ratio_permille", 901), "mask_ratio_permille: "),
    ],
)
def test_bad_openings_name_the_field(change, message):
    wire = defaults_to_proto(DEFAULTS)
    change(wire)
    with pytest.raises((InvalidInput, UnknownName), match=f"^{message}"):
        defaults_from_proto(wire)


def test_a_coding_that_the_segment_has_not_is_refused():
    wire = link_pb2.FrameDefaults(width_px=64, height_px=64, codec={"jpeg": {}}, segments=[{"coding": 4}])
    with pytest.raises(InvalidInput, match=r"^segments.coding: segment 'file' has no 'context'"):
        defaults_from_proto(wire)


@pytest.mark.parametrize("version", [0, 1, 3, 2**32 - 1])
def test_another_version_of_the_wire_is_refused_by_name(version):
    assert WIRE_VERSION == 2
    check_version(link_pb2.SessionOpen(wire_version=2))
    with pytest.raises(
        Mismatch, match=rf"^wire_version: the transmitter speaks 0.{version or 1}, this end 0.2; run the"
    ):
        check_version(link_pb2.SessionOpen(wire_version=version))


@pytest.mark.parametrize("name", GENERATIVE)
def test_headers_of_every_codec_come_back(name):
    """Whatever the frame before it was like, whose opening they go by."""
    rng, opened = np.random.default_rng(0), None
    for index in range(50):
        header, _ = packetize(drawn_message(name, PLAIN, rng, frame_index=index), LinkSettings())
        assert same(through(header), header)
        opened = opened or stream_position(header).defaults
        assert same(through(replace(header, position=StreamPosition(opened, index - 1))), header)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [(name, *refused) for name in GENERATIVE for refused in refused_values(SYSTEMS.get(name).header)],
)
def test_bad_headers_of_every_codec_name_the_field(name, field, value):
    header, _ = packetize(drawn_message(name, PLAIN, np.random.default_rng(0)), LinkSettings())
    position = stream_position(header)
    for wire, read in (
        (header_to_proto(header), lambda wire: header_from_proto(wire, position)),
        (defaults_to_proto(position.defaults), defaults_from_proto),
    ):
        setattr(getattr(wire.codec, name), field, value)
        with pytest.raises(InvalidInput, match=field):
            read(wire)


def test_a_frame_without_a_position_opens_a_session_of_its_own():
    """What a session's opening says of it besides follows from the options, not from the frame."""
    options = LamiGoOptions(masking=MaskingPolicy.NONE, num_inference_steps=3)
    segment = Segment(TOKENS, np.zeros(COUNT, np.int64), np.ones(COUNT, np.float32), CODED)
    for codec_header, said in ((LamiGoHeader(num_inference_steps=3), False), (LamiGoHeader(), True)):
        message = first_message(Goal(options, 300), "lami_go", codec_header, (256, 256), (segment,))
        header, _ = packetize(message, LinkSettings())
        wire = header_to_proto(header)
        assert wire.HasField("codec") == said and not wire.HasField("frame_index")
        assert not wire.segments and same(through(header), header)


class NeedyHeader(Parameters):
    """Nothing can be said of it before there is a frame."""

    number: int


def test_a_codec_whose_header_has_no_defaults_is_refused():
    """What an image decides would otherwise be in the opening of a session, where nobody counts it."""
    with pytest.raises(InvalidInput, match=r"^needy: NeedyHeader.number has no default; all fields need one"):
        System("needy", NeedyHeader, Parameters, (SegmentSpec("values", 128),))


def test_any_column_of_a_hostile_header_is_an_error_of_ours():
    for counts in ([], [0], [1], [2**32 - 1], [5, 5], [2**32 - 1] * 3):
        for column in ("element_count", "source_packets", "repair_packets"):
            wire = header_to_proto(plain())
            wire.ClearField(column)
            getattr(wire, column).extend(counts)
            try:
                got = header_from_proto(wire, StreamPosition(DEFAULTS))
            except GoComError as error:
                assert str(error).startswith("header.")
            else:
                assert got.packets <= 2**17 and all(s.source_packets <= s.element_count for s in got.segments)
