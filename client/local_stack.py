"""The three services as local processes, for demos, tests and `gocom send --local`.

with LocalStack("packet_erasure:rate=0.2") as stack, stack.client() as client:
    for result in client.send(["photo.jpg"]): ...
    stack.kill("receiver")       # also terminate, pause, resume, signal
    stack.start_one("receiver")  # start it again, at the same address
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gocom.client.client import Client
from gocom.client.exit_status import USAGE_ERROR
from gocom.client.local_processes import HOST, ServiceProcess, free_ports, hold_ports, lock_folder, reap
from gocom.client.profile_argument import profile_argument
from gocom.client.service_health import is_serving
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.number_checks import real_number, whole_number
from gocom.common.rpc.own_process import OwnProcess

SERVICES = ("receiver", "channel", "transmitter")
"""Names of the services, in the order in which they are started; they are stopped in reverse order."""
STOP_S = 8.0
"""Seconds between SIGTERM and SIGKILL."""
PAUSE_S = 0.05
"""Seconds between two looks at a service that is not serving yet."""
FEEDBACK_TRY_S = 2.0
"""Seconds without an answer after which a receiver repeats feedback that crosses the channel emulator; the environment
variable GOCOM_RECEIVER_FEEDBACK_TRY_S wins over it."""
TAIL_LINES = 12
"""Number of lines of a log that an error message quotes."""
_SECURITY = re.compile(r"GOCOM_(CHANNEL|TRANSMITTER|RECEIVER)_(TLS_\w+|TOKEN_FILE|INSECURE)", re.IGNORECASE)


class LocalStack:
    """Receiver, channel emulator and transmitter on free ports of 127.0.0.1. Use it as a context manager.

    Args:
        channel_spec: profile of the channel, as `gocom.common.channel_spec.parse_spec` reads it.
        seed: seed of the channel's randomness; None: the seed in the spec, else 0.
        device: torch device of the nets; "auto": CUDA if there is a GPU.
        codecs: names of the codecs that are loaded, and run once, before the services count as ready.
        timeout_s: seconds until all services must be ready; importing torch takes a while.
        log_folder: folder for receiver.log, channel.log and transmitter.log; None: a temporary folder.
        ports: port by service name, 1 to 65535; a service without one gets a free port.
        services: names of the services to start, of "receiver", "channel", "transmitter".
        outside: host:port by service name of the services that are needed but not started here: a channel sends to the
            receiver, a transmitter to the channel, and a receiver sends feedback to the transmitter. Any LinkService,
            such as one of your own, can be the receiver.
        reverse_spec: profile of the reverse channel: feedback then goes to the channel emulator, which forwards it to
            the transmitter. "clean" prepares for a profile that is set later. None: feedback goes straight to the
            transmitter. The reverse channel's randomness has the channel's seed.

    Attributes:
        addresses: host:port by service name ("transmitter", "channel", "receiver").
        log_folder: folder of the logs.

    Raises:
        InvalidInput: a profile or a port is invalid, or a service that another needs is neither started nor in
            `outside`.
    """

    def __init__(
        self,
        channel_spec: str = "clean",
        seed: int | None = None,
        device: str = "auto",
        codecs: Sequence[str] = ("lami_go",),
        timeout_s: float = 120.0,
        log_folder: Path | None = None,
        ports: dict[str, int] | None = None,
        services: Sequence[str] = SERVICES,
        outside: Mapping[str, str] | None = None,
        reverse_spec: str | None = None,
    ) -> None:
        self._profile = parse_spec(channel_spec, seed)
        self._reverse = parse_spec(reverse_spec) if reverse_spec is not None else None
        if isinstance(codecs, str):
            raise InvalidInput(f"codecs: {codecs!r} is one name; give a list of names, as in [{codecs!r}]")
        self._device, self._codecs = device, tuple(codecs)
        self._timeout_s = real_number("timeout_s", timeout_s, 0, math.inf)
        self._services = _in_start_order(services)
        self._ports = {**free_ports(self._services), **_checked_ports(ports or {}, self._services)}
        self.addresses = {**(outside or {}), **{name: f"{HOST}:{port}" for name, port in self._ports.items()}}
        for name in self._services:
            for other in self._needs(name):
                if other not in self.addresses:
                    raise InvalidInput(f"{other}: the {name} needs one; start it too, or give its address in `outside`")
        self._temporary = tempfile.TemporaryDirectory(prefix="gocom-") if log_folder is None else None
        self.log_folder = Path(self._temporary.name) if self._temporary is not None else Path(str(log_folder))
        self._started = False
        self._processes: dict[str, ServiceProcess] = {}
        self._held = contextlib.ExitStack()
        self._process = OwnProcess("stack")

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, on_ready: Callable[[str], None] = lambda name: None) -> None:
        """Start the services, and wait until each reports SERVING.

        Args:
            on_ready: called with the name of each service once it is serving.

        Raises:
            InvalidInput: a service refused its settings, the stack is started already, or the folder of the logs cannot
                be used.
            NotReady: a port is in use, or a service ended early or took too long; the message quotes the end of its
                log.
        """
        self._process.check()
        if self._started:
            raise InvalidInput("stack: is started already; `start_one` starts a service that has ended")
        self._started = True
        try:
            self._held.callback(os.close, lock_folder(self.log_folder))
            for held in hold_ports(self._ports):
                self._held.enter_context(held)
            self._empty_logs()
            for name in self._services:
                self._processes[name] = self._spawn(name)
            deadline = time.monotonic() + self._timeout_s
            for name in self._services:
                self._await_serving(name, deadline)
                on_ready(name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Send SIGTERM to all services, and SIGKILL to those that still run after STOP_S, or at once if interrupted.

        May be called twice. In a fork of the process it does nothing, since the services are not the fork's.
        """
        if not self._process.is_this:
            return
        processes = [self._processes.pop(name) for name in reversed(self._services) if name in self._processes]
        try:
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGCONT)  # a paused process handles SIGTERM only once it is continued
            deadline = time.monotonic() + STOP_S
            while processes:
                reap(processes[0], max(0.0, deadline - time.monotonic()))
                del processes[0]
        finally:
            for process in processes:
                reap(process, None)
            self._held.close()
            self._started = False
            if self._temporary is not None:
                self._temporary.cleanup()

    def client(self) -> Client:
        """Return a client of these services. Close it after use."""
        addresses: dict[str, Any] = dict(self.addresses)  # a stack need not have all of the services
        return Client(**addresses)

    def pid(self, name: str) -> int:
        """Return the process id of a service. Raises InvalidInput if the service is not running."""
        return self._running(name).pid

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a service, and do not wait. Raises InvalidInput if the service is not running."""
        self._running(name).send_signal(number)

    def kill(self, name: str) -> None:
        """End a service with SIGKILL, and wait until it has ended; `start_one` starts it again.

        Raises:
            InvalidInput: the service is not running.
        """
        process = self._running(name)
        del self._processes[name]
        reap(process, None)

    def terminate(self, name: str) -> float:
        """Send SIGTERM to a service, and wait until it has finished its frames and ended; after STOP_S send SIGKILL.

        Returns:
            seconds until the process ended.

        Raises:
            InvalidInput: the service is not running.
        """
        process = self._running(name)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        del self._processes[name]
        reap(process, STOP_S)
        return time.monotonic() - began

    def pause(self, name: str) -> None:
        """Pause a service with SIGSTOP: its connections stay open, but it does not answer.

        Raises:
            InvalidInput: the service is not running.
        """
        self.signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Continue a paused service with SIGCONT. Raises InvalidInput if the service is not running."""
        self.signal(name, signal.SIGCONT)

    def start_one(self, name: str) -> float:
        """Start a service that has ended again, with the same port and arguments, and wait until it reports SERVING.

        Returns:
            seconds until it was serving.

        Raises:
            InvalidInput: the service is running, or refused its settings.
            NotReady: the service ended early or took too long.
        """
        self._process.check()
        self._check_name(name)
        if name in self._processes and self._processes[name].poll() is None:
            raise InvalidInput(f"{name}: is running already")
        if name in self._processes:
            reap(self._processes.pop(name), None)
        began = time.monotonic()
        self._processes[name] = self._spawn(name)
        self._await_serving(name, began + self._timeout_s)
        return time.monotonic() - began

    def bring_back(self, name: str) -> None:
        """Have a service running again, whatever was done to it: resume it if it is paused, start it if it has ended.

        One that is running but does not report SERVING within STOP_S is killed and started again.

        Raises:
            InvalidInput, NotReady: as `start_one` does.
        """
        self._process.check()
        self._check_name(name)
        deadline = time.monotonic() + STOP_S
        process = self._processes.get(name)
        # It may also be about to end, by a signal that it was sent just before.
        while process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            if is_serving(self.addresses[name]):
                return
            if time.monotonic() > deadline:
                process.kill()
                process.wait()
            time.sleep(PAUSE_S)  # one that refuses does so at once
        self.start_one(name)

    def check(self) -> None:
        """Check that no service has ended by itself; `kill` and `terminate` do not count.

        Raises:
            InvalidInput: a service ended because its settings were wrong.
            NotReady: a service ended for another reason; the message quotes the end of its log.
        """
        for name, process in self._processes.items():
            if process.poll() is None:
                continue
            lines = self._log_lines(name)
            if process.returncode == USAGE_ERROR and lines:
                raise InvalidInput(lines[-1].removeprefix("error: "))
            raise NotReady(f"{name}: ended with status {process.returncode}{self._log_tail(name)}")

    def _empty_logs(self) -> None:
        """Write empty logs, as messages quote those of this run. Raises InvalidInput if they cannot be written."""
        for name in self._services:
            try:
                (self.log_folder / f"{name}.log").write_bytes(b"")
            except OSError as error:
                folder = str(self.log_folder)
                raise InvalidInput(f"logs: cannot write to {folder!r}: {error.strerror or error}") from None

    def _check_name(self, name: str) -> None:
        if name not in self._services:
            raise InvalidInput(f"service: {name!r} is none of {', '.join(self._services)}")

    def _running(self, name: str) -> ServiceProcess:
        self._process.check()
        self._check_name(name)
        process = self._processes.get(name)
        if process is None or process.poll() is not None:
            raise InvalidInput(f"{name}: is not running")
        return process

    def _spawn(self, name: str) -> ServiceProcess:
        # Security settings in the environment are meant for services on a network, not for these on loopback.
        environment = {key: value for key, value in os.environ.items() if not _SECURITY.fullmatch(key)}
        # An outbox for this stack alone; a transmitter that is started again after a kill finds its frames there.
        environment["GOCOM_TRANSMITTER_OUTBOX"] = str(self.log_folder / "outbox.sqlite")
        if self._reverse is not None:
            environment.setdefault("GOCOM_RECEIVER_FEEDBACK_TRY_S", f"{FEEDBACK_TRY_S:g}")
        with (self.log_folder / f"{name}.log").open("ab") as log:
            return ServiceProcess([name, *self._arguments(name)], log, environment)

    def _arguments(self, name: str) -> list[str]:
        words = ["--host", HOST, "--port", str(self._ports[name]), "--grace-s", str(STOP_S / 2)]
        if name == "channel":
            words += ["--next-hop", self.addresses["receiver"]]
            if self._reverse is not None:
                words += ["--feedback-address", self.addresses["transmitter"]]
                words += ["--reverse-profile", profile_argument(self._reverse, self.log_folder, "reverse")]
            else:
                words += ["--feedback-address", "", "--reverse-profile", "clean"]  # overrides the environment
            profile = profile_argument(self._profile, self.log_folder)
            return [*words, "--profile", profile, "--seed", str(self._profile.seed)]
        words += ["--device", self._device]
        for codec in self._codecs:
            words += ["--warm", codec]
        if name == "receiver":
            (feedback,) = self._needs(name)
            return [*words, "--feedback-address", self.addresses[feedback]]
        return [*words, "--link-address", self.addresses["channel"]]

    def _needs(self, name: str) -> tuple[str, ...]:
        """Return the names of the services that this service sends to."""
        if name == "transmitter":
            return ("channel",)
        if self._reverse is None:
            return ("receiver",) if name == "channel" else ("transmitter",)
        return ("receiver", "transmitter") if name == "channel" else ("channel",)

    def _await_serving(self, name: str, deadline: float) -> None:
        while not self._processes[name].wait_until_serving(PAUSE_S):
            self.check()
            if time.monotonic() > deadline:
                raise NotReady(f"{name}: not ready within {self._timeout_s:g} s{self._log_tail(name)}")

    def _log_tail(self, name: str) -> str:
        lines = self._log_lines(name)[-TAIL_LINES:]
        return f"; end of its log:\n  {chr(10).join(lines)}" if lines else "; its log is empty"

    def _log_lines(self, name: str) -> list[str]:
        path = self.log_folder / f"{name}.log"
        return path.read_text("utf-8", "replace").splitlines() if path.exists() else []


def _in_start_order(services: Sequence[str]) -> tuple[str, ...]:
    """Return the services in the order of SERVICES. Raises InvalidInput for an unknown name."""
    for name in services:
        if name not in SERVICES:
            raise InvalidInput(f"service: {name!r} is none of {', '.join(SERVICES)}")
    return tuple(name for name in SERVICES if name in services)


def _checked_ports(ports: Mapping[str, int], services: Sequence[str]) -> dict[str, int]:
    """Return the ports as ints. Raises InvalidInput for a port out of range or given twice, or an unknown name."""
    checked: dict[str, int] = {}
    for name, port in ports.items():
        if name not in services:
            raise InvalidInput(f"ports: {name!r} is none of {', '.join(services)}")
        number = whole_number(f"ports.{name}", port, 1, 65535)
        if number in checked.values():
            raise InvalidInput(f"ports.{name}: {number} is given to another service, too")
        checked[name] = number
    return checked
