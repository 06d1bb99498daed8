"""Helpers for services as local processes: choose and hold their ports, and wait for the end of a process."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterable

HOST = "127.0.0.1"


def reap(process: subprocess.Popen[bytes], timeout_s: float | None) -> None:
    """Wait up to timeout_s seconds for a process to end, then send SIGKILL; None: at once. Close its standard input."""
    try:
        if timeout_s is None:
            process.kill()
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def hold_ports(ports: Iterable[int]) -> list[socket.socket]:
    """Bind sockets to the ports without listening: a service can listen there, but the kernel assigns them to no other.

    Otherwise the kernel could choose the port of a killed service as the local port of an unrelated connection.

    Args:
        ports: ports of HOST; one that is in use already is left out.

    Returns:
        the sockets; close them to release the ports.
    """
    held = []
    for port in ports:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
            held.append(holder)
        except OSError:  # in use by another process: the service will report that
            holder.close()
    return held


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """Return a free port for each name, chosen by the kernel; each is held until all are chosen, so that all differ."""
    with contextlib.ExitStack() as held:
        ports = {}
        for name in names:
            listener = held.enter_context(socket.socket())
            listener.bind((HOST, 0))
            ports[name] = listener.getsockname()[1]
        return ports
