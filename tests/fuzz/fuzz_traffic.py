"""What the suites here send: any message, with fields that get it past the first check; recorded traffic, damaged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from fuzz_messages import HARMS, Messages, damaged
from fuzz_recordings import LINK, SIDE_PX, conversations
from google.protobuf.message import Message
from hypothesis import strategies as st
from PIL import Image

from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.packet_traces import trace_round
from gocom.v1 import channel_pb2, link_pb2

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "JPEG2000", "GIF", "TIFF", "BMP", "PPM")


@cache
def files() -> dict[str, bytes]:
    """One picture in each format, by the format's name, and others of kinds that are seldom seen."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    flat = Image.fromarray(pixels // 64 * 64)
    found = {name: _file(flat, name) for name in FORMATS}
    found["PNG 16 bit"] = _file(Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), "PNG")
    found["PNG transparent"] = _file(flat.convert("RGBA"), "PNG")
    found["PNG palette"] = _file(flat.quantize(16), "PNG")
    found["PNG moving"] = _file(flat, "PNG", save_all=True, append_images=[flat.rotate(90)] * 3)
    found["JPEG CMYK"] = _file(flat.convert("CMYK"), "JPEG")
    exif = Image.Exif()
    exif[274] = 6
    found["JPEG turned"] = _file(flat, "JPEG", exif=exif)
    return found


def _file(picture: Image.Image, format_name: str, **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, format_name, **options)
    return out.getvalue()


def images() -> st.SearchStrategy[bytes]:
    """Files: good, damaged, and none at all."""
    good = st.sampled_from(sorted(files().values()))
    return st.one_of(good, damaged(good), st.binary(max_size=100))


SETS = st.sampled_from([pack_spans(np.array(s)) for s in ([[0, 1]], [[1, 2], [5, 9]], [[0, 64]], [[60, 9]])])
SIDES = st.sampled_from([SIDE_PX, SIDE_PX, 128, 63, 1024, 1025])
SESSIONS = st.sampled_from(["fuzz", "fuzz", "other", "", "no spaces", "x" * 64, "x" * 65])
TASK_NAMES = st.sampled_from(["lit", "lit", "", "nobody"])
NUMBERS = [*range(6), *range(6), 9, 40, 100, 65535, 65536, 1 << 24, (1 << 32) - 1]
COUNTS = st.sampled_from([1, 0, 2, 16, 64, 351, 1 << 12, 1 << 24, 1 << 31])


@st.composite
def batches(draw) -> link_pb2.PacketBatch:
    """Packets whose columns are of one length, for the most part."""
    count = draw(st.integers(0, 4))
    column = st.lists(st.sampled_from(NUMBERS), min_size=count, max_size=count)
    lengths = draw(st.lists(st.integers(0, 60), min_size=count, max_size=count))
    absent = draw(st.sampled_from([(), (), ("first_element",), ("first_element", "element_count")]))
    names = [name for name in ("sequence", "first_element", "element_count", "checksum") if name not in absent]
    return link_pb2.PacketBatch(
        payload=bytes(sum(lengths)), length_bytes=lengths[:-1], **{name: draw(column) for name in names}
    )


@st.composite
def trace_rounds(draw) -> channel_pb2.TraceRound:
    """Good ones for the most part."""
    lost = np.array(draw(st.lists(st.booleans(), min_size=1, max_size=12)))
    bits = st.tuples(st.sampled_from(np.flatnonzero(~lost).tolist() or [0]), st.sampled_from([0, 7, 8, 90, 519999]))
    flips = sorted(draw(st.sets(bits, max_size=4))) if draw(st.booleans()) else []
    packet, bit = np.array(flips, np.int64).reshape(-1, 2).T
    return trace_round(draw(st.integers(0, 3)), draw(st.integers(0, 2)), lost, packet, bit)


