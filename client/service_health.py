"""The health of a service: whether it answers, and is ready."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gocom.common.rpc.addresses import check_address
from gocom.common.rpc.credentials import channel_credentials
from gocom.common.rpc.own_process import check_use
from gocom.common.rpc.status_mapping import explain_connection_error
from gocom.common.settings import ClientSettings


def is_serving(address: str, timeout_s: float = 1.0, security: ClientSettings | None = None) -> bool:
    """Return whether the service at host:port reports SERVING. Arguments and errors are those of `why_not_serving`."""
    return why_not_serving(address, timeout_s, security) is None


def why_not_serving(address: str, timeout_s: float = 1.0, security: ClientSettings | None = None) -> str | None:
    """Ask a service, by the gRPC health protocol, whether it is serving.

    Args:
        address: host:port of the service.
        timeout_s: seconds to wait for the answer.
        security: certificates and token; None: plain text, no token.

    Returns:
        the reason why the service is not serving; None: it is serving.

    Raises:
        InvalidInput: the address or a security setting is invalid, or this is a fork of a process that had used gRPC.
    """
    check_use()
    check_address("address", address)
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    tls = channel_credentials(security) if security is not None else None
    with grpc.secure_channel(address, tls, options) if tls else grpc.insecure_channel(address, options) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no answer within {timeout_s:g} s"
            return explain_connection_error(str(error.details()))
        return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "up, but not ready"
