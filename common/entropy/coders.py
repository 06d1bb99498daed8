"""Coders of elements as bytes: fixed length, canonical Huffman, range coder.

The range coder whose table depends on the neighbours is in context_coder.py. A coder knows the alphabet, and the
frequency table if it needs one. The caller passes the positions of a packet's elements in the segment, and a decoder
decodes exactly as many elements. The coders in keep_mask_coders.py also code withheld elements, whose value is -1.

Decoders accept any bytes. A payload that is too short, or cannot be a code of so many elements, raises InvalidInput.
Other damage gives wrong elements within the alphabet, which only the checksum of the packet can detect.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import cached_property
from typing import Any, Protocol

import constriction
import numpy as np
import numpy.typing as npt

from gocom.common.entropy.frequency_tables import FrequencyTable
from gocom.common.errors import InvalidInput
from gocom.common.types import Ints

MAX_HUFFMAN_BITS = 24


class ElementCoder(Protocol):
    """A coder of the elements of one packet."""

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        """Return the bytes of elements, int64 [n], at positions, int64 [n], of the segment."""

    def decode(self, data: bytes, positions: Ints) -> Ints:
        """Return the elements, int64 [n], at the positions. Raise InvalidInput if the bytes cannot be n elements."""

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        """Return the bits that each element costs, float64 [n]; for range coders the ideal code length."""

    overhead_bytes: int
    """Largest number of bytes that a packet may cost beyond the sum of `bits`, rounded up to bytes."""


def _pack_bits(values: Ints, widths: Ints) -> bytes:
    """Return the values, int64 [n], as bits, each with its own width, int64 [n], most significant bit first."""
    total = int(widths.sum())
    bits = np.zeros(total, np.uint8)
    starts = np.concatenate(([0], np.cumsum(widths)[:-1]))
    for i in range(int(widths.max(initial=0))):
        has = widths > i
        bits[starts[has] + i] = (values[has] >> (widths[has] - 1 - i)) & 1
    return np.packbits(bits).tobytes()


class FixedCoder:
    """Fixed-length coder: ceil(log2(alphabet)) bits per element, most significant bit first."""

    overhead_bytes = 0

    def __init__(self, alphabet_size: int) -> None:
        self.alphabet_size = alphabet_size
        self.width = max(1, (alphabet_size - 1).bit_length())

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        if self.width == 8:
            return elements.astype(np.uint8).tobytes()
        return _pack_bits(elements, np.full(len(elements), self.width, np.int64))

    def decode(self, data: bytes, positions: Ints) -> Ints:
        count = len(positions)
        if len(data) * 8 < count * self.width:
            raise InvalidInput(f"payload: {len(data)} bytes are too few for {count} elements of {self.width} bits")
        if self.width == 8:
            return np.frombuffer(data, np.uint8, count).astype(np.int64)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count * self.width).reshape(count, self.width)
        weights = 1 << np.arange(self.width - 1, -1, -1, dtype=np.int64)
        # A flipped bit may give a value outside an alphabet that is no power of two. Any element is then a fair guess.
        return (bits @ weights) % self.alphabet_size

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return np.full(len(elements), float(self.width))


class HuffmanCoder:
    """Canonical Huffman coder of a static table. Codes are assigned by (length, symbol), so lengths determine them."""

    overhead_bytes = 0

    def __init__(self, table: FrequencyTable) -> None:
        self.lengths = _huffman_lengths(table.frequencies)
        self.codes = _canonical_codes(self.lengths)

    @cached_property
    def _symbols(self) -> dict[tuple[int, int], int]:
        pairs = zip(self.lengths.tolist(), self.codes.tolist(), strict=True)
        return {pair: symbol for symbol, pair in enumerate(pairs)}

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        return _pack_bits(self.codes[elements], self.lengths[elements])

    def decode(self, data: bytes, positions: Ints) -> Ints:
        count = len(positions)
        out = np.empty(count, np.int64)
        bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
        position, symbols = 0, self._symbols
        for i in range(count):
            code = length = 0
            while True:
                if position >= len(bits) or length >= MAX_HUFFMAN_BITS:
                    raise InvalidInput(f"payload: {len(data)} bytes end inside element {i} of {count}")
                code, length, position = code << 1 | bits[position], length + 1, position + 1
                symbol = symbols.get((length, code))
                if symbol is not None:
                    out[i] = symbol
                    break
        return out

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return self.lengths[elements].astype(np.float64)


def _huffman_lengths(frequencies: npt.NDArray[np.int64]) -> Ints:
    """Return the code lengths of Huffman's algorithm, int64 [K].

    Ties are broken by symbol order, so that every machine gets the same code.

    Raises:
        InvalidInput: a code would be longer than MAX_HUFFMAN_BITS.
    """
    heap: list[tuple[int, int, list[int]]] = [(int(f), s, [s]) for s, f in enumerate(frequencies)]
    heapq.heapify(heap)
    lengths = np.zeros(len(frequencies), np.int64)
    tie = len(heap)
    while len(heap) > 1:
        f1, _, s1 = heapq.heappop(heap)
        f2, _, s2 = heapq.heappop(heap)
        lengths[s1 + s2] += 1
        heapq.heappush(heap, (f1 + f2, tie, s1 + s2))
        tie += 1
    if int(lengths.max()) > MAX_HUFFMAN_BITS:
        raise InvalidInput(f"table: a Huffman code would need {lengths.max()} bits, more than {MAX_HUFFMAN_BITS}")
    return lengths


def _canonical_codes(lengths: Ints) -> Ints:
    codes = np.zeros(len(lengths), np.int64)
    code = previous = 0
    for symbol in np.lexsort((np.arange(len(lengths)), lengths)):
        code <<= int(lengths[symbol]) - previous
        previous = int(lengths[symbol])
        codes[symbol] = code
        code += 1
    return codes


def exact_model(frequencies: Ints) -> Any:
    """Return constriction's exact model of an integer table, int64 [K].

    constriction first gives every symbol a frequency of 1, and then divides the rest in proportion to what it is
    passed. With frequencies - 1 the result is exactly the table.
    """
    return constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


def shortest_bytes(encoder: Any, decodes: Callable[[bytes], bool]) -> bytes:
    """Return the fewest bytes that decode to what a range encoder holds. Any bytes within its final interval do.

    Words are written big-endian, so the low-order bytes come last, and the decoder reads bytes that were cut off as
    zeros. After each cut, the remaining bytes are tried as they are and, as a number, plus one.

    Args:
        encoder: constriction's RangeEncoder, with all symbols encoded.
        decodes: returns whether bytes decode to those symbols; InvalidInput counts as False.
    """
    data: bytes = encoder.get_compressed().astype(">u4").tobytes().rstrip(b"\0") or b"\0"
    while len(data) > 1:
        head = int.from_bytes(data[:-1], "big")
        tries = (v.to_bytes(len(data) - 1, "big") for v in (head, head + 1) if v >> 8 * (len(data) - 1) == 0)
        shorter = next((t for t in tries if _decodes_safely(decodes, t)), None)
        if shorter is None:
            break
        data = shorter
    return data


def _decodes_safely(decodes: Callable[[bytes], bool], data: bytes) -> bool:
    try:
        return decodes(data)
    except InvalidInput:
        return False


def start_decoder(data: bytes, count: int) -> Any:
    """Return constriction's decoder of bytes from `shortest_bytes`. Raise InvalidInput if there are none.

    Args:
        data: bytes to decode.
        count: number of elements in them, for the error message.
    """
    if not data:
        raise InvalidInput(f"payload: empty, cannot hold {count} elements")
    words = np.frombuffer(data + b"\0" * (-len(data) % 4), ">u4").astype(np.uint32)
    return constriction.stream.queue.RangeDecoder(words)


class RangeCoder:
    """Range coder over a static table (constriction's 32-bit queue coder, exact 24-bit integer model)."""

    overhead_bytes = 5

    def __init__(self, table: FrequencyTable) -> None:
        self.table = table
        self.model = exact_model(table.frequencies)

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode(elements.astype(np.int32), self.model)
        return shortest_bytes(encoder, lambda data: bool((self.decode(data, positions) == elements).all()))

    def decode(self, data: bytes, positions: Ints) -> Ints:
        count = len(positions)
        decoder = start_decoder(data, count)
        try:
            return np.asarray(decoder.decode(self.model, count)).astype(np.int64)
        except AssertionError as error:  # constriction asserts that the bytes can be a stream of this model
            raise InvalidInput(f"payload: not {count} range-coded elements ({error})") from error

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return self.table.bits[elements]
