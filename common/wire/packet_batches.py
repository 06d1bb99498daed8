"""Conversion of packet batches between numpy arrays and protobuf messages, column by column."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.types import MAX_PAYLOAD_BYTES, Ints
from gocom.v1 import link_pb2

BATCH_COLUMNS = {
    "length": "length_bytes",
    "sequence": "sequence",
    "first_element": "first_element",
    "element_count": "element_count",
    "checksum": "checksum",
    "power": "power",
}
"""Columns of a PacketBatch -> fields of the message."""

_ABSENT = {"first_element": 0, "element_count": 0, "power": 1}
"""Values that all packets have if a message omits the column."""
_DTYPES: dict[str, type[np.generic]] = {"checksum": np.uint32, "power": np.float32}
_MAX_CACHED_LENGTHS = 1024
"""Largest number of lengths of a batch that are cached; bounds memory."""
_MAX_MOVES = 1 << 16
"""Limit on the entries that a column may have to move when erased packets are deleted from it one by one."""


def batch_to_proto(batch: PacketBatch) -> link_pb2.PacketBatch:
    """Return a batch as a message without its erased packets."""
    keep = ~batch.erased
    message = link_pb2.PacketBatch(payload=b"".join(batch.payload_runs(np.flatnonzero(batch.erased))))
    for name, field in BATCH_COLUMNS.items():
        _fill(getattr(message, field), name, getattr(batch, name)[keep])
    return message


def _fill(column: Any, name: str, values: npt.NDArray[Any]) -> None:
    """Append the values of a column, as far as the message does not leave them out."""
    if name in _ABSENT and not bool((values != _ABSENT[name]).any()):
        return
    column.extend((values[:-1] if name == "length" else values).tolist())


def update_columns(message: link_pb2.PacketBatch, original: PacketBatch, batch: PacketBatch, erased: Ints) -> None:
    """Update all columns of a message, but not its payload, to a changed batch, and delete the erased packets.

    This is much quicker than a new message if few columns changed.

    Args:
        message: message to update in place.
        original: the batch that `batch_from_proto` returned for the message.
        batch: batch that faults derived from `original`. A column that is the same object in both is unchanged.
        erased: int64, indices of the erased packets of `batch`, ascending.
    """
    # For few erased packets it is quickest to delete their entries one by one, from the last.
    quick = len(erased) * len(batch) <= _MAX_MOVES
    indices = erased[::-1].tolist() if quick else []
    same = batch.same_except_erased(original)
    for name, field in BATCH_COLUMNS.items():
        column = getattr(message, field)
        if same or getattr(batch, name) is getattr(original, name):
            if not len(erased) or not column:  # an empty column has nothing to delete
                continue
            if quick:
                for index in _missing_lengths(indices, len(batch)) if name == "length" else indices:
                    del column[index]
                absent = _ABSENT.get(name)
                if column and column[0] == absent and all(value == absent for value in column):
                    del column[:]
                continue
        values = getattr(batch, name)[~batch.erased]  # before deleting: the batch may decode its columns only now
        del column[:]
        _fill(column, name, values)


def _missing_lengths(erased: list[int], count: int) -> list[int]:
    """Return the indices of entries to delete from a column of lengths, descending.

    They are those of the erased packets and of the last packet that is left. The last packet of the batch has no entry.

    Args:
        erased: indices of the erased packets, descending.
        count: number of packets in the batch.
    """
    last = count - 1
    if not erased or erased[0] != last:
        return erased  # the last packet of the batch is left, and has no entry
    for index in erased:
        if index != last:
            break
        last -= 1
    tail = count - 1 - last
    return [*erased[1:tail], *([last] if last >= 0 else []), *erased[tail:]]


def batch_from_proto(message: link_pb2.PacketBatch, payload: memoryview | None = None) -> PacketBatch:
    """Return the batch of a message.

    Args:
        message: message to read.
        payload: payload of the batch if it is kept outside the message; it is not copied. None: use the message's own.

    Raises:
        InvalidInput: the columns do not fit together, or a value is out of range.
    """
    # Every access to message.payload copies it.
    data = np.frombuffer(message.payload if payload is None else payload, np.uint8)
    columns = {name: read_column(message, name, len(data)) for name in BATCH_COLUMNS}
    batch = PacketBatch(data, erased=np.zeros(len(columns["length"]), bool), **columns)
    check_batch(batch, message)
    return batch


def read_column(message: link_pb2.PacketBatch, name: str, payload_bytes: int = 0) -> npt.NDArray[Any]:
    """Return a column of a message, [P]: uint32 for `checksum`, float32 for `power`, int64 for the others.

    Args:
        message: message to read.
        name: the column.
        payload_bytes: size of the payload, for the column `length`; the last packet has what the others leave.
    """
    dtype = _DTYPES.get(name, np.int64)
    field = getattr(message, BATCH_COLUMNS[name])
    if name in _ABSENT and not field:
        return np.full(len(message.sequence), _ABSENT[name], dtype)
    # np.array calls the same method after trying other protocols, and takes three times as long.
    values: npt.NDArray[Any] = field.__array__(dtype)
    if name == "length" and len(message.sequence):
        # Most batches of a sender have the same lengths, so those that are completed are cached.
        few = len(values) <= _MAX_CACHED_LENGTHS
        return _cached_lengths(values.tobytes(), payload_bytes) if few else _with_last(values, payload_bytes)
    return values


@lru_cache(maxsize=64)
def _cached_lengths(known: bytes, payload_bytes: int) -> Ints:
    lengths = _with_last(np.frombuffer(known, np.int64), payload_bytes)
    lengths.flags.writeable = False
    return lengths


def _with_last(lengths: Ints, payload_bytes: int) -> Ints:
    """Return the lengths of payloads with that of the last one, which has what the others leave of the payload."""
    return np.append(lengths, payload_bytes - int(lengths.sum()))


def check_batch(batch: PacketBatch, message: link_pb2.PacketBatch) -> None:
    """Raise InvalidInput unless the columns of a message fit together and are in range.

    Args:
        batch: batch that was read from the message.
        message: message to check.
    """
    count = len(message.sequence)
    if count > MAX_PACKETS:
        raise InvalidInput(f"batch: {count} packets are more than {MAX_PACKETS}")
    for name, field in BATCH_COLUMNS.items():
        found, expected = len(getattr(message, field)), max(0, count - (name == "length"))
        if found != expected and (found or name not in _ABSENT):
            raise InvalidInput(f"batch.{field}: {found} entries for {count} packets")
    # Beyond these limits a few bytes would cost a channel with memory, or a receiver, much work.
    layout = batch.layout
    for field, largest, limit in (
        ("length_bytes", layout.longest, MAX_PAYLOAD_BYTES), ("sequence", batch.sequence_range.last, MAX_PACKETS - 1),
    ):  # fmt: skip
        if largest > limit:
            raise InvalidInput(f"batch.{field}: {largest} is more than {limit}")
    if count and int(batch.length[-1]) < 0:
        total = len(batch.payload) - int(batch.length[-1])
        raise InvalidInput(f"batch.length_bytes: add up to {total}, payload has {len(batch.payload)}")
    if not count and len(batch.payload):
        raise InvalidInput(f"batch.sequence: no packets, payload has {len(batch.payload)} bytes")
    if message.power and not bool((np.isfinite(batch.power) & (batch.power >= 0)).all()):
        raise InvalidInput("batch.power: must be finite and not negative")
