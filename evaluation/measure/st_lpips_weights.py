"""Where the weights of ST-LPIPS are (Ghildyal and Liu 2022). No torch here.

They are read out of the PyPI package `stlpips-pytorch` (BSD-2-Clause) where a user has it: `pip install --no-deps
stlpips-pytorch`. The package is never imported: parts of its code are for non-commercial use only.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Trunk = Literal["alex", "vgg"]
PACKAGE, _MODULE = "stlpips-pytorch", "stlpips_pytorch"
_WEIGHTS = "weights/vST0.0/{trunk}_shift_tolerant.pth"


def weights_path(trunk: Trunk) -> Path | None:
    """Where the package keeps a trunk's weights; None: it is not installed. Nothing is imported."""
    spec = find_spec(_MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / _WEIGHTS.format(trunk=trunk)
        if path.is_file():
            return path
    return None
