"""What a channel does to packets of given sizes, drawn often and with other seeds than any evaluation has."""

from __future__ import annotations

import numpy as np

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

FIRST_SEED = 1 << 32
"""Of these draws; those of an evaluation are below it."""
DRAWS = 200
_STEP = 32
"""Packets are looked at in multiples of so many, so that what was drawn serves other files too."""


class Fates:
    """One channel, as packets of one frame meet it; what was drawn is kept.

    Args:
        channel: SPEC.
        frame_index: of the frame.

    Attributes:
        idle: the channel has no faults.

    Raises:
        InvalidInput: of the channel.
    """

    def __init__(self, channel: str, frame_index: int) -> None:
        chain = Chain.from_profile(parse_spec(channel))
        self._chains = [Chain(chain.faults, FIRST_SEED + draw) for draw in range(DRAWS)]
        self._frame_index = frame_index
        self.idle = not chain.faults
        self._by_round = chain.timed or chain.needs_whole_round
        self._counts: dict[tuple[int, int], Ints] = {}
        self._undamaged: dict[tuple[int, ...], list[Ints]] = {}

    def arrived(self, draw: int, lengths: Ints, round_: int = 0, *, tolerant: bool = False) -> Bools:
        """bool [P]: which packets of a round arrive, of payloads int64 [P] bytes; `tolerant`: damaged ones do too."""
        info = FrameInfo(self._frame_index, round_, (tolerant,))
        return self._passed(draw, np.arange(len(lengths)), lengths, info)

    def counts(self, packets: int, payload_bytes: int, round_: int, draws: int) -> Ints:
        """int64 [draws, packets + 1 or more]: how many of the first k packets of a round arrive, damage tolerated.

        All of them are taken to be of one size.
        """
        key = payload_bytes, round_
        known = self._counts.get(key)
        if known is None or known.shape[1] <= packets:
            lengths = np.full(_up(packets), payload_bytes, np.int64)
            came = np.stack([self.arrived(draw, lengths, round_, tolerant=True) for draw in range(draws)])
            known = self._counts[key] = _count(came)
        return known

    def undamaged(self, packets: int, sizes: tuple[int, ...]) -> list[Ints]:
        """The same for undamaged packets of a first round: for each payload size int64 [DRAWS, packets + 1 or more]."""
        known = self._undamaged.get(sizes)
        if known is None or known[0].shape[1] <= packets:
            up = _up(packets)
            sequence, lengths = np.tile(np.arange(up), len(sizes)), np.repeat(np.array(sizes, np.int64), up)
            came = self.alone(sequence, lengths, lengths).reshape(DRAWS, len(sizes), up)
            known = self._undamaged[sizes] = [_count(came[:, index]) for index in range(len(sizes))]
        return known

    def alone(self, sequence: Ints, lengths: Ints, before: Ints) -> Bools:
        """bool [DRAWS, P]: whether packets of a first round arrive undamaged, each with a number and size of its own.

        Numbers int64 [P] may repeat: a fate follows from number and size alone. Only where there is a queue, or where a
        round shares symbols, it follows from other packets too; there a packet is taken to be as large as they are.

        Args:
            sequence: int64 [P], numbers.
            lengths: int64 [P], payload bytes.
            before: int64 [P], payload bytes of those before each of them.
        """
        info = FrameInfo(self._frame_index, 0, (False,))
        if not self._by_round:
            return np.stack([self._passed(draw, sequence, lengths, info) for draw in range(DRAWS)])
        came = np.zeros((DRAWS, len(sequence)), bool)
        for size in np.unique(before):
            rows = before == size
            alike = np.full(int(sequence[rows].max()) + 1, size, np.int64)
            for draw in range(DRAWS):
                came[draw, rows] = self.arrived(draw, alike)[sequence[rows]]
        return came

    def _passed(self, draw: int, sequence: Ints, lengths: Ints, info: FrameInfo) -> Bools:
        count, chain = len(sequence), self._chains[draw]
        none = np.zeros(count, np.int64)
        batch = PacketBatch(
            payload=np.zeros(int(lengths.sum()), np.uint8), length=lengths, sequence=sequence,
            first_element=none, element_count=none + 1, checksum=np.zeros(count, np.uint32),
            power=np.ones(count, np.float32), erased=np.zeros(count, bool),
        )  # fmt: skip
        if not chain.timed:
            return ~chain.apply(batch, info).erased
        return np.isin(sequence, chain.impairer(info).apply_timed(batch).in_arrival_order().sequence)


def _up(packets: int) -> int:
    return -(-packets // _STEP) * _STEP


def _count(arrived: Bools) -> Ints:
    """bool [draws, N] -> int64 [draws, N + 1]: of the first k."""
    return np.pad(np.cumsum(arrived, axis=1), ((0, 0), (1, 0)))
