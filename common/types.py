"""Data types of the pipeline, shared by transmitter and receiver.

    image -> GoMessage (segments of elements) -> PacketBatch -> channel -> PacketBatch -> ReceivedMessage -> image

Every loss is expressed as a *received mask*: a bool array in which True means that an element arrived.
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
from gocom.common.number_checks import UINT32_MAX, whole_number

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

MIN_SIDE_PX, MAX_SIDE_PX = 64, 1024
MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES = 32, 65000


class ElementCoding(str, Enum):
    """Entropy coding of elements. Each packet is coded on its own."""

    FIXED = "fixed"
    HUFFMAN = "huffman"
    RANGE = "range"
    CONTEXT = "context"


class FeedbackPolicy(str, Enum):
    """Choice of the elements that a receiver asks for: erased ones, or those that its decoder is least certain of."""

    ERASED = "erased"
    UNCERTAIN = "uncertain"


class PowerAllocation(str, Enum):
    """Allocation of transmit power to the packets of a round. Their mean power is 1."""

    EQUAL = "equal"
    WATER_FILLING = "water_filling"
    SEMANTIC = "semantic"


PowerRule = Callable[[Floats], Floats]
"""Function from the importance of a round's packets, float32 [P], to their power, float32 [P], linear. Both are by
sequence number."""


class Provenance(IntEnum):
    """Origin of a pixel of a reconstruction: received, withheld by the sender, or erased by the channel."""

    RECEIVED = 0
    WITHHELD = 1
    ERASED = 2


class Parameters(BaseModel):
    """Base class of codec headers and codec options. They are immutable; a field of an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Packetizer settings of a link. They do not depend on the codec.

    Attributes:
        max_payload_bytes: largest payload of a packet, 32 to 65000 bytes.
        interleave: permute elements before they are cut into packets.
        interleave_seed: seed of the permutation, 0 to 2**32 - 1.
        batch_packets: largest number of packets of a batch on the wire, 1 to 4096.

    Raises:
        InvalidInput: a size or the seed is not a whole number in its range.
    """

    max_payload_bytes: int = 105
    interleave: bool = True
    interleave_seed: int = 0
    batch_packets: int = 128

    def __post_init__(self) -> None:
        whole_number("link.max_payload_bytes", self.max_payload_bytes, MIN_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES)
        whole_number("link.interleave_seed", self.interleave_seed, 0, UINT32_MAX)
        whole_number("link.batch_packets", self.batch_packets, 1, 4096)
        if not isinstance(self.interleave, bool):
            raise InvalidInput(f"link.interleave: {self.interleave!r} is neither True nor False")


@dataclass(frozen=True, slots=True)
class Budget:
    """Largest number of bytes that a round may cost, headers and repair packets included; None: no limit."""

    max_bytes: int | None = None

    @classmethod
    def smallest(cls, *limits_bytes: int) -> Budget:
        """Return the budget that keeps to several limits in bytes, of which 0 stands for no limit."""
        return cls(min((limit for limit in limits_bytes if limit), default=None))


@dataclass(frozen=True, slots=True)
class RoundSettings:
    """Limits and policy of the further rounds of a frame; the attributes are those of Goal."""

    max_rounds: int = 1
    round_budget_bytes: int = 0
    feedback_policy: FeedbackPolicy = FeedbackPolicy.ERASED
    quality_target: float = 0.0


@dataclass(frozen=True, slots=True)
class SegmentForm:
    """What does not change from frame to frame of a segment: its kind and coding, and whether it tolerates damage.

    The attributes are those of Segment.
    """

    kind: int
    coding: ElementCoding
    damage_tolerant: bool = False


@dataclass(frozen=True, slots=True)
class FrameDefaults:
    """What the frame headers of a session leave out because the session's opening says it.

    Attributes:
        codec: name of the codec.
        header: the codec's header as far as it follows from the options alone.
        width_px, height_px: size of the image.
        segments: segments of a first round, in wire order.
        rounds: settings of further rounds.
    """

    codec: str
    header: Parameters
    width_px: int
    height_px: int
    segments: tuple[SegmentForm, ...] = ()
    rounds: RoundSettings = RoundSettings()


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """What a frame header can rely on: the opening of its session and the frame before it on the stream.

    Attributes:
        defaults: defaults of the session.
        last_frame: index of the last frame whose first round was sent; -1 if there is none.
    """

    defaults: FrameDefaults
    last_frame: int = -1


@dataclass(frozen=True, slots=True)
class Goal:
    """The sender's options and limits for one frame.

    Attributes:
        options: options of the codec.
        frame_index: index of the frame within its session.
        max_rounds: largest number of rounds, the first one included; 1: no feedback.
        round_budget_bytes: bytes that a later round may cost; 0: no limit.
        link: packetizer settings.
        feedback_policy: choice of the elements that the receiver asks for.
        quality_target: quality in [0, 1], as the decoder estimates it, at which the receiver stops asking; 0: none.
        defaults: what the opening of the session says of its frames; None: the frame opens its own session.
        last_frame: index of the frame before this one on the stream, -1 if there is none; None: it is the one whose
            index is one less, so that the frame's own index follows by itself.
    """

    options: Parameters
    frame_index: int = 0
    max_rounds: int = 1
    round_budget_bytes: int = 0
    link: LinkSettings = LinkSettings()
    feedback_policy: FeedbackPolicy = FeedbackPolicy.ERASED
    quality_target: float = 0.0
    defaults: FrameDefaults | None = None
    last_frame: int | None = None

    @property
    def rounds(self) -> RoundSettings:
        """Settings of the further rounds, as the frame header carries them."""
        return RoundSettings(self.max_rounds, self.round_budget_bytes, self.feedback_policy, self.quality_target)


@dataclass(frozen=True, slots=True)
class Segment:
    """N elements of one alphabet: tokens, caption bytes or file bytes.

    Attributes:
        kind: index into the codec's list of segments.
        elements: int64 [N], withheld elements included; the values of those do not matter.
        importance: float32 [N] in [0, 1], used by power allocation and unequal error protection.
        coding: entropy coding of the elements.
        repair_overhead: number of RaptorQ repair packets as a share of the source packets.
        damage_tolerant: the decoder can use damaged payloads.
        spans: positions of the elements in the full grid of the segment (SegmentSpec.count): int64 [S, 2] of
            (start, length). None: the elements are all of the grid, from position 0 on.
        as_requested: in a later round, the receiver can derive `spans` from its own feedback and N.
        keep: bool [N], True for each element that is sent, if only the sender knows this; each packet then carries its
            slice of the mask. None: all elements are sent, or, without `spans`, those that SegmentSpec.keep derives
            from the header.
        repair_packets: exact number of repair packets, which replaces `repair_overhead`; None: `repair_overhead` holds.
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

    @property
    def form(self) -> SegmentForm:
        """Kind, coding and tolerance of damage."""
        return SegmentForm(self.kind, self.coding, self.damage_tolerant)


