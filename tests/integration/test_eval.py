"""`gocom eval`: killed and begun again, by hand and through services, it comes to the same."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_parity import stack
from typer.testing import CliRunner

from gocom.client.cli import app
from gocom.client.client import Client
from gocom.common.image_files import square_crop, to_float
from gocom.common.image_quality import psnr_db
from gocom.common.types import LinkSettings
from gocom.evaluation.compare.engine import PipelineEngine, ServicesEngine
from gocom.evaluation.compare.rows import KEYS, read_csv
from gocom.evaluation.run.codec_setup import Codec
from gocom.v1 import link_pb2

GRID = (
    "--codecs", "lami_go:mask_ratio=0,jpeg,webp+arq", "--channels", "clean,packet_erasure:rate=0.2",
    "--rates", "0.15,own", "--size", "128", "--repeat", "2", "--device", "cpu",
)  # fmt: skip
PHOTOS = ("astronaut", "coffee", "chelsea")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "gocom.client.cli", "eval", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from skimage import data

    folder = tmp_path_factory.mktemp("photos")
    for name in PHOTOS:
        Image.fromarray(np.ascontiguousarray(getattr(data, name)()[..., :3])).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    done = run("--images", photos, "--out", out, "--workers", 2, *GRID)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_and_begun_again_it_gives_the_same_csv(undisturbed: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    words = ("--images", photos, "--out", out, *GRID)
    process = subprocess.Popen(command(*words, "--workers", 2), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(list((out / "parts").glob("*.json"))) < 4:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.json")}
    assert not (out / "results.csv").exists() and 4 <= len(kept) < 15
    done = run(*words, "--workers", 1)  # how many work at it does not matter either
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert (out / "results.csv").read_bytes() == (undisturbed / "results.csv").read_bytes()
    assert (out / "index.html").is_file()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_interrupt_says_how_to_go_on(photos: Path, tmp_path: Path) -> None:
    words = command("--images", photos, "--out", tmp_path, "--workers", 2, *GRID)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not list((tmp_path / "parts").glob("*.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=100)
    assert process.returncode == 130 and "of 90 cases; the same command goes on from there" in said, said
    assert not printed and "Traceback" not in said and "leaked" not in said


@pytest.mark.slow
def test_the_csv_has_every_case_and_counts_every_byte(undisturbed: Path) -> None:
    rows = read_csv(undisturbed / "results.csv")
    assert len(rows) == 3 * 5 * 2 * 3 == len({tuple(row[key] for key in KEYS) for row in rows})
    for row in rows:
        parts = sum(json.loads(row["bytes_by_segment"]).values()) + row["bytes_header"] + row["bytes_feedback"]
        assert row["bytes_total"] == parts and row["bpp"] == 8 * parts / 128**2
        assert row["failed"] == bool(row["reason"]) and 0 <= row["packets_lost"] <= row["packets_sent"]
        once = row["protection"] != "arq"
        assert row["at_floor"] or row["budget_bytes"] is None or not once or row["bytes_total"] <= row["budget_bytes"]
    record = json.loads((undisturbed / "results.json").read_text())
    assert record["nets"] and record["environment"]["packages"]["torch"] and record["command"].startswith("gocom eval")


@pytest.mark.slow
def test_classical_methods_get_the_bytes_of_the_semantic_one(undisturbed: Path) -> None:
    rows = read_csv(undisturbed / "results.csv")
    anchor = {(r["picture"], r["rate_bpp"]): r["bytes_total"] for r in rows if r["codec"] == "lami_go"}
    assert len(set(anchor.values())) > 2
    for row in rows:
        if row["codec"] != "lami_go":
            assert row["budget_bytes"] == anchor[row["picture"], row["rate_bpp"]]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_by_hand_it_is_the_same(undisturbed: Path, photos: Path, tmp_path: Path) -> None:
    """One picture, codec and channel: bytes as captured between the services, PSNR of the files that are written."""
    rows = read_csv(undisturbed / "results.csv")
    for codec, seed in (("lami_go", 1), ("jpeg", 0)):
        (row,) = [
            r for r in rows
            if (r["picture"], r["codec"], r["protection"], r["rate_bpp"], r["channel"], r["seed"])
            == ("chelsea", codec, "none", None, "packet_erasure:rate=0.2" if codec == "lami_go" else "clean", seed)
        ]  # fmt: skip
        out = tmp_path / codec
        async with stack() as (_, recorder):
            flags = [f"--{name}={address}" for name, address in recorder.addresses.items()]
            index = sorted(PHOTOS).index("chelsea")  # the frame index keys the losses: send those before it, too
            sent = [str(photos / f"{name}.png") for name in sorted(PHOTOS)[: index + 1]]
            options = [f"--option={key}={value}" for key, value in json.loads(row["options"]).items()]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gocom.client.cli", "send", *sent, *flags, "--codec", codec, *options,
                "--channel", row["channel"], "--seed", str(seed), "--size", "128", "--out", str(out), "--json",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, _ = await process.communicate()
            last = json.loads(output.splitlines()[-1])
            captured = frames_of(recorder.sent)[-1]
        assert row["bytes_total"] == sum(map(len, captured)) == last["bytes_total"]
        received = np.asarray(Image.open(out / f"chelsea.{codec}.received.png"))
        original = square_crop(np.asarray(Image.open(photos / "chelsea.png")), 128)
        assert psnr_db(to_float(original), to_float(received)) == row["psnr_db"]


def frames_of(items: list[bytes]) -> list[list[bytes]]:
    """Captured items, frame by frame."""
    frames: list[list[bytes]] = []
    for item in items:
        if link_pb2.SendRequest.FromString(item).WhichOneof("item") == "header":
            frames.append([])
        frames[-1].append(item)
    return frames


SENDS = (
    ("jpeg", "clean", 0, {"quality": 20}),
    ("webp", "packet_erasure:rate=0.2", 3, {"quality": 5, "repair_overhead": 0.6}),
    ("jpeg", "packet_erasure:rate=0.2", 4, {"quality": 5, "max_rounds": 8}),
    ("jpeg", "packet_erasure:rate=0.9", 4, {"quality": 5, "max_rounds": 2}),
    ("lami_go", "packet_erasure:rate=0.2", 5, {"mask_ratio": 0, "budget": 260}),
    ("webp", "clean", 0, {"quality": 5, "scale": 4}),
)


@pytest.mark.timeout(240)
async def test_services_and_pipeline_engines_agree(codec: Callable[[str], Codec], photo: Callable[..., Any]) -> None:
    link, image = LinkSettings(max_payload_bytes=80), photo("coffee", 128)
    here = PipelineEngine({name: codec(name) for name in ("jpeg", "webp", "lami_go")}, link)
    async with stack() as (_, recorder):
        addresses = recorder.addresses
        with Client(addresses["transmitter"], addresses["receiver"], addresses["channel-address"]) as client:
            there = ServicesEngine(client, link)
            for number, (name, channel, seed, settings) in enumerate(SENDS):
                # Within a budget the index of the frame would leave less for the rest of it.
                index = 0 if "budget" in settings else number
                arguments = name, image, channel, seed, index, settings
                # The services run in this thread's loop: the client waits in another one.
                found, wanted = await asyncio.to_thread(there.send, *arguments), here.send(*arguments)
                assert (found.image is None) == (wanted.image is None) == (number == 3), (name, found.row)
                assert wanted.image is None or np.array_equal(found.image, wanted.image)
                # The client's stream begins with this frame, whose header says its index unless that is 0. In the
                # pipeline a frame follows the one before it.
                index_bytes = 2 if index else 0
                said = {name: wanted.row[name] + index_bytes for name in ("bytes_total", "bytes_header")}
                assert found.row | {"bytes_repair": None} == wanted.row | said | {"bytes_repair": None}, name
                assert found.by_segment == wanted.by_segment, name
                assert all(value >= 0 for value in (*found.timings.values(), *wanted.timings.values()))
                again = here.send(*arguments)  # what was kept is what was made
                assert again.row == wanted.row and again.timings["encode_s"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "images: nothing to send; give --images, --labelled or both"),
        (["--images", "{photos}", "--codecs", "jpg"], "no 'jpg'; there are avif, "),
        (["--images", "{photos}", "--rates", "none"], "rates: 'none' is neither bits a pixel nor 'own'"),
        (["--images", "{photos}", "--channels", "packet_erasure:rate=7"], "rate: 7"),
        (["--paper", "lamigo"], "paper: no 'lamigo'; there are all, feature_imputing, lami_go"),
        (["--paper", "lami_go", "--images", "{photos}"], "paper: lami_go also needs --labelled ("),
        (["--paper", "feature_imputing", "--street", "{photos}"], "street: feature_imputing has no use for it"),
        (["--paper", "lami_go", "--codecs", "jpeg"], "codecs: has no meaning with --paper, which takes count, "),
        (["--images", "{photos}", "--street", "{photos}"], "street: is for --paper"),
        (["--images", "{photos}", "--experiments", "erasure"], "experiments: is for --paper"),
        (["--images", "{photos}", "--engine", "dask"], "engine: no 'dask'; there are processes, ray"),
        (["--images", "{photos}", "--engine", "ray", "--local"], "engine: ray cannot send through services"),
        (["--images", "{photos}", "--ray-address", "head:6379"], "ray-address: is for --engine ray"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(words: list[str], said: str, photos: Path, tmp_path: Path) -> None:
    filled = [word.format(photos=photos) for word in words]
    done = CliRunner().invoke(app, ["eval", *filled, "--out", str(tmp_path)])
    assert done.exit_code == 2 and said in " ".join(done.output.split()), done.output


@pytest.mark.slow
def test_an_evaluation_of_other_settings_is_not_gone_on_with(undisturbed: Path, photos: Path) -> None:
    words = ["eval", "--images", str(photos), "--out", str(undisturbed), "--codecs", "jpeg"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "has an evaluation with other " in " ".join(done.output.split()), done.output
