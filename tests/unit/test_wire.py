"""Conversion of options, round settings and link settings: round trips, and messages that name field and choices."""

import subprocess
import sys
from pathlib import Path

import pytest

from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.systems.classical import ClassicalHeader, ClassicalOptions
from gocom.common.systems.lami_go import LamiGoOptions
from gocom.common.types import ElementCoding, FeedbackPolicy, LinkSettings, RoundSettings
from gocom.common.wire.frame_messages import (
    codec_from_proto,
    codec_to_proto,
    link_from_proto,
    link_to_proto,
    make_parameters,
    rounds_from_proto,
    rounds_to_proto,
)
from gocom.v1 import codecs_pb2, link_pb2

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("kind", [codecs_pb2.CodecHeader, codecs_pb2.CodecOptions])
def test_no_codec_names_the_choices(kind):
    with pytest.raises(UnknownName, match="codec: .*jpeg, .*lami_go"):
        codec_from_proto(kind())


def test_one_name_means_the_header_or_the_options():
    header, options = codecs_pb2.CodecHeader(), codecs_pb2.CodecOptions()
    codec_to_proto("jpeg", ClassicalHeader(), header)
    codec_to_proto("jpeg", ClassicalOptions(quality=7), options)
    assert codec_from_proto(header) == ("jpeg", ClassicalHeader())
    assert codec_from_proto(options) == ("jpeg", ClassicalOptions(quality=7))


@pytest.mark.parametrize(
    ("rounds", "size"),
    [
        (RoundSettings(), 0),
        (RoundSettings(2), 2),
        (RoundSettings(64, 500, FeedbackPolicy.UNCERTAIN, 0.75), 10),
        (RoundSettings(3, quality_target=1.0), 5),
    ],
)
def test_round_settings(rounds, size):
    message = rounds_to_proto(rounds)
    assert message.ByteSize() == size and rounds_from_proto(message) == rounds


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_rounds": 65}, "max_rounds: 65 is more than 64"),
        ({"max_rounds": 1, "round_budget_bytes": 9}, "max_rounds: 1; round_budget_bytes, feedback_policy and quality"),
        ({"quality_target_permille": 9}, "max_rounds: 1; round_budget_bytes, feedback_policy and quality"),
        ({"max_rounds": 2, "feedback_policy": 2}, "round_budget_bytes: not set; policy uncertain needs 64"),
        ({"max_rounds": 2, "feedback_policy": 2, "round_budget_bytes": 63}, "round_budget_bytes: 63; policy uncertain"),
        ({"max_rounds": 2, "feedback_policy": 9}, "feedback_policy: no value 9; choose erased, uncertain"),
        ({"max_rounds": 2, "quality_target_permille": 1001}, "quality_target_permille: 1001 is more than 1000"),
    ],
)
def test_bad_round_settings_name_the_field(fields, message):
    with pytest.raises(InvalidInput, match=f"^{message}"):
        rounds_from_proto(link_pb2.RoundSettings(**fields))


def test_options_round_trip_and_defaults():
    message = codecs_pb2.CodecOptions()
    options = LamiGoOptions(coding=ElementCoding.HUFFMAN, mask_ratio=0.35, caption="a cat", send_caption=False)
    codec_to_proto("lami_go", options, message)
    assert codec_from_proto(message) == ("lami_go", options)
    empty = codecs_pb2.CodecOptions(webp={})
    assert codec_from_proto(empty) == ("webp", ClassicalOptions())


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
