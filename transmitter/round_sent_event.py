"""Metrics and the client's event for a round that was sent."""

from __future__ import annotations

from dataclasses import asdict

from gocom.common.byte_account import ByteAccount
from gocom.common.service_metrics import BYTES, PACKETS, ROUNDS, SECONDS
from gocom.transmitter.channel_state import knowledge_to_proto
from gocom.transmitter.frame_encoding import EncodedRound
from gocom.v1 import transmitter_pb2

_SERVICE = "transmitter"


def count_sent(codec: str, encoded: EncodedRound) -> None:
    """Add the round to the metrics."""
    BYTES.labels(_SERVICE).inc(encoded.bytes.total_bytes)
    PACKETS.labels(_SERVICE, "sent").inc(encoded.packets)
    ROUNDS.labels(_SERVICE, codec).inc()
    SECONDS.labels(_SERVICE, "encode").observe(encoded.seconds)


def sent_event(encoded: EncodedRound, handshake_bytes: int) -> transmitter_pb2.RoundSent:
    """Return the `sent` event of the round; the handshake is the opening of the session and the answer to it."""
    sent = transmitter_pb2.RoundSent(
        round=encoded.header.round,
        bytes=_account_to_proto(encoded.bytes, handshake_bytes),
        packets=encoded.packets,
        encode_seconds=encoded.seconds,
        channel=knowledge_to_proto(encoded.csi),
    )
    for chosen in encoded.protection:
        sent.protection.add(**asdict(chosen))
    if encoded.power is not None:
        sent.power.least, sent.power.greatest = encoded.power
    return sent


def _account_to_proto(cost: ByteAccount, handshake_bytes: int) -> transmitter_pb2.ByteAccount:
    message = transmitter_pb2.ByteAccount(
        total_bytes=cost.total_bytes, header_bytes=cost.header_bytes, payload_bytes=cost.payload_bytes,
        handshake_bytes=handshake_bytes,
    )  # fmt: skip
    for name, count in cost.by_segment.items():
        message.segments.add(name=name, bytes=count, repair_bytes=cost.repair_by_segment.get(name, 0))
    return message
