"""Elements to bytes and back: fixed length, canonical Huffman, range coder (context.py: tables by neighbours).

A coder knows an alphabet (and a table); it is told which elements of the segment a packet holds, and never reads past
them. Withheld elements are -1, for the coders that take them (masked.py).
Decoders survive any bytes: out-of-range elements and short payloads raise InvalidInput, damage that still parses
gives wrong elements in range (the packet checksum is what notices).
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
    """Codes the elements of one packet."""

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        """Elements int64 [n], at these positions int64 [n] of the segment -> bytes."""

    def decode(self, data: bytes, positions: Ints) -> Ints:
        """Bytes -> elements int64 [n], one a position. Raises InvalidInput when the bytes cannot be that many."""

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        """Bits each element costs, float64 [n]; for range coders the ideal code length."""

    overhead_bytes: int
    """Bytes a packet may cost beyond the sum of `bits`, rounded up."""


def _pack_bits(values: Ints, widths: Ints) -> bytes:
    """Write each value with its own width, most significant bit first."""
    total = int(widths.sum())
    bits = np.zeros(total, np.uint8)
    starts = np.concatenate(([0], np.cumsum(widths)[:-1]))
    for i in range(int(widths.max(initial=0))):
        has = widths > i
        bits[starts[has] + i] = (values[has] >> (widths[has] - 1 - i)) & 1
    return np.packbits(bits).tobytes()


class FixedCoder:
    """ceil(log2(alphabet)) bits an element, most significant first."""

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
        # A flipped bit may leave an alphabet that is no power of two; the remainder is as good a guess as any.
        return (bits @ weights) % self.alphabet_size

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return np.full(len(elements), float(self.width))


class HuffmanCoder:
    """Canonical Huffman code of a static table; codes are assigned by (length, symbol), so lengths say all."""

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
    """Code lengths by Huffman's algorithm, ties broken by symbol order so that every machine agrees."""
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
    """constriction's model of an integer table: (f - 1) on top of the one that every symbol gets makes it exact."""
    return constriction.stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


def finish(encoder: Any, decodes: Callable[[bytes], bool]) -> bytes:
    """A range coder's bytes, as few as still decode: every byte string within the last interval does.

    Big-endian words put the low-order bytes last; those left out are zeros to the decoder, so each cut tries the
    bytes as they are and one higher.
    """
    data: bytes = encoder.get_compressed().astype(">u4").tobytes().rstrip(b"\0") or b"\0"
    while len(data) > 1:
        head = int.from_bytes(data[:-1], "big")
        tries = (v.to_bytes(len(data) - 1, "big") for v in (head, head + 1) if v >> 8 * (len(data) - 1) == 0)
        shorter = next((t for t in tries if _holds(decodes, t)), None)
        if shorter is None:
            break
        data = shorter
    return data


def _holds(decodes: Callable[[bytes], bool], data: bytes) -> bool:
    try:
        return decodes(data)
    except InvalidInput:
        return False


def start_decoder(data: bytes, count: int) -> Any:
    """constriction's decoder of what `finish` gave. Raises InvalidInput for no bytes at all."""
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
        return finish(encoder, lambda data: bool((self.decode(data, positions) == elements).all()))

    def decode(self, data: bytes, positions: Ints) -> Ints:
        count = len(positions)
        decoder = start_decoder(data, count)
        try:
            return np.asarray(decoder.decode(self.model, count)).astype(np.int64)
        except AssertionError as error:  # how constriction says that the bytes cannot be a stream of this model
            raise InvalidInput(f"payload: not {count} range-coded elements ({error})") from error

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return self.table.bits[elements]
