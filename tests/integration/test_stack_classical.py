"""The three services as processes, the client and `gocom send`, by classical codecs (no nets)."""

import asyncio
import io
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gocom.client import AsyncClient, LocalStack
from gocom.client.cli import app
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.image_files import png_bytes

FIELDS = {
    "file", "frame_id", "codec", "width_px", "height_px", "bytes_total", "bytes_by_segment", "bytes_headers",
    "bytes_handshake", "bytes_resent", "bpp",
    "packets_sent", "packets_received", "rounds", "psnr_db", "quality_estimate", "ms_ssim", "seconds", "outcome",
}  # fmt: skip
CODECS = ("jpeg", "webp")


def picture(height=176, width=208):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], 2).astype(np.uint8)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with LocalStack(codecs=CODECS, log_folder=tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture
def client(stack):
    with stack.client() as made:
        made.set_channel("clean")
        yield made


def test_send_local_prints_one_record_an_image(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png_bytes(picture()))
    words = ["send", tmp_path / "a.png", tmp_path / "b.png", "--codec", "jpeg", "--local", "--out", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(w) for w in [*words, "--json"]])
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(records) == 2
    for record in records:
        assert set(record) == FIELDS
        assert record["outcome"] == "reconstructed"
        assert (record["width_px"], record["height_px"]) == (208, 176)
        assert record["bytes_total"] == sum(record["bytes_by_segment"].values()) > 0
        assert 0 < record["bytes_headers"] < record["bytes_total"] / 5
        assert record["bytes_handshake"] > 100
        assert record["bpp"] == pytest.approx(record["bytes_total"] * 8 / (208 * 176), abs=1e-4)
        assert record["packets_received"] == record["packets_sent"] > 1
        assert record["psnr_db"] > 25 and 0.8 < record["ms_ssim"] <= 1
        assert {"encode", "transport", "total"} <= set(record["seconds"])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{name}.jpeg.{kind}.png" for name in "ab" for kind in ("received", "compare")}


def test_erasure_is_an_outcome_not_an_error(stack, tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(picture()))
    addresses = ["--transmitter", "--receiver", "--channel-address"]
    at = [stack.addresses[name] for name in ("transmitter", "receiver", "channel")]
    words = ["send", tmp_path / "a.png", "--codec", "jpeg", "--channel", "packet_erasure:rate=0.5", "--json"]
    words += ["--out", tmp_path / "out", *(w for pair in zip(addresses, at, strict=True) for w in pair)]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert set(record) == FIELDS | {"failure", "reason"}
    assert record["outcome"] == "failed"
    assert 0 < record["packets_received"] < record["packets_sent"]
    assert record["psnr_db"] is None and record["ms_ssim"] is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jpeg.compare.png"]


def test_results_come_in_order_and_input_is_read_lazily(client):
    taken = []

    def source():
        for number in range(12):
            taken.append(number)
            yield picture(64 + 8 * number, 64)

    results = client.send(source(), "webp", first_index=5, options={"quality": 80})
    first = next(results)
    assert first.frame_index == 5
    assert len(taken) <= 8
    rest = list(results)
    assert [r.frame_index for r in rest] == list(range(6, 17))
    assert [r.height_px for r in rest] == [64 + 8 * n for n in range(1, 12)]
    assert all(r.outcome == "reconstructed" and r.image is not None and r.provenance is not None for r in rest)
    assert all(r.ms_ssim is None and math.isfinite(r.psnr_db) for r in rest[:5])


def test_a_bad_picture_has_a_result_and_the_rest_is_sent(client):
    images = [picture(), b"junk", "/nowhere/at.png", picture()]
    results = list(client.send(images, "jpeg"))
    assert [r.frame_index for r in results] == [0, 1, 2, 3]
    assert [r.failure for r in results] == ["", "invalid", "invalid", ""]
    assert "not a readable image" in results[1].reason and "/nowhere/at.png" in results[2].reason
    assert results[1].original is None and results[1].bytes_total == results[1].bpp == 0
    assert results[0].psnr_db == results[3].psnr_db > 25


def test_only_bad_pictures_have_results_too(client):
    assert [r.failure for r in client.send([b"", b"junk"], "jpeg")] == ["invalid", "invalid"]


