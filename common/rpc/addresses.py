"""Host names and addresses: brackets of IPv6, and whether other machines can reach a host."""

from __future__ import annotations

import ipaddress
import re

from gocom.common.errors import MAX_QUOTED, InvalidInput

MAX_PORT = 65_535


def check_address(address: str) -> str:
    """Return an address as it is.

    Raises:
        InvalidInput: the text has characters that gRPC cannot take, or a port above 65535, of which gRPC would take the
            remainder. What else an address may lack becomes known when gRPC connects.
    """
    port = address.rpartition(":")[2]
    if not address or not address.isprintable():  # bytes that are not UTF-8 are not printable
        raise InvalidInput(f"address: {address[:MAX_QUOTED]!r} is not host:port")
    if re.fullmatch("[0-9]+", port) and int(port[:6]) > MAX_PORT and address.count(":") == 1:
        raise InvalidInput(f"address: {address[:MAX_QUOTED]!r}: the port is not in 1 to {MAX_PORT}")
    return address


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


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host. Any name but localhost is taken to be reachable by others."""
    try:
        return ipaddress.ip_address(bare_host(host)).is_loopback
    except ValueError:
        return host == "localhost"
