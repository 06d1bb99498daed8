"""How a picture is scored: what each number is called, and what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """How a picture is scored: field of a row, name in tables, digits, unit, whether more is better, and in words."""

    field: str
    title: str
    digits: int
    unit: str = ""
    higher: bool = True
    meaning: str = ""


_NET = "EfficientNet-lite2"
METRICS = (
    Metric("psnr_db", "PSNR in dB", 2, "dB", meaning="squared error of the 8-bit pixels"),
    Metric("ms_ssim", "MS-SSIM", 3, meaning="likeness of structure over five scales, 1: the same"),
    Metric(
        "distance", "deep-feature distance", 3, higher=False,
        meaning=f"1 - cosine of {_NET}'s features (ImageNet), 0: the same; what LPIPS would be asked for",
    ),
    Metric("lpips", "LPIPS", 3, higher=False, meaning="LPIPS v0.1, AlexNet"),
    Metric("dists", "DISTS", 3, higher=False, meaning="DISTS, VGG16"),
    Metric("st_lpips", "ST-LPIPS", 3, higher=False, meaning="ST-LPIPS, VGG16, 0: the same; another scale than LPIPS"),
    Metric(
        "correct", "accuracy of 1000 classes in %", 1, "points", meaning=f"how often {_NET}'s first guess is the label"
    ),
    Metric(
        "correct_10", "accuracy of ten classes in %", 1, "points",
        meaning=f"how often the label is the likeliest of imagenette's ten classes for {_NET}",
    ),
    Metric(
        "agrees", "agreement with the original in %", 1, "points",
        meaning=f"how often {_NET}'s first guess of 1000 is that for the original",
    ),
)  # fmt: skip
METRIC = {metric.field: metric for metric in METRICS}
