"""How a picture is scored: what each number is called, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PSNR_CAP_DB = 100.0
"""Stands for the infinite PSNR of a picture that came out equal, which would break every mean."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number a picture.

    Attributes:
        field: of a row.
        title: in tables and plots.
        digits: after the point.
        higher: whether more is better; None: neither is.
        unit: of a difference; "": none.
        meaning: in words, for a reader who does not know it.
        share: rows have 0 or 1, tables per cent.
    """

    field: str
    title: str
    digits: int
    higher: bool | None = True
    unit: str = ""
    meaning: str = ""
    share: bool = False

    def of(self, row: Mapping[str, Any]) -> float | None:
        """A row's value as tables have it: shares in per cent, PSNR at most 100 dB; None: the row has none."""
        value = row.get(self.field)
        if value is None:
            return None
        return 100.0 * value if self.share else min(value, PSNR_CAP_DB) if self.field == "psnr_db" else float(value)


_NET = "EfficientNet-lite2"
METRICS = (
    Metric("psnr_db", "PSNR in dB", 2, unit="dB", meaning="squared error of the 8-bit pixels"),
    Metric("ms_ssim", "MS-SSIM", 3, meaning="likeness of structure over five scales, 1: the same"),
    Metric(
        "distance", "deep-feature distance", 3, higher=False,
        meaning=f"1 - cosine of {_NET}'s features (ImageNet), 0: the same; what LPIPS would be asked for",
    ),
    Metric("lpips", "LPIPS", 3, higher=False, meaning="LPIPS v0.1, AlexNet"),
    Metric("dists", "DISTS", 3, higher=False, meaning="DISTS, VGG16"),
    Metric("st_lpips", "ST-LPIPS", 3, higher=False, meaning="ST-LPIPS, VGG16, 0: the same; another scale than LPIPS"),
    Metric(
        "correct", "accuracy of 1000 classes in %", 1, unit="points", share=True,
        meaning=f"how often {_NET}'s first guess is the label",
    ),
    Metric(
        "correct_10", "accuracy of ten classes in %", 1, unit="points", share=True,
        meaning=f"how often the label is the likeliest of imagenette's ten classes for {_NET}",
    ),
    Metric(
        "agrees", "agreement with the original in %", 1, unit="points", share=True,
        meaning=f"how often {_NET}'s first guess of 1000 is that for the original",
    ),
)  # fmt: skip
"""All there are, in the order of tables. A study may make others of its own."""
METRIC = {metric.field: metric for metric in METRICS}
