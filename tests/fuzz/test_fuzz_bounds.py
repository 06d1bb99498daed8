"""What fuzzing and reading found: a few bytes must not cost much memory or time, nor raise what nobody expects."""

import gc
import io
import tracemalloc
import warnings
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
from fuzz_recordings import LINK, frames, opening
from fuzz_traffic import files
from generative_codecs import OWN
from google.protobuf.message import Message
from PIL import Image
from toy_world import DEFAULTS, NAMED

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.common import fec
from gocom.common.channel_spec import parse_spec
from gocom.common.element_order import feedback_order
from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.errors import GoComError, InvalidInput, TooLarge, UnknownName
from gocom.common.image_decoding import decode_image
from gocom.common.packetizer import MAX_PACKETS, depacketize
from gocom.common.rounds import merge_rounds
from gocom.common.systems import SYSTEMS
from gocom.common.types import ElementCoding, LinkSettings
from gocom.common.wire.frame_headers import defaults_from_proto, header_from_proto
from gocom.common.wire.frame_messages import codec_from_proto, codec_to_proto
from gocom.common.wire.packet_batches import batch_from_proto
from gocom.receiver.round_assembly import RoundAssembler
from gocom.transmitter import feedback_handling as transmitter_feedback
from gocom.transmitter.feedback_handling import check_feedback
from gocom.transmitter.frame_encoding import read_request
from gocom.v1 import channel_pb2, codecs_pb2, feedback_pb2, link_pb2, transmitter_pb2

MIB = 1 << 20


@contextmanager
def at_most(mib):
    """No more than so much memory is taken within it, at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < mib * MIB, f"{peak / MIB:.0f} MiB"


def packets(count=1, length=1, first=0):
    """A batch of packets of zeros."""
    return link_pb2.PacketBatch(
        payload=bytes(count * length), length_bytes=[length] * (count - 1), sequence=range(first, first + count),
        first_element=range(count), element_count=[1] * count, checksum=[0] * count,
    )  # fmt: skip


def announce(codec, element_count=(), source_packets=(), **segment):
    """A header of one segment."""
    header = link_pb2.FrameHeader(
        width_px=64, height_px=64, element_count=element_count, source_packets=source_packets, segments=[segment]
    )
    codec_to_proto(codec, SYSTEMS.get(codec).header(), header.codec)
    return header


def begin(assembler, header, requested=None):
    """As the receiver begins a round with the next header of a stream."""
    _, position = assembler.advance(header)
    return assembler.begin(header, position, requested or {})


def assembler_of(max_bytes=8 << 20):
    """A receiver's end of a session in which headers say everything."""
    return RoundAssembler(DEFAULTS, max_bytes, MAX_PACKETS)


@pytest.mark.parametrize("codec", OWN)
@pytest.mark.parametrize("round_", [0, 1])
@pytest.mark.parametrize("as_requested", [False, True])
@pytest.mark.parametrize("count", [1 << 31, 8 << 20, (4 << 20) + 1])
def test_announced_elements(codec, round_, as_requested, count):
    """A header of 30 bytes made the receiver permute 8 million elements: 400 MiB and 4 s. Of a further round, too."""
    for kind in range(len(SYSTEMS.get(codec).segments)):
        sources = count // 0xFFFF + 1
        header = announce(codec, [count], [sources], kind=kind, as_requested=as_requested)
        header.round, header.frame_index, header.rounds.max_rounds = round_, 0, round_ + 1
        with at_most(10):
            with pytest.raises(GoComError) as refused:
                begin(assembler_of(4 << 20), header, {kind: np.array([[0, 9]])})
            assert isinstance(refused.value, InvalidInput | TooLarge)


@pytest.mark.parametrize("last", [(1 << 24) - 1, 8 << 20])
@pytest.mark.parametrize("kind", ["resent", "as_requested"])
def test_named_elements_far_away(last, kind):
    """A grid of no fixed size reaches to its last element: 160 MiB for a header of 20 bytes, in every merge."""
    spans = np.array([[last, 1]])
    said = {"resent": pack_spans(spans)} if kind == "resent" else {"as_requested": True, "element_count": [1]}
    with at_most(2), pytest.raises(TooLarge, match=rf"^segments.resent: element {last} is not below 8388608"):
        begin(assembler_of(), announce("toy", **said), {0: spans})
    near = announce("jpeg", resent=pack_spans(np.array([[(1 << 20) - 1, 1]])))
    assembler = assembler_of(1 << 20)
    header = begin(assembler, near)
    with at_most(50):
        received = depacketize(header, assembler.end().packets, LinkSettings())
        merged = merge_rounds([received, received])[0]
        feedback_order([header], 0, LinkSettings())
    assert len(merged.elements) == 1 << 20 and np.flatnonzero(merged.erased).tolist() == [(1 << 20) - 1]


