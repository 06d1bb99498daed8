"""`docker compose up`: the images, what containers may not do, the demo, and coming back after a crash."""

import csv
import json
import subprocess
import sys

import pytest
from docker.errors import ContainerError
from engine import IMAGE, ROOT, SERVICES, wait_until
from PIL import Image

CODECS, PHOTOS, RATES = 3, 3, 4


def run_in(container, *command):
    """-> (status, output) of a command inside."""
    done = container.exec_run(list(command))
    return done.exit_code, done.output.decode(errors="replace").strip()


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_to_lose(stack, name):
    container = stack.container(name)
    assert run_in(container, "id", "-u") == (0, "10001")
    status, said = run_in(container, "touch", "/usr/local/bin/x")
    assert status != 0 and "Read-only file system" in said
    facts = dict(line.split(":\t", 1) for line in run_in(container, "cat", "/proc/self/status")[1].splitlines())
    assert {facts[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"].strip() == "1"
    host = container.attrs["HostConfig"]
    assert host["PidsLimit"] > 0 and host["Memory"] > 0 and host["Init"] is True
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    published = [binding["HostIp"] for bindings in host["PortBindings"].values() for binding in bindings]
    assert published == ["127.0.0.1"]
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [stack.network.name]


@pytest.mark.parametrize("target", ["slim", "nets"])
def test_an_image_holds_what_it_needs_and_no_compiler(engine, stack, target):
    look = "import shutil, importlib.util as u; print(u.find_spec('torch') is not None, shutil.which('gocom'), "
    look += "[c for c in ('cc', 'gcc', 'g++', 'clang', 'make', 'nvcc') if shutil.which(c)])"
    said = engine.containers.run(f"{IMAGE}:{target}", ["-c", look], entrypoint="python", remove=True).decode().strip()
    assert said == f"{target == 'nets'} /usr/local/bin/gocom []"


@pytest.mark.parametrize(
    ("service", "environment", "status", "said"),
    [
        (
            "transmitter",
            {"GOCOM_TRANSMITTER_OUTBOX": "off"},
            1,
            "codec: 'lami_go' needs torch, which is not installed here",
        ),
        ("receiver", {"GOCOM_RECEIVER_WARM_CODECS": "jpeg"}, 2, "warm_codecs: must be a JSON list of names"),
        (
            "channel",
            {"GOCOM_CHANNEL_HOST": "192.0.2.1", "GOCOM_CHANNEL_INSECURE": "1"},
            1,
            "cannot listen on 192.0.2.1",
        ),
        (
            "transmitter",
            {"GOCOM_TRANSMITTER_OUTBOX": "/nowhere/outbox.sqlite", "GOCOM_TRANSMITTER_WARM_CODECS": "[]"},
            1,
            "outbox: /nowhere/outbox.sqlite: Read-only file system",
        ),
    ],
)
def test_a_slim_container_that_cannot_serve_says_why_in_its_last_line(
    engine, stack, service, environment, status, said
):
    with pytest.raises(ContainerError) as ended:
        engine.containers.run(
            f"{IMAGE}:slim", ["serve", service], environment=environment, read_only=True, remove=True, init=True
        )
    *before, last = ended.value.stderr.decode().splitlines()
    assert ended.value.exit_status == status and last.startswith(f"error: {said}"), ended.value.stderr
    assert all(" [info " in line for line in before), before


def test_health_is_an_exit_status(stack):
    def status(*addresses):
        return subprocess.run(
            [sys.executable, "-m", "gocom.client.cli", "health", *addresses], cwd=ROOT, capture_output=True, check=False
        ).returncode

    assert status(*stack.addresses.values()) == 0
    assert status(stack.addresses["channel"], "127.0.0.1:1") == 1
    for name, inside in zip(SERVICES, ("50051", "50052", "50053"), strict=True):
        assert run_in(stack.container(name), "python", "-m", "gocom.deploy.health", f"127.0.0.1:{inside}") == (
            0,
            "SERVING",
        )


def test_the_demo_writes_pictures_and_a_table(stack):
    done = stack.compose("run", "--rm", "demo")
    assert "lami_go" in done.stdout
    rows = json.loads((stack.out / "demo" / "table.json").read_text())
    assert len(rows) == CODECS * PHOTOS * RATES
    assert all(row["outcome"] == "reconstructed" for row in rows if row["codec"] == "lami_go")
    assert all(row["packets_received"] < row["packets_sent"] for row in rows if row["packet_erasure_rate"] == 0.5)
    table = (stack.out / "demo" / "table.csv").read_text().splitlines()
    assert [line["codec"] for line in csv.DictReader(table)] == [row["codec"] for row in rows]
    with Image.open(stack.out / "demo" / "overview.png") as overview:
        assert overview.width > 800 and len(overview.convert("RGB").getcolors(1 << 24)) > 1000
    pictures = {path.name for path in (stack.out / "demo").glob("*.received.png")}
    assert len(pictures) == sum(row["outcome"] == "reconstructed" for row in rows)


def test_the_demo_fails_aloud_where_a_service_is_missing(stack):
    wrong = "GOCOM_TRANSMITTER_ADDRESS=transmitter:1"
    done = stack.compose("run", "--rm", "-T", "-e", wrong, "demo", check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "transmitter:1" in done.stdout + done.stderr
    assert not (stack.out / "demo" / "table.json").exists()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_crashes_comes_back(stack, name):
    container = stack.container(name)
    before = container.attrs["RestartCount"]
    crash = "import os; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), 9)"
    container.exec_run(["python", "-c", crash])
    wait_until(lambda: stack.container(name).attrs["RestartCount"] == before + 1, 30, f"{name} restarted by Docker")
    stack.wait_serving(name)
