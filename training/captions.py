"""How well captions fit: MiniLM cosine to the reference captions of each picture.

    python -m gocom.training.captions --images flickr8k-captions.tar --limit 200

Beside the captioner: the references of another picture (chance), one caption for all, and a reference held against
the others (what people agree on).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from tqdm import tqdm

from gocom.client.command_process import run_command
from gocom.common.image_files import read_samples, to_float
from gocom.common.nets.classifier import Classifier
from gocom.common.nets.text_encoder import TextEncoder
from gocom.transmitter.captioner import TagCaptioner

Vectors = npt.NDArray[np.float32]


def embed(encoder: TextEncoder, texts: Sequence[str]) -> Vectors:
    """Unit sentence vectors float32 [N, 384]: mean over word pieces, as the model was made for."""
    features, mask = encoder(texts)
    weights = mask.float()[..., None]
    vectors = ((features * weights).sum(1) / weights.sum(1)).numpy()
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main(
    images: Annotated[Path, typer.Option(help="tar or folder whose pictures have at least two captions each")],
    limit: int = 200,
    device: str = "auto",
) -> None:
    """Print the mean cosine of each source of captions."""
    captioner, encoder = TagCaptioner(Classifier("lite0", device)), TextEncoder("cpu")
    samples = list(islice((s for s in read_samples(images) if len(s.captions) > 1), limit))
    references = [embed(encoder, s.captions) for s in samples]
    tags = embed(encoder, [captioner(to_float(s.pixels)) for s in tqdm(samples, unit="img")])
    constant = embed(encoder, ["a photo of people outside"])[0]
    scores = {
        "tags": [float((r @ t).mean()) for r, t in zip(references, tags, strict=True)],
        "one caption for all": [float((r @ constant).mean()) for r in references],
        "references of the next picture": [
            float((r @ o[0]).mean()) for r, o in zip(references, [*references[1:], references[0]], strict=True)
        ],
        "a reference against the others": [float((r[1:] @ r[0]).mean()) for r in references],
    }
    for name, values in scores.items():
        spread = 1.96 * np.std(values) / len(values) ** 0.5
        print(f"{name}: {np.mean(values):.3f} +- {spread:.3f} ({len(values)} pictures)")


if __name__ == "__main__":
    run_command(main)
