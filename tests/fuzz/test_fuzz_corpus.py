"""What the coverage-guided fuzzer found worth keeping, and valid traffic of every codec, through its target again."""

from pathlib import Path

import pytest
from fuzz_recordings import conversations, frames, opening
from generative_codecs import OWN
from packet_target import one_input, pack_items, play, unpack_items

from gocom.common.wire.frame_messages import codec_from_proto

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


def test_recordings_are_of_every_codec():
    headers = [item.header for items in conversations() for item in items if item.HasField("header")]
    assert {codec_from_proto(header, options=False)[0] for header in headers} == {*OWN, "toy"}
