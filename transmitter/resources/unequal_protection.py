"""Unequal error protection: the number of repair packets of each segment, under a byte budget.

    segments --packetize, without and with repair--> options (bytes, importance lost) of each segment
             --combine--> all sums within the budget --least loss first--> the first whose exact bytes fit

Repair packets help little until there are about as many as packets are lost, and then at once. The gain is therefore
not concave, and a greedy search goes wrong. So the options of all segments are combined, and only the Pareto front in
bytes and loss is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gocom.common import fec
from gocom.common.byte_account import packetized_bytes, varint_bytes
from gocom.common.csi import Csi
from gocom.common.errors import TooLarge
from gocom.common.packetizer import MAX_PACKETS, SegmentPackets, assemble_round, packetize_segment
from gocom.common.systems import spec_of
from gocom.common.types import GoMessage, Ints, LinkSettings, Segment
from gocom.transmitter.resources.residual_loss import Doubles, lost_shares

MAX_REPAIR = 2048
"""Maximum number of repair packets of a segment: their evaluation takes quadratic time, and encoders wait for it."""
MAX_OPTIONS = 1024
"""Maximum number of options of a segment, or of several segments together; larger sets are thinned out evenly."""
_BATCH_BYTES = 16
"""Minimum size of a PacketBatch message without its packets."""
_EXACT_COUNTS = 50
"""Number of combinations whose exact bytes are computed before those that barely fit by the estimate are skipped."""


@dataclass(frozen=True, slots=True)
class SegmentProtection:
    """Protection of a segment; see the message of the same name in transmitter.proto."""

    name: str
    source_packets: int
    repair_packets: int
    importance: float
    loss_without: float
    loss_with: float


@dataclass(frozen=True, slots=True)
class _SegmentOptions:
    """Options for the protection of a segment; the first option is no repair packets.

    Attributes:
        plain: packets of the segment without repair.
        protected: packets of the segment with room for repair; the same as `plain` if it cannot have any.
        importance: sum over all elements that are sent.
        repair: int64 [n], number of repair packets of each option.
        bytes: int64 [n], size of each option's packets, with one byte for each sequence number.
        share: float64 [n], expected share of the segment that is lost.
    """

    plain: SegmentPackets
    protected: SegmentPackets
    importance: float
    repair: Ints
    bytes: Ints
    share: Doubles

    def cut(self, option: int) -> SegmentPackets:
        """Return the packets of an option, with repair payloads of the right size and no content."""
        count = int(self.repair[option])
        if not count:
            return self.plain
        size = fec.repair_payload_bytes(self.protected.sources, self.protected.symbol_bytes)
        return replace(self.protected, repair=[bytes(size)] * count)

    def packets(self) -> Ints:
        """Return the number of packets of each option, int64 [n]."""
        return np.where(self.repair > 0, len(self.protected.sources), len(self.plain.sources)) + self.repair


def without_repair(message: GoMessage) -> GoMessage:
    """Return a copy of the message without repair packets; the codec may have asked for some."""
    return replace(message, segments=tuple(replace(segment, repair_packets=0) for segment in message.segments))


def protect(
    message: GoMessage, link: LinkSettings, budget_bytes: int, csi: Csi
) -> tuple[GoMessage, tuple[SegmentProtection, ...]]:
    """Add the repair packets that minimize the expected loss of importance, and return the protection of each segment.

    Minimizes the sum over segments of importance x expected share lost (residual_loss.py). Importance counts as spread
    evenly over a segment's packets. The result is exact for two segments of at most MAX_OPTIONS options each. With more
    segments it may miss a choice that fits by the few bytes by which numbers in headers grow.

    Args:
        message: a round within the budget; its own repair packets are removed.
        link: link settings of the session.
        budget_bytes: size limit of the round; every byte counts.
        csi: loss rate and mean burst length.
    """
    message = without_repair(message)
    plain = [packetize_segment(message, segment, link, protected=False) for segment in message.segments]
    base = _round_bytes(message, plain, link)
    spare = max(0, budget_bytes - base)
    columns = any(len(cut.sources) > 1 for cut in plain)
    choices = [
        _segment_options(message, segment, cut, link, spare, csi, columns)
        for segment, cut in zip(message.segments, plain, strict=True)
    ]
    picks = _best_options(message, choices, link, base, spare) if choices else []
    segments = []
    for segment, choice, option in zip(message.segments, choices, picks, strict=True):
        repair = int(choice.repair[option])
        # RaptorQ does not detect damaged packets.
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


def _segment_options(
    message: GoMessage, segment: Segment, plain: SegmentPackets, link: LinkSettings, spare: int, csi: Csi, columns: bool
) -> _SegmentOptions:
    """Return the options of one segment that take at most `spare` bytes more than no repair packets.

    With `columns` the round's batches say the elements of each packet.
    """
    fixed = _fixed_bytes(message.power is not None)
    whole = spec_of(message.codec, segment.kind).all_or_nothing
    importance = float(plain.importance.sum())
    plain_bytes = _source_bytes(plain, fixed, columns)
    share = lost_shares(len(plain.sources), 0, csi, whole=whole) if plain.sources else np.zeros(1)
    nothing = _SegmentOptions(plain, plain, importance, np.zeros(1, np.int64), np.array([plain_bytes]), share)
    try:
        protected = packetize_segment(message, segment, link, protected=True)
    except TooLarge:
        return nothing
    if not protected.sources:
        return nothing
    size = fec.repair_payload_bytes(protected.sources, protected.symbol_bytes)
    protected_bytes = _source_bytes(protected, fixed, columns)
    repair_bytes = size + int(varint_bytes(np.array([size])).sum()) + 2 * columns + fixed
    max_repair = min(MAX_REPAIR, (spare + plain_bytes - protected_bytes) // repair_bytes)
    if max_repair < 1:
        return nothing
    shares = lost_shares(len(protected.sources), max_repair, csi, whole=whole)
    repair = np.unique(np.linspace(1, len(shares) - 1, min(len(shares) - 1, MAX_OPTIONS - 1)).astype(np.int64))
    return _SegmentOptions(
        plain, protected, importance, np.append(0, repair),
        np.append(plain_bytes, protected_bytes + repair_bytes * repair),
        np.append(share, shares[repair]),
    )  # fmt: skip


def _source_bytes(cut: SegmentPackets, fixed: int, columns: bool) -> int:
    """Return the size of source packets, with one byte for each sequence number.

    Args:
        cut: the packets.
        fixed: bytes from `_fixed_bytes`.
        columns: the round's batches say the elements of each packet.
    """
    if not cut.sources:
        return 0
    lengths = np.array([len(data) for _, _, data in cut.sources])
    size = int(lengths.sum() + varint_bytes(lengths).sum()) + len(cut.sources) * fixed
    if not columns:
        return size
    if len(cut.sources) == 1:
        return size + 2
    return size + int(varint_bytes(np.array([source[:2] for source in cut.sources])).sum())


def _fixed_bytes(powered: bool) -> int:
    """Return the bytes of a packet's checksum, its sequence number (taken as one byte) and its power if it has any."""
    return 4 + 1 + 4 * powered


