"""Certify the channel: run every case and every figure, and write a page.

gocom channel certify                       # all faults, and the figures: out/channel/index.html
gocom channel certify bit_flip:rate=1e-4    # one channel, no figures
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gocom.evaluation.channel.cases import CASES, Case, chain_of
from gocom.evaluation.channel.certify import PASS, SHOWS, Certificate, certify
from gocom.evaluation.channel.figures import FIGURES
from gocom.evaluation.report.page import Figure, Section, write_page
from gocom.evaluation.report.tables import Cell, Mark, Table

SEED = 2026


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure: its name, how many points it has, and the largest |z| among them."""

    name: str
    points: int
    worst_z: float

    @property
    def passed(self) -> bool:
        """No point is further off than chance allows, for so many points."""
        return self.worst_z < PASS


@dataclass(frozen=True, slots=True)
class Report:
    """All certificates, and the figures."""

    certificates: tuple[Certificate, ...]
    figures: tuple[Drawn, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """All of them."""
        return all(c.passed for c in self.certificates) and all(f.passed for f in self.figures)


def run(specs: Sequence[str], out: Path, say: Callable[[str], None], seed: int = SEED) -> Report:
    """Certify these channels, or all faults and the figures where none is named, and write the page.

    Raises:
        InvalidInput, UnknownName: of a spec; nothing has been run then.
        OSError: the page cannot be written.
    """
    cases = [Case(spec) for spec in specs] or list(CASES)
    for case in cases:
        chain_of(case.spec, seed)
    out.mkdir(parents=True, exist_ok=True)
    began, certificates = time.monotonic(), []
    for case in cases:
        for certificate in certify(case, seed):
            certificates.append(certificate)
            say("\n".join(lines(certificate)))
    drawn = [] if specs else list(_figures(out, say))
    report = Report(tuple(certificates), tuple(drawn), time.monotonic() - began)
    _write(report, out, seed)
    (out / "certificates.json").write_text(json.dumps(asdict(report), indent=1), "utf-8")
    return report


def _figures(out: Path, say: Callable[[str], None]) -> Iterator[Drawn]:
    for name, draw in FIGURES.items():
        scores = draw(out / f"{name}.png")
        one = Drawn(name, len(scores), max(abs(z) for z in scores))
        say(f"{'pass' if one.passed else 'FAIL'}  {name}.png: {one.points} points, |z| up to {one.worst_z:.1f}")
        yield one


def lines(certificate: Certificate) -> Iterator[str]:
    """A certificate in words."""
    c = certificate
    measured, expected = _rates(c)
    verdict = "pass" if c.passed else "FAIL"
    yield f"{verdict}  {c.spec}  [{c.name}] {c.packets:.2g} packets, {c.events:,} of {c.trials:.3g}"
    yield f"      measured {measured:.6g}, expected {expected:.6g}, z {c.z:+.2f}"
    for wrong in c.wrong:
        remark = "" if abs(wrong.expected_z) >= SHOWS else "; more packets would be needed to see it"
        yield f"      {wrong.parameter} off by 2 %: z {wrong.z:+.1f} (expected {wrong.expected_z:+.1f}){remark}"


def _write(report: Report, out: Path, seed: int) -> None:
    rows = tuple(_row(certificate) for certificate in report.certificates)
    table = Table("", (), ("channel", "packets", "trials", "events", "measured", "expected", "z", "off by 2 %"), rows)
    how = (
        "z = (events - expected) / standard deviation, memory of the model included; right models must stay below"
        f" {PASS:g}. Last column: the same counts against a model with one parameter off by 2 %, measured z and, in"
        f" brackets, what it should come to; at {SHOWS:g} or more it must show."
    )
    faults = Section("Faults", (how,), (table,), id="faults", note="" if report.passed else "Some fail.")
    figures = tuple(_figure(drawn, out) for drawn in report.figures)
    curves = (
        [Section("Curves", ("Lines: theory. Points: what was counted.",), figures=figures, id="curves")]
        if figures
        else []
    )
    lead = f"{len(report.certificates)} faults, {report.seconds:.0f} s, seed {seed}."
    write_page(out, "Channel certificate", [f"All pass: {lead}" if report.passed else lead], [faults, *curves])


def _row(c: Certificate) -> tuple[Cell, ...]:
    wrong = "; ".join(f"{w.parameter} {w.z:+.1f} ({w.expected_z:+.1f})" for w in c.wrong)
    numbers = (
        f"{c.packets:,}",
        f"{c.trials:.3g}",
        f"{c.events:,}",
        *(f"{rate:.6g}" for rate in _rates(c)),
        f"{c.z:+.2f}",
    )
    cells = f"`{c.spec}`", *numbers, wrong
    return cells if c.passed else tuple(Mark(cell, "bad") for cell in cells)


def _figure(drawn: Drawn, out: Path) -> Figure:
    notes = f"{drawn.points} points, |z| up to {drawn.worst_z:.2f}" + ("." if drawn.passed else ": FAIL.")
    return Figure(out / f"{drawn.name}.png", f"{drawn.name.replace('_', ' ').capitalize()}.", (notes,))


def _rates(c: Certificate) -> tuple[float, float]:
    """Measured and expected."""
    return (c.events / c.trials, c.expected / c.trials) if c.trials else (math.nan, math.nan)
