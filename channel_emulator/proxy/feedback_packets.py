"""A feedback message as packets, and what the channel makes of them.

A message of b bytes, as they count (`gocom.common.wire.feedback.bare_message`), is ceil(b / max_payload_bytes) packets
of the default payload size, at least one. It arrives when all of them do, undamaged: half a message is of no use.

Each attempt draws from random streams of its own, "reverse/ATTEMPT/i:name" at (frame index, round, sequence number), so
its fate follows from the message alone, and faults with memory start anew at it as they do at a round on the way forth.
Its packets are numbered on from those of the attempts before, so that faults that go by number move on.
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
from gocom.common.wire.feedback import MAX_ATTEMPTS, bare_message, check_attempt
from gocom.v1 import feedback_pb2

PAYLOAD_BYTES = LinkSettings().max_payload_bytes
MAX_PACKETS = MAX_ELEMENTS // MAX_ATTEMPTS
"""Of a message, so that every attempt's sequence numbers are such as packets may have."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a feedback message, on its way.

    Attributes:
        info: what faults may know; nothing of it tolerates damage.
        packets: as they come to the channel.
        impairer: its chain.
    """

    info: FrameInfo
    packets: PacketBatch
    impairer: RoundImpairer


def attempt_of(chain: Chain, request: feedback_pb2.SendFeedbackRequest, stream: str = "") -> Attempt:
    """A message cut into packets; `stream` begins the names of the random streams.

    Raises:
        InvalidInput: the number of the attempt.
        TooLarge: the message.
    """
    check_attempt(request)
    info = FrameInfo(request.frame_index, request.round, (False,))
    packets = _packets(bare_message(request), request.attempt)
    return Attempt(info, packets, chain.impairer(info, stream=f"{stream}reverse/{request.attempt}/"))


def arrives(chain: Chain, request: feedback_pb2.SendFeedbackRequest, stream: str = "") -> bool:
    """The channel of an in-process pipeline: whether this attempt arrives. Raises like `attempt_of`."""
    attempt = attempt_of(chain, request, stream)
    return not attempt.impairer.apply(attempt.packets).erased.any()


def _packets(message: bytes, attempt: int) -> PacketBatch:
    count = max(1, -(-len(message) // PAYLOAD_BYTES))
    if count > MAX_PACKETS:
        raise TooLarge(f"request: {len(message)} bytes are more than {MAX_PACKETS * PAYLOAD_BYTES}")
    zeros, ones = np.zeros(count, np.int64), np.ones(count, np.int64)
    length = np.full(count, PAYLOAD_BYTES, np.int64)
    length[-1] = len(message) - (count - 1) * PAYLOAD_BYTES
    return PacketBatch(
        payload=np.frombuffer(message, np.uint8), length=length, sequence=np.arange(count) + attempt * count,
        segment=zeros, first_element=np.arange(count), element_count=ones, checksum=np.zeros(count, np.uint32),
        power=np.ones(count, np.float32), erased=np.zeros(count, bool),
    )  # fmt: skip
