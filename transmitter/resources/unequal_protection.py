"""Unequal error protection: how many repair packets each segment is worth, under a byte budget.

    segments --cut, without and with room for repair--> options (bytes, importance lost) of each segment
             --merge--> all sums within the budget --least loss first--> the first whose exact bytes fit

More repair packets help little until there are about as many as are lost, and then at once: the gain is not concave,
and taking the best next step (greedy) goes wrong. So options of segments are combined, and combinations that cost
no less and lose no less than another are left out (Pareto front).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gocom.common import fec
from gocom.common.byte_account import laid_out_bytes, varint_bytes
from gocom.common.csi import Csi
from gocom.common.errors import TooLarge
from gocom.common.packetizer import MAX_PACKETS, Cut, cut_segment, lay_out
from gocom.common.systems import spec_of
from gocom.common.types import GoMessage, Ints, LinkSettings
from gocom.transmitter.resources.residual_loss import Doubles, lost_shares

MAX_REPAIR = 2048
"""Repair packets of a segment at most: the time to weigh them grows with their square, and encoders wait for it."""
MAX_OPTIONS = 1024
"""Options kept of a segment, or of several together; of more of them so many, evenly spaced."""
_BATCH_BYTES = 16
"""Of a batch message, besides its packets, at least."""
_MANY = 50
"""Combinations whose exact bytes are counted before those that just fit by the estimate are left out."""


@dataclass(frozen=True, slots=True)
class SegmentProtection:
    """What was chosen for a segment; see the message of the same name in transmitter.proto."""

    name: str
    source_packets: int
    repair_packets: int
    importance: float
    loss_without: float
    loss_with: float


@dataclass(frozen=True, slots=True)
class _Choices:
    """What could be done for a segment; the first option is nothing.

    Attributes:
        plain, protected: its packets without and with room for repair; both the same where it cannot have any.
        importance: of all its elements that are sent.
        repair: int64 [n], repair packets of each option.
        bytes: int64 [n], of its packets, their numbers taken as one byte each.
        share: float64 [n], expected to be lost.
    """

    plain: Cut
    protected: Cut
    importance: float
    repair: Ints
    bytes: Ints
    share: Doubles

    def cut(self, option: int) -> Cut:
        """The packets of an option, with repair payloads of the right size."""
        count = int(self.repair[option])
        if not count:
            return self.plain
        size = fec.repair_payload_bytes(self.protected.sources, self.protected.symbol_bytes)
        return replace(self.protected, repair=[bytes(size)] * count)

    def packets(self) -> Ints:
        """int64 [n], of each option."""
        return np.where(self.repair > 0, len(self.protected.sources), len(self.plain.sources)) + self.repair


def without_repair(message: GoMessage) -> GoMessage:
    """The message with no repair packets, whatever its codec wanted."""
    return replace(message, segments=tuple(replace(segment, repair_packets=0) for segment in message.segments))


def protect(
    message: GoMessage, link: LinkSettings, budget_bytes: int, csi: Csi
) -> tuple[GoMessage, tuple[SegmentProtection, ...]]:
    """A round with the repair packets that let the least importance be lost, and why.

    Minimises the sum over segments of importance x expected share lost (recovery.py), importance taken as spread
    evenly over a segment's packets. Exact for two segments of at most MAX_OPTIONS options each; with more segments it
    may miss, by the few bytes that numbers in headers grow, what just fits.

    Args:
        message: without repair packets; must be within the budget.
        budget_bytes: of the round, every byte counted.
        csi: rate of loss and mean burst.
    """
    message = without_repair(message)
    plain = [cut_segment(message, segment, link, protected=False) for segment in message.segments]
    base = _exact(message, plain, link)
    spare = max(0, budget_bytes - base)
    choices = [_choices(message, i, cut, link, spare, csi) for i, cut in enumerate(plain)]
    picks = _best(message, choices, link, base, spare) if choices else []
    segments = []
    for segment, choice, option in zip(message.segments, choices, picks, strict=True):
        repair = int(choice.repair[option])
        # RaptorQ never notices damage.
        tolerant = segment.damage_tolerant and not repair
        segments.append(replace(segment, repair_packets=repair, damage_tolerant=tolerant))
    chosen = tuple(
        SegmentProtection(
            spec_of(message.codec, segment.kind).name, len(choice.cut(option).sources), int(choice.repair[option]),
            choice.importance, float(choice.share[0]), float(choice.share[option]),
        )
        for segment, choice, option in zip(message.segments, choices, picks, strict=True)
    )  # fmt: skip
    return replace(message, segments=tuple(segments)), chosen


def _choices(message: GoMessage, index: int, plain: Cut, link: LinkSettings, spare: int, csi: Csi) -> _Choices:
    """Options of one segment, at most `spare` bytes above doing nothing."""
    segment, powered = message.segments[index], message.power is not None
    whole = spec_of(message.codec, segment.kind).whole
    importance = float(plain.importance.sum())
    least = _source_bytes(plain, index, powered)
    share = lost_shares(len(plain.sources), 0, csi, whole=whole) if plain.sources else np.zeros(1)
    nothing = _Choices(plain, plain, importance, np.zeros(1, np.int64), np.array([least]), share)
    try:
        protected = cut_segment(message, segment, link, protected=True)
    except TooLarge:
        return nothing
    if not protected.sources:
        return nothing
    size = fec.repair_payload_bytes(protected.sources, protected.symbol_bytes)
    own = _source_bytes(protected, index, powered)
    each = size + int(varint_bytes(np.array([size, index])).sum()) + 1 + _fixed(powered)
    most = min(MAX_REPAIR, (spare + least - own) // (each + 1))
    if most < 1:
        return nothing
    shares = lost_shares(len(protected.sources), most, csi, whole=whole)
    repair = np.unique(np.linspace(1, len(shares) - 1, min(len(shares) - 1, MAX_OPTIONS - 1)).astype(np.int64))
    numbers = np.cumsum(varint_bytes(np.arange(len(shares) - 1)))[repair - 1]
    return _Choices(
        plain, protected, importance, np.append(0, repair), np.append(least, own + each * repair + numbers),
        np.append(share, shares[repair]),
    )  # fmt: skip


def _source_bytes(cut: Cut, index: int, powered: bool) -> int:
    """Of source packets, their numbers taken as one byte each."""
    if not cut.sources:
        return 0
    rows = np.array([(index, first, count, len(data)) for first, count, data in cut.sources])
    return int(rows[:, 3].sum() + varint_bytes(rows).sum()) + len(rows) * _fixed(powered)


def _fixed(powered: bool) -> int:
    """Checksum, number, power."""
    return 4 + 1 + 4 * powered


def _exact(message: GoMessage, cuts: Sequence[Cut], link: LinkSettings) -> int:
    """Every byte of a round; with a power column if the message has a rule for it."""
    header, batch = lay_out(message, cuts)
    if message.power is not None:
        batch.power = np.full(len(batch), 2, np.float32)
    return laid_out_bytes(header, batch, link)


def _best(message: GoMessage, choices: Sequence[_Choices], link: LinkSettings, base: int, spare: int) -> list[int]:
    """The option of each segment."""
    found = _Combinations.of(choices[0])
    for count, choice in enumerate(choices[1:], 2):
        found = found.with_segment(choice, spare)
        if count < len(choices):
            found = found.front()
    # What numbers of packets take beyond one byte, and further batches.
    most = np.arange(int(found.packets.max()) + 1)
    beyond = np.append(0, np.cumsum(varint_bytes(most[:-1]) - 1)) - most // -link.batch_packets * _BATCH_BYTES
    estimate = found.bytes + beyond[found.packets] - beyond[found.packets[0]]
    margin, counted = 0, 0
    for at in np.lexsort((found.bytes, found.loss)).tolist():
        if estimate[at] > spare - margin or found.packets[at] > MAX_PACKETS:
            continue
        picks = [int(option) for option in found.picks[at]]
        more = _exact(message, [c.cut(o) for c, o in zip(choices, picks, strict=True)], link) - base
        if more <= spare:
            return picks
        counted += 1
        if counted > _MANY:
            margin = max(margin, more - int(estimate[at]))
    return [0] * len(choices)


@dataclass(frozen=True, slots=True)
class _Combinations:
    """Options of several segments together; the first is nothing for any.

    Attributes:
        bytes: int64 [n], more than that costs, at least.
        packets: int64 [n], in all.
        loss: float64 [n], importance that is expected to be lost.
        picks: int64 [n, S], the option of each segment.
    """

    bytes: Ints
    packets: Ints
    loss: Doubles
    picks: npt.NDArray[np.int64]

    @classmethod
    def of(cls, choice: _Choices) -> _Combinations:
        """Those of one segment."""
        options = np.arange(len(choice.repair))[:, None]
        return cls(choice.bytes - choice.bytes[0], choice.packets(), choice.importance * choice.share, options)

    def with_segment(self, choice: _Choices, spare: int) -> _Combinations:
        """Each of these with each option of one segment more, where that is at most `spare` bytes."""
        other = _Combinations.of(choice)
        cost = self.bytes[:, None] + other.bytes
        mine, its = np.nonzero(cost <= spare)
        return _Combinations(
            cost[mine, its], self.packets[mine] + other.packets[its], self.loss[mine] + other.loss[its],
            np.concatenate([self.picks[mine], other.picks[its]], axis=1),
        )  # fmt: skip

    def front(self) -> _Combinations:
        """Without those that another beats in bytes and in loss; at most MAX_OPTIONS."""
        order = np.lexsort((self.loss, self.bytes))
        best = np.minimum.accumulate(self.loss[order])
        keep = order[np.append(True, self.loss[order][1:] < best[:-1])]
        if len(keep) > MAX_OPTIONS:
            keep = keep[np.linspace(0, len(keep) - 1, MAX_OPTIONS).astype(np.int64)]
        return _Combinations(self.bytes[keep], self.packets[keep], self.loss[keep], self.picks[keep])
