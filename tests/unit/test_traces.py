"""Traces: as files, as messages, and what happens when they are replayed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments.trace_replay import TraceReplay
from gocom.client.channel_recording import PendingTrace
from gocom.client.profile_argument import profile_argument
from gocom.common.channel_spec import format_spec, parse_spec
from gocom.common.crc32c import checksums
from gocom.common.errors import GoComError, InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch
from gocom.common.packet_trace_file import TraceWriter, read_trace_file
from gocom.common.packet_traces import MAX_BITS, MAX_FLIPS, MAX_ROUNDS, erased_mask, trace_from_proto, trace_round
from gocom.v1 import channel_pb2

FIRST = '{"format":"gocom-trace","version":1}\n'
LINE = '{"frame":0,"round":0,"fates":"..x.~.","flips":{"4":[17,90]}}\n'
Round = channel_pb2.TraceRound


@st.composite
def rounds(draw: st.DrawFn, most: int = 4) -> list[Round]:
    """Good traces."""
    keys = draw(
        st.lists(st.tuples(*[st.integers(0, 5) | st.just(2**32 - 1)] * 2), min_size=1, max_size=most, unique=True)
    )
    made = []
    for frame_index, round_ in keys:
        fates = np.array(draw(st.lists(st.sampled_from(".x~"), min_size=1, max_size=20)))
        bits = st.lists(st.integers(0, 9) | st.integers(0, MAX_BITS - 1), min_size=1, max_size=4, unique=True)
        flips = [(packet, bit) for packet in np.flatnonzero(fates == "~").tolist() for bit in sorted(draw(bits))]
        packet, bit = np.array(flips, np.int64).reshape(-1, 2).T
        made.append(trace_round(frame_index, round_, fates == "x", packet, bit))
    return made


def fates(text: str, frame_index: int = 0, round_: int = 0) -> Round:
    none = np.zeros(0, np.int64)
    return trace_round(frame_index, round_, np.array(list(text)) == "x", none, none)


def batch_of(count: int, payload_bytes: int = 4, first: int = 0) -> PacketBatch:
    index, ones = np.arange(first, first + count, dtype=np.int64), np.ones(count, np.int64)
    batch = PacketBatch(
        np.arange(count * payload_bytes).astype(np.uint8), ones * payload_bytes, index, index, ones,
        np.zeros(count, np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip
    batch.checksum = checksums(batch, 0, 0)
    return batch


def chain_of(*messages: Round) -> Chain:
    replay = channel_pb2.Impairment(trace_replay=channel_pb2.TraceReplay(rounds=messages))
    return Chain.from_profile(channel_pb2.ChannelProfile(impairments=[replay]))


def write(path: Path, *messages: Round) -> Path:
    with TraceWriter(path) as writer:
        assert all([writer.write(message) for message in messages])
    return path


@settings(max_examples=60, deadline=None)
@given(rounds())
def test_a_file_is_what_was_written(tmp_path_factory: pytest.TempPathFactory, messages: list[Round]) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.trace", *messages)
    assert read_trace_file(path) == messages
    assert all(line.isascii() and json.loads(line) for line in path.read_text().splitlines())
    trace_from_proto(messages)


def test_the_format_is_as_documented(tmp_path: Path) -> None:
    message = Round(packets=6, erased=b"\x04", flip_packet=[4, 4], flip_bit=[17, 90])
    path = write(tmp_path / "run.trace", message)
    assert path.read_text() == FIRST + LINE
    (read,) = read_trace_file(path)
    assert read == message and erased_mask(read).tolist() == [False, False, True, False, False, False]


def test_published_traces_are_zeros_and_ones(tmp_path: Path) -> None:
    path = tmp_path / "loss.txt"
    path.write_text("\n0010 11\n\n000000001\r\n1")
    assert read_trace_file(path) == [fates("..x.xx"), fates("........x", 1), fates("x", 2)]
    path.write_text("01\n0.1\n")
    with pytest.raises(InvalidInput, match=r"loss.txt', line 2: only 0 \(passed\) and 1 \(erased\) are allowed"):
        read_trace_file(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rounds"),
        (FIRST, "has no rounds"),
        (LINE, r"line 1: the first line must be {\"format\":\"gocom-trace\",\"version\":1}, or rounds of 0 and 1"),
        (FIRST.replace("1}", "2}"), "line 1: the first line must be"),
        (FIRST.replace("1}", "1.0}"), "line 1: the first line must be"),
        (FIRST.replace("1}", "true}"), "line 1: the first line must be"),
        ("hello", "line 1: 'hello' is no JSON object, nor does the file begin with 0 or 1"),
        (FIRST + "[1]", r"line 2: '\[1\]' is no JSON object"),
        (FIRST + LINE + "\n" + LINE, "line 4: frame 0, round 0 is in line 2 already"),
        (FIRST + LINE[:-2] + ',"x":1}', "line 2: a round has frame, round, fates"),
        (FIRST + LINE.replace('"round":0,', ""), "line 2: a round has frame, round, fates"),
        (FIRST + LINE.replace('"frame":0', '"frame":0,"frame":1'), "is no JSON object"),
        (FIRST + LINE.replace('"frame":0', '"frame":-1'), r"frame: -1 is not a whole number in 0 to 2\*\*32 - 1"),
        (FIRST + LINE.replace('"round":0', '"round":true'), "round: True is not a whole number"),
        (FIRST + LINE.replace("x", "o"), r"fates: must be text of \. \(passed\), x \(erased\) and ~ \(flipped\)"),
        (FIRST + LINE.replace("x", "\u00e9"), "line 2: is not ASCII text"),
        (FIRST + LINE.replace("~", "."), "flips: must name the packets that are ~ in fates, and no others"),
        (FIRST + LINE.replace(".~", "~~"), "flips: must name the packets that are ~"),
        (FIRST + LINE.replace('"4"', '"5"'), "flips: must name the packets that are ~"),
        (FIRST + LINE.replace('"4"', '"04"'), "flips: '04' is not the number of a packet"),
        (FIRST + LINE.replace('"4"', r'"\u00b2"'), "line 2: flips: '\u00b2' is not the number of a packet"),
        (FIRST + LINE.replace("17,90", "90,17"), "flips: of 4: must be bits in ascending order, each in 0 to 519999"),
        (FIRST + LINE.replace("17,90", "17,17"), "flips: of 4: must be bits in ascending order"),
        (FIRST + LINE.replace("17,90", "520000"), "flips: of 4: must be bits"),
        (FIRST + LINE.replace("17,90", ""), "flips: of 4: must be bits"),
        (FIRST + LINE.replace('{"4":[17,90]}', "[4]"), "flips: must have lists of bits by packet"),
        (FIRST + '{"frame":0,"round":0,"fates":""}', "fates: 0 packets, and not 1 to 65536"),
        ("1" * 65537, "line 1: fates: 65537 packets, and not 1 to 65536"),
        ("[" * 100_000, "is no JSON object"),
    ],
)
def test_mistakes_in_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.trace"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message) as refused:
        parse_spec(f"trace_replay:file={path}")
    assert str(refused.value).startswith(f"impairments[0].trace_replay.file: '{path}'")
    assert len(str(refused.value)) < 600


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.trace"
    path.write_text(("0" * 65536 + "\n") * 65)
    with pytest.raises(InvalidInput, match="line 65: more than 4194304 packets, the most a trace may have"):
        read_trace_file(path)
    path.write_text("0\n" * (MAX_ROUNDS + 1))
    with pytest.raises(InvalidInput, match="line 65537: more than 65536 rounds"):
        read_trace_file(path)
    with pytest.raises(InvalidInput, match="longer than 16777216 bytes"):
        read_trace_file(Path("/dev/zero"))
    for nothing in (tmp_path, tmp_path / "none", Path("a\0b")):
        with pytest.raises(InvalidInput, match="cannot read"):
            read_trace_file(nothing)


def test_a_writer_keeps_the_first_of_a_round_and_the_bounds(tmp_path: Path) -> None:
    with TraceWriter(tmp_path / "run.trace") as writer:
        assert writer.write(fates("x."))
        assert not writer.write(fates(".."))
        for frame_index in range(1, 64):
            writer.write(fates("." * 65536, frame_index))
        with pytest.raises(TooLarge, match="more than 4194304 packets"):
            writer.write(fates("." * 65536, 64))
        # Before it is closed: whatever ends the process leaves this.
        assert len(read_trace_file(tmp_path / "run.trace")) == writer.rounds == 64
    with pytest.raises(InvalidInput, match="cannot write"):
        TraceWriter(tmp_path / "no" / "folder")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"packets": 0}, r"packets: 0 is not in 1 to 65536"),
        ({"packets": 65537}, r"packets: 65537 is not in 1 to 65536"),
        ({"erased": b""}, r"erased: 0 bytes for 6 packets, of which 1 hold a bit each"),
        ({"erased": b"\0\0"}, r"erased: 2 bytes for 6 packets"),
        ({"erased": b"\x40"}, r"erased: a bit is set beyond the 6 packets"),
        ({"flip_packet": [1]}, r"flip_bit: 2 entries, and flip_packet has 1"),
        ({"flip_packet": [4, 6]}, r"flip_packet: 6 is not below 6"),
        ({"flip_packet": [4, 2**32 - 1]}, r"flip_packet: 4294967295 is not below 6"),
        ({"flip_bit": [17, 520000]}, r"flip_bit: 520000 is not below 520000"),
        ({"flip_packet": [4, 3]}, r"flip_packet: bit 90 of 3 is not after the one before"),
        ({"flip_bit": [17, 17]}, r"flip_packet: bit 17 of 4 is not after the one before"),
        ({"flip_packet": [2, 4]}, r"flip_packet: 2 is erased, and has no bits left"),
        ({"round": 1}, r"frame_index: frame 0, round 1 is that of rounds\[1\] already"),
    ],
)
def test_mistakes_in_messages_are_named(changed: dict[str, object], message: str) -> None:
    good = {"packets": 6, "erased": b"\x04", "flip_packet": [4, 4], "flip_bit": [17, 90], "round": 2}
    chain_of(fates("x"), fates("x", 0, 1), Round(**good))  # type: ignore[arg-type]
    where = r"^impairments\[0\]\.trace_replay\.rounds\[2\]\."
    with pytest.raises(InvalidInput, match=where + message):
        chain_of(fates("x"), fates("x", 0, 1), Round(**{**good, **changed}))  # type: ignore[arg-type]


def test_bounds_of_messages() -> None:
    with pytest.raises(InvalidInput, match=r"trace_replay\.rounds: 0, and not 1 to 65536"):
        chain_of()
    with pytest.raises(InvalidInput, match=r"trace_replay\.rounds: 65537, and not 1 to 65536"):
        chain_of(*[fates("x")] * (MAX_ROUNDS + 1))
    long = fates("." * 65536)
    many = [Round(frame_index=i, packets=65536, erased=long.erased) for i in range(65)]
    chain_of(*many[:64])
    with pytest.raises(InvalidInput, match=r"rounds\[64\]\.packets: with these, more than 4194304"):
        chain_of(*many)
    flips = Round(packets=3, erased=b"\0", flip_packet=[0] * 500_000 + [1] * 500_000 + [2] * (MAX_FLIPS - 10**6))
    flips.flip_bit.extend([*range(500_000), *range(500_000), *range(MAX_FLIPS - 10**6)])
    chain_of(flips)
    with pytest.raises(InvalidInput, match=r"rounds\[1\]\.flip_bit: with these, more than 1048576"):
        chain_of(flips, Round(round=1, packets=1, erased=b"\0", flip_packet=[0], flip_bit=[0]))


def test_extensions_carry_no_trace() -> None:
    profile = channel_pb2.ChannelProfile(
        impairments=[{"extension": {"name": "trace_replay", "parameters": {"rounds": 3}}}]
    )  # type: ignore[list-item]
    with pytest.raises(InvalidInput, match=r"^impairments\[0\]\.extension\.parameters\.rounds: not set"):
        Chain.from_profile(profile)


def test_specs_name_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "run.trace", fates("x.x"), fates("..", 1))
    profile = parse_spec(f"packet_erasure:rate=0 + trace_replay: file={path} + bit_flip:rate=0", 3)
    assert profile.seed == 3 and list(profile.impairments[1].trace_replay.rounds) == read_trace_file(path)
    assert format_spec(profile) == "packet_erasure:rate=0.0+trace_replay:rounds=2,packets=5+bit_flip:rate=0.0"
    with pytest.raises(
        InvalidInput, match=r"impairments\[1\].trace_replay.rounds: no such parameter; name the file of th"
    ):
        parse_spec(format_spec(profile))
    for text in ("trace_replay", "trace_replay:file="):
        with pytest.raises(
            InvalidInput, match=r"impairments\[0\].trace_replay.file: not set; name the file of the trace"
        ):
            parse_spec(text)
    with pytest.raises(InvalidInput, match=r"impairments\[0\].trace_replay.file: cannot read '.*none': No such file"):
        parse_spec(f"trace_replay:file={tmp_path / 'none'}")


def test_yaml_names_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "a,b+c.trace", fates("x.x"))
    file = tmp_path / "channel.yml"
    file.write_text("impairments: [{trace_replay: {file: 'a,b+c.trace'}}, {netem: loss 5%}]")
    first, second = parse_spec(str(file)).impairments
    assert list(first.trace_replay.rounds) == [fates("x.x")] and second.packet_erasure.rate == 0.05
    for wrong, words in (("{file: 3}", "file: 3; name"), ("[x]", "must be a mapping"), ("x", "must be a mapping")):
        file.write_text(f"impairments: [{{trace_replay: {wrong}}}]")
        with pytest.raises(InvalidInput, match=words):
            parse_spec(str(file))


def test_a_stack_hands_traces_over_in_files(tmp_path: Path) -> None:
    text = "gilbert_elliott:p=0.1,r=0.2+bit_flip:rate=1e-3,damage=deliver"
    assert parse_spec(profile_argument(parse_spec(text), tmp_path)) == parse_spec(text)
    assert not list(tmp_path.iterdir()) and profile_argument(parse_spec("clean"), tmp_path) == "clean"
    traced = parse_spec(f"{text}+trace_replay:file={write(tmp_path / 'run.trace', fates('x.x'))}+bit_flip:rate=0.1", 7)
    assert parse_spec(profile_argument(traced, tmp_path), 7) == traced


def test_replay_repeats_what_the_trace_says() -> None:
    messages = [fates("x.."), fates(".x", 0, 1), fates("..x.", 7)]
    chain = chain_of(*messages)

    def lost(frame_index: int, round_: int, count: int, first: int = 0) -> str:
        erased = chain.apply(batch_of(count, first=first), FrameInfo(frame_index, round_)).erased
        return "".join(np.where(erased, "x", "."))

    assert (lost(0, 0, 3), lost(0, 1, 2), lost(7, 0, 4)) == ("x..", ".x", "..x.")
    assert lost(7, 0, 10) == "..x...x..." and lost(7, 0, 4, first=5) == ".x.."
    # Not recorded: the (frame + round)-th.
    assert (lost(1, 0, 2), lost(1, 1, 4), lost(2**32 - 1, 2**32 - 1, 3)) == (".x", "..x.", "x..")


def test_replay_flips_where_damage_is_tolerated_and_erases_elsewhere() -> None:
    message = Round(packets=4, erased=b"\x08", flip_packet=[0, 1, 1, 2], flip_bit=[31, 0, 9, 32])
    batch = batch_of(4)
    left = chain_of(message).apply(batch, FrameInfo(0, 0, (True,)))
    assert left.erased.tolist() == [False, False, False, True]
    changed = np.bitwise_xor(left.payload, batch.payload)
    assert changed.tolist() == [0, 0, 0, 1, 0x80, 0x40, 0, 0] + [0] * 8  # bit 32 is beyond 4 bytes
    assert np.array_equal(left.checksum, checksums(left, 0, 0))
    left = chain_of(message).apply(batch, FrameInfo(0, 0, (False,)))
    assert left.erased.tolist() == [True, True, False, True] and np.array_equal(left.payload, batch.payload)
    # What an earlier fault erased has no bits to flip, and stays erased.
    batch.erased[1] = True
    assert chain_of(message).apply(batch, FrameInfo(0, 0, (True,))).erased.tolist() == [False, True, False, True]


@settings(max_examples=60, deadline=None)
@given(rounds(), st.integers(0, 6), st.integers(0, 6), st.lists(st.integers(0, 60), max_size=30), st.booleans())
def test_replay_is_what_a_packet_at_a_time_gives(
    messages: list[Round], frame_index: int, round_: int, sequence: list[int], tolerant: bool
) -> None:
    batch = batch_of(len(sequence), 3)
    batch.sequence = np.array(sequence, np.int64)
    impairer = chain_of(*messages).impairer(FrameInfo(frame_index, round_, (tolerant,)))
    left = impairer.apply(batch)
    by_key = {(m.frame_index, m.round): m for m in messages}
    message = by_key.get((frame_index, round_), messages[(frame_index + round_) % len(messages)])
    events = 0
    for position, number in enumerate(sequence):
        packet = number % message.packets
        lost = message.erased[packet // 8] >> packet % 8 & 1
        bits = [b for p, b in zip(message.flip_packet, message.flip_bit, strict=True) if p == packet and b < 24]
        before, after = (int.from_bytes(b.payloads()[position], "big") for b in (batch, left))
        assert left.erased[position] == bool(lost or (bits and not tolerant))
        if not left.erased[position]:
            assert before ^ after == sum(1 << 23 - bit for bit in bits)
        events += bool(lost or bits)
    (score,) = impairer.event_counts()
    assert (score.trials, score.events, score.expected, score.variance) == (len(sequence), events, events, 0)


def test_what_a_trace_implies() -> None:
    csi = chain_of(fates("xx.x"), fates("x...x...", 1)).csi(105)
    assert csi.packet_erasure_rate == pytest.approx(5 / 12) and csi.mean_burst_packets == pytest.approx(5 / 4)
    assert csi.bit_error_rate == 0
    assert chain_of(fates("...")).csi(105).mean_burst_packets == 1
    assert chain_of(fates("..x")).csi(105).mean_burst_packets == 1  # and not a rounding less
    assert chain_of(fates("xxx")).csi(105).mean_burst_packets == math.inf
    flips = Round(packets=2, erased=b"\x02", flip_packet=[0], flip_bit=[5])
    fault = TraceReplay(trace_from_proto([flips]))
    assert fault.expected_rate == 1 and fault.bit_error_rate == pytest.approx(1 / 840)


def test_what_a_few_bytes_may_cost() -> None:
    """Every packet of a batch meets the fates of the trace's only one; bits that it does not have cost nothing."""
    message = Round(packets=1, erased=b"\0", flip_packet=[0] * MAX_BITS, flip_bit=range(MAX_BITS))
    left = chain_of(message).apply(batch_of(65536, 1), FrameInfo(0, 0, (True,)))
    assert np.array_equal(left.payload ^ batch_of(65536, 1).payload, np.full(65536, 255))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_named_and_the_file_is_closed():
    with pytest.raises(GoComError, match=r"cannot write '/dev/full': No space left on device") as caught:
        TraceWriter(Path("/dev/full"))
    assert not isinstance(caught.value, InvalidInput), "whoever named the file is not to blame"
    with pytest.raises(GoComError, match="record: cannot write '/dev/full'"):
        PendingTrace(Path("/dev/full"))
