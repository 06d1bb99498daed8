"""Range coder whose table depends on those neighbours of an element that are in the same packet.

Elements are coded in order of their positions, in whatever order the interleaver sends them. So the decoder already
knows the element to the left and the one above if the packet holds them. A neighbour that the packet does not hold
counts as missing, so a lost packet costs only its own elements. The tables are NeighbourTables (frequency_tables.py).
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from gocom.common.entropy.coders import exact_model, shortest_bytes, start_decoder
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables
from gocom.common.errors import InvalidInput
from gocom.common.types import Ints


class ContextCoder:
    """Context coder of a grid or a sequence of elements.

    Args:
        tables: frequency tables by the classes of the neighbours.
        columns: elements in a row of the grid; None: the segment is a sequence, and the only neighbour of an element is
            the one before it.
        withheld: (withheld elements, all elements) of the segment if symbol K means withheld; None: there is no such
            symbol.
    """

    overhead_bytes = 5

    def __init__(self, tables: NeighbourTables, columns: int | None, withheld: tuple[int, int] | None) -> None:
        self._tables, self._columns, self._withheld = tables, columns, withheld
        self._classes = np.append(tables.classes, tables.missing_class)  # a withheld neighbour counts as missing
        self._stride = tables.missing_class + 1 if tables.uses_above else 1
        self._rows: dict[int, tuple[npt.NDArray[np.float64], Any]] = {}

    def _row(self, context: int) -> tuple[npt.NDArray[np.float64], Any]:
        """Return (bits of each symbol, constriction's model) for a context. Both are made on first use."""
        if context not in self._rows:
            table = FrequencyTable(self._tables.frequencies[context])
            if self._withheld is not None:
                table = table.with_escape(*self._withheld)
            self._rows[context] = table.bits, exact_model(table.frequencies)
        return self._rows[context]

    def _contexts(self, elements: Ints, positions: Ints) -> Ints:
        """Return the contexts, int64 [n], of elements in ascending order of position."""
        classes, missing = self._classes[elements], self._tables.missing_class

        def neighbour_classes(at: Ints, exists: npt.NDArray[np.bool_]) -> Ints:
            index = np.minimum(np.searchsorted(positions, at), len(positions) - 1)
            found: Ints = np.where(exists & (positions[index] == at), classes[index], missing)
            return found

        columns = self._columns
        has_left = np.ones(len(positions), bool) if columns is None else positions % columns != 0
        contexts = neighbour_classes(positions - 1, has_left) * self._stride
        if columns is not None and self._tables.uses_above:
            contexts = contexts + neighbour_classes(positions - columns, positions >= columns)
        return contexts

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        order = np.argsort(positions)
        symbols = elements[order]
        encoder = constriction.stream.queue.RangeEncoder()
        for symbol, context in zip(symbols.tolist(), self._contexts(symbols, positions[order]).tolist(), strict=True):
            encoder.encode(symbol, self._row(context)[1])
        return shortest_bytes(encoder, lambda data: bool((self.decode(data, positions) == elements).all()))

    def decode(self, data: bytes, positions: Ints) -> Ints:
        decoder = start_decoder(data, len(positions))
        order = np.argsort(positions)
        missing, columns, stride = self._tables.missing_class, self._columns, self._stride
        row_length = columns if self._tables.uses_above else None
        classes = self._classes.tolist()
        decoded_classes: dict[int, int] = {}
        out = np.empty(len(positions), np.int64)
        try:
            for index, position in zip(order.tolist(), positions[order].tolist(), strict=True):
                has_left = columns is None or position % columns
                left = decoded_classes.get(position - 1, missing) if has_left else missing
                above = decoded_classes.get(position - row_length, missing) if row_length is not None else 0
                context = left * stride + above
                symbol = int(decoder.decode(self._row(context)[1]))
                out[index] = symbol
                decoded_classes[position] = classes[symbol]
        except AssertionError as error:  # constriction asserts that the bytes can be a stream of this model
            raise InvalidInput(f"payload: not {len(positions)} range-coded elements ({error})") from error
        return out

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        order = np.argsort(positions)
        contexts = self._contexts(elements[order], positions[order])
        out = np.empty(len(elements))
        out[order] = [self._row(c)[0][s] for s, c in zip(elements[order].tolist(), contexts.tolist(), strict=True)]
        return out
