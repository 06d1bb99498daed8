"""A row of results.csv: one picture by one method at one rate over one channel with one seed.

What a clock says is apart, in timings.csv: the rest is the same on every run.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gocom.evaluation.run.work import Row

__all__ = ["COLUMNS", "KEYS", "TIMINGS", "Row", "read_csv"]

KEYS = ("set", "picture", "method", "rate_bpp", "channel", "seed")
"""What tells rows apart. rate_bpp: nominal, None: the codec's own choice; channel: as it was given."""

COLUMNS: dict[str, type] = {
    "set": str,  # "images" or "labelled"
    "picture": str,
    "method": str,  # Method.name
    "codec": str,
    "protection": str,  # Protection: none, fec, arq
    "rate_bpp": float,
    "channel": str,
    "seed": int,
    "width_px": int,
    "height_px": int,
    "packet_erasure_rate": float,  # of a full payload on this channel, closed form
    "budget_bytes": int,  # what it was to stay within, all rounds in the mean; empty: nothing
    "at_floor": int,  # 1: the smallest file there is takes more than that
    "options": str,  # JSON: the operating point that was chosen
    "rounds": int,
    "bytes_total": int,  # of all rounds and feedback
    "bytes_header": int,
    "bytes_feedback": int,
    "bytes_repair": int,
    "bytes_by_segment": str,  # JSON: name -> bytes, repair included
    "bpp": float,  # 8 bytes_total / pixels
    "packets_sent": int,
    "packets_lost": int,
    "failed": int,  # 1: no picture; what follows is then of a grey one
    "reason": str,
    "psnr_db": float,  # inf: equal
    "ms_ssim": float,  # empty: a side is below 176 px
    "distance": float,  # 1 - cosine of EfficientNet-lite2 features, 0 to 2
    "lpips": float,  # through its library, where that and its weights are there (`gocom doctor`); else empty
    "dists": float,  # likewise
    "st_lpips": float,  # ST-LPIPS with VGG16, likewise; not LPIPS
    "agrees": int,  # 1: the net's first guess of 1000 is that for the original
    "correct": int,  # 1: it is the label; empty: no label
    "correct_10": int,  # 1: the most likely of imagenette's ten classes is the label; empty: no label
}
"""Name -> type; an empty cell is None."""

TIMINGS: dict[str, type] = {
    **{name: COLUMNS[name] for name in KEYS},
    "encode_s": float,
    "channel_s": float,
    "decode_s": float,
    "total_s": float,
}


def read_csv(path: Path, columns: Mapping[str, type] = COLUMNS) -> list[Row]:
    """What `store.write_csv` wrote, typed; a column that an older file lacks is empty."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: _typed(row.get(name, ""), kind) for name, kind in columns.items()} for row in rows]


def _typed(text: str, kind: type) -> Any:
    return None if text == "" and kind is not str else kind(text)
