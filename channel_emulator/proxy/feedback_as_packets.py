"""Feedback messages as packets, and what the channel does to them.

A message of b bytes, as counted by `gocom.common.wire.feedback.counted_message`, is sent in ceil(b / max_payload_bytes)
packets of the default payload size, at least one. It arrives if all its packets arrive undamaged.

Each attempt draws from random streams of its own, "reverse/ATTEMPT/i:name" at (frame index, round, sequence number). So
its fate follows from the message alone, and faults with memory start anew with each attempt, as they do with each round
in the forward direction. Its packets are numbered on from those of earlier attempts, so that faults that depend on
sequence numbers move on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.chain import Chain, RoundImpairer
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.errors import TooLarge
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_ELEMENTS
from gocom.common.types import LinkSettings
from gocom.common.wire.feedback import MAX_ATTEMPTS, check_attempt, counted_message
from gocom.v1 import feedback_pb2

PAYLOAD_BYTES = LinkSettings().max_payload_bytes
MAX_PACKETS = MAX_ELEMENTS // MAX_ATTEMPTS
"""Largest number of packets of a message; keeps the sequence numbers of all attempts in range."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at sending a feedback message.

    Attributes:
        info: what faults may know of the message; its packets tolerate no damage.
        packets: the packets before the channel.
        impairer: the chain that they pass through.
    """

    info: FrameInfo
    packets: PacketBatch
    impairer: RoundImpairer


def attempt_of(chain: Chain, request: feedback_pb2.SendFeedbackRequest, stream: str = "") -> Attempt:
    """Split a message into packets.

    Args:
        chain: the channel.
        request: the message.
        stream: prefix of the names of the random streams.

    Raises:
        InvalidInput: the attempt number is not valid.
        TooLarge: the message is too long.
    """
    check_attempt(request)
    info = FrameInfo(request.frame_index, request.round, (False,))
    packets = _packets(counted_message(request), request.attempt)
    return Attempt(info, packets, chain.impairer(info, stream=f"{stream}reverse/{request.attempt}/"))


def arrives(chain: Chain, request: feedback_pb2.SendFeedbackRequest, stream: str = "") -> bool:
    """Return whether this attempt arrives, for an in-process pipeline. Raises like `attempt_of`."""
    attempt = attempt_of(chain, request, stream)
    return not attempt.impairer.apply(attempt.packets).erased.any()


def _packets(message: bytes, attempt: int) -> PacketBatch:
    count = max(1, -(-len(message) // PAYLOAD_BYTES))
    if count > MAX_PACKETS:
        raise TooLarge(f"request: {len(message)} bytes are more than {MAX_PACKETS * PAYLOAD_BYTES}")
    zeros = np.zeros(count, np.int64)
    length = np.full(count, PAYLOAD_BYTES, np.int64)
    length[-1] = len(message) - (count - 1) * PAYLOAD_BYTES
    return PacketBatch(
        payload=np.frombuffer(message, np.uint8), length=length, sequence=np.arange(count) + attempt * count,
        first_element=zeros, element_count=zeros, checksum=np.zeros(count, np.uint32),
        power=np.ones(count, np.float32), erased=np.zeros(count, bool),
    )  # fmt: skip
