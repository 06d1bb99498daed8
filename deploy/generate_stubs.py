"""Generate the gRPC stubs and their mypy stubs from proto/, or check that the committed ones are up to date."""

from __future__ import annotations

import argparse
import filecmp
import os
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc


def generate(root: Path, out: Path) -> None:
    """Write *_pb2.py, *_pb2.pyi, *_pb2_grpc.py and *_pb2_grpc.pyi below `out`."""
    well_known = Path(protoc.__file__).parent / "_proto"
    files = [str(p) for p in sorted(root.rglob("*.proto"))]
    # protoc looks for its plug-ins in PATH; they lie beside the interpreter, whether or not its venv is active.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    if protoc.main(["protoc", f"-I{root}", f"-I{well_known}", *outputs, *files]):
        raise SystemExit("protoc failed")


def stale(root: Path, fresh: Path) -> list[str]:
    """Stubs that differ from what would be generated, are missing, or have no proto any more."""
    new = {p.relative_to(fresh) for p in fresh.rglob("*_pb2*.py*")}
    old = {p.relative_to(root) for p in root.rglob("*_pb2*.py*") if "__pycache__" not in p.parts}
    differ = {p for p in new & old if not filecmp.cmp(root / p, fresh / p, shallow=False)}
    return sorted(str(p) for p in (new ^ old) | differ)


def main() -> None:
    """Generate the stubs below the folder that the command line names; with --check, fail if they are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(arguments.root, arguments.root)
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(arguments.root, Path(folder))
        if names := stale(arguments.root, Path(folder)):
            sys.exit(f"stale stubs, run `make proto`: {', '.join(names)}")
    print("stubs are up to date")


if __name__ == "__main__":
    main()
