"""The nouns of the pipeline, shared by both ends.

    image -> GoMessage (segments of elements) -> PacketBatch -> channel -> PacketBatch -> ReceivedMessage -> image

Every loss ends up as a *received mask*: bool arrays in which True means present.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from gocom.common.csi import LinkReport
from gocom.common.errors import InvalidInput
from gocom.common.image_files import ImageArray

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

MIN_SIDE_PX, MAX_SIDE_PX = 64, 1024
MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES = 32, 65000


class ElementCoding(str, Enum):
    """How elements become bits; restarts with every packet."""

    FIXED = "fixed"
    HUFFMAN = "huffman"
    RANGE = "range"
    CONTEXT = "context"


class FeedbackPolicy(str, Enum):
    """What a receiver asks for: what the channel erased, or what its decoder is least certain of."""

    ERASED = "erased"
    UNCERTAIN = "uncertain"


class PowerAllocation(str, Enum):
    """How the power of a round's packets is chosen; their mean is 1."""

    EQUAL = "equal"
    WATER_FILLING = "water_filling"
    SEMANTIC = "semantic"


PowerRule = Callable[[Floats], Floats]
"""Importance of a round's packets, float32 [P], in the order of their numbers -> their power, float32 [P], linear."""


class Provenance(IntEnum):
    """Where a pixel of a reconstruction comes from."""

    RECEIVED = 0
    WITHHELD = 1
    ERASED = 2


class Parameters(BaseModel):
    """Base of codec headers and codec options: immutable, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How a link cuts segments into packets; the same for every codec in a comparison."""

    max_payload_bytes: int = 105
    interleave: bool = True
    interleave_seed: int = 0
    batch_packets: int = 128

    def __post_init__(self) -> None:
        if not MIN_PAYLOAD_BYTES <= self.max_payload_bytes <= MAX_PAYLOAD_BYTES:
            raise InvalidInput(
                f"link.max_payload_bytes: {self.max_payload_bytes} is not in {MIN_PAYLOAD_BYTES} to {MAX_PAYLOAD_BYTES}"
            )
        if not 1 <= self.batch_packets <= 4096:
            raise InvalidInput(f"link.batch_packets: {self.batch_packets} is not in 1 to 4096")


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes a round may cost, all counted; None: no limit."""

    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """How a frame's further rounds come about; see Goal."""

    max_rounds: int = 1
    round_budget_bytes: int = 0
    feedback_policy: FeedbackPolicy = FeedbackPolicy.ERASED
    quality_target: float = 0.0


@dataclass(frozen=True, slots=True)
class Goal:
    """What the sender wants of one frame.

    Attributes:
        options: of the codec.
        max_rounds: transmissions in all; 1: no feedback.
        round_budget_bytes: bytes a later round may cost; 0: no limit.
        feedback_policy: what the receiver asks for.
        quality_target: estimated quality in [0, 1] at which it stops asking; 0: it does not stop for that.
    """

    options: Parameters
    frame_index: int = 0
    max_rounds: int = 1
    round_budget_bytes: int = 0
    link: LinkSettings = LinkSettings()
    feedback_policy: FeedbackPolicy = FeedbackPolicy.ERASED
    quality_target: float = 0.0

    @property
    def rounds(self) -> RoundSettings:
        """What a frame header says of further rounds."""
        return RoundSettings(self.max_rounds, self.round_budget_bytes, self.feedback_policy, self.quality_target)


@dataclass(frozen=True, slots=True)
class Segment:
    """N elements with a common alphabet: tokens, caption bytes, file bytes.

    Attributes:
        kind: index into the codec's list of segments.
        elements: int64 [N], those that are withheld included; their values do not matter.
        importance: float32 [N] in [0, 1]; what power allocation and unequal protection go by.
        coding: how the elements become bits.
        repair_overhead: RaptorQ repair packets as a share of the source packets.
        damage_tolerant: damaged payloads are of use to the decoder.
        spans: in a later round, int64 [S, 2] of (start, length) within the first round's elements.
        as_requested: in a later round, the receiver knows `spans`: so many of what it asked for.
        keep: bool [N], True where the element is sent, where the receiver cannot know that: each packet then carries
            its slice of this mask. None: all are sent, or all that the system's `keep` says of the frame header.
        repair_packets: exactly so many, in place of what `repair_overhead` comes to; None: as that says.
    """

    kind: int
    elements: Ints
    importance: Floats
    coding: ElementCoding
    repair_overhead: float = 0.0
    damage_tolerant: bool = False
    spans: Ints | None = None
    as_requested: bool = False
    keep: Bools | None = None
    repair_packets: int | None = None


