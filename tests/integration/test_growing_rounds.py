"""Segments that come late and grow, through the three services, with packets lost in every round."""

import numpy as np
import pytest
from growing_codec import BASE, BLOCK_PX, DETAIL, DETAIL_PX, NAME, NOTE, means
from test_parity import stack

from gocom.common.goals import ConsumerGoal
from gocom.common.image_files import to_float, to_uint8
from gocom.common.patch_grid import grid_shape, paint_patches
from gocom.common.rounds import merge_rounds
from gocom.common.types import LinkSettings, Provenance
from gocom.evaluation.run.codec_setup import make_codec

LINK = LinkSettings(max_payload_bytes=32)
LOSS = "packet_erasure:rate=0.25"


@pytest.mark.timeout(100)
async def test_late_segments_grow_and_what_is_lost_comes_again(photo):
    pixels = to_uint8(photo("astronaut", 128))
    async with stack() as (client, _):
        await client.set_channel(LOSS, seed=5)
        goal = ConsumerGoal(text="a face", max_rounds=9)
        sent = client.send([pixels], NAME, goal=goal, max_rounds=12, link=LINK, timeout_s=50)
        (result,) = [r async for r in sent]
    assert result.rounds == 9 and result.packets_received < result.packets_sent
    assert {"base", "detail", "note"} <= set(result.bytes_by_segment)
    # Two thirds of the details were sent, and by now all of these have come; the rest of the picture shows the base.
    detailed = result.provenance == Provenance.RECEIVED
    assert 0.6 < detailed.mean() < 0.72
    assert not (result.provenance == Provenance.ERASED).any()
    image = to_float(pixels)
    detail, base = (
        paint_patches(means(image, px).astype(np.uint8).reshape(grid_shape(128, 128, px)), 128, 128, px)
        for px in (DETAIL_PX, BLOCK_PX)
    )
    assert (result.image[..., 0] == np.where(detailed, detail, base)).all()
    # The note says what reached the encoder. Each round adds a part of one packet, which is there or lost.
    parts = [result.caption[10 * n : 10 * n + 10] for n in range(8)]
    assert "".join(parts) == result.caption
    whole = [part == f"{n}::a face;" for n, part in enumerate(parts, 1)]
    assert 0 < sum(whole) < 8
    assert all(there or part == "?" * 10 for there, part in zip(whole, parts, strict=True))


def test_each_round_brings_what_the_others_did_not(photo):
    sent = make_codec(NAME, "cpu").send(
        photo("coffee", 96), LOSS, seed=2, link=LINK, max_rounds=4, consumer_goal=ConsumerGoal(text="red")
    )
    assert [sorted(s.kind for s in r.segments) for r in sent.rounds[:3]] == [
        [BASE], sorted({DETAIL, NOTE, *([BASE] if lost(sent.rounds[:1], BASE) else [])}),
        sorted({DETAIL, NOTE, *([BASE] if lost(sent.rounds[:2], BASE) else [])}),
    ]  # fmt: skip
    shares = [merge_rounds(sent.rounds[: n + 1]) for n in range(4)]
    assert DETAIL not in shares[0] and NOTE not in shares[0]
    details = [merged[DETAIL].received.sum() for merged in shares[1:]]
    assert 0 < details[0] < details[1] <= details[2]
    lengths = [len(merged[NOTE].elements) for merged in shares[1:]]
    assert 0 < lengths[0] < lengths[1] < lengths[2]
    never = shares[3][DETAIL]
    assert never.withheld is not None and not never.received[never.withheld].any()


def lost(rounds, kind):
    return merge_rounds(rounds)[kind].erased.any()
