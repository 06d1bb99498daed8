"""`gocom eval --paper lami_go`: the figures and tables that the bundled nets can answer, beside the paper's numbers."""

from __future__ import annotations

from gocom.evaluation.lami_go.study import STUDY
from gocom.evaluation.papers.lami_go_figures import draw
from gocom.evaluation.papers.lami_go_items import DIFFERENCES, ITEMS
from gocom.evaluation.papers.paper import Paper

LEAD = (
    "A. Wijesinghe, S. Wanninayaka, W. Wang, Y.-C. Chao, S. Zhang, Z. Ding: LaMI-GO: Latent Mixture Integration for "
    "Goal-Oriented Communications Achieving High Spectrum Efficiency. The paper's numbers are those of its text; where "
    "a figure's are not in it, none are given. Ours are means with a Student's 95 % interval over pictures, measured "
    "by `python -m gocom.evaluation.lami_go`, through the same encoder, packets, channel and decoder that users run.",
    "FID, LPIPS, depth and mAP need weights that are not bundled: deep-feature distance (lower is better) stands "
    "beside LPIPS, and PSNR (higher is better) beside FID. They are other scales.",
    "How to read it: both sides have the same question, not the same pictures, nets or judges. Whether one setting is "
    "better than another can be compared; the numbers themselves cannot. Better, worse and not told apart are said of "
    "the interval of the paired difference on the same pictures.",
)
PAPER = Paper(STUDY, "LaMI-GO: the paper's figures and tables, and ours", LEAD, ITEMS, DIFFERENCES, draw)
