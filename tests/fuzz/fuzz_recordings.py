"""Valid traffic of every codec and coding, made without nets: what the suites here damage, and the fuzzer's corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
from toy_world import toy_round

from common.account import frame_items
from common.csi import Csi
from common.images import ImageArray, png_bytes, to_uint8
from common.packetizer import packetize
from common.systems import SYSTEMS
from common.systems.feature_imputing import LATENT_CHANNELS, FeatureImputingOptions, PacketOrder
from common.systems.lami_go import LamiGoOptions, MaskingPolicy
from common.types import Budget, ElementCoding, Feedback, FeedbackPolicy, Goal, GoMessage, LinkSettings
from common.wire import link_to_proto, make_parameters
from gocom.v1 import codecs_pb2, link_pb2, transmitter_pb2
from transmitter.encoders.classical import ClassicalEncoder
from transmitter.resend import resend

Items = list[link_pb2.SendRequest]

LINK = LinkSettings(max_payload_bytes=48, interleave_seed=5, batch_packets=4)
SIDE_PX = 64
SESSION = "fuzz"


def picture() -> ImageArray:
    """A ramp."""
    return np.tile(np.linspace(0, 1, SIDE_PX, dtype=np.float32), (3, SIDE_PX, 1))


def lami_go_session(image: ImageArray, goal: Goal):
    """The encoder's session, its tokens drawn instead of computed: no net is needed."""
    from transmitter.encoders.lami_go import LamiGoSession, cut_caption

    rng = np.random.default_rng(goal.frame_index)
    count = -(-image.shape[1] // 8) * -(-image.shape[2] // 8)
    text = "a photo of a dog" if goal.options.caption is None else goal.options.caption
    caption = cut_caption(text) if goal.options.send_caption else b""
    # Some codewords are drawn often, as in a picture: codes of all lengths.
    tokens = (1024 * rng.random(count) ** 3).astype(np.int64)
    return LamiGoSession(image, tokens, rng.random(count).astype(np.float32), caption, goal)


def feature_imputing_session(image: ImageArray, goal: Goal):
    """The same of feature_imputing."""
    from transmitter.encoders.feature_imputing import FeatureImputingSession

    rng = np.random.default_rng(goal.frame_index)
    shape = -(-image.shape[1] // 8), -(-image.shape[2] // 8)
    levels = np.clip(rng.normal(64, 12, (*shape, LATENT_CHANNELS)), 0, 127).astype(np.int64)
    return FeatureImputingSession(image, levels, rng.random(shape).astype(np.float32), goal)


@cache
def frames() -> dict[str, list[Items]]:
    """Rounds of one frame of each codec, coding and masking policy, by name."""
    found: dict[str, list[Items]] = {}
    for coding in ElementCoding:
        for masking in MaskingPolicy:
            overhead = 0.0 if coding is ElementCoding.FIXED else 0.5
            options = LamiGoOptions(coding=coding, masking=masking, repair_overhead=overhead)
            found[f"lami_go_{coding.value}_{masking.value}"] = _rounds(lami_go_session, options, len(found))
    for coding in SYSTEMS.get("feature_imputing").segments[0].codings:
        for order in PacketOrder:
            options = FeatureImputingOptions(coding=coding, packet_order=order, withhold=0.2 * len(found) % 0.9)
            found[f"feature_imputing_{coding.value}_{order.value}"] = _rounds(
                feature_imputing_session, options, len(found)
            )
    for codec in ("jpeg", "jpeg2000", "webp", "avif"):
        for overhead in (0, 0.4):
            options = make_parameters(SYSTEMS.get(codec).options, {"repair_overhead": overhead, "quality": 5})
            found[f"{codec}_{overhead}"] = _rounds(ClassicalEncoder(codec, "cpu").open, options, len(found))
    found["toy"] = [toy_round(len(found), max_rounds=3, count=64)]
    return found


def _rounds(open_session, options, frame_index: int) -> list[Items]:
    """A first round, one of what was asked for, and one that says itself what it brings."""
    policy = FeedbackPolicy.UNCERTAIN if frame_index % 2 else FeedbackPolicy.ERASED
    goal = Goal(options, frame_index, 3, 200, LINK, policy, 0.5)
    first = open_session(picture(), goal).first(Csi(), Budget())
    return [frame_items(*packetize(message, LINK), LINK.batch_packets) for message in _messages(first)]


def _messages(first: GoMessage) -> Iterator[GoMessage]:
    yield first
    wanted = {s.kind: np.array([[1, 2], [5, 9]]) for s in first.segments}
    asked, named = (resend(first, Feedback(first.frame_index, round_, wanted), LINK) for round_ in (0, 1))
    assert asked is not None and named is not None
    yield asked
    yield replace(named, segments=tuple(replace(s, as_requested=False) for s in named.segments))


def opening() -> link_pb2.SendRequest:
    """Opens a session with the settings of these recordings."""
    return link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id=SESSION, link=link_to_proto(LINK), seed=3))


@cache
def conversations() -> list[Items]:
    """Sessions on the link: one of a frame each, one of several codecs, and one whose rounds nobody asked for."""
    first = [rounds[0] for rounds in frames().values()]
    several = [item for items in first[::5] for item in items]
    uncalled = [item for items in frames()["lami_go_context_ebm"] for item in items]
    return [[opening(), *items] for items in [*first, several, uncalled]]


@cache
def uploads() -> list[list[transmitter_pb2.TransmitRequest]]:
    """Streams of images: one for each codec, and one for several."""
    one = [_upload(index, codec) for index, codec in enumerate(("jpeg", "webp", "lami_go", "toy", "jpeg2000"))]
    one[0].jpeg.quality = 20
    one[1].webp.target_bytes = 2000
    one[2].lami_go.masking = codecs_pb2.MASKING_POLICY_EBM
    one[2].max_rounds, one[2].round_budget_bytes = 3, 200
    one[2].feedback_policy = link_pb2.FEEDBACK_POLICY_UNCERTAIN
    one[4].jpeg2000.repair_overhead = 0.5
    return [*([request] for request in one), one]


def _upload(index: int, codec: str) -> transmitter_pb2.TransmitRequest:
    request = transmitter_pb2.TransmitRequest(
        session_id=SESSION, frame_index=index, image=png_bytes(to_uint8(picture())), link=link_to_proto(LINK), seed=3
    )
    if codec == "toy":
        request.extension.codec = codec
    else:
        getattr(request, codec).SetInParent()
    return request
