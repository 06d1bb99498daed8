"""What the coverage-guided fuzzer found worth keeping, and valid traffic of every codec, through its target again."""

from pathlib import Path

import pytest
from fuzz_recordings import conversations, frames, opening
from generative_codecs import OWN
from packet_target import one_input, pack_items, play, unpack_items

from gocom.common.types import StreamPosition
from gocom.common.wire.frame_headers import defaults_from_proto, header_from_proto

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_corpus():
    assert 20 <= len(CORPUS) <= 200, "few enough to keep, enough to be of use"
    for path in CORPUS:
        try:
            one_input(path.read_bytes())
        except BaseException as error:
            raise AssertionError(f"corpus/{path.name}") from error


@pytest.mark.parametrize("name", [name for name in frames() if name != "toy"])
def test_valid_traffic_gets_through(name):
    """If it did not, the fuzzer would look at the first check only."""
    items = [opening(), *(item for rounds in frames()[name] for item in rounds)]
    assert list(unpack_items(pack_items(items))) == items
    received = play(items)
    assert len(received) == len(frames()[name]) and not any(s.erased.any() for r in received for s in r.segments)


@pytest.mark.parametrize("number", range(len(conversations())))
def test_valid_sessions_get_through(number):
    items = conversations()[number]
    assert len(play(items)) == sum(item.HasField("header") for item in items)


def test_recordings_are_of_every_codec():
    codecs, left_out = set(), set()
    for opened, *items in conversations():
        position = StreamPosition(defaults_from_proto(opened.open.defaults))
        for item in items:
            if item.HasField("header") and (item.header.HasField("frame_index") or not item.header.round):
                codecs.add(header_from_proto(item.header, position).codec)
                left_out |= {name for name in ("frame_index", "codec", "rounds") if not item.header.HasField(name)}
                left_out |= set() if item.header.segments else {"segments"}
    assert codecs == {*OWN, "toy"} and left_out == {"frame_index", "codec", "rounds", "segments"}
