"""Services as local processes: they are started, say when they serve, and end; their ports are chosen and held."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from errno import EADDRINUSE
from pathlib import Path
from typing import IO

from gocom.common.errors import InvalidInput, NotReady

HOST = "127.0.0.1"


class ServiceProcess(subprocess.Popen[bytes]):
    """A `gocom serve` process. It ends when this process does, as the pipe to its standard input then breaks.

    It is in a session of its own, so that Ctrl-C does not reach it. End it with `reap`.

    Args:
        words: name of the service, and its flags.
        output: file for its standard output and error; None: they are dropped.
        environment: its environment; None: that of this process.
    """

    def __init__(
        self, words: Sequence[str], output: IO[bytes] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._serving = False
        # What answers at the port may be another program; into this pipe only the process writes.
        self._ready, theirs = os.pipe()
        command = [sys.executable, "-m", "gocom.client", "serve", *words]
        to = subprocess.DEVNULL if output is None else output
        try:
            super().__init__(
                [*command, "--follow-parent", "--ready-fd", str(theirs)], stdin=subprocess.PIPE, stdout=to, stderr=to,
                env=environment, start_new_session=True, pass_fds=(theirs,),
            )  # fmt: skip
        except BaseException:
            os.close(self._ready)
            raise
        finally:
            os.close(theirs)

    def wait_until_serving(self, timeout_s: float) -> bool:
        """Wait up to timeout_s seconds for the process to say that it is serving, and return whether it has said so."""
        if self._serving:
            return True
        with selectors.DefaultSelector() as selector:  # select.select takes no descriptor above 1023
            selector.register(self._ready, selectors.EVENT_READ)
            said = selector.select(timeout_s)
        if said:
            self._serving = bool(os.read(self._ready, 1))
            if not self._serving:  # it has closed the pipe, as it is about to end
                time.sleep(timeout_s)
        return self._serving

    def close(self) -> None:
        """Close the pipes to the process. May be called once."""
        os.close(self._ready)
        if self.stdin is not None:
            self.stdin.close()


def reap(process: ServiceProcess, timeout_s: float | None) -> None:
    """Wait up to timeout_s seconds for a process to end, then send SIGKILL; None: at once. Close its pipes."""
    try:
        if timeout_s is None:
            process.kill()
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.close()


def hold_ports(ports: Mapping[str, int]) -> list[socket.socket]:
    """Bind sockets to the ports without listening: a service can listen there, but the kernel assigns them to no other.

    Otherwise the kernel could choose the port of a killed service as the local port of an unrelated connection.

    Args:
        ports: port of HOST by service name.

    Returns:
        the sockets; close them to release the ports.

    Raises:
        NotReady: a port is in use, or held by another stack that is about to use it; none is held then.
    """
    with contextlib.ExitStack() as held:
        sockets = []
        for name, port in ports.items():
            try:
                if sys.platform == "linux":
                    sockets.append(held.enter_context(_hold_name(port)))
                holder = held.enter_context(socket.socket())
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                holder.bind((HOST, port))
            except OSError as error:
                words = f"cannot be used: {error.strerror or error}"
                if error.errno == EADDRINUSE:
                    words = "is in use by another program, perhaps another stack"
                raise NotReady(f"{name}: port {port} of {HOST} {words}") from None
            sockets.append(holder)
        held.pop_all()
        return sockets


def _hold_name(port: int) -> socket.socket:
    """Return a socket that only one process can have for a port of HOST, in the abstract names of Linux.

    Two stacks that start at once can both bind a port on which nobody listens yet; this name decides between them. The
    kernel forgets it with the process.
    """
    holder = socket.socket(socket.AF_UNIX)
    try:
        holder.bind(f"\0gocom {HOST}:{port}")
    except OSError:
        holder.close()
        raise
    return holder


def lock_folder(folder: Path) -> int:
    """Make a folder for logs, and keep other stacks out of it until the file descriptor that is returned is closed.

    Raises:
        InvalidInput: the folder cannot be made, or another stack has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise InvalidInput(f"logs: cannot use the folder {str(folder)!r}: {error.strerror or error}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InvalidInput(f"logs: another stack uses the folder {str(folder)!r}; give each its own") from None
    except OSError:  # a file system without locks
        pass
    return descriptor


def free_ports(names: Iterable[str]) -> dict[str, int]:
    """Return a free port for each name, chosen by the kernel; each is held until all are chosen, so that all differ."""
    with contextlib.ExitStack() as held:
        ports = {}
        for name in names:
            listener = held.enter_context(socket.socket())
            listener.bind((HOST, 0))
            ports[name] = listener.getsockname()[1]
        return ports
