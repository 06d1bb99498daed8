"""The stack of docker-compose.yml on a real engine, under a project name, image names and ports of its own."""

import gc
import os
import shutil
import socket
import subprocess
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import docker

from gocom.deploy.health import status_of

ROOT = Path(__file__).resolve().parents[2]
PROJECT = IMAGE = "gocom-e2e"
SERVICES = ("transmitter", "channel", "receiver")
START_S = 240
"""For a service to say SERVING."""


def compose_command():
    """["docker", "compose"] or ["docker-compose"]; None where there is neither."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def wait_until(condition, timeout_s, what):
    """Poll until the condition is true, and return it; AssertionError after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)
    return value


def free_ports(count):
    with ExitStack() as held:
        listeners = [held.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]


class Stack:
    """Args: engine: docker.DockerClient; compose: words of the command; out: folder that the demo writes to."""

    def __init__(self, engine, compose, out):
        self.engine, self.out = engine, out
        self._compose = compose
        self.addresses = dict(zip(SERVICES, (f"127.0.0.1:{port}" for port in free_ports(3)), strict=True))
        ports = {f"GOCOM_{name.upper()}_PUBLISH": at.split(":")[1] for name, at in self.addresses.items()}
        names = {"COMPOSE_PROJECT_NAME": PROJECT, "GOCOM_IMAGE": IMAGE, "GOCOM_OUT": str(out)}
        self._environment = {
            **os.environ,
            **ports,
            **names,
            "GOCOM_USER": f"{os.getuid() or 1000}:{os.getgid() or 1000}",
        }

    def compose(self, *words, check=True):
        """Run compose in the repository; -> CompletedProcess with both outputs as text."""
        done = subprocess.run(
            [*self._compose, *words], cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, f"{' '.join(words)}: {(done.stdout + done.stderr)[-3000:]}"
        return done

    def up(self):
        """Build, start, and wait until all are healthy."""
        self.compose("build")
        self.compose("up", "-d")
        for name in SERVICES:
            wait_until(lambda name=name: self.health(name) == "healthy", START_S, f"{name} healthy in Docker's eyes")

    def down(self):
        self.compose("--profile", "demo", "down", "--volumes", "--remove-orphans", "--timeout", "15")

    def container(self, name):
        """The running or stopped container of a service."""
        labels = [f"com.docker.compose.project={PROJECT}", f"com.docker.compose.service={name}"]
        (found,) = [
            c for c in self.engine.containers.list(all=True, filters={"label": labels})
            if c.labels.get("com.docker.compose.oneoff") == "False"  # images, and so our clients, may have the others
        ]  # fmt: skip
        return found

    @property
    def network(self):
        (found,) = self.engine.networks.list(filters={"label": f"com.docker.compose.project={PROJECT}"})
        return found

    def health(self, name):
        """What Docker's own checks say: starting, healthy, unhealthy."""
        return self.container(name).attrs["State"]["Health"]["Status"]

    def serving(self, name):
        """What the service says over gRPC, now."""
        return status_of(self.addresses[name]) == "SERVING"

    def wait_serving(self, *names):
        for name in names or SERVICES:
            wait_until(lambda name=name: self.serving(name), START_S, f"{name} SERVING; its log: {self.log(name)}")

    def log(self, name, lines=12):
        return self.container(name).logs(tail=lines).decode(errors="replace")

    def run_client(self, source, *words):
        """Start a client container on the network that runs Python source; it loads no torch. Remove it."""
        return self.engine.containers.run(
            f"{IMAGE}:slim", ["-c", source, *words], entrypoint="python", detach=True, network=self.network.name,
            read_only=True, tmpfs={"/tmp": "size=64m"}, cap_drop=["ALL"], security_opt=["no-new-privileges:true"],
            init=True, labels={"com.docker.compose.project": PROJECT},
        )  # fmt: skip


def connect():
    """-> (engine, ""), or (None, why none answers)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # docker-py drops the socket that did not connect
        try:
            engine = docker.from_env(timeout=120)
        except docker.errors.DockerException as error:
            why = str(error)
        else:
            return engine, ""
        gc.collect()
    return None, why