@dataclass(frozen=True, slots=True)
class GoMessage:
    """The content that a codec sends about one image in one round.

    Attributes:
        codec: name of the codec.
        header: codec-specific part of the frame header.
        width_px, height_px: size of the image.
        segments: the segments, in wire order.
        frame_index: index of the frame within its session.
        round: number of the round, from 0.
        rounds: settings of further rounds.
        power: rule that sets the power of the packets; None: the power of each packet is 1.
        position: what the frame header can rely on; None: `first_position` says it.
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
    position: StreamPosition | None = None


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The description of one segment in a frame header.

    Attributes:
        kind, coding, damage_tolerant, spans, as_requested: as in Segment.
        element_count: number of elements, withheld ones included.
        source_packets, repair_packets: number of packets of each type.
        withheld_count: number of withheld elements if packets carry slices of the mask; 0 otherwise.
    """

    kind: int
    element_count: int
    coding: ElementCoding
    source_packets: int
    repair_packets: int = 0
    damage_tolerant: bool = False
    spans: Ints | None = None
    as_requested: bool = False
    withheld_count: int = 0

    @property
    def form(self) -> SegmentForm:
        """Kind, coding and tolerance of damage."""
        return SegmentForm(self.kind, self.coding, self.damage_tolerant)

    @property
    def packets(self) -> int:
        """Number of packets of both types."""
        return self.source_packets + self.repair_packets


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """The header of one round of a frame; the attributes are those of GoMessage, without the elements."""

    codec: str
    header: Parameters
    width_px: int
    height_px: int
    segments: tuple[SegmentHeader, ...]
    frame_index: int = 0
    round: int = 0
    rounds: RoundSettings = RoundSettings()
    position: StreamPosition | None = field(default=None, compare=False)

    @property
    def packets(self) -> int:
        """Number of packets of the round."""
        return sum(segment.packets for segment in self.segments)


