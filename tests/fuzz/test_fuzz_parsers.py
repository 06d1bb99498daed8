"""Any message, and any file, through everything that reads them: a typed error, or what was promised."""

import contextlib
import itertools

import numpy as np
import pytest
from fuzz_messages import damaged
from fuzz_recordings import LINK, SIDE_PX, conversations, frames
from fuzz_traffic import any_messages, batches, changed, files, images, sessions
from google.protobuf.message import DecodeError
from hypothesis import assume, given
from hypothesis import strategies as st
from packet_target import grid_limit, play
from toy_world import NAMED
from yaml_text import as_yaml

from gocom.channel_emulator.chain import Chain, check_sequence, frame_info
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.common.channel_spec import PRESETS, format_spec, parse_spec
from gocom.common.errors import DecodeFailed, InvalidInput, Mismatch, UnknownName
from gocom.common.image_decoding import decode_image
from gocom.common.packet_trace_file import TraceWriter, read_trace_file
from gocom.common.rounds import spans_to_positions
from gocom.common.types import ReceivedMessage, ReceivedSegment, StreamPosition
from gocom.common.wire.frame_headers import (
    check_version,
    defaults_from_proto,
    defaults_to_proto,
    frame_index_of,
    header_from_proto,
    header_to_proto,
)
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.receiver.decoders.classical import ClassicalDecoder
from gocom.transmitter.feedback_handling import check_feedback
from gocom.transmitter.frame_encoding import read_request
from gocom.v1 import channel_pb2, feedback_pb2, link_pb2, transmitter_pb2

HEADERS = [items[0].header for rounds in frames().values() for items in rounds]
SHORT = [item.header for items in conversations()[-20:] for item in items if item.HasField("header")]
OPENINGS = [items[0].open for items in conversations()]
POSITIONS = [
    StreamPosition(defaults_from_proto(opening.defaults), last)
    for opening, last in zip(OPENINGS, itertools.cycle((-2, -1, 0, 300, (1 << 32) - 1)), strict=False)
]
LONGEST = 2000
"""Characters of an error's text: statuses travel in HTTP/2 headers, whose size is bounded."""


def short(error):
    """The error, which must be one that a peer can be told."""
    assert 0 < len(str(error)) <= LONGEST
    return error


ANY_HEADER = st.one_of(
    any_messages().of(link_pb2.FrameHeader.DESCRIPTOR), st.sampled_from(HEADERS).flatmap(changed),
    st.sampled_from(SHORT).flatmap(changed),
)  # fmt: skip


@given(ANY_HEADER, st.sampled_from(POSITIONS))
def test_frame_headers(message, position):
    try:
        header = header_from_proto(message, position)
    except (InvalidInput, UnknownName) as error:
        short(error)
        return
    again = header_to_proto(header)
    assert header_to_proto(header_from_proto(again, position)) == again


ANY_OPENING = st.one_of(any_messages().of(link_pb2.SessionOpen.DESCRIPTOR), st.sampled_from(OPENINGS).flatmap(changed))


@given(ANY_OPENING)
def test_openings(message):
    try:
        check_version(message)
        defaults = defaults_from_proto(message.defaults)
    except (InvalidInput, Mismatch, UnknownName) as error:
        short(error)
        return
    again = defaults_to_proto(defaults)
    assert defaults_from_proto(again) == defaults and defaults_to_proto(defaults_from_proto(again)) == again


@given(any_messages().of(link_pb2.FrameDefaults.DESCRIPTOR))
def test_defaults(message):
    try:
        defaults = defaults_from_proto(message)
    except (InvalidInput, UnknownName) as error:
        short(error)
        return
    assert defaults_from_proto(defaults_to_proto(defaults)) == defaults


