"""`python -m gocom.evaluation.report OUT`: the page of an evaluation that was done, drawn anew from its files."""

from __future__ import annotations

import argparse
from pathlib import Path

from gocom.evaluation.report.page import write_report

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of `gocom eval`, with results.csv and results.json")
    out = parser.parse_args().out
    for name in ("results.csv", "results.json"):
        if not (out / name).is_file():
            parser.error(f"out: {str(out)!r} has no {name}; `gocom eval --out {out}` makes it")
    print(write_report(out))