FrameView = GoMessage | FrameHeader
"""What both ends know of a round of a frame before its elements."""


@dataclass(frozen=True, slots=True)
class ReceivedSegment:
    """A segment as received, with a mask of the elements that arrived.

    Attributes:
        kind: index into the codec's list of segments.
        elements: int64 [N]; an element that did not arrive is 0.
        received: bool [N], True for each element that arrived.
        spans: positions of the elements, as in Segment; None: they are the whole grid of the segment.
        withheld: bool [N], True for each element that is known to be withheld by the sender; None: no element is.
        located: the positions of the elements are known. They are not if the round answers feedback that this end has
            forgotten; nothing of the segment can be used then.
    """

    kind: int
    elements: Ints
    received: Bools
    spans: Ints | None = None
    withheld: Bools | None = None
    located: bool = True

    @property
    def erased(self) -> Bools:
        """Mask of the elements that did not arrive and are not known to be withheld, bool [N]."""
        return ~self.received if self.withheld is None else ~self.received & ~self.withheld


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A round of a frame as received.

    Attributes:
        frame: header of the round.
        segments: the segments, in wire order.
        packets_sent: number of packets that were sent, from the header.
        packets_received: number of different packets that arrived undamaged.
        packet_bytes: int64 [packets_sent], payload size of each packet in bytes, by sequence number; -1 for a packet
            that was lost or damaged. It may be empty if nothing needs it.
    """

    frame: FrameHeader
    segments: tuple[ReceivedSegment, ...]
    packets_sent: int
    packets_received: int
    packet_bytes: Ints = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class Feedback:
    """A receiver's request for a further round.

    Attributes:
        frame_index, round: the frame, and the round that the feedback follows.
        wanted: requested elements by segment kind: int64 [S, 2] of (start, length) in the segment's full grid.
        labels: labels that the consumer wants to know about, or the one that its task finds likeliest, by index.
        text: what the consumer wants to see, in words; None: not given.
        budget_bytes: bytes that the further round may cost according to the receiver; 0: no limit.
        link: the receiver's estimate of the link; None: not given.
    """

    frame_index: int
    round: int
    wanted: Mapping[int, Ints] = field(default_factory=dict)
    labels: tuple[int, ...] = ()
    text: str | None = None
    budget_bytes: int = 0
    link: LinkReport | None = None


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A picture that a decoder made from the received rounds.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
        provenance: uint8 [H, W], the Provenance of each pixel.
        step: sampler step that the picture was made after.
        final: whether this is the last picture of these rounds, not a preview.
        seconds: duration of each stage, in seconds.
        wanted: erased elements that a further round should bring, by segment kind: int64 [S, 2] of (start, length).
        caption: caption that arrived, if any.
        uncertain: elements that the decoder had to guess, by segment kind: int64 [M], the least certain first.
        quality_estimate: the decoder's own estimate of the correct share of the picture, in [0, 1]; None: it has none.
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
