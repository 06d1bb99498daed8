"""Client side: channels with keepalive and size limits, and the deadlines of calls."""

from __future__ import annotations

import grpc

from gocom.common.rpc.bearer_token import add_token
from gocom.common.rpc.credentials import channel_credentials, peer_token
from gocom.common.settings import SecuritySettings

MAX_MESSAGE_BYTES = 16 << 20
RPC_DEADLINE_S = 10.0
"""Deadline of a call with one answer."""
STREAM_DEADLINE_S = 24 * 3600.0
"""Deadline of a stream: long, since a session may last; stalls are caught by keepalive and by timeouts a frame."""
KEEPALIVE_MS = 2_000
KEEPALIVE_TIMEOUT_MS = 3_000
"""A network that swallows packets says nothing: a connection in use that answers no ping for 5 s in all is given up."""
CONNECT_MS = 2_000
"""How long one attempt to connect may take. The kernel repeats a lost SYN ever more rarely; a new one is quicker."""


def open_channel(
    address: str, max_message_bytes: int = MAX_MESSAGE_BYTES, security: SecuritySettings | None = None
) -> grpc.aio.Channel:
    """A channel to host:port; connects when first used. Close it.

    Args:
        address: of the service.
        max_message_bytes: largest message, both ways.
        security: of this end; None: plain text, and no token.

    Raises:
        InvalidInput: of the security settings.
    """
    options = [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        # A service that comes back may have another address; by default its name is asked for twice a minute at most.
        ("grpc.dns_min_time_between_resolutions_ms", 500),
        ("grpc.enable_http_proxy", 0),
        # Each channel has connections of its own, so that closing one never touches another.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if security is None:
        return grpc.aio.insecure_channel(address, options)
    credentials, token = channel_credentials(security), peer_token(security, address)
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options)
    return channel if token is None else add_token(channel, token)
