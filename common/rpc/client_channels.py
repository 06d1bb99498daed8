"""Client side of gRPC: channels with keepalive and size limits, and the deadlines of calls."""

from __future__ import annotations

import grpc

from gocom.common.rpc.addresses import check_address
from gocom.common.rpc.bearer_token import add_token
from gocom.common.rpc.credentials import channel_credentials, peer_token
from gocom.common.rpc.own_process import note_use
from gocom.common.settings import SecuritySettings

MAX_MESSAGE_BYTES = 16 << 20
RPC_DEADLINE_S = 10.0
"""Deadline of a call with one answer, in seconds."""
STREAM_DEADLINE_S = 24 * 3600.0
"""Deadline of a stream, in seconds. It is long, as a session may be; keepalive and timeouts detect stalls."""
KEEPALIVE_MS = 2_000
KEEPALIVE_TIMEOUT_MS = 3_000
"""Time in ms to wait for the answer to a keepalive ping.

A network that drops packets reports no error. A connection in use is therefore closed after 2 s of silence and a ping
that is not answered within 3 s.
"""
CONNECT_MS = 2_000
"""Limit on one attempt to connect, in ms. The kernel repeats a lost SYN ever more rarely; a new attempt is faster."""


def open_channel(
    address: str, max_message_bytes: int = MAX_MESSAGE_BYTES, security: SecuritySettings | None = None,
    name: str = "address",
) -> grpc.aio.Channel:  # fmt: skip
    """Return a channel to a service. It connects on first use, and the caller closes it.

    Args:
        address: host:port of the service.
        max_message_bytes: largest message in either direction.
        security: security settings of this end; None: plain text without a token.
        name: name of the setting that has the address, for messages.

    Raises:
        InvalidInput: the address or the security settings are invalid, where the message names the setting; or this is
            a fork of a process that had used gRPC.
    """
    note_use()
    check_address(name, address)
    options = [
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        # A paused process answers no ping, but its kernel goes on to acknowledge: only this limit (default: 60 s) ends
        # the connection to it.
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        # A restarted service may have a new address; by default gRPC resolves its name at most twice a minute.
        ("grpc.dns_min_time_between_resolutions_ms", 500),
        ("grpc.enable_http_proxy", 0),
        # Each channel has connections of its own, so that closing a channel never affects another one.
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
