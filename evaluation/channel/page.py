"""Certify the channel: run every case and every figure, and write a page.

gocom channel certify                       # all faults, and the figures: out/channel/index.html
gocom channel certify bit_flip:rate=1e-4    # one channel, no figures
"""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gocom.evaluation.channel.cases import CASES, Case, chain_of
from gocom.evaluation.channel.certify import PASS, SHOWS, Certificate, certify
from gocom.evaluation.channel.figures import FIGURES

SEED = 2026

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: .25rem .6rem; border-bottom: 1px solid #ddd }
td.n { text-align: right; font-variant-numeric: tabular-nums } .bad { color: #b00; font-weight: bold }
img { max-width: 100% } code { font-size: 12.5px }
"""


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
    (out / "index.html").write_text(_page(report), "utf-8")
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
    measured, expected = (value / c.trials if c.trials else math.nan for value in (c.events, c.expected))
    verdict = "pass" if c.passed else "FAIL"
    yield f"{verdict}  {c.spec}  [{c.name}] {c.packets:.2g} packets, {c.events:,} of {c.trials:.3g}"
    yield f"      measured {measured:.6g}, expected {expected:.6g}, z {c.z:+.2f}"
    for wrong in c.wrong:
        remark = "" if abs(wrong.expected_z) >= SHOWS else "; more packets would be needed to see it"
        yield f"      {wrong.parameter} off by 2 %: z {wrong.z:+.1f} (expected {wrong.expected_z:+.1f}){remark}"


def _page(report: Report) -> str:
    rows = "\n".join(_row(c) for c in report.certificates)
    figures = "\n".join(
        f'<h2>{html.escape(f.name.replace("_", " "))}</h2><img src="{f.name}.png" alt="{html.escape(f.name)}">'
        f"<p>{f.points} points, |z| up to {f.worst_z:.2f}</p>"
        for f in report.figures
    )
    verdict = "All pass." if report.passed else '<span class="bad">Some fail.</span>'
    return f"""<!doctype html>
<meta charset="utf-8">
<title>Channel certificate</title>
<style>{STYLE}</style>
<h1>Channel certificate</h1>
<p>{verdict} {len(report.certificates)} channels, {report.seconds:.0f} s, seed {SEED}. z = (events &minus; expected) /
standard deviation, memory of the model included; right models must stay below {PASS:g}. Last column: the same counts
against a model with one parameter off by 2 %, measured z and, in brackets, what it should come to; at {SHOWS:g} or more
it must show.</p>
<table>
<tr><th>channel</th><th>packets</th><th>trials</th><th>events</th><th>measured</th><th>expected</th><th>z</th>
<th>off by 2 %</th></tr>
{rows}
</table>
{figures}
"""


def _row(c: Certificate) -> str:
    wrong = "<br>".join(f"{html.escape(w.parameter)}: {w.z:+.1f} ({w.expected_z:+.1f})" for w in c.wrong)
    measured, expected = (value / c.trials if c.trials else math.nan for value in (c.events, c.expected))
    cells = (f"{c.packets:,}", f"{c.trials:.3g}", f"{c.events:,}", f"{measured:.6g}", f"{expected:.6g}", f"{c.z:+.2f}")
    numbers = "".join(f'<td class="n">{cell}</td>' for cell in cells)
    row = f"<td><code>{html.escape(c.spec)}</code></td>{numbers}<td>{wrong}</td>"
    return f"<tr{'' if c.passed else ' class=bad'}>{row}</tr>"
