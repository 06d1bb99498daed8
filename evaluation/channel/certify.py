"""Does every fault do what its closed form says, and would an error of 2 % show?

    spec --one round, right and wrong models--> expected z of each --> packets needed --> run --> z, and z of each

So many packets are sent that every wrong model is expected at |z| >= 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import EventCounts, FrameInfo
from gocom.common.packetizer import MAX_PACKETS
from gocom.evaluation.channel.cases import Case, chain_of, wrong_models
from gocom.evaluation.channel.trial import batches
from gocom.v1 import channel_pb2

PASS, SHOWS = 4.0, 8.0
"""A right model stays below the one; a wrong one is expected above the other."""
CERTAIN = 1e6
"""|z| of a count that a model without chance excludes."""
_SPARE = 1.05
_MAX_PACKETS, _MAX_BITS = 2e7, 2.5e9
"""Sent for one case at most, of a fault whose trials are packets or bits; what then does not show is said."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A model that was made wrong on purpose, in one parameter, to show that the counts would give it away.

    Attributes:
        parameter: which one, as "packet_erasure.rate".
        expected_z: z-score that theory predicts for counts of the right fault against the wrong model.
        z: z-score that was measured.
    """

    parameter: str
    expected_z: float
    z: float


@dataclass(frozen=True, slots=True)
class Certificate:
    """One fault of a chain.

    Attributes:
        spec: of the whole chain.
        name: of the fault.
        packets: that were sent.
        trials, events, expected: of the fault.
        z: (events - expected) / standard deviation.
        wrong: the same counts against models with a parameter off.
    """

    spec: str
    name: str
    packets: int
    trials: int
    events: int
    expected: float
    z: float
    wrong: tuple[Wrong, ...]

    @property
    def passed(self) -> bool:
        """It is what it says, and each wrong model, where enough packets could be sent for it, shows."""
        return abs(self.z) < PASS and all(abs(w.z) >= PASS for w in self.wrong if abs(w.expected_z) >= SHOWS)


def certify(case: Case, seed: int) -> list[Certificate]:
    """One certificate for each fault of the chain. Raises InvalidInput, UnknownName."""
    chain = chain_of(case.spec, seed)
    wrong = list(wrong_models(chain))
    once = _round(chain, case, 0, [chain, *(model for _, model in wrong)])
    right, off = once[0], once[1:]
    rounds = 1
    for position in range(len(chain.faults)):
        for (name, _), scores in zip(wrong, off, strict=True):
            if name.startswith(chain.faults[position].name + "."):
                rounds = max(rounds, _rounds_needed(right[position], scores[position]))
    rounds = min(rounds, max(1, _most_rounds(chain, case)))
    sums = right
    for frame in range(1, rounds):
        (scores,) = _round(chain, case, frame, [chain])
        sums = [_add(one, other) for one, other in zip(sums, scores, strict=True)]
    found = []
    for position, (named, score) in enumerate(zip(chain.faults, sums, strict=True)):
        mine = [
            _wrong(name, score, right[position], scores[position], rounds)
            for (name, model), scores in zip(wrong, off, strict=True)
            if model.faults[position] is not named
        ]
        z, packets = _z(score.events, score.expected, score.variance), rounds * _packets(case)
        found.append(
            Certificate(case.spec, named.name, packets, score.trials, score.events, score.expected, z, tuple(mine))
        )
    return found


def _most_rounds(chain: Chain, case: Case) -> int:
    packets = _MAX_PACKETS
    if any(named.fault.unit == channel_pb2.TRIAL_UNIT_BIT for named in chain.faults):
        packets = _MAX_BITS / (8 * case.payload_bytes)
    return int(packets / _packets(case))


def _packets(case: Case) -> int:
    """Of a round."""
    return min(MAX_PACKETS, max(1024, (1 << 24) // case.payload_bytes))


def _round(chain: Chain, case: Case, frame: int, models: Sequence[Chain]) -> list[list[EventCounts]]:
    """Scores of each fault, by model, of one round."""
    passages = [chain.impairer(FrameInfo(frame, 0, (True,)), model) for model in models]
    for _, round_ in batches(_packets(case), case.payload_bytes):
        for impairer in passages:
            impairer.apply_each(round_)
    return [impairer.event_counts() for impairer in passages]


def _rounds_needed(right: EventCounts, wrong: EventCounts) -> int:
    z = _z(right.expected, wrong.expected, wrong.variance)
    return math.ceil((SHOWS * _SPARE / z) ** 2) if abs(z) > 1e-4 else 1


def _wrong(name: str, total: EventCounts, right: EventCounts, wrong: EventCounts, rounds: int) -> Wrong:
    """All rounds are alike: of a model one round says what all come to."""
    scale = total.trials / right.trials if right.trials else 0.0
    mean, variance = wrong.expected * scale, wrong.variance * scale
    return Wrong(name, _z(right.expected * scale, mean, variance), _z(total.events, mean, variance))


def _z(events: float, expected: float, variance: float) -> float:
    """Where nothing is left to chance one event too many is beyond any doubt: CERTAIN."""
    if variance > 0:
        return (events - expected) / math.sqrt(variance)
    return math.copysign(CERTAIN, events - expected) if abs(events - expected) > 0.5 else 0.0


def _add(one: EventCounts, other: EventCounts) -> EventCounts:
    return EventCounts(
        one.trials + other.trials, one.events + other.events,
        one.expected + other.expected, one.variance + other.variance,
    )  # fmt: skip
