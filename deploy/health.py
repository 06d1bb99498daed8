"""Is the service at an address serving? For health checks of containers; `gocom health` is the same for people.

python -m gocom.deploy.health 127.0.0.1:50051    # status 0: SERVING; 1: it says otherwise, or nobody answers

The `gocom` command takes 0.6 s to load what a probe has no use for; every 10 s in every container that would be felt.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 2.0
OPTIONS = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]


def status_of(address: str) -> str:
    """What the health service at host:port says: SERVING, NOT_SERVING, ...; or why it says nothing."""
    with grpc.insecure_channel(address, options=OPTIONS) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


if __name__ == "__main__":
    said = status_of(sys.argv[1])
    print(said)
    sys.exit(said != "SERVING")
