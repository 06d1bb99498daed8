"""What a fourth classical codec costs in this repository: three files, and one message pair in codecs.proto."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ROOMS = (
    "channel_emulator", "client", "common", "deploy", "evaluation", "models", "proto", "receiver", "src", "training",
    "transmitter",
)  # fmt: skip

FILES = {
    "common/systems/gif.py": '''
"""gif: the bytes of a GIF file."""

from typing import Annotated

from pydantic import Field

from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.systems.classical import MAX_FILE_BYTES
from gocom.common.types import Parameters


class GifHeader(Parameters):
    """Empty: the file itself holds everything."""


class GifOptions(Parameters):
    """Number of colours, and repair packets as a share of the source packets."""

    colours: Annotated[int, Field(ge=2, le=256)] = 64
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0


FILE = SegmentSpec("file", 256, max_elements=MAX_FILE_BYTES, all_or_nothing=True)
SYSTEMS.add("gif", System("gif", GifHeader, GifOptions, (FILE,), summary="the bytes of a GIF file"))
''',
    "transmitter/encoders/gif.py": '''
"""gif at the transmitter."""

import io

import numpy as np
from PIL import Image

from gocom.common.codec_interfaces import Analysis
from gocom.common.image_files import to_uint8
from gocom.common.types import ElementCoding, Segment
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession


class GifSession(ResendingSession):
    """One picture that is sent as one file."""

    def __init__(self, analysis, goal):
        super().__init__("gif", analysis, goal)
        self.picture = Image.fromarray(to_uint8(analysis.image))

    def message(self, operating_point=None):
        """The file with as many colours as the options say."""
        out, options = io.BytesIO(), self.goal.options
        self.picture.quantize(options.colours).save(out, "GIF")
        data = np.frombuffer(out.getvalue(), np.uint8).astype(np.int64)
        importance = np.ones(len(data), np.float32)
        return self.compose([Segment(0, data, importance, ElementCoding.FIXED, options.repair_overhead)])


@ENCODERS.register("gif")
class GifEncoder:
    """Needs no net."""

    def __init__(self, zoo):
        pass

    def analyse(self, image):
        """Only the image."""
        return Analysis(image)

    def open(self, analysis, goal):
        """Start with a picture."""
        return GifSession(analysis, goal)
''',
    "receiver/decoders/gif.py": '''
"""gif at the receiver."""

import io

import numpy as np
from PIL import Image

from gocom.common.errors import DecodeFailed
from gocom.common.image_files import to_float
from gocom.common.rounds import erased_spans, merge_rounds
from gocom.common.types import Reconstruction
from gocom.receiver.decoders import DECODERS


@DECODERS.register("gif")
class GifDecoder:
    """The whole file or no picture."""

    draws = False

    def __init__(self, zoo):
        pass

    def reconstruct(self, rounds, *, generator, previews=False):
        """One picture."""
        file = merge_rounds(rounds)[0]
        if not file.received.all():
            raise DecodeFailed("gif: bytes are missing")
        with Image.open(io.BytesIO(file.elements.astype(np.uint8).tobytes()), formats=["GIF"]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        yield Reconstruction(to_float(pixels), np.zeros(pixels.shape[:2], np.uint8), wanted=erased_spans({0: file}))
''',
}
PAIR = """
// Header of a GIF frame: the file says everything else.
message GifHeader {}

// Options of gif.
message GifOptions {
  // Number of colours, 2 to 256; default 64.
  optional uint32 colours = 1;
  // RaptorQ repair packets as a share of the source packets; default 0.
  optional double repair_overhead = 2;
}
"""
CASES = {"message CodecHeader {": "    // GIF.\n    GifHeader gif = 14;\n",
         "message CodecOptions {": "    // GIF.\n    GifOptions gif = 14;\n"}  # fmt: skip


def differences(compared: filecmp.dircmp, prefix: str = "") -> set[str]:
    """Files that are new or changed on the right side."""
    found = {f"{prefix}{name}" for name in (*compared.right_only, *compared.diff_files)}
    for name, inner in compared.subdirs.items():
        found |= differences(inner, f"{prefix}{name}/")
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_files_and_one_message_pair(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for room in ROOMS:
        if room == "models":
            (copy / room).symlink_to(ROOT / room)
        else:
            shutil.copytree(ROOT / room, copy / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in FILES.items():
        (copy / name).write_text(code.lstrip())
    proto = copy / "proto" / "gocom" / "v1" / "codecs.proto"
    text = proto.read_text()
    for message, lines in CASES.items():
        at = text.index("oneof codec {\n", text.index(message)) + len("oneof codec {\n")
        text = text[:at] + lines + text[at:]
    proto.write_text(text + PAIR)

    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *arguments], cwd=copy, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    run("gocom.deploy.generate_stubs", "proto")
    changed = set[str]()
    for room in set(ROOMS) - {"models", "src"}:
        ignored = ["__pycache__"]
        changed |= differences(filecmp.dircmp(ROOT / room, copy / room, ignore=ignored), f"{room}/")
    stubs = {name for name in changed if "_pb2" in name}
    assert changed - stubs == {*FILES, "proto/gocom/v1/codecs.proto"}
    assert {Path(name).name.split("_pb2")[0] for name in stubs} == {"codecs"}

    y, x = np.mgrid[:128, :160]
    Image.fromarray(np.stack([x, y, x], -1).astype(np.uint8)).save(tmp_path / "ramp.png")
    line = json.loads(
        run(
            "gocom.client.cli", "send", str(tmp_path / "ramp.png"), "--codec", "gif", "--option", "colours=32",
            "--local", "--channel", "packet_erasure:rate=0.2", "--rounds", "8", "--seed", "3", "--json",
        )
    )  # fmt: skip
    assert line["outcome"] == "reconstructed" and line["codec"] == "gif" and line["rounds"] > 1
    assert line["psnr_db"] > 20
