"""Timed scripts of channel profiles, such as "20 % loss for 5 s, then an outage of 2 s", and the counts of each step.

In Python this script is `[(5, "packet_erasure:rate=0.2"), (2, "outage")]`. For `gocom channel play` it is YAML:

    repeat: 3
    steps:
      - {seconds: 5, channel: "packet_erasure:rate=0.2"}
      - {seconds: 2, channel: outage}
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gocom.client.client import Client
from gocom.client.restored_channel import restore_channel
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.yaml_files import read_yaml
from gocom.v1 import channel_pb2

MAX_STEPS = 10_000
"""Largest number of steps in a script, repetitions included."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a script: a channel profile, and for how long it applies.

    Attributes:
        seconds: duration in (0, 86400].
        spec: the profile, as `gocom.common.channel_spec.parse_spec` reads it.

    Raises:
        InvalidInput: the duration or the profile is invalid.
    """

    seconds: float
    spec: str

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise InvalidInput(f"seconds: {self.seconds} is not in 0 (without) to 86400")
        parse_spec(self.spec)


@dataclass(frozen=True, slots=True)
class FaultCount:
    """Measured events of one fault of the chain, compared with the expectation from its parameters.

    Attributes:
        name: name of the fault.
        trials: number of trials, such as packets, in which an event could occur.
        events: number of events, such as erased packets.
        expected_rate: events per trial by the parameters of the fault.
        measured_rate: events per trial as counted.
        z_score: deviation of the count from its expectation, in standard deviations.
    """

    name: str
    trials: int
    events: int
    expected_rate: float
    measured_rate: float
    z_score: float


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """Counts of the channel since its profile was set.

    Attributes:
        rounds: number of rounds that crossed the channel.
        packets_in, packets_out: numbers of packets that entered and left the channel.
        faults: counts of each fault of the chain, in its order.
    """

    rounds: int
    packets_in: int
    packets_out: int
    faults: tuple[FaultCount, ...]

    @property
    def loss(self) -> float:
        """Share of lost packets in [0, 1]; 0 if no packet has entered, or if duplicates outnumber the losses."""
        return max(0.0, 1 - self.packets_out / self.packets_in) if self.packets_in else 0.0

    def assert_as_expected(self, z: float = 4.0) -> None:
        """Raise AssertionError if a fault is `z` standard deviations or more off its model, or had no trial."""
        for fault in self.faults:
            assert fault.trials, f"{fault.name}: met no packet"
            assert abs(fault.z_score) < z, (
                f"{fault.name}: {fault.measured_rate:.5g} of {fault.trials}, expected {fault.expected_rate:.5g}"
                f" (z {fault.z_score:+.1f})"
            )


def read_script(path: Path) -> list[Step]:
    """Return the steps of a script in a YAML file, repetitions included. Raises InvalidInput, which names the field."""
    try:
        content = read_yaml(path)
    except InvalidInput as error:
        raise InvalidInput(f"script: {error}") from None
    if (
        not isinstance(content, dict)
        or set(content) - {"repeat", "steps"}
        or not isinstance(content.get("steps"), list)
    ):
        raise InvalidInput(f"script: {path}: wanted a mapping with steps (a list), and repeat if it is to be repeated")
    repeat = content.get("repeat", 1)
    if not isinstance(repeat, int) or not 1 <= repeat * len(content["steps"]) <= MAX_STEPS:
        raise InvalidInput(f"repeat: {repeat!r}; with its repeats a script has 1 to {MAX_STEPS} steps")
    return repeat * [_step(number, item) for number, item in enumerate(content["steps"])]


def _step(number: int, item: Any) -> Step:
    if not isinstance(item, dict) or set(item) != {"seconds", "channel"}:
        raise InvalidInput(f"steps[{number}]: wanted seconds and channel, got {item!r}")
    if not isinstance(item["seconds"], int | float) or not isinstance(item["channel"], str):
        raise InvalidInput(f"steps[{number}]: seconds is a number and channel a SPEC, got {item!r}")
    try:
        return Step(float(item["seconds"]), item["channel"])
    except InvalidInput as error:
        raise InvalidInput(f"steps[{number}]: {error}") from error


def read_counts(client: Client) -> ChannelCounts:
    """Return the counts of the channel since its profile was set. Raises GoComError."""
    reports = client.watch_channel()
    try:
        report = next(reports)
    finally:
        reports.close()  # type: ignore[attr-defined]
    return _counts(report)


def _counts(report: channel_pb2.WatchStatisticsResponse) -> ChannelCounts:
    faults = tuple(
        FaultCount(i.name, i.trials, i.events, i.expected_rate, i.measured_rate, i.z_score) for i in report.impairments
    )
    return ChannelCounts(report.frames, report.packets_in, report.packets_out, faults)


class ScriptPlayback:
    """A script that plays in a thread, once it was started. At its end the profile from before is restored.

    Args:
        client: client that has the channel's address.
        steps: the steps of the script.
        on_step: called in that thread with the number, from 0, and the step when each step begins.

    Attributes:
        counts: steps that have ended, each with the channel's counts during the step.
    """

    def __init__(
        self, client: Client, steps: Iterable[Step], on_step: Callable[[int, Step], None] = lambda number, step: None
    ) -> None:
        self.counts: list[tuple[Step, ChannelCounts]] = []
        self._client, self._steps, self._on_step = client, list(steps), on_step
        self._stopped, self._ended = threading.Event(), threading.Event()
        self._beginning, self._begun = threading.Lock(), False
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the thread. Call it once, where `stop` follows even if a signal interrupts it."""
        threading.Thread(target=self._run, name="gocom-script", daemon=True).start()

    @property
    def running(self) -> bool:
        """Whether the script has yet to end."""
        return not self._ended.is_set()

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the script has ended.

        Args:
            timeout_s: largest number of seconds to wait; None: no limit.

        Raises:
            TimeoutError: the script is still playing.
            GoComError: the channel could not be set or read. The message says if it is the profile from before that
                could not be set.
        """
        # Not Thread.join: once Ctrl-C has interrupted it, Python takes the thread for ended (bpo-45274).
        if not self._ended.wait(timeout_s):
            raise TimeoutError(f"the script still runs after {timeout_s:g} s")
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the script now, and wait until the profile from before is restored. Raises GoComError as `wait` does.

        A script that has not begun yet never does.
        """
        with self._beginning:
            self._stopped.set()
            if not self._begun:
                self._ended.set()
        self.wait()

    def _run(self) -> None:
        with self._beginning:
            if self._stopped.is_set():
                return
            self._begun = True
        try:
            before = self._client.get_channel()
            try:
                for number, step in enumerate(self._steps):
                    self._on_step(number, step)
                    self._client.set_channel(parse_spec(step.spec, before.seed))
                    if self._stopped.wait(step.seconds):
                        return
                    self.counts.append((step, read_counts(self._client)))
            finally:
                restore_channel(self._client, before)
        except Exception as error:
            self._error = error
        finally:
            self._ended.set()
