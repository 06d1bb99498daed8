"""What the emulator reads in the headers of a session, of codecs that it need not know."""

from __future__ import annotations

from itertools import accumulate

from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.errors import InvalidInput
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.wire.frame_headers import frame_index_of
from gocom.v1 import link_pb2


class HeaderReader:
    """Reads the headers of one session in the order in which they come.

    Args:
        opening: the opening of the session, whose defaults headers leave out.
    """

    def __init__(self, opening: link_pb2.SessionOpen) -> None:
        self._defaults = opening.defaults
        self._last_frame = -1

    def read(self, header: link_pb2.FrameHeader) -> FrameInfo:
        """Return what the channel may know of the round that the header begins.

        Raises:
            InvalidInput: the frame index is missing in a further round, a column does not fit the segments, or there
                are more than MAX_PACKETS packets.
        """
        index = frame_index_of(header, self._last_frame)
        if not header.round:
            self._last_frame = index
        tolerant = tuple(s.damage_tolerant for s in header.segments or self._defaults.segments)
        source = header.source_packets or [1] * len(tolerant)
        repair = header.repair_packets or [0] * len(tolerant)
        for name, column in (("source_packets", source), ("repair_packets", repair)):
            if len(column) != len(tolerant):
                raise InvalidInput(f"header.{name}: {len(column)} entries for {len(tolerant)} segments")
        ends = tuple(accumulate(map(sum, zip(source, repair, strict=True))))
        if ends and ends[-1] > MAX_PACKETS:
            raise InvalidInput(f"header: {ends[-1]} packets are more than {MAX_PACKETS}")
        return FrameInfo(index, header.round, tolerant, ends)

    def codec(self, header: link_pb2.FrameHeader) -> str:
        """Return the name of the codec's field, "extension" for codecs from outside: metrics must have few labels."""
        named = header.codec if header.HasField("codec") else self._defaults.codec
        return named.WhichOneof("codec") or ""

    def max_rounds(self, header: link_pb2.FrameHeader) -> int:
        """Return the largest number of rounds of the frame; 0 and 1 both mean one."""
        return (header.rounds if header.HasField("rounds") else self._defaults.rounds).max_rounds
