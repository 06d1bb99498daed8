"""Who may import whom, that no imports go in a circle, and what the emulator's process may hold."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("transmitter", "receiver", "channel_emulator")
ALLOWED = {
    "common": set(),
    **{service: {"common"} for service in SERVICES},
    "client": {"common", *SERVICES},  # the services only where `gocom serve` starts one
    "training": {"common", "client", "evaluation", "transmitter"},
    "evaluation": {"common", "client", "training", *SERVICES},
    "deploy": set(),
}
"""What each room may import beside itself and the stubs in gocom.v1."""


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("gocom", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def modules():
    """Name -> file of every module of ours but the stubs."""
    return {module_name(path): path for room in ALLOWED for path in (ROOT / room).rglob("*.py")}


def imported(path, known):
    """Modules of ours that a file imports anywhere in it, for type checkers too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            names |= inside or {node.module}
    return names


@pytest.fixture(scope="module")
def graph():
    known = modules()
    return {name: imported(path, set(known)) & set(known) - {name} for name, path in known.items()}


def circles(graph):
    """Strongly connected sets of two or more modules: Tarjan (1972)."""
    found, order, low, stack = [], {}, {}, []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            members = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(members) > 1:
                found.append(sorted(members))

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_the_search_for_circles_finds_them():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_imports_go_in_a_circle(graph):
    assert len(graph) > 200
    assert circles(graph) == []


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_only_what_stands_below_them(room, graph):
    files = {name: others for name, others in graph.items() if name.split(".")[1] == room}
    assert files
    for name, others in files.items():
        beyond = {other for other in others if other.split(".")[1] not in ALLOWED[room] | {room}}
        assert not beyond, f"{name} imports {sorted(beyond)}"


def test_only_the_command_that_starts_services_imports_them(graph):
    client = {name: others for name, others in graph.items() if name.startswith("gocom.client.")}
    users = {name for name, others in client.items() for other in others if other.split(".")[1] in SERVICES}
    assert users == {"gocom.client.commands.serve"}


def test_the_client_imports_nothing_by_a_string():
    for path in (ROOT / "client").rglob("*.py"):
        text = path.read_text()
        assert not any(word in text for word in ("import_module", "importlib.util", "__import__")), path


def test_no_module_of_ours_goes_by_its_short_name():
    """A project with a folder `client` or `common` of its own must be able to import that."""
    short = set(ALLOWED) | {"models", "v1"}
    for path in [*modules().values(), *(ROOT / "tests").rglob("*.py")]:
        assert not {name for name in imported(path, set()) if name.partition(".")[0] in short}, path
    code = f"""
import sys, gocom.channel_emulator.service, gocom.client.cli, gocom.common.pipeline, gocom.receiver.service
import gocom.transmitter.service
sys.exit(", ".join(name for name in sys.modules if name.partition(".")[0] in {short!r}) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module",
    [
        "gocom.channel_emulator.service", "gocom.client", "gocom.client.cli", "gocom.client.pytest_plugin",
        "gocom.common.wire.frame_messages", "gocom.common.pipeline",
    ],
)  # fmt: skip
def test_no_torch_outside_the_nets(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


WITHOUT_EVALUATION = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("gocom.evaluation", "gocom.training")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from gocom.client.cli import main
main()
"""


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "Not installed here."),
        (["eval", "--images", "somewhere", "--json"], 1, "eval: is not installed here (No module named"),
        (["channel", "certify"], 1, "channel certify: is not installed here"),
    ],
)
def test_the_command_starts_where_evaluation_is_not_installed(words, status, said):
    """The images of services leave it out."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EVALUATION, *words], cwd=ROOT, env=os.environ | {"COLUMNS": "200"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    if "--json" in words:
        assert said in json.loads(done.stdout)["error"]


def test_no_file_is_called_utils():
    assert not [path for path in modules().values() if path.stem in ("utils", "helpers", "misc")]
