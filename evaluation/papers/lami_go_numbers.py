"""What the paper of LaMI-GO reports, as its text gives it. FID and LPIPS: lower is better.

A. Wijesinghe, S. Wanninayaka, W. Wang, Y.-C. Chao, S. Zhang, Z. Ding: LaMI-GO: Latent Mixture Integration for
Goal-Oriented Communications Achieving High Spectrum Efficiency. Points of its figures are not in its text, and are not
guessed here.
"""

from __future__ import annotations

STEPS = ("28/32", "50/62", "94/100", "194/200")
"""tau/T of tables IV and VIII."""
TABLE_I = (
    ("SPADE", "0.546", "103.24", "–"),
    ("CC-FPSE", "0.546", "245.9", "–"),
    ("SMIS", "0.546", "87.58", "–"),
    ("OASIS", "0.561", "104.03", "–"),
    ("SDM", "0.549", "98.99", "–"),
    ("OD", "0.2191", "55.85", "1000"),
    ("GESCO", "0.591", "83.74", "1000"),
    ("RN", "0.3448", "96.409", "1000"),
    ("Diff-GO (n=20)", "0.3206", "74.09", "1000"),
    ("Diff-GO (n=50)", "0.2697", "72.95", "1000"),
    ("Diff-GO (n=100)", "0.2450", "68.59", "1000"),
    ("Diff-GO+ (W=64, L=32)", "0.2231", "60.93", "1000"),
    ("Diff-GO+ (W=128, L=32)", "0.2126", "58.20", "1000"),
    ("LaMI-GO", "0.1327", "29.84", "8"),
    ("VQGAN (all tokens)", "0.056", "11.21", "–"),
)
"""Cityscapes: (method, LPIPS, FID, steps)."""
TABLE_II = (
    ("DM-GAN", "32.64"),
    ("XMC-GAN", "50.08"),
    ("DF-GAN", "21.42"),
    ("SSA-GAN", "19.37"),
    ("DSE-GAN", "15.30"),
    ("VQ-Diffusion", "19.75"),
    ("VQ-GAN", "22.28"),
    ("Stackformer", "10.08"),
    ("LaMI-GO (28/32)", "10.26"),
    ("LaMI-GO (194/200)", "9.50"),
)
"""COCO, 40,000 pictures: (method, FID)."""
TABLE_III = {
    ("Cityscapes", "lowest"): "18.44",
    ("Cityscapes", "highest"): "36.98",
    ("Flickr", "lowest"): "58.65",
    ("Flickr", "highest"): "126.66",
}
"""FID with 1024 tokens withheld, the closest to their codewords ("lowest-distanced") or the farthest; 4/8 steps."""
TABLE_IV: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {
    "random (PRM), 0.25": {
        "Cityscapes": (("0.1193", "24.62"), ("0.1167", "24.35"), ("0.1139", "23.00"), ("0.1123", "22.72")),
        "Flickr": (("0.159", "35.62"), ("0.155", "34.87"), ("0.154", "34.77"), ("0.154", "34.63")),
        "COCO-Stuff": (("0.135", "10.37"), ("0.155", "10.04"), ("0.130", "9.75"), ("0.129", "9.61")),
    },
    "fixed (PDM), 1/4": {
        "Cityscapes": (("0.1187", "24.61"), ("0.1159", "24.31"), ("0.1122", "22.86"), ("0.1107", "22.15")),
        "Flickr": (("0.156", "35.32"), ("0.153", "34.22"), ("0.151", "34.15"), ("0.150", "34.43")),
        "COCO-Stuff": (("0.132", "10.20"), ("0.129", "9.92"), ("0.126", "9.62"), ("0.126", "9.50")),
    },
    "distance-based (EBM), 0.25": {
        "Cityscapes": (("0.1058", "21.62"), ("0.1038", "21.60"), ("0.1020", "20.52"), ("0.1010", "20.20")),
        "Flickr": (("0.1510", "54.15"), ("0.1477", "52.16"), ("0.1466", "52.01"), ("0.1461", "51.79")),
        "COCO-Stuff": (("0.126", "29.31"), ("0.123", "28.56"), ("0.122", "28.13"), ("0.121", "27.95")),
    },
}
"""Policy -> data -> (LPIPS, FID) at each of STEPS."""
TABLE_V = (
    ("LaMI-GO (4/8)", "5.95"),
    ("LaMI-GO (28/32)", "5.73"),
    ("LaMI-GO (50/62)", "5.72"),
    ("LaMI-GO (194/200)", "5.59"),
    ("Diff-GO+ (1000/1000)", "6.58"),
    ("Diff-GO+ (500/500)", "6.55"),
    ("Diff-GO+ (200/200)", "6.65"),
    ("Diff-GO+ (100/100)", "6.55"),
)
"""Cityscapes, PRM: (method, RMSE of depth)."""
TABLE_VI = (
    ("COCO-Stuff", "28/32", "63.50"),
    ("COCO-Stuff", "94/100", "63.77"),
    ("COCO-Stuff", "194/200", "64.21"),
    ("COCO", "194/200", "64.99"),
    ("Flickr", "4/8", "44.54"),
    ("Flickr", "28/32", "44.72"),
    ("Flickr", "94/100", "46.85"),
)
"""PRM: (data, steps, mAP in %)."""
TABLE_VII = (
    ("original", "187.63", "–", "–"),
    ("GESCO", "14.52", "83.75", "1000/1000"),
    ("Diff-GO+ (n=1024, L=1024) + GO-EVAE (n=1024, L=16)", "13.5", "68.25", "1000/1000"),
    ("OD", "1994.41", "55.85", "1000/1000"),
    ("Diff-GO+ (n=128, L=32)", "87.04", "58.20", "1000/1000"),
    ("JPEG (quality = 40)", "10.28", "35.72", "–"),
    ("JPEG 2000 (quality = 35)", "10.94", "65.10", "–"),
    ("LaMI-GO, PRM p = 0.35", "8.50", "27.23", "194/200"),
    ("LaMI-GO, PRM p = 0.25", "9.39", "22.72", "194/200"),
)
"""Cityscapes: (method, KB a picture, FID, steps)."""
TABLE_VIII = (
    ("30.55", "0.1560", "5.99"),
    ("30.05", "0.1524", "6.08"),
    ("28.42", "0.1470", "5.97"),
    ("27.23", "0.1438", "5.88"),
)
"""Cityscapes, 10 % of packets lost: (FID, LPIPS, depth RMSE) at each of STEPS."""
TABLE_IX = ((0.01, "23.18", "0.1148"), (0.02, "23.59", "0.1179"), (0.03, "24.49", "0.1150"), (0.05, "25.49", "0.1270"))
"""Cityscapes, PRM 0.25: (packet error rate, FID, LPIPS)."""
TABLE_X = (("Diff-GO+", "30/30", "65.81", "0.3546", "7.2"), ("LaMI-GO", "4/8", "29.84", "0.1327", "1.29"))
"""Cityscapes, EBM: (model, steps, FID, LPIPS, seconds)."""