def _round_bytes(message: GoMessage, cuts: Sequence[SegmentPackets], link: LinkSettings) -> int:
    """Return the exact size of a round, with a power column if the message has a power rule."""
    header, batch = assemble_round(message, cuts)
    if message.power is not None:
        batch.power = np.full(len(batch), 2, np.float32)
    return packetized_bytes(header, batch, link)


def _best_options(
    message: GoMessage, choices: Sequence[_SegmentOptions], link: LinkSettings, base: int, spare: int
) -> list[int]:
    """Return the index of the best option of each segment."""
    found = _Combinations.of(choices[0])
    for count, choice in enumerate(choices[1:], 2):
        found = found.with_segment(choice, spare)
        if count < len(choices):
            found = found.pareto_front()
    # Bytes of sequence numbers beyond one byte each, and of further batches.
    numbers = np.arange(int(found.packets.max()) + 1)
    beyond = np.append(0, np.cumsum(varint_bytes(numbers[:-1]) - 1)) - numbers // -link.batch_packets * _BATCH_BYTES
    estimate = found.bytes + beyond[found.packets] - beyond[found.packets[0]]
    margin, counted = 0, 0
    for at in np.lexsort((found.bytes, found.loss)).tolist():
        if estimate[at] > spare - margin or found.packets[at] > MAX_PACKETS:
            continue
        picks = [int(option) for option in found.picks[at]]
        more = _round_bytes(message, [c.cut(o) for c, o in zip(choices, picks, strict=True)], link) - base
        if more <= spare:
            return picks
        counted += 1
        if counted > _EXACT_COUNTS:
            margin = max(margin, more - int(estimate[at]))
    return [0] * len(choices)


@dataclass(frozen=True, slots=True)
class _Combinations:
    """Candidates for the repair packets of S segments together: n combinations of one option of each segment.

    The first combination has no repair packets.

    Attributes:
        bytes: int64 [n], bytes beyond those of the first combination. They are a lower bound: sequence numbers count as
            one byte each here.
        packets: int64 [n], number of packets of all segments.
        loss: float64 [n], expected loss of importance, summed over the segments.
        picks: int64 [n, S], index of the chosen option of each segment.
    """

    bytes: Ints
    packets: Ints
    loss: Doubles
    picks: npt.NDArray[np.int64]

    @classmethod
    def of(cls, choice: _SegmentOptions) -> _Combinations:
        """Return the options of one segment."""
        options = np.arange(len(choice.repair))[:, None]
        return cls(choice.bytes - choice.bytes[0], choice.packets(), choice.importance * choice.share, options)

    def with_segment(self, choice: _SegmentOptions, spare: int) -> _Combinations:
        """Combine with the options of one more segment; those of more than `spare` bytes are left out."""
        other = _Combinations.of(choice)
        cost = self.bytes[:, None] + other.bytes
        mine, its = np.nonzero(cost <= spare)
        return _Combinations(
            cost[mine, its], self.packets[mine] + other.packets[its], self.loss[mine] + other.loss[its],
            np.concatenate([self.picks[mine], other.picks[its]], axis=1),
        )  # fmt: skip

    def pareto_front(self) -> _Combinations:
        """Return the Pareto front in bytes and loss, thinned out to at most MAX_OPTIONS combinations."""
        order = np.lexsort((self.loss, self.bytes))
        best = np.minimum.accumulate(self.loss[order])
        keep = order[np.append(True, self.loss[order][1:] < best[:-1])]
        if len(keep) > MAX_OPTIONS:
            keep = keep[np.linspace(0, len(keep) - 1, MAX_OPTIONS).astype(np.int64)]
        return _Combinations(self.bytes[keep], self.packets[keep], self.loss[keep], self.picks[keep])
