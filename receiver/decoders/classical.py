"""jpeg, jpeg2000, webp and avif: the whole file or no picture. A smaller image is enlarged to the frame's size."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from gocom.common.errors import DecodeFailed
from gocom.common.image_files import to_float
from gocom.common.rounds import merge_rounds
from gocom.common.systems.classical import CLASSICAL_CODECS, FILE, Scale, scaled_size
from gocom.common.types import Provenance, ReceivedMessage, Reconstruction
from gocom.common.zoo import Zoo
from gocom.receiver.decoders import DECODERS

if TYPE_CHECKING:
    import torch

FORMATS = {"jpeg": "JPEG", "jpeg2000": "JPEG2000", "webp": "WEBP", "avif": "AVIF"}


class ClassicalDecoder:
    """Decoder of one of Pillow's formats. It is deterministic: it needs no generator and no net of the zoo."""

    draws = False

    def __init__(self, codec: str, zoo: Zoo) -> None:
        self.codec = codec

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator | None, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Yield one picture. Raises DecodeFailed if bytes are missing or do not form the announced image."""
        start = time.perf_counter()
        frame = rounds[0].frame
        file = merge_rounds(rounds).get(FILE)
        if file is None or not len(file.elements):
            raise DecodeFailed(f"{self.codec}: no file in this frame")
        if missing := int((~file.received).sum()):
            raise DecodeFailed(f"{self.codec}: {missing} of {len(file.elements)} bytes are missing")
        pixels = self._pixels(file.elements.astype(np.uint8).tobytes(), frame.width_px, frame.height_px)
        provenance = np.full(pixels.shape[:2], Provenance.RECEIVED, np.uint8)
        yield Reconstruction(to_float(pixels), provenance, seconds={"decode": time.perf_counter() - start})

    def _pixels(self, file: bytes, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
        """Decode a file to uint8 [height, width, 3]; a smaller image is enlarged."""
        size = width_px, height_px
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of damage before it raises
                with Image.open(io.BytesIO(file), formats=[FORMATS[self.codec]]) as p:
                    if p.size not in {scaled_size(*size, scale) for scale in Scale}:
                        raise DecodeFailed(f"{self.codec}: file says {p.size}, header {width_px}x{height_px}")
                    picture = p.convert("RGB")
        except DecodeFailed:
            raise
        except UnidentifiedImageError:  # its message contains an object's address
            raise DecodeFailed(f"{self.codec}: what arrived is no such file") from None
        except Exception as error:  # Pillow's readers raise many types of exceptions for damaged files
            raise DecodeFailed(f"{self.codec}: {error}") from error
        if picture.size != size:
            # For photos the PSNR is up to 0.3 dB higher than with bicubic interpolation, and hardly ever lower.
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(picture, np.uint8)


for _codec in CLASSICAL_CODECS:
    DECODERS.add(_codec, partial(ClassicalDecoder, _codec))
