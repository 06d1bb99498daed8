"""Batches of packets between arrays and protobuf messages, column by column."""

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
"""Columns of a PacketBatch and their names in the message; `power` may be missing there."""

_DTYPES: dict[str, type[np.generic]] = {"checksum": np.uint32, "power": np.float32}
_FEW = 1 << 16
"""Packets moved for each column, by taking some out one by one."""


def batch_to_proto(batch: PacketBatch) -> link_pb2.PacketBatch:
    """PacketBatch -> message; erased packets are left out."""
    keep = ~batch.erased
    message = link_pb2.PacketBatch(payload=b"".join(batch.payload_runs(np.flatnonzero(batch.erased))))
    for name, field in BATCH_COLUMNS.items():
        getattr(message, field).extend(getattr(batch, name)[keep].tolist())
    power = batch.power[keep]
    if bool((power != 1).any()):
        message.power.extend(power.tolist())
    return message


def columns_into_proto(message: link_pb2.PacketBatch, read: PacketBatch, batch: PacketBatch, gone: Ints) -> None:
    """Change a message to another batch of the same packets, all but the payload; erased packets are taken out.

    Much quicker than a new message where little differs.

    Args:
        message: the one to change.
        read: what batch_from_proto made of it.
        batch: made from that, as faults do: a column that is the same object did not change.
        gone: int64, indices of the erased packets, ascending.
    """
    # Taking out one by one is quickest where they are few.
    indices = gone[::-1].tolist() if len(gone) * len(batch) <= _FEW else None
    same = batch.same_but_erased(read)
    for name, field in (*BATCH_COLUMNS.items(), ("power", "power")):
        column = getattr(message, field)
        if same or getattr(batch, name) is getattr(read, name):
            if not len(gone) or not column:  # no column: powers that are all 1
                continue
            if indices is not None:
                for index in indices:
                    del column[index]
                continue
        values = getattr(batch, name)[~batch.erased].tolist()
        del column[:]
        column.extend(values)


def batch_from_proto(message: link_pb2.PacketBatch, payload: memoryview | None = None) -> PacketBatch:
    """Message -> PacketBatch. Raises InvalidInput when its columns do not fit together.

    Args:
        message: the message.
        payload: where it lies outside of the message; it is not copied.
    """
    columns = {name: read_column(message, name) for name in (*BATCH_COLUMNS, "power")}
    # Each look at a message's payload is a copy.
    data = np.frombuffer(message.payload if payload is None else payload, np.uint8)
    batch = PacketBatch(data, erased=np.zeros(len(columns["length"]), bool), **columns)
    check_batch(batch, message)
    return batch


def read_column(message: link_pb2.PacketBatch, name: str) -> npt.NDArray[Any]:
    """A column of a PacketBatch: int64 [P], of checksum uint32, of power float32, 1 where the message has none."""
    if name == "power" and not message.power:
        return np.ones(len(message.length_bytes), np.float32)
    field = message.power if name == "power" else getattr(message, BATCH_COLUMNS[name])
    # What np.array comes to after it has looked for other ways, in a third of the time.
    values: npt.NDArray[Any] = field.__array__(_DTYPES.get(name, np.int64))
    return values


def check_batch(batch: PacketBatch, message: link_pb2.PacketBatch) -> None:
    """Raises InvalidInput when a message's columns do not fit together; `batch`: what was made of it."""
    count = len(message.length_bytes)
    if count > MAX_PACKETS:
        raise InvalidInput(f"batch: {count} packets are more than {MAX_PACKETS}")
    for field in BATCH_COLUMNS.values():
        if (found := len(getattr(message, field))) != count:
            raise InvalidInput(f"batch.{field}: {found} entries for {count} packets")
    # What no round has would cost a channel with memory, or a receiver, much work for a few bytes.
    layout = batch.layout
    for field, most, limit in (
        ("length_bytes", layout.longest, MAX_PAYLOAD_BYTES), ("sequence", batch.span.last, MAX_PACKETS - 1),
    ):  # fmt: skip
        if most > limit:
            raise InvalidInput(f"batch.{field}: {most} is more than {limit}")
    if (total := layout.ends[-1] if count else 0) != len(batch.payload):
        raise InvalidInput(f"batch.length_bytes: add up to {total}, payload has {len(batch.payload)}")
    if not message.power:
        return
    if len(message.power) != count:
        raise InvalidInput(f"batch.power: {len(message.power)} entries for {count} packets")
    if not bool((np.isfinite(batch.power) & (batch.power >= 0)).all()):
        raise InvalidInput("batch.power: must be finite and not negative")
