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
from gocom.evaluation.channel.trial import batches, total, z_score
from gocom.v1 import channel_pb2

PASS, SHOWS = 4.0, 8.0
"""A right model stays below the one; a wrong one is expected above the other."""
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
    models = list(wrong_models(chain))
    right, *off = _round(chain, case, 0, [chain, *(model for _, model in models)])
    # Each wrong model has one fault that is off: its name, which fault, and what one round says of it.
    wrong = [
        (name, at, scores[at])
        for (name, model), scores in zip(models, off, strict=True)
        for at, named in enumerate(chain.faults)
        if model.faults[at] is not named
    ]
    needed = max((_rounds_needed(right[at], score) for _, at, score in wrong), default=1)
    rounds = min(needed, max(1, _most_rounds(chain, case)))
    sums = right
    for frame in range(1, rounds):
        (scores,) = _round(chain, case, frame, [chain])
        sums = [total(pair) for pair in zip(sums, scores, strict=True)]
    found = []
    for position, (named, score) in enumerate(zip(chain.faults, sums, strict=True)):
        mine = tuple(_wrong(name, score, right[at], one) for name, at, one in wrong if at == position)
        z = z_score(score.events, score.expected, score.variance)
        counted = score.trials, score.events, score.expected
        found.append(Certificate(case.spec, named.name, rounds * _packets(case), *counted, z, mine))
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
    z = z_score(right.expected, wrong.expected, wrong.variance)
    return math.ceil((SHOWS * _SPARE / z) ** 2) if abs(z) > 1e-4 else 1


def _wrong(name: str, counted: EventCounts, right: EventCounts, wrong: EventCounts) -> Wrong:
    """All rounds are alike: of a model one round says what all come to."""
    scale = counted.trials / right.trials if right.trials else 0.0
    mean, variance = wrong.expected * scale, wrong.variance * scale
    return Wrong(name, z_score(right.expected * scale, mean, variance), z_score(counted.events, mean, variance))
