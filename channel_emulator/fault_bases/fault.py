"""Base classes of faults, and the counts that are compared with the closed form of each fault.

A fault is what happens to packets; an impairment is a fault with its parameters, as an entry of a channel profile.

A fault has two halves, so that a test can replace the random one:

    batch, rng --draw--> what happens --apply--> batch with `erased` set or payloads changed
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_ELEMENTS
from gocom.common.types import Bools, Ints
from gocom.common.wire.enums import enum_to_name
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What a fault may know of the frame: enough to key random numbers and to keep checksums valid, nothing of the
    codec.

    Attributes:
        frame_index: position of the frame in its session.
        round: number of the feedback round.
        damage_tolerant: for each segment of the header, whether damaged payloads are useful.
        segment_ends: for each segment, the number of packets up to its end; a packet belongs to the first segment whose
            end is beyond its sequence number. Empty: all packets belong to the first segment.
    """

    frame_index: int = 0
    round: int = 0
    damage_tolerant: tuple[bool, ...] = ()
    segment_ends: tuple[int, ...] = ()

    @property
    def packets(self) -> int:
        """Number of packets of the round, as its header announces them."""
        return self.segment_ends[-1] if self.segment_ends else 0

    def packets_of(self, segment: int) -> tuple[int, int]:
        """Return the sequence number of a segment's first packet, and one more than that of its last packet.

        Both are equal if the segment has no packets, or if the header does not have the segment.
        """
        if not self.segment_ends:
            return 0, 0 if segment else MAX_ELEMENTS
        if segment >= len(self.segment_ends):
            return self.packets, self.packets
        return self.segment_ends[segment - 1] if segment else 0, self.segment_ends[segment]