@given(ANY_OPENING, st.lists(ANY_HEADER, max_size=4))
def test_what_the_emulator_reads_of_headers(opening, headers):
    """Of any codec, and the same as a receiver where that takes a header."""
    try:
        reader = HeaderReader(opening)
    except InvalidInput as error:
        short(error)
        return
    last = -1
    for header in headers:
        assert isinstance(reader.codec(header), str) and 0 <= reader.max_rounds(header) < 1 << 32
        try:
            info = reader.read(header)
        except InvalidInput as error:
            short(error)
            info = None
        try:
            position = StreamPosition(defaults_from_proto(opening.defaults), last)
            assert info in (None, frame_info(header_from_proto(header, position)))
        except (InvalidInput, UnknownName):
            pass
        with contextlib.suppress(InvalidInput):
            last = last if header.round else frame_index_of(header, last)
        if info is not None:
            assert len(info.damage_tolerant) == len(info.segment_ends) <= 256 and info.packets <= 1 << 16
            assert list(info.segment_ends) == sorted(info.segment_ends)


@given(sessions())
def test_sessions(items):
    parsed = []
    for data in items:
        try:
            parsed.append(link_pb2.SendRequest.FromString(data))
        except DecodeError:
            continue
    play(parsed)


@given(st.one_of(batches(), batches(), any_messages().of(link_pb2.PacketBatch.DESCRIPTOR)))
def test_batches(message):
    try:
        batch = batch_from_proto(message)
    except InvalidInput as error:
        short(error)
        return
    again = batch_to_proto(batch)
    assert batch_to_proto(batch_from_proto(again)) == again
    assert b"".join(batch.payloads()) == message.payload
    assert again.ByteSize() <= message.ByteSize()


FIRST = [header_from_proto(items[0][0].header, NAMED) for items in frames().values()]


@given(st.sampled_from(FIRST), any_messages().of(feedback_pb2.SendFeedbackRequest.DESCRIPTOR))
def test_feedback(first, request):
    try:
        feedback = check_feedback(request, [first], LINK)
    except InvalidInput as error:
        short(error)
        return
    for kind, spans in feedback.wanted.items():
        there = spans_to_positions(spans)
        assert len(there) and (np.diff(there) > 0).all() and 0 <= there[0] <= there[-1] < grid_limit(first, kind)


@given(any_messages().of(transmitter_pb2.TransmitRequest.DESCRIPTOR))
def test_requests(request):
    try:
        read = read_request(request, LINK)
    except (InvalidInput, UnknownName) as error:
        short(error)
        return
    assert read.image.shape[0] == 3 and read.image.dtype == np.float32
    assert 0 <= read.image.min() <= read.image.max() <= 1


