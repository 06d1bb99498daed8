"""How a method looks in every figure: a colour a codec, a line style a protection."""

from __future__ import annotations

from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.report.plots import PALETTE, Line

_LINES = {Protection.NONE.value: ":x", Protection.FEC.value: "-o", Protection.ARQ.value: "--s"}
_PROTECTED = {
    Protection.NONE.value: "files without protection", Protection.FEC.value: "files with RaptorQ repair",
    Protection.ARQ.value: "files with retransmissions",
}  # fmt: skip
_MANY = 6
"""More methods than this are shown in panels by protection."""


def colours(results: Results) -> dict[str, str]:
    """Method -> colour: one a codec with its options."""
    specs = list(dict.fromkeys(name.partition("+")[0] for name in results.methods))
    return {name: PALETTE[specs.index(name.partition("+")[0]) % len(PALETTE)] for name in results.methods}


def line(results: Results, name: str, points: list[tuple[float, tuple[float, float, float]]]) -> Line:
    """A method's (x, mean with interval); of a codec that degrades a thick line."""
    kept = results.methods[name]
    return Line(
        name, [x for x, _ in points], [mean for _, (mean, _, _) in points],
        [(low, high) for _, (_, low, high) in points],
        style=_LINES[kept.protection] if kept.classical else "-D", color=colours(results)[name],
        width=1.5 if kept.classical else 2.4,
    )  # fmt: skip


def groups(results: Results) -> list[tuple[str, list[str]]]:
    """(title, methods) of the panels that methods are spread over: all in one, or the semantic ones in each."""
    if len(results.methods) <= _MANY:
        return [("", list(results.methods))]
    found = []
    for protection, title in _PROTECTED.items():
        peers = [name for name in results.classical if results.methods[name].protection == protection]
        if peers:
            found.append((title, [name for name in results.methods if name in (*peers, *results.semantic)]))
    return found or [("", list(results.methods))]
