"""What the emulator reads in the headers of a session, of codecs that it need not know."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.errors import InvalidInput
from gocom.common.packetizer import MAX_PACKETS, MAX_SEGMENTS
from gocom.common.wire.frame_headers import frame_index_of
from gocom.v1 import link_pb2


class HeaderReader:
    """Reads the headers of one session in the order in which they come.

    Args:
        opening: the opening of the session, whose defaults headers leave out. It is not kept.

    Raises:
        InvalidInput: the defaults have more than MAX_SEGMENTS segments.
    """

    def __init__(self, opening: link_pb2.SessionOpen) -> None:
        defaults = opening.defaults
        self._tolerant = _tolerance(defaults.segments, "defaults.segments")
        self._codec = defaults.codec.WhichOneof("codec") or ""
        self._max_rounds = defaults.rounds.max_rounds
        self._last_frame = -1

    def read(self, header: link_pb2.FrameHeader) -> FrameInfo:
        """Return what the channel may know of the round that the header begins.

        Raises:
            InvalidInput: the frame index is missing where it does not follow, a column does not fit the segments, or
                there are more than MAX_SEGMENTS segments or MAX_PACKETS packets.
        """
        index = frame_index_of(header, self._last_frame)
        if not header.round:
            self._last_frame = index
        tolerant = _tolerance(header.segments, "header.segments") if header.segments else self._tolerant
        columns = []
        for name, absent in (("source_packets", 1), ("repair_packets", 0)):
            column = getattr(header, name)
            if column and len(column) != len(tolerant):
                raise InvalidInput(f"header.{name}: {len(column)} entries for {len(tolerant)} segments")
            columns.append(column or [absent] * len(tolerant))
        ends = tuple(accumulate(map(sum, zip(*columns, strict=True))))
        if ends and ends[-1] > MAX_PACKETS:
            raise InvalidInput(f"header: {ends[-1]} packets are more than {MAX_PACKETS}")
        return FrameInfo(index, header.round, tolerant, ends)

    def codec(self, header: link_pb2.FrameHeader) -> str:
        """Return the name of the codec's field, "extension" for codecs from outside: metrics must have few labels."""
        return header.codec.WhichOneof("codec") or "" if header.HasField("codec") else self._codec

    def max_rounds(self, header: link_pb2.FrameHeader) -> int:
        """Return the largest number of rounds of the frame; 0 and 1 both mean one."""
        return header.rounds.max_rounds if header.HasField("rounds") else self._max_rounds


def _tolerance(segments: Sequence[link_pb2.SegmentHeader], field: str) -> tuple[bool, ...]:
    """Return whether each segment tolerates damage. Raise InvalidInput if there are more than MAX_SEGMENTS."""
    if len(segments) > MAX_SEGMENTS:
        raise InvalidInput(f"{field}: {len(segments)} are more than {MAX_SEGMENTS}")
    return tuple(segment.damage_tolerant for segment in segments)