@given(images())
def test_pictures(data):
    try:
        pixels = decode_image(data)
    except InvalidInput as error:
        short(error)
        return
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000", "webp", "avif"])
def test_files(codec):
    first = header_from_proto(frames()[f"{codec}_0"][0][0].header, NAMED)

    @given(st.one_of(damaged(st.sampled_from([files()[codec.upper()], files()["PNG"]])), images()), st.integers(0, 9))
    def check(data, lost):
        received = np.ones(len(data), bool)
        received[: lost // 8] = False
        segment = ReceivedSegment(0, np.frombuffer(data, np.uint8).astype(np.int64), received)
        try:
            (picture,) = ClassicalDecoder(codec, "cpu").reconstruct(
                [ReceivedMessage(first, (segment,), 1, 1)], generator=None
            )
        except DecodeFailed as error:
            short(error)
            return
        assert picture.image.shape == (3, SIDE_PX, SIDE_PX)

    check()


@given(any_messages().of(channel_pb2.ChannelProfile.DESCRIPTOR), batches())
def test_channels(profile, message):
    try:
        chain = Chain.from_profile(profile)
    except (InvalidInput, UnknownName) as error:
        short(error)
        return
    csi = chain.csi(105)
    assert 0 <= csi.packet_erasure_rate <= 1 and 0 <= csi.bit_error_rate <= 0.5 and csi.mean_burst_packets >= 1
    if not any(impairment.HasField("trace_replay") for impairment in profile.impairments):
        assert parse_spec(format_spec(profile), profile.seed) == profile or profile.impairments
    try:
        arrived, frame = batch_from_proto(message), frame_info(FIRST[0])
        check_sequence(arrived)
        impairer = chain.impairer(frame)
        batch = impairer.apply(arrived)
    except InvalidInput as error:
        short(error)
        return
    assert len(batch) == len(message.sequence) and all(
        0 <= score.events <= score.trials and score.variance >= 0 for score in impairer.event_counts()
    )


WORDS = st.sampled_from([
    *PRESETS, *PRESETS.values(), "packet_erasure", "rate", "seed", "1e-3", "nan", "inf", "0x1", "-1", "extension",
    "mine", "damage=deliver", ":", "+", ",", "=", " ", "\0", "ä", "9" * 400,
    "trace_replay:file=", "netem:", "netem:loss gemodel 1% 10%", " loss", " delay", " 5%", " 1ms",
])  # fmt: skip


@given(st.one_of(st.lists(WORDS, max_size=8).map("".join), st.text(max_size=30)))
def test_channel_specs(text):
    assume(not text.strip().lower().endswith((".yml", ".yaml")))
    try:
        profile = parse_spec(text, 1)
    except InvalidInput as error:
        short(error)
        return
    # A fault from outside may have the name of a preset, which is then what its name means.
    if not {i.extension.name for i in profile.impairments} & set(PRESETS):
        assert parse_spec(format_spec(profile), 1) == profile


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
PROFILES = st.fixed_dictionaries({}, optional={
    "seed": st.one_of(ANY, st.integers(0, 9)),
    "impairments": st.one_of(ANY, st.lists(st.dictionaries(
        st.sampled_from(["packet_erasure", "bit_flip", "gilbert_elliott", "mine", "netem", "trace_replay"]),
        st.one_of(ANY, st.dictionaries(st.sampled_from(["rate", "damage", "p", "r", "segment"]), ANY, max_size=2)),
        min_size=1, max_size=1,
    ), max_size=3)),
}).map(lambda profile: as_yaml(profile).encode())  # fmt: skip


@given(st.one_of(PROFILES, damaged(PROFILES), st.binary(max_size=60)))
def test_profile_files(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "profile.yml"
    path.write_bytes(data)
    try:
        profile = parse_spec(str(path))
    except InvalidInput as error:
        short(error)
        return
    assert parse_spec(format_spec(profile), profile.seed) == profile


GOOD_TRACE = st.sampled_from([
    b'{"format":"gocom-trace","version":1}\n{"frame":0,"round":0,"fates":"..x.~.","flips":{"4":[17,90]}}\n'
    b'{"frame":1,"round":0,"fates":"x"}\n',
    b"0010\n111\n0\n",
])  # fmt: skip


@given(st.one_of(damaged(GOOD_TRACE), damaged(damaged(GOOD_TRACE)), st.binary(max_size=60)))
def test_trace_files(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "run.trace"
    path.write_bytes(data)
    try:
        profile = parse_spec(f"trace_replay:file={path}")
    except InvalidInput as error:
        short(error)
        return
    rounds = profile.impairments[0].trace_replay.rounds
    Chain.from_profile(profile)
    with TraceWriter(path) as writer:
        assert all([writer.write(message) for message in rounds])
    assert read_trace_file(path) == list(rounds)


ALIASES = "seed:\n" + "".join(f"- &l{i} [{','.join([f'*l{i - 1}' if i else 'x'] * 9)}]\n" for i in range(5))


@pytest.mark.parametrize("text", ["a: &a [*a]", "seed: !!python/object:os.system {}", "? [a]\n: b", "%YAML 9.9\n---"])
def test_hostile_profile_files(tmp_path, text):
    path = tmp_path / "profile.yml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        parse_spec(str(path))
    short(refused.value)


@pytest.mark.parametrize(
    "text", ["[" * 2000, "seed: 2001-99-99", "seed: " + "9" * 5000, ALIASES], ids=["deep", "date", "digits", "aliases"]
)
def test_profile_files_that_yaml_itself_trips_over(tmp_path, text):
    test_hostile_profile_files(tmp_path, text)
