"""Hosts and addresses: IPv6 brackets, and whether an address can be reached from other machines."""

from __future__ import annotations

import ipaddress


def bare_host(host: str) -> str:
    """A host without the brackets of IPv6."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def join_address(host: str, port: int) -> str:
    """host:port as gRPC wants it, IPv6 in brackets."""
    host = bare_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """The host of host:port, without brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host. Names other than localhost count as reachable by others."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"
