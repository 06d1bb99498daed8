"""What a frame costs beyond its payloads: at most 30 bytes for two segments of one packet each, at 256x256."""

from __future__ import annotations

import numpy as np
import pytest

from gocom.common.byte_account import count_bytes, frame_items
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS, first_message
from gocom.common.types import ElementCoding, Goal, GoMessage, LinkSettings, Segment

LINK = LinkSettings(max_payload_bytes=65000)
SIDE_PX = 256
CODECS = [name for name in SYSTEMS if SYSTEMS.get(name).header.__module__.startswith("gocom.")]
"""Those of this repository. Other tests of the same process may have registered codecs of more segments."""
FEW = 27
"""Elements of a segment whose number the size of the image does not determine; a caption is about so long."""


def message(codec: str, goal: Goal) -> GoMessage:
    """Made-up elements in all segments that the header of default options does not withhold as a whole."""
    system, rng = SYSTEMS.get(codec), np.random.default_rng(goal.frame_index)
    header = system.header_template(goal.options)
    segments = []
    for kind, spec in enumerate(system.segments):
        size = spec.count(SIDE_PX, SIDE_PX) if spec.count else FEW
        elements = rng.integers(0, spec.alphabet_size, size)
        segments.append(Segment(kind, elements, np.ones(size, np.float32), ElementCoding.FIXED))
    return first_message(goal, codec, header, (SIDE_PX, SIDE_PX), segments)


@pytest.mark.parametrize("frame", [1, 300])
@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_costs_at_most_30_bytes_beyond_its_payloads(codec: str, frame: int) -> None:
    options = SYSTEMS.get(codec).options()
    first = message(codec, Goal(options, 0, link=LINK))
    assert first.position is not None
    goal = Goal(options, frame, link=LINK, defaults=first.position.defaults, last_frame=frame - 1)
    header, batch = packetize(message(codec, goal), LINK)
    assert {segment.source_packets for segment in header.segments} <= {0, 1}
    items = frame_items(header, batch, LINK.batch_packets)
    account = count_bytes(header, batch, items)
    assert account.total_bytes == sum(item.ByteSize() for item in items)
    assert 0 < account.overhead_bytes <= 30
    assert account.payload_bytes == len(batch.payload) > 0


def test_what_differs_from_the_opening_is_said() -> None:
    """A frame of another size, or of another codec, pays for it and arrives as it is."""
    options = SYSTEMS.get("webp").options()
    first = message("webp", Goal(options, 0, link=LINK)).position
    assert first is not None
    goal = Goal(options, 1, link=LINK, defaults=first.defaults)
    small, other = message("webp", goal), message("jpeg", goal)
    sizes = [len(frame_items(*packetize(m, LINK), 128)[0].SerializeToString()) for m in (small, other)]
    assert sizes[0] < sizes[1]


def test_a_frame_whose_index_does_not_follow_says_it() -> None:
    options = SYSTEMS.get("webp").options()
    sizes = []
    for last_frame in (299, -1):
        header, batch = packetize(message("webp", Goal(options, 300, link=LINK, last_frame=last_frame)), LINK)
        items = frame_items(header, batch, LINK.batch_packets)
        sizes.append(count_bytes(header, batch, items).header_bytes)
        assert items[0].header.HasField("frame_index") == (last_frame < 0)
    assert sizes[1] == sizes[0] + 3
