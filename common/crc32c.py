"""CRC32C of packets: header fields and payload together, so that a packet spliced into another place is noticed."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from gocom.common.packet_batch import PacketBatch

_FIELDS = struct.Struct("<IIIIII")


def checksums(batch: PacketBatch, frame_index: int, round_: int) -> npt.NDArray[np.uint32]:
    """uint32 [P]: what each packet's checksum must be."""
    out = np.empty(len(batch), np.uint32)
    columns: Sequence[list[int]] = [
        c.tolist() for c in (batch.sequence, batch.segment, batch.first_element, batch.element_count)
    ]
    extend, value, pack = google_crc32c.extend, google_crc32c.value, _FIELDS.pack
    for i, (payload, *fields) in enumerate(zip(batch.payloads(), *columns, strict=True)):
        out[i] = extend(value(pack(frame_index, round_, *fields)), payload)
    return out
