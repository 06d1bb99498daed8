"""Range coder whose table follows the neighbours that are in the same packet.

Elements are coded in order of their position, whatever order the interleaver sends them in, so the element to the
left and the one above are known to the decoder wherever the packet holds them. What the packet does not hold counts
as "nothing": a lost packet costs its own elements only. Tables: common/entropy/frequency_tables.py (NeighbourTables).
"""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from gocom.common.entropy.coders import exact_model, finish, start_decoder
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables
from gocom.common.errors import InvalidInput
from gocom.common.types import Ints


class ContextCoder:
    """Codes elements of a grid or a sequence.

    Args:
        tables: by classes of neighbours.
        columns: width of the grid; None: a sequence, only the element before counts.
        withheld: (withheld, all) elements of the segment where symbol K means withheld; None: no such symbol.
    """

    overhead_bytes = 5

    def __init__(self, tables: NeighbourTables, columns: int | None, withheld: tuple[int, int] | None) -> None:
        self._tables, self._columns, self._withheld = tables, columns, withheld
        self._classes = np.append(tables.classes, tables.nothing)  # a withheld neighbour says nothing
        self._stride = tables.nothing + 1 if tables.uses_above else 1
        self._known: dict[int, tuple[npt.NDArray[np.float64], Any]] = {}

    def _row(self, context: int) -> tuple[npt.NDArray[np.float64], Any]:
        """(bits a symbol, model) of a context, made when first met."""
        if context not in self._known:
            table = FrequencyTable(self._tables.frequencies[context])
            if self._withheld is not None:
                table = table.with_escape(*self._withheld)
            self._known[context] = table.bits, exact_model(table.frequencies)
        return self._known[context]

    def _contexts(self, elements: Ints, positions: Ints) -> Ints:
        """int64 [n] for elements in ascending order of position."""
        classes, nothing = self._classes[elements], self._tables.nothing

        def neighbour(at: Ints, there: npt.NDArray[np.bool_]) -> Ints:
            index = np.minimum(np.searchsorted(positions, at), len(positions) - 1)
            found: Ints = np.where(there & (positions[index] == at), classes[index], nothing)
            return found

        columns = self._columns
        inside = np.ones(len(positions), bool) if columns is None else positions % columns != 0
        contexts = neighbour(positions - 1, inside) * self._stride
        if columns is not None and self._tables.uses_above:
            contexts = contexts + neighbour(positions - columns, positions >= columns)
        return contexts

    def encode(self, elements: Ints, positions: Ints) -> bytes:
        order = np.argsort(positions)
        symbols = elements[order]
        encoder = constriction.stream.queue.RangeEncoder()
        for symbol, context in zip(symbols.tolist(), self._contexts(symbols, positions[order]).tolist(), strict=True):
            encoder.encode(symbol, self._row(context)[1])
        return finish(encoder, lambda data: bool((self.decode(data, positions) == elements).all()))

    def decode(self, data: bytes, positions: Ints) -> Ints:
        decoder = start_decoder(data, len(positions))
        order = np.argsort(positions)
        nothing, columns, stride = self._tables.nothing, self._columns, self._stride
        above = columns if self._tables.uses_above else None
        classes = self._classes.tolist()
        seen: dict[int, int] = {}
        out = np.empty(len(positions), np.int64)
        try:
            for index, position in zip(order.tolist(), positions[order].tolist(), strict=True):
                left = seen.get(position - 1, nothing) if columns is None or position % columns else nothing
                context = left * stride + (seen.get(position - above, nothing) if above is not None else 0)
                symbol = int(decoder.decode(self._row(context)[1]))
                out[index] = symbol
                seen[position] = classes[symbol]
        except AssertionError as error:  # how constriction says that the bytes cannot be a stream of this model
            raise InvalidInput(f"payload: not {len(positions)} range-coded elements ({error})") from error
        return out

    def bits(self, elements: Ints, positions: Ints) -> npt.NDArray[np.float64]:
        order = np.argsort(positions)
        contexts = self._contexts(elements[order], positions[order])
        out = np.empty(len(elements))
        out[order] = [self._row(c)[0][s] for s, c in zip(elements[order].tolist(), contexts.tolist(), strict=True)]
        return out
