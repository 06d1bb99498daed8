"""Conversion of packet batches between numpy arrays and protobuf messages, column by column."""

from __future__ import annotations

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
    "segment": "segment",
    "first_element": "first_element",
    "element_count": "element_count",
    "checksum": "checksum",
}
"""Columns of a PacketBatch -> fields of the message. `power` is not listed, since a message may omit it."""

_DTYPES: dict[str, type[np.generic]] = {"checksum": np.uint32, "power": np.float32}
_MAX_MOVES = 1 << 16
"""Limit on the entries that a column may have to move when erased packets are deleted from it one by one."""


def batch_to_proto(batch: PacketBatch) -> link_pb2.PacketBatch:
    """Return a batch as a message without its erased packets."""
    keep = ~batch.erased
    message = link_pb2.PacketBatch(payload=b"".join(batch.payload_runs(np.flatnonzero(batch.erased))))
    for name, field in BATCH_COLUMNS.items():
        getattr(message, field).extend(getattr(batch, name)[keep].tolist())
    power = batch.power[keep]
    if bool((power != 1).any()):
        message.power.extend(power.tolist())
    return message


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
    indices = erased[::-1].tolist() if len(erased) * len(batch) <= _MAX_MOVES else None
    same = batch.same_except_erased(original)
    for name, field in (*BATCH_COLUMNS.items(), ("power", "power")):
        column = getattr(message, field)
        if same or getattr(batch, name) is getattr(original, name):
            if not len(erased) or not column:  # an empty column is the power column of packets of power 1
                continue
            if indices is not None:
                for index in indices:
                    del column[index]
                continue
        values = getattr(batch, name)[~batch.erased].tolist()
        del column[:]
        column.extend(values)


def batch_from_proto(message: link_pb2.PacketBatch, payload: memoryview | None = None) -> PacketBatch:
    """Return the batch of a message.

    Args:
        message: message to read.
        payload: payload of the batch if it is kept outside the message; it is not copied. None: use the message's own.

    Raises:
        InvalidInput: the columns do not fit together, or a value is out of range.
    """
    columns = {name: read_column(message, name) for name in (*BATCH_COLUMNS, "power")}
    # Every access to message.payload copies it.
    data = np.frombuffer(message.payload if payload is None else payload, np.uint8)
    batch = PacketBatch(data, erased=np.zeros(len(columns["length"]), bool), **columns)
    check_batch(batch, message)
    return batch


def read_column(message: link_pb2.PacketBatch, name: str) -> npt.NDArray[Any]:
    """Return a column of a message, [P]: uint32 for `checksum`, float32 for `power`, int64 for the others.

    If the message has no `power`, it is 1 for all packets.
    """
    if name == "power" and not message.power:
        return np.ones(len(message.length_bytes), np.float32)
    field = message.power if name == "power" else getattr(message, BATCH_COLUMNS[name])
    # np.array calls the same method after trying other protocols, and takes three times as long.
    values: npt.NDArray[Any] = field.__array__(_DTYPES.get(name, np.int64))
    return values


def check_batch(batch: PacketBatch, message: link_pb2.PacketBatch) -> None:
    """Raise InvalidInput unless the columns of a message fit together and are in range.

    Args:
        batch: batch that was read from the message.
        message: message to check.
    """
    count = len(message.length_bytes)
    if count > MAX_PACKETS:
        raise InvalidInput(f"batch: {count} packets are more than {MAX_PACKETS}")
    for field in BATCH_COLUMNS.values():
        if (found := len(getattr(message, field))) != count:
            raise InvalidInput(f"batch.{field}: {found} entries for {count} packets")
    # Beyond these limits a few bytes would cost a channel with memory, or a receiver, much work.
    layout = batch.layout
    for field, largest, limit in (
        ("length_bytes", layout.longest, MAX_PAYLOAD_BYTES), ("sequence", batch.sequence_range.last, MAX_PACKETS - 1),
    ):  # fmt: skip
        if largest > limit:
            raise InvalidInput(f"batch.{field}: {largest} is more than {limit}")
    if (total := layout.ends[-1] if count else 0) != len(batch.payload):
        raise InvalidInput(f"batch.length_bytes: add up to {total}, payload has {len(batch.payload)}")
    if not message.power:
        return
    if len(message.power) != count:
        raise InvalidInput(f"batch.power: {len(message.power)} entries for {count} packets")
    if not bool((np.isfinite(batch.power) & (batch.power >= 0)).all()):
        raise InvalidInput("batch.power: must be finite and not negative")
