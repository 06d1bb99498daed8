"""The three services as processes of this machine, for demos, tests and `gocom send --local`.

with LocalStack("packet_erasure:rate=0.2") as stack, stack.client() as client:
    for result in client.send(["photo.jpg"]): ...
    stack.kill("receiver")       # also terminate, pause, resume, signal
    stack.start_one("receiver")  # anew, at the same address
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gocom.client.client import Client
from gocom.client.local_processes import HOST, free_ports, hold_ports, reap
from gocom.client.profile_argument import profile_argument
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.rpc.credentials import channel_credentials
from gocom.common.rpc.status_mapping import connection_words
from gocom.common.settings import ClientSettings

SERVICES = ("receiver", "channel", "transmitter")
"""In the order they are started in; stopped the other way round."""
STOP_S = 8.0
"""Between SIGTERM and SIGKILL."""
FEEDBACK_TRY_S = 2.0
"""Silence after which a receiver sends feedback again where it crosses the channel, unless the environment says."""
TAIL_LINES = 12
_SECURITY = re.compile(r"GOCOM_(CHANNEL|TRANSMITTER|RECEIVER)_(TLS_\w+|TOKEN_FILE|INSECURE)", re.IGNORECASE)
USAGE_ERROR = 2
"""Status of a `gocom` command that was given something wrong."""


class LocalStack:
    """Receiver, channel emulator and transmitter on free ports of 127.0.0.1. Use it as a context manager.

    Args:
        channel_spec: profile of the channel, as `gocom.common.channel_spec.parse_spec` reads it.
        seed: of the channel; None: the spec's own, else 0.
        device: torch device of the nets; "auto": CUDA where there is one.
        codecs: loaded, and run once, before the services count as ready.
        timeout_s: for all three to be ready; importing torch takes a while.
        log_folder: where receiver.log, channel.log and transmitter.log go; None: a temporary folder.
        ports: by service name; those not named are free ones.
        services: those to start, of "receiver", "channel", "transmitter".
        outside: host:port by service name, of those that are not started here but needed: a channel sends to the
            receiver, a transmitter to the channel, and a receiver asks the transmitter for more. Any LinkService, such
            as one of your own, can be the receiver.
        reverse_spec: what feedback meets: it goes to the channel then, which sends it to the transmitter; "clean" for a
            profile to come. None: feedback goes straight to the transmitter. Its randomness has the channel's seed.

    Attributes:
        addresses: host:port by service name ("transmitter", "channel", "receiver").
        log_folder: see above.

    Raises:
        InvalidInput: of the channel's profile, or where a service is neither started nor outside.
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
        self._device, self._codecs, self._timeout_s = device, tuple(codecs), timeout_s
        self._services = _checked(services)
        self._ports = {**free_ports(self._services), **(ports or {})}
        self.addresses = {**(outside or {}), **{name: f"{HOST}:{port}" for name, port in self._ports.items()}}
        for name in self._services:
            for other in self._needs(name):
                if other not in self.addresses:
                    raise InvalidInput(f"{other}: the {name} needs one; start it too, or give its address in `outside`")
        self._temporary = tempfile.TemporaryDirectory(prefix="gocom-") if log_folder is None else None
        self.log_folder = Path(self._temporary.name) if self._temporary is not None else Path(str(log_folder))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._held: list[socket.socket] = []

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, on_ready: Callable[[str], None] = lambda name: None) -> None:
        """Start all, and wait until each says SERVING; `on_ready` hears which is.

        Raises:
            NotReady: one ended early or took too long; the message has the end of its log.
        """
        self.log_folder.mkdir(parents=True, exist_ok=True)
        for name in self._services:
            (self.log_folder / f"{name}.log").write_bytes(b"")
        try:
            self._held = hold_ports(self._ports.values())
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
        """SIGTERM to all, then SIGKILL to what is left. May be called twice."""
        processes = [self._processes.pop(name) for name in reversed(self._services) if name in self._processes]
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a paused one hears of nothing else
        deadline = time.monotonic() + STOP_S
        for process in processes:
            reap(process, max(0.0, deadline - time.monotonic()))
        for held in self._held:
            held.close()
        self._held = []
        if self._temporary is not None:
            self._temporary.cleanup()

    def client(self) -> Client:
        """A client of these services. Close it."""
        return Client(**self.addresses)

    def pid(self, name: str) -> int:
        """Process id of a service. Raises InvalidInput where it is not running."""
        return self._running(name).pid

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a service, and do not wait. Raises InvalidInput where it is not running."""
        self._running(name).send_signal(number)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end; `start_one` brings it back. Raises InvalidInput where it is not running."""
        process = self._running(name)
        del self._processes[name]
        reap(process, None)

    def terminate(self, name: str) -> float:
        """SIGTERM, and wait for it to drain; -> seconds that took. SIGKILL after STOP_S.

        Raises:
            InvalidInput: it is not running.
        """
        process = self._running(name)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        del self._processes[name]
        reap(process, STOP_S)
        return time.monotonic() - began

    def pause(self, name: str) -> None:
        """SIGSTOP: its connections stay, and nothing answers. Raises InvalidInput where it is not running."""
        self.signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT. Raises InvalidInput where it is not running."""
        self.signal(name, signal.SIGCONT)

    def start_one(self, name: str) -> float:
        """Start a service that has ended, with its port and arguments as before; -> seconds until SERVING.

        Raises:
            InvalidInput: it is running.
            NotReady: it ended early or took too long.
        """
        if name in self._processes and self._processes[name].poll() is None:
            raise InvalidInput(f"{name}: is running already")
        if name in self._processes:
            reap(self._processes.pop(name), None)
        began = time.monotonic()
        self._processes[name] = self._spawn(name)
        self._await_serving(name, began + self._timeout_s)
        return time.monotonic() - began

    def check(self) -> None:
        """Raises NotReady for a service that has ended by itself, InvalidInput if its settings were why.

        One that `kill` or `terminate` ended is none of these.
        """
        for name, process in self._processes.items():
            if process.poll() is None:
                continue
            lines = self._log_lines(name)
            if process.returncode == USAGE_ERROR and lines:
                raise InvalidInput(lines[-1].removeprefix("error: "))
            raise NotReady(f"{name}: ended with status {process.returncode}{self._tail(name)}")

    def _running(self, name: str) -> subprocess.Popen[bytes]:
        if name not in self._services:
            raise InvalidInput(f"service: {name!r} is none of {', '.join(self._services)}")
        process = self._processes.get(name)
        if process is None or process.poll() is not None:
            raise InvalidInput(f"{name}: is not running")
        return process

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "gocom.client.cli", "serve", name, "--follow-parent", *self._arguments(name)]
        # What is set for services on a network is not for these.
        kept = {name: value for name, value in os.environ.items() if not _SECURITY.fullmatch(name)}
        environment = kept
        # Of this stack alone; a transmitter that is killed finds its frames there again.
        environment["GOCOM_TRANSMITTER_OUTBOX"] = str(self.log_folder / "outbox.sqlite")
        if self._reverse is not None:
            environment.setdefault("GOCOM_RECEIVER_FEEDBACK_TRY_S", f"{FEEDBACK_TRY_S:g}")
        with (self.log_folder / f"{name}.log").open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches it through stop() alone; a pipe that breaks ends it.
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def _arguments(self, name: str) -> list[str]:
        words = ["--host", HOST, "--port", str(self._ports[name]), "--grace-s", str(STOP_S / 2)]
        if name == "channel":
            words += ["--next-hop", self.addresses["receiver"]]
            if self._reverse is not None:
                words += ["--feedback-address", self.addresses["transmitter"]]
                words += ["--reverse-profile", profile_argument(self._reverse, self.log_folder, "reverse")]
            else:
                words += ["--feedback-address", "", "--reverse-profile", "clean"]  # whatever the environment says
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
        """Services that one sends to."""
        if name == "transmitter":
            return ("channel",)
        if self._reverse is None:
            return ("receiver",) if name == "channel" else ("transmitter",)
        return ("receiver", "transmitter") if name == "channel" else ("channel",)

    def _await_serving(self, name: str, deadline: float) -> None:
        while not is_serving(self.addresses[name]):
            self.check()
            if time.monotonic() > deadline:
                raise NotReady(f"{name}: not ready within {self._timeout_s:g} s{self._tail(name)}")
            time.sleep(0.05)

    def _tail(self, name: str) -> str:
        lines = self._log_lines(name)[-TAIL_LINES:]
        return f"; end of its log:\n  {chr(10).join(lines)}" if lines else "; its log is empty"

    def _log_lines(self, name: str) -> list[str]:
        path = self.log_folder / f"{name}.log"
        return path.read_text("utf-8", "replace").splitlines() if path.exists() else []


def _checked(services: Sequence[str]) -> tuple[str, ...]:
    """These services in the order to start them in. Raises InvalidInput for another name."""
    for name in services:
        if name not in SERVICES:
            raise InvalidInput(f"service: {name!r} is none of {', '.join(SERVICES)}")
    return tuple(name for name in SERVICES if name in services)


def is_serving(address: str, timeout_s: float = 1.0, security: ClientSettings | None = None) -> bool:
    """What the health service at host:port says; False also when nobody answers. Raises InvalidInput of security."""
    return why_not_serving(address, timeout_s, security) is None


def why_not_serving(address: str, timeout_s: float = 1.0, security: ClientSettings | None = None) -> str | None:
    """The reason; None: it serves. Raises InvalidInput of security."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    tls = channel_credentials(security) if security is not None else None
    with grpc.secure_channel(address, tls, options) if tls else grpc.insecure_channel(address, options) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return f"no answer within {timeout_s:g} s"
            return connection_words(str(error.details()))
        return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "up, but not ready"
