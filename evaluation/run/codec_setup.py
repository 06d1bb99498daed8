"""Shared by the studies: pictures, codecs made once, and channels from a SPEC."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.proxy.feedback_as_packets import arrives
from gocom.common.channel_spec import parse_spec
from gocom.common.codec_interfaces import AnalysisT, EncoderSession, GenerativeDecoder, SemanticEncoder
from gocom.common.csi import Csi
from gocom.common.goals import ConsumerGoal, Policy, Round
from gocom.common.image_files import ImageArray, read_samples, square_crop, to_float
from gocom.common.nets.engines import Engine
from gocom.common.pipeline import PipelineResult, run
from gocom.common.systems import SYSTEMS
from gocom.common.tasks import LoadTask
from gocom.common.types import Budget, Feedback, FeedbackPolicy, Goal, LinkSettings, RoundSettings
from gocom.common.wire.frame_messages import make_parameters
from gocom.common.zoo import Zoo
from gocom.receiver.decoders import DECODERS
from gocom.receiver.feedback_policy import policy_for
from gocom.receiver.link_estimation import LinkEstimate
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resources.repair_and_power import PLAIN, Delivery, DeliveryEncoder


@dataclass(frozen=True, slots=True)
class Codec:
    """Both ends of one codec, with options."""

    name: str
    encoder: SemanticEncoder[Any]
    decoder: GenerativeDecoder

    def send(
        self, image: ImageArray, channel: str, *, seed: int, frame_index: int = 0, link: LinkSettings = LinkSettings(),
        budget: int | None = None, max_rounds: int = 1, round_budget_bytes: int = 0,
        feedback_policy: FeedbackPolicy = FeedbackPolicy.ERASED, quality_target: float = 0.0,
        sampler_seed: int | None = None, delivery: Delivery = PLAIN, csi: Csi = Csi(), reverse_channel: str = "clean",
        feedback_attempts: int = 1, consumer_goal: ConsumerGoal | None = None, load_task: LoadTask | None = None,
        **options: Any,
    ) -> PipelineResult:  # fmt: skip
        """One image over one channel, the receiver asking for what is missing while rounds are left.

        `seed` is the channel's, and the sampler's too unless `sampler_seed` says otherwise. `csi` is what the
        transmitter knows of it. Feedback crosses `reverse_channel` with it, and is sent `feedback_attempts` times at
        most. With a `consumer_goal`, whose task `load_task` loads, the receiver asks until that is reached.
        """
        values = make_parameters(SYSTEMS.get(self.name).options, options)
        goal = Goal(values, frame_index, max_rounds, round_budget_bytes, link, feedback_policy, quality_target)
        chain = Chain.from_profile(parse_spec(channel, seed=seed))
        reverse = Chain.from_profile(parse_spec(reverse_channel, seed=seed))
        return run(
            image, goal, encoder=DeliveryEncoder(self.encoder, delivery), decoder=self.decoder, channel=chain,
            ask=ReportingPolicy, consumer_goal=consumer_goal, load_task=load_task,
            reverse_channel=partial(arrives, reverse), attempts=feedback_attempts, csi=csi, budget=Budget(budget),
            seed=seed if sampler_seed is None else sampler_seed,
        )  # fmt: skip


class RememberingEncoder(Generic[AnalysisT]):
    """An encoder that analyses a picture once, however often it is encoded.

    Args:
        encoder: the encoder.
        keep: pictures whose analyses are kept, the last ones that were asked for.
    """

    def __init__(self, encoder: SemanticEncoder[AnalysisT], keep: int) -> None:
        self._encoder, self._keep = encoder, keep
        self._known: OrderedDict[bytes, AnalysisT] = OrderedDict()

    def analyse(self, image: ImageArray) -> AnalysisT:
        """As the encoder's."""
        key = hashlib.blake2b(image.tobytes() + repr(image.shape).encode(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._encoder.analyse(image)
        self._known.move_to_end(key)
        if len(self._known) > self._keep:
            self._known.popitem(last=False)
        return self._known[key]

    def open(self, analysis: AnalysisT, goal: Goal) -> EncoderSession:
        """As the encoder's."""
        return self._encoder.open(analysis, goal)


class ReportingPolicy:
    """The receiver service's policy, without its network, and with its report on the link.

    The frame is a session of its own.
    """

    def __init__(self, settings: RoundSettings, goal: ConsumerGoal | None) -> None:
        self._policy: Policy = policy_for(settings, goal)

    def next(self, history: Sequence[Round]) -> Feedback | None:
        """The request for the next round, or None."""
        feedback = self._policy.next(history)
        if feedback is None:
            return None
        link = LinkEstimate()
        for round_ in history:
            link.add(round_.received.packet_bytes)
        return replace(feedback, link=link.report())


@cache
def _torch_zoo(device: str) -> Zoo:
    return Zoo(device, Engine())


def make_codec(name: str, device: str = "auto") -> Codec:
    """Load a codec. Its nets run in torch, whatever GOCOM_ENGINE says: results are compared with earlier ones."""
    zoo = _torch_zoo(device)
    return Codec(name, ENCODERS.get(name)(zoo), DECODERS.get(name)(zoo))


def pictures(source: Path, size_px: int = 256, limit: int | None = None) -> Iterator[tuple[str, ImageArray]]:
    """(name, float32 [3, size, size]) for each picture of a folder or tar: centre square crop, Lanczos."""
    for index, sample in enumerate(read_samples(source)):
        if limit is not None and index >= limit:
            return
        yield sample.key, to_float(square_crop(sample.pixels, size_px))
