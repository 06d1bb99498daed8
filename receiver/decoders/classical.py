"""jpeg, jpeg2000, webp, avif: the whole file or nothing."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from common.errors import DecodeFailed
from common.images import to_float
from common.rounds import merge_rounds
from common.systems.classical import CLASSICAL_CODECS, FILE
from common.types import Provenance, ReceivedMessage, Reconstruction
from receiver.decoders import DECODERS

if TYPE_CHECKING:
    import torch

FORMATS = {"jpeg": "JPEG", "jpeg2000": "JPEG2000", "webp": "WEBP", "avif": "AVIF"}


class ClassicalDecoder:
    """A codec of Pillow's. `device` is not used, and nothing is left to chance: no generator is needed."""

    draws = False

    def __init__(self, codec: str, device: str) -> None:
        self.codec = codec

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator | None, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """One picture. Raises DecodeFailed when bytes are missing or do not make the picture that was announced."""
        start = time.perf_counter()
        frame = rounds[0].frame
        file = merge_rounds(rounds).get(FILE)
        if file is None or not len(file.elements):
            raise DecodeFailed(f"{self.codec}: no file in this frame")
        if missing := int((~file.received).sum()):
            raise DecodeFailed(f"{self.codec}: {missing} of {len(file.elements)} bytes are missing")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of damage that it then raises for
                with Image.open(
                    io.BytesIO(file.elements.astype(np.uint8).tobytes()), formats=[FORMATS[self.codec]]
                ) as p:
                    if p.size != (frame.width_px, frame.height_px):
                        raise DecodeFailed(
                            f"{self.codec}: file says {p.size}, header {frame.width_px}x{frame.height_px}"
                        )
                    pixels = np.asarray(p.convert("RGB"), np.uint8)
        except DecodeFailed:
            raise
        except UnidentifiedImageError:  # its text has the address of an object
            raise DecodeFailed(f"{self.codec}: what arrived is no such file") from None
        except Exception as error:  # Pillow's readers raise many types on damaged files
            raise DecodeFailed(f"{self.codec}: {error}") from error
        provenance = np.full(pixels.shape[:2], Provenance.RECEIVED, np.uint8)
        yield Reconstruction(to_float(pixels), provenance, seconds={"decode": time.perf_counter() - start})


for _codec in CLASSICAL_CODECS:
    DECODERS.add(_codec, partial(ClassicalDecoder, _codec))
