"""A service imports what it needs and no more: nets, and what belongs to them, only where a codec has some."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gocom.client.local_stack import SERVICES, LocalStack
from gocom.evaluation.benches import start_bench

NETS = {
    "diffusers", "efficientnet_lite_pytorch", "openvino", "safetensors.torch", "torch", "torchvision", "transformers",
}  # fmt: skip
COMMON = {
    "PIL", "annotated_doc", "annotated_types", "colorama", "constriction", "cython_runtime", "dotenv", "gocom",
    "google", "google_crc32c", "grpc", "grpc_health", "grpc_reflection", "grpc_tools", "numpy", "prometheus_client",
    "pydantic", "pydantic_core", "pydantic_settings", "pygments", "raptorq", "rich", "safetensors", "shellingham",
    "structlog", "typer", "typing_extensions", "typing_inspection",
}  # fmt: skip
"""Packages that every service imports."""
OWN = {"channel_emulator": {"ruamel"}, "receiver": set(), "transmitter": {"tenacity"}}
"""Further packages of each service."""
CLIENT = {
    "gocom.client", "gocom.client.command_process", "gocom.client.commands", "gocom.client.commands.serve",
    "gocom.client.console", "gocom.client.end_signals", "gocom.client.exit_status", "gocom.client.settings_flags",
    "gocom.client.standard_streams",
}  # fmt: skip
"""Modules of the client that `gocom serve` is made of."""

LIST_MODULES = """
import json, sys
print(json.dumps([n for n in sys.modules if n.partition(".")[0] not in sys.stdlib_module_names and n[0] != "_"]))
"""
SEND_JPEG = """
import asyncio
import numpy as np
from gocom.channel_emulator.service import serve as serve_channel
from gocom.client import AsyncClient
from gocom.client.local_processes import free_ports
from gocom.common.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from gocom.receiver.service import serve as serve_receiver
from gocom.transmitter.service import serve as serve_transmitter

async def main():
    warm = ("jpeg", "webp")
    port = free_ports(["transmitter"])["transmitter"]
    receiver = await serve_receiver(ReceiverSettings(port=0, feedback_address=f"127.0.0.1:{port}", warm_codecs=warm))
    channel = await serve_channel(ChannelSettings(port=0, next_hop=receiver.address))
    transmitter = await serve_transmitter(
        TransmitterSettings(port=port, link_address=channel.address, warm_codecs=warm, outbox="off")
    )
    async with AsyncClient(transmitter.address, receiver.address, channel.address) as client:
        grey = np.full((64, 64, 3), 128, np.uint8)
        results = [r async for r in client.send([grey, grey], codec="jpeg", max_rounds=2)]
        await client.set_channel("packet_erasure:rate=0.9")
        results += [r async for r in client.send([grey], codec="webp", first_index=2, max_rounds=2)]
        assert [r.image is not None for r in results] == [True, True, False], results
    for service in (transmitter, channel, receiver):
        await service.stop(0)

asyncio.run(main())
"""


def modules_after(code):
    """Return the modules, other than the standard library's, that a new process has imported after some code."""
    done = subprocess.run([sys.executable, "-c", code + LIST_MODULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("service", OWN)
def test_a_service_imports_few_packages(service):
    found = modules_after(f"import gocom.client.commands.serve, gocom.{service}.service")
    assert {name.partition(".")[0] for name in found} <= COMMON | OWN[service]
    assert {name for name in found if name.startswith("gocom.client")} == CLIENT


@pytest.mark.parametrize("words", [["--help"], ["serve", "--help"]])
def test_help_imports_no_nets_and_no_scipy(words):
    code = f"""
import sys
from gocom.client.__main__ import main
sys.argv = ["gocom", *{words!r}]
try:
    main()
except SystemExit as ended:
    assert not ended.code
"""
    assert not modules_after(code) & {*NETS, "scipy", "skimage", "matplotlib", "pandas"}


def test_pictures_cross_all_three_services_without_a_net_being_imported():
    found = modules_after(SEND_JPEG)
    assert "gocom.receiver.decoders.classical" in found and "gocom.channel_emulator.impairments.packet_erasure" in found
    assert not found & {*NETS, "skimage", "matplotlib", "pandas"}
    assert not {name for name in found if name.startswith("gocom.common.nets.")}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_that_have_carried_a_jpeg_have_not_loaded_torch():
    with LocalStack(codecs=("jpeg",)) as stack, stack.client() as client:
        (result,) = client.send([np.full((64, 64, 3), 128, np.uint8)], codec="jpeg")
        assert result.image is not None
        for name in SERVICES:
            loaded = Path(f"/proc/{stack.pid(name)}/maps").read_text()
            assert "/numpy/" in loaded
            assert not [one for one in ("/torch/", "/scipy/", "/torchvision", "/tokenizers") if one in loaded], name


def test_starts_are_timed_and_laid_out_as_a_table():
    source = Path(start_bench.gocom.__path__[0]).parent
    found = start_bench.measure([source], ["serve channel --port 0 --json"], 1)
    ((one,),) = found["serve channel --port 0 --json"]
    assert one.cpu_s > 0 and one.serving_s > 0
    assert start_bench.table(found, ["here"])[-1].startswith("| `gocom serve channel --port 0 --json` | ")


def test_a_command_that_does_not_serve_is_an_error():
    source = Path(start_bench.gocom.__path__[0]).parent
    with pytest.raises(RuntimeError, match="^gocom serve nothing: ended with status 2"):
        start_bench.start(source, ["serve", "nothing"])
