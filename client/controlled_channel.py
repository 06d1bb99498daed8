"""The channel in the hands of a test: set it, play scripts on it, read what it did, put one before a service."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

from gocom.client.client import Client
from gocom.client.fault_script import ChannelCounts, Playing, Step, read_counts
from gocom.client.local_processes import HOST, free_ports, reap
from gocom.client.local_stack import is_serving
from gocom.common.errors import NotReady

START_S = 30.0


class ControlledChannel:
    """A running channel emulator. `close` it: a script that plays is ended, and the channel is clean again.

    Args:
        address: host:port of its ChannelControlService.
        seed: of its randomness, unless `set` is given another.
    """

    def __init__(self, address: str, seed: int = 0) -> None:
        self.address, self.seed = address, seed
        self._client = Client(channel=address)
        self._playing: list[Playing] = []
        self.set("clean")

    def set(self, spec: str, seed: int | None = None) -> None:
        """Impairments from the next frame on, and counts from zero. Raises InvalidInput, UnknownName, GoComError."""
        self._client.set_channel(spec, self.seed if seed is None else seed)

    def play(self, steps: Iterable[tuple[float, str]]) -> Playing:
        """Begin a script of (seconds, SPEC), in the background. Raises InvalidInput of a step before it begins."""
        self._playing.append(Playing(self._client, [Step(seconds, spec) for seconds, spec in steps]))
        return self._playing[-1]

    def statistics(self) -> ChannelCounts:
        """What it did since the profile was set. Raises GoComError."""
        return read_counts(self._client)

    @contextlib.contextmanager
    def in_front_of(self, next_hop: str, spec: str = "clean") -> Iterator[ControlledChannel]:
        """A further emulator, whose packets go to the LinkService at host:port; send to its `address`.

        Raises:
            NotReady: it did not start.
        """
        port = free_ports(["channel"])["channel"]
        command = [
            sys.executable, "-m", "gocom.client.cli", "serve", "channel", "--follow-parent",
            "--host", HOST, "--port", str(port), "--next-hop", next_hop,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            _await_serving(f"{HOST}:{port}", process)
            with contextlib.closing(ControlledChannel(f"{HOST}:{port}", self.seed)) as channel:
                channel.set(spec)
                yield channel
        finally:
            process.terminate()
            reap(process, 5.0)

    def close(self) -> None:
        """Clean again, and let go of."""
        try:
            for playing in self._playing:
                playing.stop()
            self.set("clean")
        finally:
            self._client.close()


def _await_serving(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while not is_serving(address):
        if process.poll() is not None or time.monotonic() > until:
            raise NotReady(f"channel emulator: did not start at {address}")
        time.sleep(0.05)