class Fault(ABC):
    """A fault of the channel. Subclasses are frozen dataclasses whose fields are the parameters."""

    @classmethod
    def build(cls, parameters: Mapping[str, float | str]) -> Self:
        """Build a fault from parameters by name. Raise InvalidInput naming the parameter and the allowed values."""
        known = {f.name: f.default is MISSING for f in fields(cls)}  # type: ignore[arg-type]
        for name, value in parameters.items():
            if name not in known:
                raise InvalidInput(f"{name[:80]}: no such parameter; there are {', '.join(known) or 'none'}")
            if isinstance(value, float) and not math.isfinite(value):
                raise InvalidInput(f"{name}: {value} is not finite")
        for name, required in known.items():
            if required and name not in parameters:
                raise InvalidInput(f"{name}: not set")
        return cls(**parameters)

    @classmethod
    def from_message(cls, message: Message) -> Self:
        """Build a fault from its message in channel.proto; overridden by faults with other than scalar and enum fields.

        Raises:
            InvalidInput: a field is not valid; the text begins with the field's path in the message: "rate: ...".
        """
        return cls.build(_parameters(message))

    @property
    @abstractmethod
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        """What one trial is: a packet or a bit."""

    @property
    @abstractmethod
    def expected_rate(self) -> float:
        """Long-run share of trials that are events, 0 to 1."""

    @abstractmethod
    def draw(self, batch: PacketBatch, rng: CounterRng) -> npt.NDArray[Any]:
        """Draw what happens to these packets.

        Args:
            batch: the packets.
            rng: the generator of this fault, frame and round. Draws must depend on sequence numbers, not on batch
                positions.
        """

    @abstractmethod
    def apply(self, batch: PacketBatch, drawn: npt.NDArray[Any], frame: FrameInfo) -> PacketBatch:
        """Return a new batch to which the draw was applied; `batch` does not change."""

    @abstractmethod
    def count(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> tuple[int, int]:
        """Return (trials, events) of a draw; `batch` is the batch before the fault."""

    def for_frame(self, frame: FrameInfo) -> Fault:
        """Return the fault as it acts on a round; overridden by faults that depend on the segments of the round."""
        return self

    @property
    def counts_copies(self) -> bool:
        """Whether copies made by an earlier hop are trials of their own; not if they share the first copy's fate."""
        return False

    def work(self, batch: PacketBatch) -> float:
        """Return about how many random numbers a draw takes; large draws are made in a thread, off the event loop."""
        return math.inf

    def count_variance(self, trials: int) -> float:
        """Return the variance of the number of events in a run of consecutive trials; here for independent trials."""
        return trials * self.expected_rate * (1 - self.expected_rate)

    def batch_variance(self, batch: PacketBatch) -> float | None:
        """Return the variance of the number of events in this batch, for a fault without memory across packets.

        The default is None: the fault may have memory across batches, so the round is one run, and `count_variance`
        gives its variance. `batch` is the batch before the fault.
        """
        return None

    def tally(self) -> Tally:
        """Return the counter of one round."""
        return Tally(self)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the long-run share of packets of this size that are erased, 0 to 1."""
        return 0.0

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Return the probability that two consecutive packets are both erased; here for independent packets."""
        return self.packet_erasure_rate(payload_bits) ** 2

    @property
    def bit_error_rate(self) -> float:
        """Long-run share of flipped bits in delivered packets, 0 to 0.5."""
        return 0.0

    def capacity_bytes(self, payload_bytes: int, outage_target: float, snr: Doubles | None = None) -> int | None:
        """Return the number of payload bytes that one round can have; None: there is no bound.

        Args:
            payload_bytes: payload size of each packet but the last, 1 or more. The power of all packets is 1.
            outage_target: largest probability of outage, above 0, below 1; for faults that choose a rate by it.
            snr: float64 [P], SNR of the first packets of the round, linear, if it is known; for faults that fade.
        """
        return None

    def filled_to(self, size_bytes: int) -> Fault:
        """Return the fault as it acts in a round of so many payload bytes, if its closed forms depend on that."""
        return self


class WholeRoundFault(Fault):
    """A fault that may have to know the sizes of all packets of a round before it draws for the first of them."""

    @property
    @abstractmethod
    def needs_whole_round(self) -> bool:
        """Whether it has to with these parameters.

        Then an emulator holds the packets of a round until its end, and calls `begin_round` before the first `draw`.
        """

    @abstractmethod
    def begin_round(self, sequence: Ints, length: Ints, rng: CachedRng) -> None:
        """Take note of all packets of a round that no earlier fault erased; only if `needs_whole_round`.

        What is noted is kept in `rng.fault_state`.

        Args:
            sequence: int64 [P], sequence numbers in any order; copies of a packet have the same.
            length: int64 [P], payload sizes in bytes.
            rng: the generator that the draws of the round get.
        """


class PacketFault(Fault):
    """A fault that erases whole packets. Its draw is bool [P], True for erased packets."""

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET

    def apply(self, batch: PacketBatch, drawn: Bools, frame: FrameInfo) -> PacketBatch:
        return batch.erase(drawn)

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        # Packets erased earlier count as well: without them the trials of bursty models would not be consecutive.
        return len(drawn), int(np.count_nonzero(drawn))

    def packet_erasure_rate(self, payload_bits: int) -> float:
        return self.expected_rate


def check_range(name: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    """Raise InvalidInput unless low <= value <= high (with `above`: low < value). NaN is out of range."""
    if not isinstance(value, int | float) or not low <= value <= high or (above and value == low):
        raise InvalidInput(f"{name}: {value!r} is not in {f'above {low:g}, ' if above else f'{low:g} '}to {high:g}")


def check_whole(name: str, value: float, low: int, high: int) -> None:
    """Raise InvalidInput unless the value is a whole number in low to high. Parameters of extensions are floats."""
    if not isinstance(value, int | float) or not low <= value <= high or not float(value).is_integer():
        raise InvalidInput(f"{name}: {value!r} is not a whole number in {low} to {high}")


def _parameters(message: Message) -> dict[str, float | str]:
    """Return the fields of a fault's message by name, enums as words; optional fields that are not set are left out."""
    values: dict[str, float | str] = {}
    for field in message.DESCRIPTOR.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value, enum = getattr(message, field.name), cast(Any, field.enum_type)
        if enum is not None:
            value = enum_to_name(enum, value, field.name)
        if value is not None:
            values[field.name] = value
    return values


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Counts of one fault.

    Attributes:
        trials: number of packets or bits that the fault acted on.
        events: number of trials that were erased or flipped.
        expected: mean of `events` by the closed form.
        variance: variance of `events`, with the memory of the model.
    """

    trials: int
    events: int
    expected: float
    variance: float


class Tally:
    """The counter of one fault in one round, fed batch by batch. Faults with memory may override Fault.tally."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._trials = self._events = 0
        self._variance: float | None = 0.0

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        """Count a batch, as it was before the fault, and the draw for it."""
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        variance = self._fault.batch_variance(batch)
        self._variance = None if variance is None or self._variance is None else self._variance + variance

    def event_counts(self) -> EventCounts:
        """Return the counts of all batches so far."""
        fault, trials = self._fault, self._trials
        variance = fault.count_variance(trials) if self._variance is None else self._variance
        return EventCounts(trials, self._events, trials * fault.expected_rate, variance)


class DeterministicTally(Tally):
    """The counter of a deterministic fault: the expected number of events is the actual one, with variance 0.

    So z is 0 and proves nothing. Recording what the fault does shows whether it follows its instructions.
    """

    def event_counts(self) -> EventCounts:
        return EventCounts(self._trials, self._events, float(self._events), 0.0)
