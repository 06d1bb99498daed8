"""The faults, each from its beginning to its end. All act on the container from outside; nothing of them is in it."""

import os
import shutil
import subprocess
import time

import pytest
from docker.errors import APIError
from engine import wait_until

FAULT_S = 5.0
GRACE_S = 15
"""Between SIGTERM and SIGKILL, as in docker-compose.yml."""
FREEZE_S = 30
"""For the engine to pause a container."""
SLOW = ("rate", "64kbit", "burst", "4kb", "latency", "1s")
QUICK = ("rate", "1gbit", "burst", "1mb", "latency", "1s")


def kill(stack, service):
    """kill -9, then start. Over when the service says SERVING: what it takes to load its nets is not recovery."""
    container = stack.container(service)
    container.kill("SIGKILL")
    container.start()
    stack.wait_serving(service)


def terminate(stack, service):
    """SIGTERM, drain, then start. Over when the service says SERVING."""
    container = stack.container(service)
    container.stop(timeout=GRACE_S)
    status = container.wait(timeout=10)["StatusCode"]
    assert status == 0, f"{service} ended with {status} after SIGTERM; 137: it had to be killed after {GRACE_S} s"
    container.start()
    stack.wait_serving(service)


def pause(stack, service):
    """Frozen for 5 s: connections stay, nothing answers."""
    container = stack.container(service)
    wait_until(lambda: _paused(container), FREEZE_S, f"{service} paused by the engine")
    try:
        time.sleep(FAULT_S)
    finally:
        container.unpause()


def _paused(container):
    """Pause, and return whether that worked. runc gives up on a busy container at times; it is to be asked again."""
    try:
        container.pause()
    except APIError as error:
        if "unable to freeze" not in str(error):
            raise
        return False
    return True


def disconnect(stack, service):
    """Off the network for 5 s: packets vanish, without a word to anybody."""
    container, network = stack.container(service), stack.network
    network.disconnect(container)
    try:
        time.sleep(FAULT_S)
    finally:
        network.connect(container, aliases=[service])


def slow(stack, service):
    """What the service sends is throttled to 64 kbit/s for 5 s, by a token bucket at its network interface."""
    if os.geteuid() != 0 or not shutil.which("tc") or not shutil.which("nsenter"):
        pytest.skip("slow network: needs root, tc (iproute2) and nsenter on the engine's machine")
    pid = stack.container(service).attrs["State"]["Pid"]
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    route = subprocess.run(
        [*inside, "ip", "-o", "route", "show", "default"], capture_output=True, text=True, check=True
    )
    device = route.stdout.split()[route.stdout.split().index("dev") + 1]
    subprocess.run([*inside, "tc", "qdisc", "add", "dev", device, "root", "tbf", *SLOW], check=True)
    try:
        time.sleep(FAULT_S)
    finally:
        # Quick first: taking the bucket away at once would also drop what waits in it.
        subprocess.run([*inside, "tc", "qdisc", "change", "dev", device, "root", "tbf", *QUICK], check=True)
        subprocess.run([*inside, "tc", "qdisc", "del", "dev", device, "root"], check=True)


FAULTS = {"kill": kill, "terminate": terminate, "pause": pause, "disconnect": disconnect, "slow": slow}
