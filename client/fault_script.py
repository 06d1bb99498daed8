"""Timed scripts for the channel: "20 % loss for 5 s, then an outage of 2 s", and what it measured meanwhile.

As Python: `[(5, "packet_erasure:rate=0.2"), (2, "outage")]`. As YAML, for `gocom channel play`:

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
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.yaml_files import read_yaml
from gocom.v1 import channel_pb2

MAX_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Step:
    """So many seconds of a profile."""

    seconds: float
    spec: str

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 86_400:
            raise InvalidInput(f"seconds: {self.seconds} is not in 0 (without) to 86400")
        parse_spec(self.spec)


@dataclass(frozen=True, slots=True)
class FaultCount:
    """What one fault of the chain did, against what its parameters say; z is in standard deviations."""

    name: str
    trials: int
    events: int
    expected_rate: float
    measured_rate: float
    z_score: float


@dataclass(frozen=True, slots=True)
class ChannelCounts:
    """What the channel did since its profile was set."""

    rounds: int
    packets_in: int
    packets_out: int
    faults: tuple[FaultCount, ...]

    @property
    def loss(self) -> float:
        """Share of the packets that did not come through; 0 before the first, and where copies outnumber them."""
        return max(0.0, 1 - self.packets_out / self.packets_in) if self.packets_in else 0.0

    def assert_as_expected(self, z: float = 4.0) -> None:
        """AssertionError for a fault that is more than z standard deviations off its model, or met no packet."""
        for fault in self.faults:
            assert fault.trials, f"{fault.name}: met no packet"
            assert abs(fault.z_score) < z, (
                f"{fault.name}: {fault.measured_rate:.5g} of {fault.trials}, expected {fault.expected_rate:.5g}"
                f" (z {fault.z_score:+.1f})"
            )


def read_script(path: Path) -> list[Step]:
    """Steps of a YAML file, repeated as it says. Raises InvalidInput naming the field."""
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
    """What the channel did since its profile was set. Raises GoComError."""
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


class Playing:
    """A script while it runs, in a thread; the profile of before comes back when it ends.

    Args:
        client: has the channel's address.
        steps: what to do.
        on_step: hears of each step as it begins, with its number.

    Attributes:
        counts: of each step that has ended.
    """

    def __init__(
        self, client: Client, steps: Iterable[Step], on_step: Callable[[int, Step], None] = lambda number, step: None
    ) -> None:
        self.counts: list[tuple[Step, ChannelCounts]] = []
        self._client, self._steps, self._on_step = client, list(steps), on_step
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="gocom-script", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """It has not come to its end."""
        return self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> None:
        """Until its end. Raises TimeoutError, and GoComError where the channel could not be set."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the script still runs after {timeout_s:g} s")
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it now. Raises GoComError where the channel could not be set."""
        self._stopped.set()
        self.wait()

    def _run(self) -> None:
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
                self._client.set_channel(before)
        except Exception as error:
            self._error = error
