"""Host names and addresses: brackets of IPv6, and whether other machines can reach a host."""

from __future__ import annotations

import ipaddress
from typing import Any

from gocom.common.errors import InvalidInput, abbreviate


def bare_host(host: str) -> str:
    """Return a host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def join_address(host: str, port: int) -> str:
    """Return host:port as gRPC expects it, with an IPv6 address in brackets."""
    host = bare_host(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """Return the host of host:port, without brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.rpartition(":")[0] if address.count(":") == 1 else address


def check_address(name: str, address: Any) -> None:
    """Raise InvalidInput, which names the field, unless the address is host:port, in characters that gRPC can take."""
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    # Of http://host:port, gRPC would take "http" for the scheme of a resolver, and only ever fail to connect.
    plain = host.isprintable() and not set(host) & set("/ @?#")
    usable = plain and port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not usable or not 1 <= int(port) <= 65535:
        raise InvalidInput(f"{name}: {abbreviate(address)} is not host:port, such as 127.0.0.1:50051")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host. Any name but localhost is taken to be reachable by others."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"
