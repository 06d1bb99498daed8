"""The `gocom` command without services: what is listed, and what a slip is told."""

import json
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from gocom.client import open_client as targets
from gocom.client.channel_recording import PendingTrace
from gocom.client.cli import app
from gocom.client.commands.send import parse_size
from gocom.client.comparison_pictures import Tile, comparison_picture, provenance_picture, tile_wall
from gocom.client.output_files import unique_names
from gocom.client.picture_input import load_picture
from gocom.client.results import SendResult, describe_task
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import png_bytes
from gocom.common.packet_trace_file import read_trace_file
from gocom.common.tasks import LabelConfidence, TaskResult
from gocom.v1 import channel_pb2


def gocom(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def photo_file(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png_bytes(np.full((64, 80, 3), 90, np.uint8)))
    return path


def test_codecs_list_options_with_defaults_and_ranges():
    result = gocom("codecs", "--json")
    records = {r["codec"]: r for r in map(json.loads, result.stdout.splitlines())}
    assert {"lami_go", "jpeg", "jpeg2000", "webp", "avif"} <= set(records)
    options = {o["name"]: o for o in records["lami_go"]["options"]}
    assert options["mask_ratio"] == {"name": "mask_ratio", "type": "float", "default": 0.25, "range": ">= 0, <= 0.9"}
    assert options["masking"]["range"].startswith("none, prm")
    assert [s["name"] for s in records["lami_go"]["segments"]] == ["caption", "tokens"]
    assert "quality" in gocom("codecs").stdout


def test_doctor_says_what_is_there():
    result = gocom("doctor", "--json", "--transmitter", "127.0.0.1:1", "--receiver", "127.0.0.1:1")
    record = json.loads(result.stdout)
    assert result.exit_code == 0
    assert record["packages"]["grpcio"] and record["devices"][0].startswith("cpu")
    assert "vq_tokenizer" in record["models"]
    assert record["optional_metrics"].keys() == {"LPIPS", "DISTS", "FID", "ST-LPIPS"}
    assert record["services"]["transmitter"] == {"address": "127.0.0.1:1", "serving": False}
    table = gocom("doctor", "--transmitter", "127.0.0.1:1", "--receiver", "127.0.0.1:1").stdout
    assert "LPIPS (optional metrics)" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--codec", "jpg"], "codec: no 'jpg'; there are"),
        (["--codec", "jpeg", "--option", "quality"], "option: 'quality' is not of the form key=value"),
        (["--codec", "jpeg", "--option", "sharpness=3"], "sharpness: no such option; there are"),
        (["--codec", "jpeg", "--option", "quality=300"], "quality: Input should be less than or equal to 100"),
        (["--channel", "packet_erasure:rat=0.1"], "packet_erasure.rat: no such parameter; there are rate"),
        (["--channel", "trace_replay"], "trace_replay.file: not set; name the file of the trace"),
        (["--channel", "trace_replay:file=/none"], "trace_replay.file: cannot read '/none': No such file"),
        (["--channel", "netem:loss 5% 25%"], "netem: '25%': a correlation is not emulated"),
        (["--reverse-channel", "packet_erasure:rat=0.1"], "packet_erasure.rat: no such parameter; there are rate"),
        (["--size", "huge"], "size: 'huge' is neither fit nor keep"),
        (["--size", "32"], "size: 32 is not in 64 to 1024"),
        (["--payload-bytes", "9"], "link.max_payload_bytes: 9 is not in 32 to 65000"),
        (["--noise-setup", "5"], "noise-setup: 5 is none of 1, 2, 3, 4"),
        (["--noise-setup", "2", "--noise-level", "0.6"], "noise-level: 0.6 is not in 0 to 0.5"),
        (["--noise-setup", "1", "--channel", "clean"], "noise-setup: sets what --channel sets; give one of the two"),
        (["--noise-setup", "1", "--interleave"], "noise-setup: sets what --interleave sets"),
        (["--noise-setup", "3", "--no-interleave"], "noise-setup: sets what --no-interleave sets"),
        (["--noise-setup", "2", "--option", "coding=fixed"], "noise-setup: sets what --option coding sets"),
        (["--noise-level", "0.1"], "noise-level: goes with --noise-setup only; choose 1, 2, 3, 4"),
        (["--protect"], "budget_bytes: unequal protection needs one"),
        (["--protect-share", "0.1"], "budget_bytes: unequal protection needs one"),
        (["--bursty", "--channel", "lossy"], "bursty: goes with --noise-setup only"),
        (["--target", "0.5"], "goal: has neither a task nor a text"),
        (["--text", "a car", "--label", "3"], "goal.labels: needs a task"),
        (["--text", "é" * 101], "goal.text: 202 bytes of UTF-8 are not in 1 to 200"),
        (["--label-name", "tabby"], "label-name: needs --task"),
        (["--task", "classify", "--label", "-1"], "goal.labels: -1 is not in 0 to 4294967295"),
    ],
)
@pytest.mark.parametrize("local", [[], ["--local"]])
def test_a_slip_is_one_line_and_status_2(photo_file, words, message, local):
    result = gocom("send", photo_file, *words, *local, "--json")
    assert result.exit_code == 2
    (line,) = result.stdout.splitlines()
    assert message in json.loads(line)["error"]
    plain = gocom("send", photo_file, *words, *local)
    assert plain.exit_code == 2
    assert plain.stdout == ""
    assert "Traceback" not in plain.stderr
    assert message in " ".join(plain.stderr.split())


