"""What the README tells a newcomer to type works: its Python as it stands, its `gocom` lines as the CLI parses them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from gocom.client.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.timeout(200)
def test_the_python_block_runs(tmp_path, photo):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    from gocom.common.image_files import to_uint8

    Image.fromarray(to_uint8(photo("coffee", 128))).save(tmp_path / "photo.jpg")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("reconstructed")


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("gocom ")]


def test_every_command_and_flag_exists():
    lines = commands()
    assert len(lines) >= 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        path = [w for w in words[:2] if re.fullmatch("[a-z]+", w) and w not in ("photos",)]
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, f"{line}: {shown.output}"
        for flag in (w for w in words if w.startswith("--")):
            assert flag in shown.stdout, f"{line}: no {flag}"
