"""CRC32C checksums of packets.

A checksum covers the header fields as well as the payload, so a payload under the header of another packet is detected.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import google_crc32c
import numpy as np
import numpy.typing as npt

from gocom.common.packet_batch import PacketBatch

_FIELDS = struct.Struct("<IIIII")


def checksums(batch: PacketBatch, frame_index: int, round_: int) -> npt.NDArray[np.uint32]:
    """Return the correct checksum of each packet of a round's batch, uint32 [P]."""
    out = np.empty(len(batch), np.uint32)
    columns: Sequence[list[int]] = [c.tolist() for c in (batch.sequence, batch.first_element, batch.element_count)]
    extend, value, pack = google_crc32c.extend, google_crc32c.value, _FIELDS.pack
    for i, (payload, *fields) in enumerate(zip(batch.payloads(), *columns, strict=True)):
        out[i] = extend(value(pack(frame_index, round_, *fields)), payload)
    return out
