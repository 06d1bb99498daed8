"""Bytes of a round with a file, from how long the file is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gocom.common import fec
from gocom.common.byte_account import packetized_bytes
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import SegmentPackets, assemble_round
from gocom.common.types import FrameHeader, GoMessage, LinkSettings


class Sizes:
    """Bytes of a round with a file, or with a part of it, from how long it is: packets are laid out, but empty.

    Args:
        like: a message with one segment of bytes; what it holds does not matter.
        link: how it is cut.

    Attributes:
        link: as given.
        max_rounds: that the header says there may be.
        full_packets: payload bytes of a full packet of an unprotected file, of a protected one, and of repair packets
            of several.
    """

    def __init__(self, like: GoMessage, link: LinkSettings) -> None:
        self.link, self.max_rounds = link, like.rounds.max_rounds
        self._like = like
        limit = link.max_payload_bytes
        repair = fec.repair_payload_bytes([(0, 1, b"")] * 2, fec.symbol_bytes(limit))
        self.full_packets = limit, fec.source_payload_bytes(limit), repair
        self._known: dict[tuple[int, int, bool], int] = {}

    def payload_bytes(self, protected: bool) -> int:
        """File bytes in a full packet."""
        return self.full_packets[protected]

    def repair_bytes(self, file_bytes: int) -> int:
        """Payload of a repair packet; that of a file of one packet is that packet again."""
        return file_bytes if file_bytes <= self.full_packets[1] else self.full_packets[2]

    def source_packets(self, file_bytes: int, protected: bool) -> int:
        """How many a file is cut into."""
        return -(-file_bytes // self.payload_bytes(protected))

    def round_bytes(self, file_bytes: int, repair_packets: int = 0, *, later: bool = False) -> int:
        """Every byte of a round: header, packets, end mark; `later`: of one that answers feedback."""
        key = file_bytes, repair_packets, later
        if key not in self._known:
            self._known[key] = packetized_bytes(*self._lay_out(*key), self.link)
        return self._known[key]

    def fits(self, budget_bytes: int, repair_packets: int = 0) -> Callable[[int], bool]:
        """Whether a file of so many bytes fits in one round with so many repair packets."""
        # What is too much by itself need not be laid out.
        return lambda size: (
            size + repair_packets * self.repair_bytes(size) <= budget_bytes
            and self.round_bytes(size, repair_packets) <= budget_bytes
        )

    def header(self, file_bytes: int) -> FrameHeader:
        """Of a first round without repair packets."""
        return self._lay_out(file_bytes, 0, False)[0]

    def _lay_out(self, file_bytes: int, repair: int, later: bool) -> tuple[FrameHeader, PacketBatch]:
        full = self.payload_bytes(repair > 0)
        counts = [min(full, file_bytes - first) for first in range(0, file_bytes, full)]
        sources = [(index * full, count, bytes(count)) for index, count in enumerate(counts)]
        symbol = fec.symbol_bytes(self.link.max_payload_bytes) if repair and len(sources) > 1 else 0
        payloads = [bytes(fec.repair_payload_bytes(sources, symbol))] * repair if repair else []
        segment = replace(
            self._like.segments[0], elements=np.zeros(file_bytes, np.int64), damage_tolerant=not repair,
            as_requested=later,
        )  # fmt: skip
        message = replace(self._like, segments=(segment,), round=int(later))
        return assemble_round(message, [SegmentPackets(sources, payloads, symbol, np.zeros(0))])
