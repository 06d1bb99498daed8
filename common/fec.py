"""Forward error correction with RaptorQ (RFC 6330) over the packets of one segment.

The code is systematic. Each source packet is one symbol: its length, element range and payload, padded to the symbol
size. Source packets are sent without padding; a repair packet carries a RaptorQ payload id and a repair symbol. A
segment of one packet is repeated instead. The RaptorQ library does not detect damaged symbols, and panics on some, so
it is only given packets with a correct checksum and size.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import raptorq

from gocom.common.errors import TooLarge

_PREFIX = struct.Struct("<HHI")
_ID_BYTES = 4
_EXTRA_SYMBOLS = 16
"""Number of repair packets that are tried beyond the number of missing source packets. Each of them makes a decoding
failure 256 times less likely (RFC 6330)."""
MAX_SOURCE_PACKETS = 8192
"""Largest number of source packets of a protected segment, which is one RaptorQ source block."""
MAX_BLOCK_BYTES = 64 << 20
"""Largest size of a RaptorQ source block, in bytes."""

SourcePacket = tuple[int, int, bytes]
"""A source packet as (first element, element count, payload)."""


def symbol_bytes(max_payload_bytes: int) -> int:
    """Return the largest symbol size, in bytes, whose repair packets fit the payload: a multiple of 8, at least 16."""
    return max(16, (max_payload_bytes - _ID_BYTES) // 8 * 8)


def source_payload_bytes(max_payload_bytes: int) -> int:
    """Return the largest payload of a protected source packet, in bytes: the symbol without its prefix."""
    return symbol_bytes(max_payload_bytes) - _PREFIX.size


def repair_count(source_packets: int, overhead: float) -> int:
    """Return the number of repair packets for an overhead (a share of the source packets), rounded up.

    It is 0 if there are no source packets.
    """
    return math.ceil(source_packets * overhead - 1e-9) if source_packets else 0


def repair_payload_bytes(packets: list[SourcePacket], size: int) -> int:
    """Return the payload size of a repair packet, in bytes, for one or more source packets and this symbol size."""
    return len(packets[0][2]) if len(packets) == 1 else size + _ID_BYTES


def check_block(source_packets: int, size: int) -> None:
    """Raise TooLarge if the source packets do not fit one RaptorQ block; a symbol size of 0 means no RaptorQ."""
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
    """Return the payloads of `count` repair packets; `size` is the symbol size in bytes."""
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
    """Return the source packets by number: those that arrived, and those that can be decoded from repair packets.

    Args:
        received: source packets that arrived, by number in the segment.
        repair: repair payloads that arrived, by number.
        source_packets: number of source packets that were sent.
        size: symbol size in bytes.
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
    # As soon as the symbols could be enough, each further one makes the library try to solve the whole block.
    usable = usable[: missing + _EXTRA_SYMBOLS]
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
    except BaseException as error:  # a panic of the Rust library is a BaseException
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
    return have


def _split(block: bytes, size: int) -> dict[int, SourcePacket]:
    parsed = {i: _parse(block[at : at + size]) for i, at in enumerate(range(0, len(block), size))}
    return {i: p for i, p in parsed.items() if p is not None}
