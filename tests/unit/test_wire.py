"""Wire conversion: round trips, bounds, and messages that name the field and the choices."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from generative_codecs import GENERATIVE, drawn_message, refused_values

from gocom.common.entropy.element_set_code import pack_spans
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import ClassicalOptions
from gocom.common.systems.lami_go import LamiGoHeader, LamiGoOptions, MaskingPolicy
from gocom.common.types import ElementCoding, FeedbackPolicy, FrameHeader, LinkSettings, RoundSettings, SegmentHeader
from gocom.common.wire.frame_messages import (
    codec_from_proto,
    codec_to_proto,
    header_from_proto,
    header_to_proto,
    link_from_proto,
    link_to_proto,
    make_parameters,
)
from gocom.v1 import link_pb2, transmitter_pb2

ROOT = Path(__file__).resolve().parents[2]


ROUNDS = RoundSettings(2, 500, FeedbackPolicy.UNCERTAIN, 0.75)


def header(**changes):
    codec = LamiGoHeader(masking=MaskingPolicy.PRM, mask_ratio_permille=250, mask_seed=7, num_inference_steps=4)
    segments = (
        SegmentHeader(0, 20, ElementCoding.RANGE, 1, 1, as_requested=True, withheld_count=3),
        SegmentHeader(1, 768, ElementCoding.RANGE, 10, 2, 96, True, np.array([[0, 700], [710, 68]])),
    )
    values = dict(codec="lami_go", header=codec, width_px=256, height_px=200, segments=segments)
    return FrameHeader(**(values | dict(frame_index=3, round=1, rounds=ROUNDS) | changes))


def test_frame_header_round_trip():
    sent = header()
    got = header_from_proto(link_pb2.FrameHeader.FromString(header_to_proto(sent).SerializeToString()))
    assert got.header == sent.header and got.codec == "lami_go"
    assert (got.segments[1].spans == sent.segments[1].spans).all()
    assert got.segments[0] == sent.segments[0]
    for name in ("width_px", "height_px", "frame_index", "round", "rounds"):
        assert getattr(got, name) == getattr(sent, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m, "width_px", 63), "width_px: 63 is not in 64 to 1024"),
        (lambda m: setattr(m.segments[0], "kind", 9), "segments.kind"),
        (lambda m: setattr(m.segments[0], "kind", 1), "repeats"),
        (lambda m: setattr(m.segments[0], "coding", 77), "segments.coding: no value 77; choose fixed, .*, context"),
        (lambda m: setattr(m.segments[0], "coding", 0), "segments.coding: not set"),
        (lambda m: setattr(m.segments[0], "element_count", 2**31), "segments.element_count"),
        (lambda m: setattr(m.segments[0], "source_packets", 21), "segments.source_packets"),
        (lambda m: setattr(m.segments[1], "resent", pack_spans(np.array([[0, 5]]))), "segments.resent"),
        (lambda m: setattr(m.segments[1], "resent", b"\x00"), "elements: no number of spans"),
        (lambda m: setattr(m.segments[1], "as_requested", True), "as_requested is set too"),
        (lambda m: setattr(m.segments[0], "withheld_count", 20), "segments.withheld_count: 20 of 20"),
        (lambda m: setattr(m, "round_budget_bytes", 0), "round_budget_bytes: not set; policy uncertain needs 64"),
        (lambda m: setattr(m, "feedback_policy", 9), "feedback_policy: no value 9; choose erased, uncertain"),
        (lambda m: setattr(m, "quality_target_permille", 1001), "quality_target_permille"),
        (lambda m: setattr(m, "max_rounds", 65), "max_rounds: 65 is more than 64"),
        (lambda m: setattr(m.lami_go, "mask_ratio_permille", 1000), "mask_ratio_permille"),
    ],
)
def test_bad_headers_name_the_field(change, message):
    wire = header_to_proto(header())
    change(wire)
    with pytest.raises(InvalidInput, match=message):
        header_from_proto(wire)


@pytest.mark.parametrize("name", GENERATIVE)
def test_headers_of_every_codec_come_back(name):
    rng = np.random.default_rng(0)
    for _ in range(50):
        header, _ = packetize(drawn_message(name, ElementCoding.FIXED, rng), LinkSettings())
        got = header_from_proto(link_pb2.FrameHeader.FromString(header_to_proto(header).SerializeToString()))
        assert got.header == header.header and got.codec == name


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [(name, *refused) for name in GENERATIVE for refused in refused_values(SYSTEMS.get(name).header)],
)
def test_bad_headers_of_every_codec_name_the_field(name, field, value):
    sent = drawn_message(name, ElementCoding.FIXED, np.random.default_rng(0))
    wire = header_to_proto(packetize(sent, LinkSettings())[0])
    setattr(getattr(wire, name), field, value)
    with pytest.raises(InvalidInput, match=field):
        header_from_proto(wire)


def test_no_codec_names_the_choices():
    with pytest.raises(UnknownName, match="jpeg, .*lami_go"):
        header_from_proto(link_pb2.FrameHeader(width_px=64, height_px=64))


def test_options_round_trip_and_defaults():
    request = transmitter_pb2.TransmitRequest()
    options = LamiGoOptions(coding=ElementCoding.HUFFMAN, mask_ratio=0.35, caption="a cat", send_caption=False)
    codec_to_proto("lami_go", options, request)
    assert codec_from_proto(request, options=True) == ("lami_go", options)
    empty = transmitter_pb2.TransmitRequest()
    empty.webp.SetInParent()
    assert codec_from_proto(empty, options=True) == ("webp", ClassicalOptions())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mask_ration": 0.2}, "mask_ration: no such option; there are caption, .*draw"),
        ({"mask_ratio": 0.95}, "mask_ratio: .*less than or equal to 0.9"),
        ({"coding": "morse"}, "coding: .*'fixed', 'huffman', 'range' or 'context'"),
        ({"num_inference_steps": "many"}, "num_inference_steps: .*integer"),
    ],
)
def test_bad_options_name_the_field_and_what_it_allows(values, message):
    with pytest.raises(InvalidInput, match=message):
        make_parameters(LamiGoOptions, values)


def test_quality_and_target_exclude_each_other():
    with pytest.raises(InvalidInput, match="exclude"):
        make_parameters(ClassicalOptions, {"quality": 3, "target_bytes": 100})


def test_link_settings():
    link = LinkSettings(1200, False, 3, 64)
    assert link_from_proto(link_to_proto(link)) == link
    with pytest.raises(InvalidInput, match=r"max_payload_bytes: 31 is not in 32 to 65000"):
        LinkSettings(31)


def test_stubs_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "-m", "gocom.deploy.generate_stubs", "--check", "proto"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