@cache
def any_messages() -> Messages:
    """Messages of this protocol."""
    link = st.sampled_from([LINK.max_payload_bytes, 105, 1200, 65000, 31, 65001, 0])
    small = st.one_of(st.integers(0, 5), st.integers(0, (1 << 32) - 1))
    counts = st.lists(COUNTS, max_size=3)
    fields = {
        "TransmitRequest.session_id": SESSIONS, "SessionOpen.session_id": SESSIONS,
        "SubscribeRequest.session_id": SESSIONS, "SendFeedbackRequest.session_id": SESSIONS,
        "SetGoalRequest.session_id": SESSIONS, "GetGoalRequest.session_id": SESSIONS, "Goal.task": TASK_NAMES,
        "Goal.labels": st.lists(st.integers(0, 3), max_size=3), "DescribeTaskRequest.task": TASK_NAMES,
        "TransmitRequest.image": images(), "LinkSettings.max_payload_bytes": link,
        "LinkSettings.batch_packets": st.sampled_from([4, 128, 0, 4097]),
        "FrameHeader.width_px": SIDES, "FrameHeader.height_px": SIDES, "FrameHeader.round": small,
        "FrameHeader.frame_index": small, "FrameDefaults.width_px": SIDES, "FrameDefaults.height_px": SIDES,
        "SessionOpen.wire_version": st.sampled_from([2, 2, 2, 2, 0, 3]),
        "FrameHeader.element_count": counts, "FrameHeader.source_packets": counts, "FrameHeader.repair_packets": counts,
        "SegmentHeader.kind": small, "SegmentHeader.resent": st.one_of(SETS, damaged(SETS)),
        "SegmentHeader.withheld_count": small, "ElementSet.elements": st.one_of(SETS, damaged(SETS)),
        "ElementSet.kind": small, "SendRequest.batch": batches(),
        "SendFeedbackRequest.frame_index": st.integers(0, 1), "SendFeedbackRequest.round": st.integers(0, 2),
        "ExtensionHeader.codec": st.sampled_from(["toy", "toy", "jpeg", "nobody", ""]),
        "ExtensionOptions.codec": st.sampled_from(["toy", "toy", "jpeg", "nobody", ""]),
        "ExtensionImpairment.name": st.sampled_from(["bit_flip", "packet_erasure", "trace_replay", "nobody", "\n"]),
        "TraceReplay.rounds": st.lists(trace_rounds(), max_size=4),
        "WatchStatisticsRequest.interval_ms": st.sampled_from([0, 50, 49, 60001, 1 << 31]),
    }  # fmt: skip
    return Messages({f"gocom.v1.{name}": strategy for name, strategy in fields.items()})


def changed(good):
    """Copies of a message with one to three of its fields changed."""

    @st.composite
    def draw_one(draw):
        message = type(good)()
        message.CopyFrom(good)
        for _ in range(draw(st.integers(1, 3))):
            any_messages().change(draw, message)
        return message

    return draw_one()


@st.composite
def streams(draw, recorded: Sequence[Sequence[Message]]) -> list[bytes]:
    """Streams of messages, serialized one by one: recorded ones with messages dropped, repeated, moved, put in from
    another one, cut off, changed, or damaged; and messages that have nothing to do with each other.
    """
    if not draw(st.integers(0, 3)):
        one = any_messages().serialized(recorded[0][0].DESCRIPTOR)
        return draw(st.lists(one, min_size=1, max_size=6))
    stream = draw(st.sampled_from(recorded))
    items = [item.SerializeToString() for item in stream]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(items) - 1))
        match draw(st.integers(0, 7)):
            case 0:
                del items[at]
            case 1:
                items.insert(at, items[draw(st.integers(0, len(items) - 1))])
            case 2:
                items.insert(draw(st.integers(0, len(items) - 1)), items.pop(at))
            case 3:
                items.insert(at, draw(st.sampled_from(draw(st.sampled_from(recorded)))).SerializeToString())
            case 4:
                del items[at + 1 :]
            case 5:
                items[at] = draw(HARMS)(items[at])
            case _:
                items[at] = draw(changed(draw(st.sampled_from(stream)))).SerializeToString()
        if not items:
            break
    return items


def sessions() -> st.SearchStrategy[list[bytes]]:
    """Sessions on the link."""
    return streams(conversations())
