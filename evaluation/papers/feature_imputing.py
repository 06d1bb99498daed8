"""`gocom eval --paper feature_imputing`: the claims and open questions of the paper, and what our nets say of them."""

from __future__ import annotations

from pathlib import Path

from gocom.evaluation.feature_imputing.study import STUDY
from gocom.evaluation.papers.feature_imputing_items import DIFFERENCES, ITEMS
from gocom.evaluation.papers.items import Results
from gocom.evaluation.papers.paper import Paper

LEAD = (
    "Generative Feature Imputing: A Technique for Error-resilient Semantic Communication, arXiv 2508.17957. The "
    "paper's numbers are those of its text; where a figure's are not in it, none are given. Ours are means with a 95 % "
    "Student's interval over pictures, measured by `python -m gocom.evaluation.feature_imputing`, through the same "
    "encoder, packets, channel and decoder that users run.",
    "LPIPS needs weights that are not bundled: deep-feature distance (lower is better) stands beside it. Semantic "
    "accuracy is top-1 of 1000 classes of EfficientNet-lite2 on the received picture; the encoder's map is another "
    "net's, EfficientNet-lite0.",
    "How to read it: both sides have the same question, not the same pictures, nets or judges. Better, worse and not "
    "told apart are said of the interval of the paired difference on the same pictures.",
)


def draw(results: Results, out: Path) -> list[str]:
    """The study's plots, of what there are rows for."""
    made: list[str] = []
    for part in STUDY.parts:
        if rows := list(results.get(part.name, ())):
            made += part.draw(rows, out)
    return made


PAPER = Paper(STUDY, "Generative Feature Imputing: the paper's claims, and ours", LEAD, ITEMS, DIFFERENCES, draw)
