"""A batch whose columns are decoded from the message on first access.

Most faults only read sequence numbers and lengths; each column that is not accessed saves a tenth of the time of a
batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.packet_batch import PacketBatch, PayloadLayout, SequenceRange
from gocom.common.types import Bools
from gocom.common.wire.packet_batches import BATCH_COLUMNS, check_batch, read_column
from gocom.v1 import link_pb2


class WireBatch(PacketBatch):
    """Packets of a message, built by `of`. A copy made with dataclasses.replace has all its columns decoded.

    The message must not change while a column may still be accessed.
    """

    __slots__ = ("_columns", "_layout", "_message", "_sequence_range")

    _columns: dict[str, npt.NDArray[Any]] | None
    _message: link_pb2.PacketBatch
    _sequence_range: SequenceRange | None
    _layout: PayloadLayout | None

    @classmethod
    def of(cls, message: link_pb2.PacketBatch, payload: memoryview) -> WireBatch:
        """Return the packets of a message without copying the payload.

        Raises:
            InvalidInput: the columns do not fit together.
        """
        batch = cls.__new__(cls)
        batch._message, batch._columns = message, {}
        batch.payload = np.frombuffer(payload, np.uint8)
        batch.length, batch.sequence = read_column(message, "length", len(payload)), read_column(message, "sequence")
        batch.erased = np.zeros(len(batch.length), bool)
        check_batch(batch, message)
        return batch

    def __getattr__(self, name: str) -> Any:
        """Decode a column on first access, when its slot is still empty."""
        if name in ("_columns", "_layout", "_message", "_sequence_range"):
            return None
        if self._columns is None or name not in BATCH_COLUMNS:
            raise AttributeError(name)
        if name not in self._columns:
            self._columns[name] = read_column(self._message, name)
        setattr(self, name, self._columns[name])
        return self._columns[name]

    @property
    def sequence_range(self) -> SequenceRange:
        if self._sequence_range is None:
            self._sequence_range = SequenceRange.of(self.sequence)
        return self._sequence_range

    @property
    def layout(self) -> PayloadLayout:
        if self._layout is None:
            self._layout = PayloadLayout.of(self.length)
        return self._layout

    def erase(self, lost: Bools) -> PacketBatch:
        if self._columns is None:
            return PacketBatch.erase(self, lost)
        batch = WireBatch.__new__(WireBatch)
        batch._message, batch._columns = self._message, self._columns
        batch._sequence_range, batch._layout = self._sequence_range, self._layout
        batch.payload, batch.length, batch.sequence = self.payload, self.length, self.sequence
        batch.erased = self.erased | lost
        return batch

    def same_except_erased(self, other: PacketBatch) -> bool:
        if isinstance(other, WireBatch) and self._columns is not None and self._columns is other._columns:
            return True
        return PacketBatch.same_except_erased(self, other)
