"""Who may import whom, what the emulator's process may hold, and how long files may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("common", "transmitter", "receiver", "channel_emulator", "client", "training", "evaluation", "deploy")
SERVICES = ("transmitter", "receiver", "channel_emulator")


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("room", ["common", *SERVICES])
def test_rooms_import_only_common_and_the_stubs(room):
    allowed = {room, "common", "gocom"}
    files = list((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        siblings = imports(path) & set(ROOMS) - allowed
        assert not siblings, f"{path.relative_to(ROOT)} imports {siblings}"


@pytest.mark.parametrize(
    "module",
    ["gocom.channel_emulator.service", "gocom.client.cli", "gocom.common.wire.messages", "gocom.common.pipeline"],
)
def test_no_torch_outside_the_nets(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_command_starts_where_evaluation_is_not_installed():
    """The images of services leave it out."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("evaluation", "training"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import gocom.client.cli
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_files_are_short_and_none_is_called_utils():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 350, f"{path.relative_to(ROOT)} has {lines} lines"
            assert path.name != "utils.py"