class Recorder:
    """Stands in for a client and what opens it; keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    @contextmanager
    def open(self, target, spec, seed, codecs, reverse_spec=None, check=None):
        if check is not None:
            check(self)
        self.asked.append(spec)
        yield self

    def send(self, images, codec, *, options, link, **others):
        self.asked += [options, link.interleave]
        self.others = others
        return iter(())

    def label_names(self, task):
        return ("tabby", "Tiger cat", "crane", "lynx", "crane")


@pytest.mark.parametrize("name", ["send", "stream"])
@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], [None, {}, True]),
        (["--noise-setup", "3"], ["packet_erasure:rate=0.1", {"coding": "huffman"}, False]),
        (["--noise-setup", "2", "--codec", "jpeg"], ["bit_flip:rate=0.001,damage=deliver", {}, True]),
        (
            ["--noise-setup", "4", "--noise-level", "0.01", "--bursty", "--option", "mask_ratio=0.1"],
            [
                "burst_bit_flip:p=0.000408163265306,r=0.02,rate_bad=0.5,damage=deliver",
                {"mask_ratio": "0.1", "coding": "fixed"},
                False,
            ],
        ),
    ],
)
def test_a_noise_setup_reaches_channel_link_and_codec(photo_file, monkeypatch, name, words, asked):
    recorder = Recorder()
    monkeypatch.setattr(sys.modules[f"gocom.client.commands.{name}"], "open_client", recorder.open)
    extra = ["--loops", "1"] if name == "stream" else []
    result = gocom(name, photo_file, *words, *extra)
    assert result.exit_code == 0
    assert recorder.asked == asked
    assert ("noise setup" in result.stderr) == bool(words)
    assert gocom(name, photo_file, *words, *extra, "--json").output == ""


@pytest.mark.parametrize(
    ("words", "rounds", "goal"),
    [
        ([], 1, None),
        (["--rounds", "5"], 5, None),
        (["--task", "classify"], 3, ConsumerGoal("classify")),
        (["--text", "a car", "--max-rounds", "2"], 2, ConsumerGoal(text="a car")),
        (
            ["--task", "classify", "--target", "0.8", "--label", "3", "--label-name", "tiger cat",
             "--label-name", "CRANE"],
            3, ConsumerGoal("classify", (3, 1, 2, 4), target=0.8),
        ),
    ],
)  # fmt: skip
def test_a_goal_reaches_the_client_with_three_rounds(photo_file, monkeypatch, words, rounds, goal):
    recorder = Recorder()
    monkeypatch.setattr(sys.modules["gocom.client.commands.send"], "open_client", recorder.open)
    result = gocom("send", photo_file, *words)
    assert result.exit_code == 0, result.output
    assert (recorder.others["max_rounds"], recorder.others["goal"]) == (rounds, goal)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lynks", "label-name: no 'lynks'; similar are lynx"),
        ("cat", "label-name: no 'cat'; similar are tiger cat"),
        ("zzz", "label-name: no 'zzz'; there are 5 others"),
    ],
)
def test_an_unknown_label_is_told_its_neighbours(photo_file, monkeypatch, name, words):
    recorder = Recorder()
    monkeypatch.setattr(sys.modules["gocom.client.commands.send"], "open_client", recorder.open)
    words_given = ["--task", "classify", "--label-name", name, "--channel", "heavy"]
    result = gocom("send", photo_file, *words_given, "--json")
    assert result.exit_code == 2 and json.loads(result.stdout)["error"] == words
    assert recorder.asked == [], "before the channel is changed"


def test_a_label_that_the_task_lacks_is_refused_before_the_channel_is_changed(photo_file, monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(sys.modules["gocom.client.commands.send"], "open_client", recorder.open)
    result = gocom("send", photo_file, "--task", "classify", "--label", "5", "--channel", "heavy", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"] == "goal.labels: no 5; task 'classify' has 0 to 4"
    assert recorder.asked == []


def test_a_goal_command_says_what_it_lacks():
    result = gocom("goal", "set", "s", "--json")
    assert result.exit_code == 2 and "goal: no flag is given; --task or --text" in json.loads(result.stdout)["error"]
    result = gocom("goal", "set", "s", "--rounds", "3", "--json")
    assert result.exit_code == 2 and "neither a task nor a text" in json.loads(result.stdout)["error"]
    result = gocom("goal", "get", "s", "--receiver", "127.0.0.1:1", "--json")
    assert result.exit_code == 1 and "receiver at 127.0.0.1:1: " in json.loads(result.stdout)["error"]


def test_the_result_of_a_task_is_below_the_comparison():
    pixels = np.full((64, 80, 3), 90, np.uint8)
    sent = SendResult(
        "s/0", 0, "jpeg", 80, 64, 9, {}, 3, 200, 0, 1.0, 1, 1, 1, 30.0, None, {}, "reconstructed", "", "", pixels,
        pixels, np.zeros((64, 80), np.uint8),
    )  # fmt: skip
    labels = tuple(LabelConfidence(i, name, 0.5 - i / 10) for i, name in enumerate(("tabby", "lynx", "crane", "egg")))
    rated = replace(sent, task_result=TaskResult("classify", labels, 0.512344), goal_revision=2)
    assert describe_task(rated.task_result) == "classify 51%: tabby 50%, lynx 40%, crane 30%"
    assert describe_task(TaskResult("classify", reason="no net")) == "classify failed: no net"
    plain, drawn = (np.asarray(comparison_picture(result)).astype(int) for result in (sent, rated))
    more = drawn.shape[0] - plain.shape[0]
    assert more > 10 and (drawn[: -more - 4] == plain[:-4]).all()
    line = drawn[-more - 4 :]
    assert (line.min(2) < 60).sum() > 200, "the text is there"
    assert (line[-1] == 255).all() and (line[:, -3:] == 255).all() and (line[:, :4] == 255).all(), "and is not cut off"
    record = rated.as_record()
    assert record["goal_revision"] == 2 and record["task_result"]["confidence"] == 0.51234
    assert record["task_result"]["labels"][1] == {"index": 1, "name": "lynx", "confidence": 0.4}
    assert not {"goal_revision", "task_result"} & set(sent.as_record())


def test_stream_refuses_what_send_refuses(photo_file):
    result = gocom("stream", photo_file, "--noise-setup", "1", "--channel", "lossy", "--json")
    assert result.exit_code == 2
    assert "sets what --channel sets" in json.loads(result.stdout)["error"]


def test_missing_and_unreadable_pictures(tmp_path):
    missing = gocom("send", tmp_path / "none.jpg", "--json")
    assert missing.exit_code == 2
    assert "none.jpg" in json.loads(missing.stdout)["error"]
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    broken = gocom("send", tmp_path / "broken.jpg", "--json")
    assert broken.exit_code == 2
    assert "not a readable image" in json.loads(broken.stdout)["error"]


def test_services_out_of_reach_are_named(photo_file):
    result = gocom("send", photo_file, "--codec", "jpeg", "--transmitter", "127.0.0.1:1", "--json")
    assert result.exit_code == 1
    assert "transmitter at 127.0.0.1:1" in json.loads(result.stdout)["error"]
    result = gocom("channel", "set", "lossy", "--channel-address", "127.0.0.1:1", "--json")
    assert result.exit_code == 1
    assert "channel at 127.0.0.1:1" in json.loads(result.stdout)["error"]


def test_files_go_out_as_they_are_and_large_ones_fit():
    data = png_bytes(np.zeros((100, 2048, 3), np.uint8))
    kept = png_bytes(np.zeros((100, 1024, 3), np.uint8))
    assert load_picture(kept).data is kept and load_picture(kept, "fit").data is kept
    with pytest.raises(InvalidInput, match="sides must be 64 to 1024"):
        load_picture(data, "fit")
    fitted = load_picture(png_bytes(np.zeros((600, 2048, 3), np.uint8)), "fit")
    assert fitted.pixels.shape == (300, 1024, 3)
    assert np.array_equal(decode_image(fitted.data), fitted.pixels)
    assert load_picture(data, 64).pixels.shape == (64, 64, 3)
    with pytest.raises(InvalidInput, match="uint8"):
        load_picture(np.zeros((64, 64, 3), np.float32))


def test_sizes_and_names(tmp_path):
    assert (parse_size("keep"), parse_size("fit"), parse_size("96")) == (None, "fit", 96)
    assert unique_names([tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "b.png"]) == ["a", "a-2", "b"]


def test_figures():
    image = np.full((64, 64, 3), 128, np.uint8)
    tinted = provenance_picture(image, np.repeat(np.arange(64) % 3, 64).reshape(64, 64).astype(np.uint8))
    assert len(np.unique(tinted.reshape(-1, 3), axis=0)) == 3
    wall = tile_wall([[Tile(image, "a"), Tile(None, "b")]], (64, 64), ["x", "y"], ["row"])
    assert wall.width > 128 and wall.height > 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protect", "--record", "{file}"], "budget_bytes: unequal protection needs one"),
        (["--payload-bytes", "9", "--record", "{file}"], "link.max_payload_bytes: 9 is not in"),
        (["--record", "/nonexistent/x"], "record: cannot write '/nonexistent/x': No such file"),
        (["--record", "{folder}"], "record: cannot write"),
    ],
)
def test_bad_input_changes_neither_channel_nor_record(photo_file, tmp_path, monkeypatch, words, message):
    recorder, file = Recorder(), tmp_path / "run.trace"
    monkeypatch.setattr(sys.modules["gocom.client.commands.send"], "open_client", recorder.open)
    file.write_text("kept")
    words = [word.format(file=file, folder=tmp_path) for word in words]
    result = gocom("send", photo_file, "--channel", "heavy", *words, "--json")
    assert result.exit_code == 2 and message in json.loads(result.stdout)["error"]
    assert recorder.asked == [] and file.read_text() == "kept"
    assert sorted(tmp_path.iterdir()) == [photo_file, file]


def test_a_record_takes_the_place_of_another_with_its_first_round(tmp_path):
    file = tmp_path / "run.trace"
    file.write_text("kept")
    with PendingTrace(file):
        assert file.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "kept"
    rounds = [channel_pb2.TraceRound(frame_index=i, packets=3, erased=b"\x02") for i in range(2)]
    with PendingTrace(file) as pending:
        for message in rounds:
            pending.write(message)
            assert read_trace_file(file) == rounds[: pending.rounds]
    assert list(tmp_path.iterdir()) == [file]


class NoClient:
    """In place of a Client, without services."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_the_way_back_is_set_before_the_channel(monkeypatch):
    asked = []

    class Refusing(NoClient):
        def set_channel(self, profile, seed=None, reverse=False):
            asked.append(reverse)
            raise InvalidInput("direction: feedback does not cross this emulator")

    monkeypatch.setattr(targets, "Client", Refusing)
    with pytest.raises(InvalidInput), targets.open_client(targets.Target("a", "b", "c"), "heavy", 0, (), "lossy"):
        pass
    assert asked == [True]


def test_what_is_checked_with_the_client_comes_before_the_channel(monkeypatch):
    done = []

    class Running(NoClient):
        def set_channel(self, profile, seed=None, reverse=False):
            done.append(reverse)

    def check(client):
        assert isinstance(client, Running)
        done.append("checked")
        if len(done) == 1:
            raise InvalidInput("label-name: no such one")

    monkeypatch.setattr(targets, "Client", Running)
    arguments = targets.Target("a", "b", "c"), "heavy", 0, (), "lossy", check
    with pytest.raises(InvalidInput, match="label-name"), targets.open_client(*arguments):
        pass
    assert done == ["checked"]
    with targets.open_client(*arguments):
        assert done == ["checked", "checked", True, False]
