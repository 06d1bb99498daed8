"""A channel emulator that a test controls: set its profile, play scripts, read counts, or start a further emulator."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

from gocom.client.channel_script import ChannelCounts, ScriptPlayback, Step, read_counts
from gocom.client.client import Client
from gocom.client.local_processes import HOST, ServiceProcess, free_ports, reap
from gocom.common.errors import NotReady

START_S = 30.0
"""Seconds within which a further emulator must be serving."""


class ControlledChannel:
    """A running channel emulator that a test controls. It is set to "clean" at the start, and again by `close`.

    Args:
        address: host:port of its ChannelControlService.
        seed: seed of the channel's randomness, for each profile that is set without another seed.
    """

    def __init__(self, address: str, seed: int = 0) -> None:
        self.address, self.seed = address, seed
        self._client = Client(channel=address)
        self._playbacks: list[ScriptPlayback] = []
        self.set("clean")

    def set(self, spec: str, seed: int | None = None) -> None:
        """Set the profile from the next frame on; reset the counts. Raises InvalidInput, UnknownName, GoComError."""
        self._client.set_channel(spec, self.seed if seed is None else seed)

    def play(self, steps: Iterable[tuple[float, str]]) -> ScriptPlayback:
        """Play a script of (seconds, SPEC) steps in the background. Raises InvalidInput at once for a wrong step."""
        self._playbacks.append(ScriptPlayback(self._client, [Step(seconds, spec) for seconds, spec in steps]))
        self._playbacks[-1].start()
        return self._playbacks[-1]

    def statistics(self) -> ChannelCounts:
        """Return the counts of the channel since its profile was set. Raises GoComError."""
        return read_counts(self._client)

    @contextlib.contextmanager
    def in_front_of(self, next_hop: str, spec: str = "clean") -> Iterator[ControlledChannel]:
        """Start a further channel emulator for the length of a `with` block, in front of a service; yield its control.

        Args:
            next_hop: host:port of the LinkService that the emulator forwards to; send to the emulator's `address`.
            spec: profile of the emulator.

        Raises:
            InvalidInput, UnknownName: the profile is invalid.
            NotReady: the emulator did not start.
        """
        port = free_ports(["channel"])["channel"]
        process = ServiceProcess(["channel", "--host", HOST, "--port", str(port), "--next-hop", next_hop])
        try:
            _await_serving(f"{HOST}:{port}", process)
            with contextlib.closing(ControlledChannel(f"{HOST}:{port}", self.seed)) as channel:
                channel.set(spec)
                yield channel
        finally:
            process.terminate()
            reap(process, 5.0)

    def close(self) -> None:
        """Stop all scripts, set the channel to "clean", and close the connection. Raises GoComError."""
        try:
            for playback in self._playbacks:
                # A script fails where the test has stopped the emulator; its `wait` raises that for whoever asks.
                with contextlib.suppress(NotReady):
                    playback.stop()
            self.set("clean")
        finally:
            self._client.close()


def _await_serving(address: str, process: ServiceProcess) -> None:
    """Wait until the emulator is serving. Raises NotReady if its process has ended, or START_S is over."""
    deadline = time.monotonic() + START_S
    while not process.wait_until_serving(0.05):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReady(f"channel emulator: did not start at {address}")
