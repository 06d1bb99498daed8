"""Client side: channels with keepalive and size limits, and the deadlines of calls."""

from __future__ import annotations

import grpc

MAX_MESSAGE_BYTES = 16 << 20
RPC_DEADLINE_S = 10.0
"""Deadline of a call with one answer."""
STREAM_DEADLINE_S = 24 * 3600.0
"""Deadline of a stream: long, since a session may last; stalls are caught by keepalive and by timeouts a frame."""
KEEPALIVE_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 10_000


def open_channel(address: str, max_message_bytes: int = MAX_MESSAGE_BYTES) -> grpc.aio.Channel:
    """A channel to host:port; connects when first used. Close it."""
    return grpc.aio.insecure_channel(
        address,
        options=[
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.enable_http_proxy", 0),
            # Each channel has connections of its own, so that closing one never touches another.
            ("grpc.use_local_subchannel_pool", 1),
        ],
    )