@dataclass(frozen=True, slots=True)
class GoMessage:
    """What a codec wants the receiver to know about one image, in one round.

    Attributes:
        power: sets the power of the packets it is cut into; None: 1 for all.
    """

    codec: str
    header: Parameters
    width_px: int
    height_px: int
    segments: tuple[Segment, ...]
    frame_index: int = 0
    round: int = 0
    rounds: RoundSettings = RoundSettings()
    power: PowerRule | None = None


@dataclass(frozen=True, slots=True)
class SegmentFrame:
    """What a frame header says of one segment; `withheld_count` is not 0 where packets carry slices of a mask."""

    kind: int
    element_count: int
    coding: ElementCoding
    source_packets: int
    repair_packets: int = 0
    symbol_bytes: int = 0
    damage_tolerant: bool = False
    spans: Ints | None = None
    as_requested: bool = False
    withheld_count: int = 0


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Begins a round of a frame on the wire."""

    codec: str
    header: Parameters
    width_px: int
    height_px: int
    segments: tuple[SegmentFrame, ...]
    frame_index: int = 0
    round: int = 0
    rounds: RoundSettings = RoundSettings()


@dataclass(frozen=True, slots=True)
class ReceivedSegment:
    """Elements of a segment with the mask of those that arrived. Elements that did not are 0.

    Attributes:
        elements: int64 [N].
        received: bool [N], True = present.
        spans: in a later round, where they belong.
        withheld: bool [N], True where the sender is known to have left the element out; None: nowhere.
    """

    kind: int
    elements: Ints
    received: Bools
    spans: Ints | None = None
    withheld: Bools | None = None

    @property
    def erased(self) -> Bools:
        """bool [N], True where an element was sent, as far as is known, and did not arrive."""
        return ~self.received if self.withheld is None else ~self.received & ~self.withheld


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A round of a frame as the channel left it.

    Attributes:
        packet_bytes: int64 [packets_sent], payload of each packet by sequence number; -1: it did not arrive, or not
            whole. Empty where nobody asks for it.
    """

    frame: FrameHeader
    segments: tuple[ReceivedSegment, ...]
    packets_sent: int
    packets_received: int
    packet_bytes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the receiver wants next.

    Attributes:
        wanted: by segment kind, int64 [S, 2] of (start, length) in elements of the first round.
        budget_bytes: what the answer may cost; 0: no limit.
        link: what the receiver makes of the link; None: it does not say.
    """

    frame_index: int
    round: int
    wanted: Mapping[int, Ints] = field(default_factory=dict)
    label: int | None = None
    text: str | None = None
    budget_bytes: int = 0
    link: LinkReport | None = None


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A picture made from what arrived.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        provenance: uint8 [H, W] of Provenance.
        step: sampler step of a preview; the last one is final.
        final: no better picture of these rounds will follow.
        seconds: by stage.
        wanted: elements the channel erased and a further round should bring, by segment kind (empty: none).
        caption: text that arrived, if any.
        uncertain: by segment kind, int64 [M], elements the decoder had to guess, the least certain first.
        quality_estimate: the decoder's own estimate of how much of the picture is right, in [0, 1]; None: it has none.
    """

    image: ImageArray
    provenance: npt.NDArray[np.uint8]
    step: int = 0
    final: bool = True
    seconds: Mapping[str, float] = field(default_factory=dict)
    wanted: Mapping[int, Ints] = field(default_factory=dict)
    caption: str | None = None
    uncertain: Mapping[int, Ints] = field(default_factory=dict)
    quality_estimate: float | None = None
