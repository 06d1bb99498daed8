"""A batch whose columns are taken from the wire when somebody looks at them.

Most faults look at sequence numbers and lengths only; each column that nobody looks at saves a tenth of a batch's time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.packet_batch import Layout, PacketBatch, Span
from gocom.common.types import Bools
from gocom.common.wire.packet_batches import BATCH_COLUMNS, check_batch, read_column
from gocom.v1 import link_pb2


class WireBatch(PacketBatch):
    """Packets of a message. Made by `of`; what faults make of it with dataclasses.replace has all its columns.

    The message must stay as it is while a column may still be looked at.
    """

    __slots__ = ("_columns", "_layout", "_message", "_span")

    _columns: dict[str, npt.NDArray[Any]] | None
    _message: link_pb2.PacketBatch
    _span: Span | None
    _layout: Layout | None

    @classmethod
    def of(cls, message: link_pb2.PacketBatch, payload: memoryview) -> WireBatch:
        """Its payload is not a copy. Raises InvalidInput where the columns do not fit together."""
        batch = cls.__new__(cls)
        batch._message, batch._columns = message, {}
        batch.payload = np.frombuffer(payload, np.uint8)
        batch.length, batch.sequence = read_column(message, "length"), read_column(message, "sequence")
        batch.erased = np.zeros(len(batch.length), bool)
        check_batch(batch, message)
        return batch

    def __getattr__(self, name: str) -> Any:
        """Called where a slot is empty: a column that nobody has looked at yet."""
        if name in ("_columns", "_layout", "_message", "_span"):
            return None
        if self._columns is None or (name not in BATCH_COLUMNS and name != "power"):
            raise AttributeError(name)
        if name not in self._columns:
            self._columns[name] = read_column(self._message, name)
        setattr(self, name, self._columns[name])
        return self._columns[name]

    @property
    def span(self) -> Span:
        if self._span is None:
            self._span = Span.of(self.sequence)
        return self._span

    @property
    def layout(self) -> Layout:
        if self._layout is None:
            self._layout = Layout.of(self.length)
        return self._layout

    def erase(self, lost: Bools) -> PacketBatch:
        if self._columns is None:
            return PacketBatch.erase(self, lost)
        batch = WireBatch.__new__(WireBatch)
        batch._message, batch._columns = self._message, self._columns
        batch._span, batch._layout = self._span, self._layout
        batch.payload, batch.length, batch.sequence = self.payload, self.length, self.sequence
        batch.erased = self.erased | lost
        return batch

    def same_but_erased(self, other: PacketBatch) -> bool:
        if isinstance(other, WireBatch) and self._columns is not None and self._columns is other._columns:
            return True
        return PacketBatch.same_but_erased(self, other)
