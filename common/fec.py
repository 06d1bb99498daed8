"""RaptorQ (RFC 6330) repair packets over the packets of one segment.

Each source packet is one symbol: its length, element range and payload, padded to the symbol size. Source packets
travel as they are; repair packets carry a RaptorQ payload id and a repair symbol. A segment of one packet is simply
repeated. RaptorQ never notices damage, and panics on some of it, so only checked packets of the right size get here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import raptorq

from gocom.common.errors import TooLarge

_PREFIX = struct.Struct("<HHI")
_ID_BYTES = 4
_MORE_TRIES = 16
"""Repair packets beyond those that could be enough; each makes a failure 256 times less likely (RFC 6330)."""
MAX_SOURCE_PACKETS = 8192
"""Source packets a segment may be cut into when it is protected (one RaptorQ source block)."""
MAX_BLOCK_BYTES = 64 << 20
"""Bytes of that block."""

SourcePacket = tuple[int, int, bytes]
"""(first element, element count, payload)."""


def symbol_bytes(max_payload_bytes: int) -> int:
    """Size of a symbol such that a repair packet fits the payload: a multiple of 8, at least 16."""
    return max(16, (max_payload_bytes - _ID_BYTES) // 8 * 8)


def source_payload_bytes(max_payload_bytes: int) -> int:
    """Room for a payload inside a symbol."""
    return symbol_bytes(max_payload_bytes) - _PREFIX.size


def repair_count(source_packets: int, overhead: float) -> int:
    """How many repair packets an overhead means: rounded up, none for nothing."""
    return math.ceil(source_packets * overhead - 1e-9) if source_packets else 0


def repair_payload_bytes(packets: list[SourcePacket], size: int) -> int:
    """Size of a repair payload for source packets, at least one, of this symbol size."""
    return len(packets[0][2]) if len(packets) == 1 else size + _ID_BYTES


def check_block(source_packets: int, size: int) -> None:
    """Raises TooLarge when a protected segment (size > 0) is more than one RaptorQ block can carry."""
    if size and (source_packets > MAX_SOURCE_PACKETS or source_packets * size > MAX_BLOCK_BYTES):
        raise TooLarge(
            f"repair_overhead: {source_packets} packets of {size} bytes are more than one RaptorQ block "
            f"({MAX_SOURCE_PACKETS} packets, {MAX_BLOCK_BYTES} bytes) can protect; use larger payloads"
        )


def _symbol(packet: SourcePacket, size: int) -> bytes:
    first, count, payload = packet
    return (_PREFIX.pack(len(payload), count, first) + payload).ljust(size, b"\0")


def _parse(symbol: bytes) -> SourcePacket | None:
    length, count, first = _PREFIX.unpack_from(symbol)
    if length > len(symbol) - _PREFIX.size:
        return None
    return first, count, symbol[_PREFIX.size : _PREFIX.size + length]


def make_repair(packets: list[SourcePacket], count: int, size: int) -> list[bytes]:
    """`count` repair payloads for the given source packets."""
    if count == 0 or not packets:
        return []
    if len(packets) == 1:
        return [packets[0][2]] * count
    block = b"".join(_symbol(p, size) for p in packets)
    encoded = raptorq.Encoder.with_defaults(block, size).get_encoded_packets(count)
    return [bytes(p) for p in encoded[len(packets) :]]


def recover(
    received: Mapping[int, SourcePacket], repair: Mapping[int, bytes], source_packets: int, size: int
) -> dict[int, SourcePacket]:
    """Source packets by number, with those that repair packets bring back.

    Args:
        received: source packets that arrived, by number in the segment.
        repair: repair payloads that arrived, by number.
        source_packets: how many were sent.
        size: symbol size, from the frame header.
    """
    have = dict(received)
    if len(have) == source_packets or not repair or source_packets > MAX_SOURCE_PACKETS:
        return have
    if size <= _PREFIX.size or source_packets * size > MAX_BLOCK_BYTES:
        return have
    usable = [p for p in repair.values() if len(p) == size + _ID_BYTES and p[0] == 0]
    usable = [p for p in usable if int.from_bytes(p[1:4], "big") >= source_packets]
    missing = source_packets - len(have)
    if len(usable) < missing:
        return have
    # From the first that could be enough on, each one is a try to solve the whole block.
    usable = usable[: missing + _MORE_TRIES]
    try:
        decoder = raptorq.Decoder.with_defaults(source_packets * size, size)
        for number, packet in have.items():
            block = decoder.decode(number.to_bytes(_ID_BYTES, "big") + _symbol(packet, size))
            if block is not None:
                return _split(block, size)
        for payload in usable:
            block = decoder.decode(payload)
            if block is not None:
                return _split(block, size)
    except BaseException as error:  # the Rust side panics with a BaseException of its own
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
    return have


def _split(block: bytes, size: int) -> dict[int, SourcePacket]:
    parsed = {i: _parse(block[at : at + size]) for i, at in enumerate(range(0, len(block), size))}
    return {i: p for i, p in parsed.items() if p is not None}