def test_none_in_a_list_is_told_before_anything_is_sent_and_in_an_iterator_it_is_invalid(client):
    with pytest.raises(InvalidInput, match=r"images\[1\]: NoneType is no picture"):
        list(client.send([picture(), None, picture()], "jpeg"))
    results = list(client.send(iter([picture(), None, picture()]), "jpeg"))
    assert [r.failure for r in results] == ["", "invalid", ""]
    assert "NoneType is no picture" in results[1].reason


async def test_none_from_an_asynchronous_iterator_is_invalid_and_the_rest_is_sent(stack):
    async def source():
        for image in (None, picture(), None):
            yield image

    async with AsyncClient(stack.addresses["transmitter"], stack.addresses["receiver"]) as client:
        results = [result async for result in client.send(source(), "jpeg")]
    assert [r.failure for r in results] == ["invalid", "", "invalid"]


def test_a_motion_photo_is_sent_without_its_film(client):
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "JPEG")
    results = list(client.send([picture(), out.getvalue() + bytes(20 << 20), picture()], "jpeg"))
    assert [r.outcome for r in results] == 3 * ["reconstructed"]


def gocom(stack, *words):
    names = ("transmitter", "receiver", "channel")
    flags = zip(("--transmitter", "--receiver", "--channel-address"), (stack.addresses[n] for n in names), strict=True)
    return CliRunner().invoke(app, [*map(str, words), "--codec", "jpeg", *(word for flag in flags for word in flag)])


@pytest.fixture
def folder(tmp_path):
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(png_bytes(picture()))
    (tmp_path / "2.png").write_bytes(b"")
    (tmp_path / "._3.png").write_bytes(b"junk")
    (tmp_path / "4.png").write_bytes(png_bytes(picture())[:-99])
    (tmp_path / "photo.heic").write_bytes(b"junk")
    (tmp_path / "notes.txt").write_text("junk")
    return tmp_path


def test_send_counts_what_it_cannot_read_and_sends_the_rest(stack, folder):
    result = gocom(stack, "send", folder, "--json", "--out", folder / "out")
    assert result.exit_code == 1
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["outcome"] == "reconstructed" for r in records] == [True, True, False, True, False, True]
    assert records[2]["failure"] == "invalid" and "2.png" in records[2]["reason"]
    assert "4.png" in records[4]["reason"] and "truncated" in records[4]["reason"]
    assert result.stderr.splitlines() == ["1 file skipped: photo.heic", "2 of 6 pictures could not be read"]
    assert len(list((folder / "out").iterdir())) == 8
    table = gocom(stack, "send", folder)
    assert (
        table.exit_code == 1
        and "2.png': not a readable image: the file is empty" in table.stdout
        and "invalid" in table.stdout
    )


def test_send_refuses_a_single_file_that_it_cannot_read(stack, folder):
    result = gocom(stack, "send", folder / "4.png", "--json")
    assert result.exit_code == 2 and "4.png" in json.loads(result.stdout)["error"]
    assert gocom(stack, "send", folder / "4.png", folder / "gone.png", "--json").exit_code == 1


def test_stream_goes_on_past_what_it_cannot_read(stack, folder):
    result = gocom(stack, "stream", folder, "--json", "--loops", 2)
    assert result.exit_code == 1
    outcomes = [json.loads(line)["outcome"] == "reconstructed" for line in result.stdout.splitlines()]
    assert outcomes == 2 * [True, True, False, True, False, True]
    lines = result.stderr.splitlines()
    assert len(lines) == 4 and "2.png" in lines[1] and "4.png" in lines[2]
    assert lines[3] == "2 of 6 pictures could not be read"


def test_stream_ends_when_nothing_can_be_read(stack, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    result = gocom(stack, "stream", tmp_path, "--json", "--rate", 50)
    assert result.exit_code == 1 and len(result.stdout.splitlines()) == 2


def test_stream_says_by_its_status_that_a_service_failed(tmp_path, monkeypatch):
    monkeypatch.setenv("GOCOM_TRANSMITTER_LINK_PATIENCE_S", "0.2")
    (tmp_path / "a.png").write_bytes(png_bytes(picture()))
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path / "logs") as broken:
        assert gocom(broken, "stream", tmp_path / "a.png", "--json", "--loops", 1).exit_code == 0
        broken.kill("channel")
        result = gocom(broken, "stream", tmp_path / "a.png", "--json", "--loops", 1)
    assert result.exit_code == 1 and json.loads(result.stdout)["failure"] == "link"


