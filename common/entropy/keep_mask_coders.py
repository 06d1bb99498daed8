"""Coders that put the keep mask of a packet's elements into the packet. An element of -1 is withheld."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gocom.common.entropy.coders import ElementCoder, FixedCoder
from gocom.common.errors import InvalidInput
from gocom.common.types import Ints


class EscapeCoder:
    """Coder in which "withheld" is one more symbol, K, so that mask and elements are one entropy-coded stream.

    Args:
        inner: coder of an alphabet with the additional symbol K.
        alphabet_size: K, size of the alphabet without it.
    """

    def __init__(self, inner: ElementCoder, alphabet_size: int) -> None:
        self._inner, self._escape = inner, alphabet_size
        self.overhead_bytes = inner.overhead_bytes

    def _symbols(self, elements: Ints) -> Ints:
        return np.where(elements < 0, self._escape, elements)

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        return self._inner.encode(self._symbols(elements), positions)

    def decode(self, data: bytes, positions: Ints) -> Ints:
        symbols = self._inner.decode(data, positions)
        return np.where(symbols == self._escape, -1, symbols)

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return self._inner.bits(self._symbols(elements), positions)


class MaskedFixedCoder:
    """Coder of one mask bit per element (1: sent), filled up to a byte, then the sent elements at fixed length."""

    overhead_bytes = 1

    def __init__(self, alphabet_size: int) -> None:
        self._fixed = FixedCoder(alphabet_size)

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        keep = elements >= 0
        return np.packbits(keep).tobytes() + self._fixed.encode(elements[keep], positions[keep])

    def decode(self, data: bytes, positions: Ints) -> Ints:
        count = len(positions)
        size = -(-count // 8)
        if len(data) < size:
            raise InvalidInput(f"payload: {len(data)} bytes are too few for the mask of {count} elements")
        keep = np.unpackbits(np.frombuffer(data, np.uint8, size), count=count).astype(bool)
        elements = np.full(count, -1, np.int64)
        elements[keep] = self._fixed.decode(data[size:], positions[keep])
        return elements

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        return 1 + (elements >= 0) * float(self._fixed.width)