def test_announced_elements_of_which_none_arrived():
    count = 4 << 20
    assembler = assembler_of()
    begin(assembler, announce("jpeg", [count], [65]))
    with at_most(50):
        arrived = assembler.end()
        received = depacketize(arrived.header, arrived.packets, LinkSettings())
    assert received.segments[0].erased.all() and received.packets_sent == 65


@pytest.mark.parametrize("column", ["source_packets", "repair_packets", "element_count"])
def test_columns_of_a_header(column):
    """They are not copied before they are counted."""
    header = link_pb2.FrameHeader(**{column: [1 << 20] * (1 << 20)})
    with at_most(1), pytest.raises(InvalidInput, match=f"^header.{column}"):
        header_from_proto(header, NAMED)
    with at_most(1):
        reader = HeaderReader(opening().open)
        if column == "element_count":
            assert reader.read(header).packets == 1
        else:
            with pytest.raises(InvalidInput, match=f"^header.{column}: 1048576 entries for 1 segments"):
                reader.read(header)


def test_an_opening_is_not_kept():
    """Of 8 MiB of hashes the emulator needs nothing."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = [HeaderReader(link_pb2.SessionOpen(knowledge=[{"name": "x" * MIB}])) for _ in range(8)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MIB // 4 and all(not isinstance(v, Message) for reader in kept for v in vars(reader).values())


def test_batches_of_nothing_are_not_kept():
    assembler = assembler_of()
    begin(assembler, frames()["jpeg_0"][0][0].header)
    nothing = link_pb2.PacketBatch()
    with at_most(0.3):
        for _ in range(1000):
            assembler.add(nothing)


def test_packets_of_a_batch():
    with pytest.raises(InvalidInput, match=r"^batch: 65537 packets"):
        batch_from_proto(packets(MAX_PACKETS + 1, 0))
    with pytest.raises(InvalidInput, match=r"^batch.length_bytes: 65001"):
        batch_from_proto(packets(1, 65001))


def test_segments_of_a_header():
    header = announce("jpeg", [1], [1])
    for _ in range(10_000):
        header.segments.add(kind=7)
    defaults = link_pb2.FrameDefaults(width_px=64, height_px=64, codec=header.codec, segments=header.segments)
    opened = link_pb2.SessionOpen(defaults=defaults)
    for read in (
        lambda: header_from_proto(header, NAMED), lambda: defaults_from_proto(defaults),
        lambda: HeaderReader(opening().open).read(header), lambda: HeaderReader(opened),
    ):  # fmt: skip
        with at_most(1), pytest.raises(InvalidInput, match=r"^((header|defaults)\.)?segments: 10001") as refused:
            read()
        assert len(str(refused.value)) < 200


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_has_not(number):
    """They came out of the conversion as a ValueError: INTERNAL."""
    for message in (codecs_pb2.CodecOptions(), codecs_pb2.CodecHeader()):
        message.extension.codec = "toy"
        message.extension.fields.fields["seconds"].number_value = number
        with pytest.raises(InvalidInput, match=r"^extension.fields: "):
            codec_from_proto(message)


def long_names():
    """Requests that an error would quote."""
    word = "x" * 100_000
    named = transmitter_pb2.TransmitRequest(codec={"extension": {"codec": word}})
    option = transmitter_pb2.TransmitRequest(codec={"extension": {"codec": "toy"}})
    option.codec.extension.fields[word] = 1
    value = transmitter_pb2.TransmitRequest(codec={"extension": {"codec": "toy"}})
    value.codec.extension.fields["seconds"] = word
    yield from (lambda m=m: read_request(m, LINK) for m in (named, option, value))
    for extension in ({"name": word}, {"name": "bit_flip", "parameters": {word: 1}}):
        profile = channel_pb2.ChannelProfile(impairments=[{"extension": extension}])
        yield lambda profile=profile: Chain.from_profile(profile)


@pytest.mark.parametrize("number", range(5))
def test_errors_are_short(number):
    """A status travels in HTTP/2 headers: one of 100 kB reached the client as another status."""
    with pytest.raises((InvalidInput, UnknownName)) as refused:
        list(long_names())[number]()
    assert len(str(refused.value)) < 1000


def test_far_sequence_numbers():
    """Two packets far apart made a bursty channel play through 16 million: a second a batch."""
    with pytest.raises(InvalidInput, match=r"^batch.sequence: 16777215"):
        batch_from_proto(packets(1, first=(1 << 24) - 1))


NOISE = ["bit_flip:rate=0.5,damage=deliver", "burst_bit_flip:p=0.5,r=0.5,rate_good=0.4,damage=deliver"]


@pytest.mark.parametrize("spec", NOISE)
def test_memory_of_much_noise(spec):
    """4 MiB of payload took 900 MiB, 16 MiB of it would have taken 3.6 GiB."""
    chain, frame = Chain.from_profile(parse_spec(spec, 1)), FrameInfo(damage_tolerant=(True,), segment_ends=(32,))
    batch = batch_from_proto(packets(32, 65000))
    with at_most(200):
        impairer = chain.impairer(frame)
        noisy = impairer.apply(batch)
    assert len(noisy) == 32 and impairer.event_counts()[0].trials == 8 * 32 * 65000
    # In pieces or not, what happens to a packet is the same.
    for i in (0, 17, 31):
        only = np.arange(32) == i
        alone = chain.apply(batch.select(only), frame)
        assert (alone.payload == noisy.select(only).payload).all()
        assert alone.checksum == noisy.checksum[i] and not noisy.erased[i]


@pytest.mark.parametrize("spec", ["gilbert_elliott:p=1e-300,r=1e-300", "burst_bit_flip:p=1,r=5e-324"])
def test_rates_at_the_edge(spec):
    """The state of such a channel was a ZeroDivisionError, its flips a division by zero."""
    chain = Chain.from_profile(parse_spec(spec))
    csi = chain.csi(105)
    assert csi.mean_burst_packets >= 1 and 0 <= csi.packet_erasure_rate <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chain.apply(batch_from_proto(packets(3)), FrameInfo())


def test_sets_of_nothing_are_read_once(monkeypatch):
    """A segment could be named again and again by empty sets, each of which cost a permutation."""
    read = []
    monkeypatch.setattr(
        transmitter_feedback, "wanted_from_proto", lambda *a: read.append(a) or np.zeros((0, 2), np.int64)
    )
    request = feedback_pb2.SendFeedbackRequest(wanted=[{"kind": 0, "in_packet_order": True}] * 1000)
    with pytest.raises(InvalidInput, match=r"^wanted.kind: 0 repeats"):
        check_feedback(request, [header_from_proto(frames()["jpeg_0"][0][0].header, NAMED)], LINK)
    assert len(read) == 1


def test_repair_packets_are_tried_a_few_times_only(monkeypatch):
    """Each further repair packet of a block that cannot be solved began to solve it anew."""
    tried = []

    class Unsolvable:
        def decode(self, packet):
            tried.append(packet)

    monkeypatch.setattr(fec.raptorq.Decoder, "with_defaults", lambda *a: Unsolvable(), raising=False)
    repair = {i: bytes([0]) + (100 + i).to_bytes(3, "big") + bytes(16) for i in range(5000)}
    assert fec.recover({0: (0, 1, b"a")}, repair, 10, 16) == {0: (0, 1, b"a")}
    assert 10 <= len(tried) < 100


def test_tables_that_are_kept():
    """Coders of 64 image widths and shares of withheld tokens were kept, 7 MiB each once all their tables were used."""
    spec = SYSTEMS.get("lami_go").segments[1]
    kept = [weakref.ref(spec.coder(ElementCoding.CONTEXT, 64 + 8 * i, 64, (1 + i, 256))) for i in range(64)]
    gc.collect()
    assert sum(coder() is not None for coder in kept) <= 16


def test_pictures_are_refused_by_their_size():
    """Their pixels were unpacked first: 64 MiB for a PNG of 4096x4096 that then was refused."""
    out = io.BytesIO()
    Image.new("L", (4096, 4096)).save(out, "PNG")
    request = transmitter_pb2.TransmitRequest(image=out.getvalue(), codec={"jpeg": {}})
    with at_most(4), pytest.raises(InvalidInput, match=r"^image: 4096x4096 px"):
        read_request(request, LINK)


def test_formats_that_are_read():
    """Any that Pillow knows were: EPS too, which it hands to Ghostscript, where there is one."""
    other = io.BytesIO()
    Image.new("RGB", (64, 64)).save(other, "ICO")
    with pytest.raises(InvalidInput, match=r"^image: not a readable image; PNG, JPEG"):
        decode_image(other.getvalue())
    for name, data in files().items():
        assert decode_image(data).shape == (64, 64, 3), name


def test_element_sets_of_a_header_are_bounded():
    header = announce("jpeg", resent=pack_spans(np.array([[1 << 25, 9]])))
    with pytest.raises(InvalidInput, match=r"^elements: "):
        header_from_proto(header, NAMED)
