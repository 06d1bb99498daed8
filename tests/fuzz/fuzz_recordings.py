"""Valid traffic of every codec and coding, made without nets: what the suites here damage, and the fuzzer's corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

import numpy as np
from generative_codecs import CODINGS, GENERATIVE, choice_name, choices, drawn_message
from toy_world import DEFAULTS, NAMED, toy_round

from gocom.common.byte_account import frame_items, message_bytes
from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray, png_bytes, to_uint8
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS
from gocom.common.systems.feature_imputing import latent_channels
from gocom.common.types import (
    Budget,
    ElementCoding,
    Feedback,
    FeedbackPolicy,
    FrameDefaults,
    Goal,
    GoMessage,
    LinkSettings,
    StreamPosition,
)
from gocom.common.wire.frame_headers import WIRE_VERSION, defaults_to_proto, stream_position
from gocom.common.wire.frame_messages import codec_to_proto, link_to_proto, make_parameters
from gocom.transmitter.encoders.classical import ClassicalEncoder
from gocom.transmitter.retransmission import resend
from gocom.v1 import link_pb2, transmitter_pb2

Items = list[link_pb2.SendRequest]

LINK = LinkSettings(max_payload_bytes=48, interleave_seed=5, batch_packets=4)
SIDE_PX = 64
SESSION = "fuzz"


def picture() -> ImageArray:
    """A ramp."""
    return np.tile(np.linspace(0, 1, SIDE_PX, dtype=np.float32), (3, SIDE_PX, 1))


def lami_go_session(image: ImageArray, goal: Goal):
    """The encoder's session, its tokens drawn instead of computed."""
    from gocom.transmitter.encoders.lami_go import LamiGoAnalysis, LamiGoSession

    rng = np.random.default_rng(goal.frame_index)
    count = -(-image.shape[1] // 8) * -(-image.shape[2] // 8)
    # Some codewords are drawn often, as in a picture: codes of all lengths.
    tokens = (1024 * rng.random(count) ** 3).astype(np.int64)
    distance = rng.random(count).astype(np.float32)
    return LamiGoSession(LamiGoAnalysis(image, tokens, distance, lambda: "a photo of a dog"), goal)


def feature_imputing_session(image: ImageArray, goal: Goal):
    """The encoder's session, its levels drawn."""
    from gocom.transmitter.encoders.feature_imputing import FeatureImputingAnalysis, FeatureImputingSession

    rng = np.random.default_rng(goal.frame_index)
    shape = -(-image.shape[1] // 8), -(-image.shape[2] // 8)
    levels = np.clip(rng.normal(64, 12, (*shape, latent_channels())), 0, 127).astype(np.int64)
    worth = rng.random(shape).astype(np.float32)
    return FeatureImputingSession(FeatureImputingAnalysis(image, levels, lambda target: worth), goal)


def classical_session(codec: str, image: ImageArray, goal: Goal):
    """The encoder's session."""
    encoder = ClassicalEncoder(codec, "cpu")
    return encoder.open(encoder.analyse(image), goal)


class DrawnSession:
    """What is known of any codec: its header and its elements are drawn."""

    def __init__(self, codec: str, image: ImageArray, goal: Goal) -> None:
        self.codec, self.goal, self.side_px = codec, goal, (image.shape[2], image.shape[1])
        self.sent: GoMessage | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """As many elements as the picture has."""
        goal, rng = self.goal, np.random.default_rng(self.goal.frame_index)
        coding = getattr(goal.options, "coding", ElementCoding.FIXED)
        self.sent = drawn_message(
            self.codec, coding, rng, side_px=self.side_px, frame_index=goal.frame_index, rounds=goal.rounds
        )
        return self.sent

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        """Send the named elements again."""
        return resend(self.sent, feedback, budget, self.goal) if self.sent else None


SESSIONS = {"lami_go": lami_go_session, "feature_imputing": feature_imputing_session}
"""Encoders' sessions that are opened without nets. One that is not here is a DrawnSession."""


def open_without_nets(codec: str):
    """As its encoder opens a session."""
    return SESSIONS.get(codec, partial(DrawnSession, codec))


@cache
def frames() -> dict[str, list[Items]]:
    """Rounds of one frame of each codec, coding and choice of its options, by name; some within a budget.

    Their headers say everything, so that they may be put into any session.
    """
    found = {name: [_items(message, NAMED) for message in rounds] for name, rounds in messages().items()}
    found["toy"] = [toy_round(len(found), max_rounds=3, count=64)]
    return found


def _items(message: GoMessage, position: StreamPosition) -> Items:
    header, batch = packetize(replace(message, position=position), LINK)
    return frame_items(header, batch, LINK.batch_packets)


@cache
def messages() -> dict[str, list[GoMessage]]:
    """The same as messages, without those of the toy."""
    found: dict[str, list[GoMessage]] = {}
    for codec, coding in CODINGS:
        kind, fixed = SYSTEMS.get(codec).options, coding is ElementCoding.FIXED
        common = {"coding": coding.value, "repair_overhead": 0.0 if fixed else 0.5}
        common = {name: value for name, value in common.items() if name in kind.model_fields}
        for choice in choices(codec):
            name, options = f"{codec}_{coding.value}{choice_name(choice)}", common | choice
            found[name] = _rounds(open_without_nets(codec), make_parameters(kind, options), len(found))
            if fixed:
                tight = _rounds(open_without_nets(codec), make_parameters(kind, options), len(found), 0.8)
                found[f"{name}_tight"] = tight
        drawn = partial(DrawnSession, codec)
        found[f"{codec}_{coding.value}_drawn"] = _rounds(drawn, make_parameters(kind, common), len(found))
    for codec in ("jpeg", "jpeg2000", "webp", "avif"):
        for overhead in (0, 0.4):
            options = make_parameters(SYSTEMS.get(codec).options, {"repair_overhead": overhead, "quality": 5})
            found[f"{codec}_{overhead}"] = _rounds(partial(classical_session, codec), options, len(found))
    return found


def _rounds(open_session, options, frame_index: int, share: float = 1) -> list[GoMessage]:
    """A first round, one of what was asked for, and one that says itself what it brings.

    Args:
        share: of what the first round would cost, and has to do with.
    """
    policy = FeedbackPolicy.UNCERTAIN if frame_index % 2 else FeedbackPolicy.ERASED
    goal = Goal(options, frame_index, 3, 200, LINK, policy, 0.5)
    session = open_session(picture(), goal)
    first = session.first(Csi(), Budget())
    if share < 1:
        first = session.first(Csi(), Budget(int(share * message_bytes(first, LINK))))
    return list(_messages(first, goal))


def _messages(first: GoMessage, goal: Goal) -> Iterator[GoMessage]:
    yield first
    wanted = {s.kind: np.array([[1, 2], [5, 9]]) for s in first.segments}
    asked, named = (resend(first, Feedback(first.frame_index, n, wanted), Budget(), goal) for n in (0, 1))
    assert asked is not None and named is not None
    yield asked
    yield replace(named, segments=tuple(replace(s, as_requested=False) for s in named.segments))


def opening(defaults: FrameDefaults = DEFAULTS) -> link_pb2.SendRequest:
    """Opens a session with the settings of these recordings."""
    return link_pb2.SendRequest(open=link_pb2.SessionOpen(
        session_id=SESSION, link=link_to_proto(LINK), seed=3, wire_version=WIRE_VERSION,
        defaults=defaults_to_proto(defaults),
    ))  # fmt: skip


def _short_session(rounds: list[GoMessage]) -> Items:
    """A session of two frames whose headers leave out what the opening says, which is what the first frame is like."""
    header, _ = packetize(rounds[0], LINK)
    defaults, items, last = stream_position(header).defaults, [], -1
    for index in (0, 1):
        for message in rounds:
            items += _items(replace(message, frame_index=index), StreamPosition(defaults, last))
            last = index
    return [opening(defaults), *items]


@cache
def conversations() -> list[Items]:
    """Sessions on the link: one of a frame each, one of several codecs, some whose rounds nobody asked for, and some
    whose headers say only what differs.
    """
    first = [rounds[0] for rounds in frames().values()]
    together = [[item for items in first[::5] for item in items]]
    for codec, coding in CODINGS:
        together.append([item for items in frames()[f"{codec}_{coding.value}_drawn"] for item in items])
    short = [_short_session(messages()[f"{codec}_{coding.value}_drawn"]) for codec, coding in CODINGS]
    short += [_short_session(messages()[name][:1]) for name in ("jpeg_0.4", "webp_0")]
    return [*([opening(), *items] for items in (*first, *together)), *short]


@cache
def uploads() -> list[list[transmitter_pb2.TransmitRequest]]:
    """Streams of images: one for each codec and choice of its options, and one for several codecs."""
    few = [_upload(index, codec) for index, codec in enumerate(("jpeg", "webp", "toy", "jpeg2000", *GENERATIVE))]
    few[0].codec.jpeg.quality = 20
    few[1].codec.webp.target_bytes = 2000
    few[3].codec.jpeg2000.repair_overhead = 0.5
    streams = [few, *([request] for request in few)]
    for codec in GENERATIVE:
        for choice in choices(codec):
            request = _upload(len(streams), codec)
            codec_to_proto(codec, make_parameters(SYSTEMS.get(codec).options, choice), request.codec)
            request.rounds.max_rounds, request.rounds.round_budget_bytes = 3, 200
            request.rounds.feedback_policy = link_pb2.FEEDBACK_POLICY_UNCERTAIN
            streams.append([request])
    return streams


def _upload(index: int, codec: str) -> transmitter_pb2.TransmitRequest:
    request = transmitter_pb2.TransmitRequest(
        session_id=SESSION, frame_index=index, image=png_bytes(to_uint8(picture())), link=link_to_proto(LINK), seed=3
    )
    codec_to_proto(codec, SYSTEMS.get(codec).options(), request.codec)
    return request
