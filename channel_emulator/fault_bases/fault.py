"""Base classes of faults, and the counts that hold each of them to its closed form.

A fault has two halves, so that a test can inject what chance would have brought:

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

from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools
from gocom.common.wire.enums import enum_to_name
from gocom.v1 import channel_pb2


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """What a fault may know of the frame: enough to key randomness and to keep checksums, nothing of the codec.

    Attributes:
        frame_index: position of the frame in its session.
        round: feedback turn.
        damage_tolerant: for each segment of the header, whether damaged payloads are of use.
    """

    frame_index: int = 0
    round: int = 0
    damage_tolerant: tuple[bool, ...] = ()


class Fault(ABC):
    """A fault of the channel; subclasses are frozen dataclasses whose fields are its parameters."""

    @classmethod
    def build(cls, parameters: Mapping[str, float | str]) -> Self:
        """Make one from parameters by name. Raises InvalidInput naming the parameter and what it allows."""
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
        """Make one from its message in channel.proto. Overridden where that has more than numbers and words.

        Raises:
            InvalidInput: naming the field, from the message on: "rate: ...".
        """
        return cls.build(_parameters(message))

    @property
    @abstractmethod
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        """What its trials are."""

    @property
    @abstractmethod
    def expected_rate(self) -> float:
        """Long-run share of trials that are events, 0 to 1."""

    @abstractmethod
    def draw(self, batch: PacketBatch, rng: CounterRng) -> npt.NDArray[Any]:
        """What happens to these packets. `rng` is keyed to this fault, frame and round; use sequence numbers only."""

    @abstractmethod
    def apply(self, batch: PacketBatch, drawn: npt.NDArray[Any], frame: FrameInfo) -> PacketBatch:
        """A new batch with what was drawn done to it; the given one is left as it is."""

    @abstractmethod
    def count(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> tuple[int, int]:
        """(trials, events) of a draw; `batch` is as it came in."""

    @property
    def counts_copies(self) -> bool:
        """Whether a copy, made by an earlier hop, is a further trial: not where it meets the fate of its packet."""
        return False

    def work(self, batch: PacketBatch) -> float:
        """About how many random numbers a draw takes: with many, it is made in a thread, off the event loop."""
        return math.inf

    def count_variance(self, trials: int) -> float:
        """Variance of the number of events in one run of so many consecutive trials; here: independent ones."""
        return trials * self.expected_rate * (1 - self.expected_rate)

    def batch_variance(self, batch: PacketBatch) -> float | None:
        """Variance of the number of events in this batch, for a fault whose memory ends with each packet.

        None, as here: memory may go on in the next batch, so the round is one run, and `count_variance` is asked for
        it. `batch` is as it came in.
        """
        return None

    def tally(self) -> Tally:
        """Counts of one round."""
        return Tally(self)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Long-run share of packets of this size erased, 0 to 1."""
        return 0.0

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Probability that two packets in a row are both erased; here: independent ones."""
        return self.packet_erasure_rate(payload_bits) ** 2

    @property
    def bit_error_rate(self) -> float:
        """Long-run share of bits flipped in what is delivered, 0 to 0.5."""
        return 0.0


class PacketFault(Fault):
    """A fault that erases whole packets: its draw is bool [P], True = erased."""

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET

    def apply(self, batch: PacketBatch, drawn: Bools, frame: FrameInfo) -> PacketBatch:
        return batch.erase(drawn)

    def count(self, batch: PacketBatch, drawn: Bools) -> tuple[int, int]:
        # Packets that an earlier fault erased count too: leaving them out would thin the memory of bursty models.
        return len(drawn), int(np.count_nonzero(drawn))

    def packet_erasure_rate(self, payload_bits: int) -> float:
        return self.expected_rate


def check_range(name: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    """Raises InvalidInput unless low <= value <= high (`above`: low < value). NaN is outside."""
    if not isinstance(value, int | float) or not low <= value <= high or (above and value == low):
        raise InvalidInput(f"{name}: {value!r} is not in {f'above {low:g}, ' if above else f'{low:g} '}to {high:g}")


def check_whole(name: str, value: float, low: int, high: int) -> None:
    """Raises InvalidInput unless it is a whole number in low to high; an extension's parameters are floats."""
    if not isinstance(value, int | float) or not low <= value <= high or not float(value).is_integer():
        raise InvalidInput(f"{name}: {value!r} is not a whole number in {low} to {high}")


def _parameters(message: Message) -> dict[str, float | str]:
    """Fields of a fault's message by name, enums as words; what is optional and not set is left to the default."""
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
class Score:
    """Counts of one fault.

    Attributes:
        trials: packets or bits it acted on.
        events: how many of them it erased or flipped.
        expected: mean of `events`.
        variance: of `events`, memory of the model included.
    """

    trials: int
    events: int
    expected: float
    variance: float


class Tally:
    """Counts of one fault in one round, batch by batch. A fault with memory in it overrides `Fault.tally`."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._trials = self._events = 0
        self._variance: float | None = 0.0

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        """Count a batch as it came to the fault, and what was drawn for it."""
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        variance = self._fault.batch_variance(batch)
        self._variance = None if variance is None or self._variance is None else self._variance + variance

    def score(self) -> Score:
        """Of all so far."""
        fault, trials = self._fault, self._trials
        variance = fault.count_variance(trials) if self._variance is None else self._variance
        return Score(trials, self._events, trials * fault.expected_rate, variance)


class GivenTally(Tally):
    """Counts of a fault that leaves nothing to chance: what it is told to do is what is expected, without variance.

    So its z is 0 and proves nothing; that it does as told shows when what it did is recorded.
    """

    def score(self) -> Score:
        return Score(self._trials, self._events, float(self._events), 0.0)
