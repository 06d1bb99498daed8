"""Ports for services of this machine, and the end of their processes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterable

HOST = "127.0.0.1"


def reap(process: subprocess.Popen[bytes], timeout_s: float | None) -> None:
    """Wait for the end of a process, at most so long, then SIGKILL it; None: SIGKILL at once."""
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
    """Sockets bound to the ports, without listening: a service can listen there, and the kernel gives them to no other.

    Without them the port of a service that was killed could become the local end of somebody's connection.
    """
    held = []
    for port in ports:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((HOST, port))
            held.append(holder)
        except OSError:  # somebody listens there; the service will say so
            holder.close()
    return held


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """A port for each name, chosen by the kernel; all are held until all are chosen."""
    with contextlib.ExitStack() as held:
        ports = {}
        for name in names:
            listener = held.enter_context(socket.socket())
            listener.bind((HOST, 0))
            ports[name] = listener.getsockname()[1]
        return ports