def test_a_frame_that_the_transmitter_refuses_fails_alone(client):
    results = list(client.send([picture(40, 40), picture()], "jpeg"))
    assert [(r.outcome, r.failure) for r in results] == [("failed", "invalid"), ("reconstructed", "")]
    assert "image" in results[0].reason and "64" in results[0].reason


def test_budget_below_the_floor_names_the_floor(client):
    (result,) = client.send(picture(), "jpeg", budget_bytes=100)
    assert result.failure == "invalid"
    assert "needs at least" in result.reason


def test_same_seed_same_losses_for_every_send(client):
    client.set_channel("packet_erasure:rate=0.1", seed=3)
    runs = [next(client.send(picture(), "jpeg", first_index=2)) for _ in range(2)]
    assert runs[0].packets_received == runs[1].packets_received < runs[0].packets_sent


def test_a_second_round_brings_what_was_lost(client):
    client.set_channel("packet_erasure:rate=0.2", seed=1)
    (result,) = client.send(picture(), "jpeg", max_rounds=6)
    assert result.outcome == "reconstructed"
    assert 1 < result.rounds <= 6


def test_channel_is_set_read_and_watched(client):
    assert client.set_channel("bursty", seed=9) > 0
    profile = client.get_channel()
    assert profile.seed == 9 and profile.impairments[0].WhichOneof("kind") == "gilbert_elliott"
    report = next(client.watch_channel(50))
    assert report.impairments[0].name == "gilbert_elliott"


def test_a_stream_may_be_left_half_read(stack):
    client = stack.client()
    results, reports = client.send([picture()] * 9, "jpeg"), client.watch_channel(50)
    assert next(results).outcome == "reconstructed"
    assert next(reports).revision > 0
    client.close()
    results.close()
    reports.close()
    client.close()


async def test_two_sends_at_once(stack):
    async with AsyncClient(**stack.addresses) as client:
        await client.set_channel("clean")

        async def send(codec):
            return [r async for r in client.send([picture()] * 3, codec)]

        both = await asyncio.gather(*(send(codec) for codec in CODECS))
    assert [[r.codec for r in results] for results in both] == [[codec] * 3 for codec in CODECS]
    assert all(r.outcome == "reconstructed" for results in both for r in results)


def test_a_picture_too_large_for_the_transmitter_fails_by_its_name_and_the_rest_is_sent(tmp_path, monkeypatch):
    monkeypatch.setenv("GOCOM_TRANSMITTER_MAX_MESSAGE_BYTES", "65536")
    noise = np.random.default_rng(1).integers(0, 255, (176, 208, 3), np.uint8)
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path) as strict, strict.client() as client:
        results = list(client.send([picture(), noise, picture(), picture()], "jpeg", timeout_s=60))
    assert [r.failure for r in results] == ["", "invalid", "", ""]
    assert "image: the request has" in results[1].reason and "accepts 65536" in results[1].reason


def test_a_service_that_is_paused_is_lost_within_seconds(stack, client):
    """Its kernel goes on to acknowledge what it is sent; only pings tell that it does not answer."""
    assert [result.outcome for result in client.send([picture()], "jpeg")] == ["reconstructed"]
    stack.pause("transmitter")
    try:
        with pytest.raises(NotReady, match="transmitter at"):
            list(client.send([picture()], "jpeg", timeout_s=50, patience_s=1))
    finally:
        stack.resume("transmitter")


WAITING = """
import sys, threading
import numpy as np
from gocom.client import Client

def images():
    yield np.full((64, 64, 3), 90, np.uint8)
    threading.Event().wait()

with Client(*sys.argv[1:]) as client:
    print(next(client.send(images(), "jpeg")).outcome)
"""


def test_an_iterator_that_waits_for_ever_keeps_no_program_from_its_end(stack):
    addresses = [stack.addresses["transmitter"], stack.addresses["receiver"]]
    command = [sys.executable, "-c", WAITING, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "reconstructed\n", "")
