"""docs/add-a-codec.md, done: its code blocks as a plug-in package, and nothing else, through the three services."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "add-a-codec.md"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plugin")
    blocks = re.findall(r"```python file=(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [name for name, _ in blocks] == [
        "systems/thumbnail.py", "encoders/thumbnail.py", "decoders/thumbnail.py", "impairments/coin.py",
    ]  # fmt: skip
    for name, code in blocks:
        path = folder / "my_plugins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
    return folder


def gocom(folder, *arguments):
    environment = {
        **os.environ,
        "GOCOM_PLUGINS": "my_plugins",
        "PYTHONPATH": str(folder),
        "GOCOM_TRANSMITTER_WARM_CODECS": "[]",
        "GOCOM_RECEIVER_WARM_CODECS": "[]",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gocom.client.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(200)
def test_codec_and_fault_from_the_page(plugin, tmp_path):
    y, x = np.mgrid[:128, :160]
    Image.fromarray(np.stack([x + y // 2, x, y], -1).astype(np.uint8)).save(tmp_path / "ramp.png")
    lines = gocom(
        plugin, "send", str(tmp_path / "ramp.png"), "--codec", "thumbnail", "--option", "block_px=4",
        "--channel", "coin:rate=1", "--local", "--seed", "3", "--out", str(tmp_path / "out"), "--json",
    )  # fmt: skip
    (line,) = lines
    assert line["outcome"] == "reconstructed" and line["codec"] == "thumbnail"
    assert line["packets_sent"] == -(-32 * 40 // 105)
    assert line["packets_received"] == -(-line["packets_sent"] // 2)  # every odd packet is erased
    assert line["bytes_by_segment"]["blocks"] > 32 * 40


def test_it_is_listed(plugin):
    codecs = json.dumps(gocom(plugin, "codecs", "--json"))
    assert "thumbnail" in codecs and "block_px" in codecs


def test_the_repository_does_not_know_it():
    for room in ("common", "transmitter", "receiver", "channel_emulator", "client", "proto"):
        for path in (ROOT / room).rglob("*.py"):
            assert '"thumbnail"' not in path.read_text()
