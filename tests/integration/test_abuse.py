"""Clients and senders that mean harm, or know no better, over real sockets: what they get, and that it costs little."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image
from toy_world import NAMED, kinds, opening, png, refused, request, toy_round

from gocom.common.byte_account import frame_items
from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.packetizer import packetize
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment
from gocom.common.wire.frame_messages import link_to_proto
from gocom.v1 import (
    feedback_pb2,
    link_pb2,
    link_pb2_grpc,
    receiver_pb2,
    transmitter_pb2,
)

INVALID = transmitter_pb2.FAILURE_KIND_INVALID
REFUSED = link_pb2.FRAME_STATUS_REFUSED
STREAMS = 3
MIB = 1 << 20


@contextlib.contextmanager
def memory_at_most(mib):
    """This process, which the services run in, never takes so much more within it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    except OSError:
        pytest.skip("the kernel does not let the peak of memory be reset here")
    before = peak_mib()
    yield
    grown = peak_mib() - before
    assert grown < mib, f"{grown:.0f} MiB"


def peak_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, *chunks, bits=8, colour=0):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def saved(picture, kind, **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


ZEROS = zlib.compress(bytes(64 * MIB), 9)
PIXELS = chunk(b"IDAT", zlib.compress(bytes(65 * 64)))
NOISE = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
FLAT = Image.new("RGB", (64, 64), "teal")


def patched(kind, old, new, **options):
    """A small file that says of itself that it is huge."""
    data = saved(FLAT, kind, **options)
    assert old in data
    return data.replace(old, new)


WIDTH_TAG = struct.pack("<HHI", 256, 4, 1)
SIDE, HUGE = struct.pack(">H", 64), struct.pack(">H", 65500)
BOMBS = {
    "png of 100,000 x 100,000": png_of(100_000, 100_000, chunk(b"IDAT", ZEROS)),
    "png of 16,384 x 1,024": png_of(16_384, 1024, chunk(b"IDAT", zlib.compress(bytes(16_385 * 1024)))),
    "png with 64 MiB of profile": png_of(64, 64, chunk(b"iCCP", b"a\0\0" + ZEROS), PIXELS),
    "png with no pixels": png_of(64, 64),
    "png cut short": png(128)[:-200],
    "jpeg of 65,500 x 65,500": patched("JPEG", b"\x08" + SIDE + SIDE, b"\x08" + HUGE + HUGE),
    "jpeg2000 of 2**30 x 2**30": patched("JPEG2000", bytes([0, 0, 0, 64] * 2), bytes([64, 0, 0, 0] * 2), no_jp2=True),
    "gif of 65,500 x 65,500": patched("GIF", struct.pack("<HH", 64, 64), struct.pack("<HH", 65500, 65500)),
    "tiff of 2**30 x 64": patched("TIFF", WIDTH_TAG + struct.pack("<I", 64), WIDTH_TAG + struct.pack("<I", 1 << 30)),
    "not a picture": b"\0" * 100_000,
    "nothing": b"",
}  # fmt: skip
UNUSUAL = {
    "png with 64 MiB of text": png_of(64, 64, chunk(b"zTXt", b"a\0\0" + ZEROS), PIXELS),
    "png whose pixels go on for 64 MiB": png_of(64, 64, chunk(b"IDAT", ZEROS)),
    "png of 16 bits": png_of(64, 64, chunk(b"IDAT", zlib.compress(bytes(129 * 64))), bits=16),
    "png that moves": saved(FLAT, "PNG", save_all=True, append_images=[FLAT.rotate(i) for i in range(30)]),
    "webp that moves": saved(FLAT, "WEBP", save_all=True, append_images=[FLAT.rotate(i) for i in range(30)]),
    "gif that moves": saved(FLAT, "GIF", save_all=True, append_images=[FLAT.rotate(i) for i in range(30)]),
    "tiff of many pages": saved(FLAT, "TIFF", save_all=True, append_images=[FLAT] * 30),
}


async def test_image_bombs(world):
    await world.all()
    await world.transmit(request(0, session="before"))
    with memory_at_most(48):
        events = await world.transmit(
            *(request(i, image=data) for i, data in enumerate(BOMBS.values())), request(len(BOMBS))
        )
    assert kinds(events, len(BOMBS))[-1] == "completed"
    for index, name in enumerate(BOMBS):
        (failed,) = (e.failed for e in events if e.frame_index == index)
        assert failed.kind == INVALID and failed.reason.startswith("image"), (name, failed)


async def test_unusual_images(world):
    """Their first picture is sent, and nothing else of them is unpacked."""
    await world.all()
    await world.transmit(request(0, session="before"))
    with memory_at_most(48):
        events = await world.transmit(*(request(i, image=data) for i, data in enumerate(UNUSUAL.values())))
    for index, name in enumerate(UNUSUAL):
        assert kinds(events, index)[-1] == "completed", (name, [e for e in events if e.frame_index == index])


async def test_oversize_messages(world):
    await world.all(max_message_bytes=1 << 20, receiver={"max_message_bytes": 1 << 20})
    big = bytes(2 << 20)
    batch = link_pb2.SendRequest(batch=link_pb2.PacketBatch(payload=big))
    for refusal in (world.transmit(request(0, image=big)), world.send(opening(), batch), world.send(batch)):
        code, _ = await refused(refusal)
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    feedback = feedback_pb2.SendFeedbackRequest(session_id="s", text="x" * (2 << 20))
    code, _ = await refused(world.feedback.SendFeedback(feedback))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert kinds(await world.transmit(request(0, session="after")))[-1] == "completed"


def outcomes(responses):
    return {r.outcome.frame_index: r.outcome for r in responses if r.HasField("outcome")}


LAST = pack_spans(np.array([[(1 << 24) - 1, 1]]))
"""A set of the last element that a segment can have, in five bytes."""
HUGE_HEADERS = {
    "elements": {"element_count": [1 << 31]},
    "packets": {"source_packets": [1 << 31]},
    "repair": {"repair_packets": [1 << 31]},
    "8 Mi elements": {"element_count": [8 << 20], "source_packets": [129]},
    "64 Ki packets": {"source_packets": [1 << 16], "element_count": [1 << 16]},
    "withheld": {"segments": [{"withheld_count": 1 << 31}]},
    "set": {"segments": [{"resent": b"\xff" * 60_000}], "element_count": []},
    "far element": {"segments": [{"resent": LAST}], "element_count": [], "source_packets": [1]},
    "many columns": {"element_count": [1] * (2 << 20)},
    "many packets": {"source_packets": [1] * (2 << 20)},
    "many segments": {"segments": [{}] * (1 << 18)},
    "requested": {"segments": [{"as_requested": True}], "element_count": [8 << 20], "source_packets": [129]},
}


@pytest.mark.parametrize("name", HUGE_HEADERS)
async def test_headers_that_announce_too_much(world, name):
    """The frame is refused by itself, before anything is set aside for it."""
    await world.receiver(max_frame_packets=1 << 15, max_frame_bytes=1 << 22)
    await world.send(opening("before"), *toy_round(0))
    header = huge(name)
    end = link_pb2.SendRequest(end=link_pb2.FrameEnd())
    with memory_at_most(16 + 3 * header.ByteSize() / MIB):
        ended = outcomes(await world.send(opening(), header, end, *toy_round(1)))
    assert ended[0].status == REFUSED and ended[0].reason
    assert ended[1].status == link_pb2.FRAME_STATUS_RECONSTRUCTED


def huge(name):
    """A header of frame 0 with some of its fields replaced."""
    header = link_pb2.SendRequest()
    header.CopyFrom(toy_round(0)[0])
    for field in HUGE_HEADERS[name]:
        header.header.ClearField(field)
    header.header.MergeFrom(link_pb2.FrameHeader(**HUGE_HEADERS[name]))
    return header


@pytest.mark.parametrize("name", ["packets", "many columns", "many packets", "many segments"])
async def test_headers_that_announce_too_much_at_an_emulator(world, name):
    """It sets nothing aside either, and refuses what it has to count."""
    await world.receiver(max_frame_packets=1 << 15, max_frame_bytes=1 << 22)
    emulator = await world.emulator()
    link = link_pb2_grpc.LinkServiceStub(await world.channel(emulator.address))
    [response async for response in link.Send(iter([opening("before"), *toy_round(0)]), timeout=100)]
    header = huge(name)
    end = link_pb2.SendRequest(end=link_pb2.FrameEnd())
    with memory_at_most(24 + 5 * header.ByteSize() / MIB):
        call = link.Send(iter([opening(), header, end]), timeout=100)
        if name == "many columns":  # of elements, which are no matter to it
            ended = outcomes([response async for response in call])
            assert ended[0].status == REFUSED
        else:
            code, details = await refused(_read(call))
            assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("header"), details
    responses = [r async for r in link.Send(iter([opening("after"), *toy_round(0)]), timeout=100)]
    assert responses[-1].outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED


async def _read(call):
    return [response async for response in call]


async def test_an_opening_of_many_segments_does_not_slow_down_its_headers(world):
    """Each header, of no more than its frame index, would take up all of them again."""
    await world.receiver()
    emulator = await world.emulator()
    many = opening(defaults=link_pb2.FrameDefaults(segments=[{}] * (1 << 18)))
    for stub in (world.link, link_pb2_grpc.LinkServiceStub(await world.channel(emulator.address))):
        code, details = await refused(world.send(many, *toy_round(0), link=stub))
        assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
        assert details.startswith(("defaults.segments: 262144", "codec: no '(none)'")), details


def both_options():
    message = request(0)
    message.codec.jpeg.quality, message.codec.jpeg.target_bytes = 50, 3000
    return message


def newer_codec():
    """A request whose codec only a newer protocol knows."""
    message = request(0)
    message.ClearField("codec")
    return transmitter_pb2.TransmitRequest.FromString(message.SerializeToString() + b"\xfa\x01\x03\xc2\x02\x00")


CONTRADICTIONS = {
    "codec": (request(0, codec="nobody"), "codec"),
    "no codec that is known here": (newer_codec(), "codec: no '(none)'"),
    "quality and size": (both_options(), "quality and target_bytes"),
    "rounds": (request(0, max_rounds=1, round_budget_bytes=100), "max_rounds"),
    "policy": (request(0, max_rounds=2, feedback_policy=2), "round_budget_bytes"),
    "enum": (request(0, max_rounds=2, feedback_policy=9), "feedback_policy"),
    "budget": (request(0, budget_bytes=1), "at least"),
    "option": (request(0, options={"colour": "red"}), "colour"),
    "option of another type": (request(0, options={"seconds": "long"}), "seconds"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_contradictory_requests(world, name):
    await world.all()
    message, word = CONTRADICTIONS[name]
    events = await world.transmit(message, request(1))
    (failed,) = (e.failed for e in events if e.HasField("failed"))
    assert failed.kind == INVALID and word in failed.reason, failed
    assert kinds(events, 1)[-1] == "completed"


async def test_streams_cut_and_spliced(world):
    await world.receiver()
    header, *batches, end = toy_round(0)
    code, details = await refused(world.send(opening(), header, batches[0]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("end: missing")
    # Packets of another frame under this header: their checksums say so, and they count as erased.
    other = toy_round(7)[1:-1]
    responses = await world.send(opening("t"), header, *other, end, *toy_round(1))
    (ack,) = (r.ack for r in responses if r.HasField("ack") and r.ack.frame_index == 0)
    assert ack.packets_received == 0
    assert outcomes(responses)[1].status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    # Frames in the middle of others.
    responses = await world.send(opening("u"), header, *batches, toy_round(2)[0], *toy_round(1))
    assert outcomes(responses)[0].status == outcomes(responses)[2].status == REFUSED
    assert outcomes(responses)[1].status == link_pb2.FRAME_STATUS_RECONSTRUCTED
    # Packets beyond those that the header announced, and an end before the last ones came.
    beyond = link_pb2.SendRequest()
    beyond.CopyFrom(batches[-1])
    beyond.batch.sequence[:] = [number + 8 for number in batches[-1].batch.sequence]
    for sent, received in (([*batches, beyond], 8), (batches[:1], 4)):
        responses = await world.send(opening(f"v{received}"), header, *sent, end, *toy_round(1))
        (ack,) = (r.ack for r in responses if r.HasField("ack") and r.ack.frame_index == 0)
        assert ack.packets_received == received
        assert [outcomes(responses)[index].status for index in (0, 1)] == 2 * [link_pb2.FRAME_STATUS_RECONSTRUCTED]


async def test_a_client_that_reads_no_events_costs_what_is_open(world):
    """138 MiB of pictures whose events nobody reads: as many are in memory as may be open, and none is lost."""
    await world.all(open_frames=4, outbox="off")
    await world.transmit(request(0, session="before"))
    call = world.images.Transmit(timeout=60)
    noise = saved(Image.fromarray(NOISE), "PNG")
    with memory_at_most(100):
        for index in range(180):
            await call.write(request(index, image=noise))
        await call.done_writing()
        events = [event async for event in call]
    assert [e.frame_index for e in events if e.HasField("completed")] == list(range(180))


WIDE = LinkSettings(max_payload_bytes=65000)


def noisy_file(index):
    """A frame of a jpeg whose picture makes a PNG of 0.7 MiB."""
    data = np.frombuffer(saved(Image.fromarray(NOISE), "JPEG", quality=30), np.uint8).astype(np.int64)
    segment = Segment(0, data, np.ones(len(data), np.float32), ElementCoding.FIXED)
    message = GoMessage("jpeg", ClassicalHeader(), 512, 512, (segment,), index, position=NAMED)
    return frame_items(*packetize(message, WIDE), 4)


async def test_a_subscriber_that_does_not_read_costs_what_is_kept(world):
    """48 MiB of pictures, of which eight are kept."""
    await world.receiver(keep_frames=8)
    start = opening(link=link_to_proto(WIDE))
    call = world.pictures.Subscribe(receiver_pb2.SubscribeRequest(session_id="s", previews=True), timeout=60)
    await call.initial_metadata()
    await world.send(start, *noisy_file(0))
    with memory_at_most(40):
        await world.send(start, *(item for index in range(1, 72) for item in noisy_file(index)))
    kept = await world.subscribe(8)
    assert [p.reconstruction.frame_index for p in kept] == list(range(64, 72)) and kept[0].missed == 64
    assert len(kept[0].reconstruction.image_png) > MIB // 2
    call.cancel()


async def test_a_sender_that_reads_no_answers_loses_none(world):
    await world.receiver()
    call = world.link.Send(timeout=60)
    await call.write(opening())
    for index in range(300):
        for item in toy_round(index):
            await call.write(item)
    await call.done_writing()
    assert sorted(outcomes([response async for response in call])) == list(range(300))
