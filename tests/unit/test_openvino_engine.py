"""A module in OpenVINO gives what torch gives, for any size and from any thread, and its graph is found again."""

import copy
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn

from gocom.common.errors import NotReady
from gocom.common.nets import graph_files, openvino_engine
from gocom.common.nets.autoencoder import patch_decoder
from gocom.common.nets.graph_files import FOLDER_VARIABLE
from gocom.common.nets.openvino_engine import OWN_SIZES, OpenVinoModule, Precision
from gocom.common.nets.token_denoiser import TEXT_DIM, TokenDenoiser

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Folder of the graphs of a test."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "graphs"))
    return tmp_path / "graphs"


@pytest.fixture
def traced(monkeypatch):
    """Names of the modules that were traced in this test."""
    names, trace = [], openvino_engine._trace

    def spy(module, *rest):
        names.append(type(module).__name__)
        return trace(module, *rest)

    monkeypatch.setattr(openvino_engine, "_trace", spy)
    return names


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 1)).eval()


def random_weights(net):
    """No weight at zero, where residual branches start."""
    torch.manual_seed(1)
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.1)
    return net.eval()


def engine(net):
    return OpenVinoModule(net)


def assert_equal(ours, expected):
    assert ours.shape == expected.shape and ours.dtype == expected.dtype
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_decoder_gives_torchs_result_for_every_size():
    net = random_weights(patch_decoder(4, 16, 16, (1, 1), full_channels=2))
    ours = engine(net)
    for batch, height, width in (
        (1, 8, 8),
        (1, 5, 7),
        (2, 8, 8),
        (3, 1, 9),
        (1, 1, 1),
        (1, 2, 3),
        (1, 6, 6),
        (1, 8, 8),
    ):
        z = torch.randn(batch, 4, height, width)
        assert_equal(ours(z), net(z))


@pytest.mark.slow
@torch.inference_mode()
def test_the_denoiser_gives_torchs_result_with_and_without_text():
    net = random_weights(TokenDenoiser(32, 7, (32, 32, 32), 16))
    ours = engine(net)
    for batch, height, width, words in (
        (1, 8, 8, 0),
        (2, 5, 7, 0),
        (1, 8, 8, 3),
        (1, 8, 8, 5),
        (2, 3, 1, 4),
        (1, 1, 1, 0),
    ):
        arguments = [torch.randint(32, (batch, height, width)), torch.rand(batch)]
        arguments.append((torch.rand(batch, height, width) > 0.5).float())
        text = [torch.randn(batch, words, TEXT_DIM), torch.rand(batch, words) > 0.4] if words else [None, None]
        if words:
            text[1][:, 0] = True
        assert_equal(ours(*arguments, *text), net(*arguments, *text))
    assert_equal(ours(*arguments), net(*arguments))  # the arguments that are left out are None
    assert ours.config.codebook_size == 32 and ours.null_text is net.null_text


@torch.inference_mode()
def test_a_net_that_returns_a_tuple_returns_one():
    net = random_weights(
        UNet2DModel(
            in_channels=6, out_channels=2, block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
        )
    )  # fmt: skip
    ours = engine(net)
    for batch, side in ((1, 8), (2, 4)):
        x, t = torch.randn(batch, 6, side, side + 2), torch.randint(1000, (batch,))
        (result,) = ours(x, t, return_dict=False)
        assert_equal(result, net(x, t, return_dict=False)[0])


@torch.inference_mode()
def test_few_sizes_have_graphs_of_their_own_and_the_others_share_one():
    net = small_net()
    ours = engine(net)
    for side in (*range(1, OWN_SIZES + 6), *range(1, 4)):
        for batch in (1, 2):
            x = torch.randn(batch, 3, side, side)
            assert_equal(ours(x), net(x))
    assert len(ours._compiled) == OWN_SIZES + 1


def test_results_are_not_overwritten_by_the_next_call():
    ours, x = engine(small_net()), torch.randn(1, 3, 4, 4)
    first = ours(x)
    kept = first.clone()
    ours(x + 1)
    assert torch.equal(first, kept)


def test_calls_from_several_threads_do_not_disturb_each_other():
    net = small_net()
    ours, inputs = engine(net), [torch.randn(1 + n % 2, 3, 4 + n % 3, 5) for n in range(24)]
    with ThreadPoolExecutor(4) as pool:
        for result, x in zip(pool.map(ours, inputs), inputs, strict=True):
            assert_equal(result, net(x).detach())


def test_inputs_in_any_order_of_memory_and_with_gradients_are_taken():
    net, x = small_net(), torch.randn(2, 5, 7, 3).permute(0, 3, 1, 2).requires_grad_()
    result = engine(net)(x)
    assert not result.requires_grad
    assert_equal(result, net(x).detach())


def test_a_copy_and_a_pickle_work(folder):
    net, x = small_net(), torch.randn(1, 3, 4, 4)
    ours = OpenVinoModule(net, Precision.BFLOAT16)
    expected = ours(x)
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert other.precision is Precision.BFLOAT16 and other.module is not net
        assert torch.equal(other(x), expected)


def test_a_second_instance_finds_the_graph_and_other_weights_do_not(traced, folder):
    x = torch.randn(1, 3, 4, 4)
    expected = engine(small_net())(x)
    assert torch.equal(engine(small_net())(x), expected)
    assert traced == ["Sequential"]
    assert not torch.allclose(engine(small_net(seed=1))(x), expected)
    assert len(traced) == 2 and len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("change", ["buffer", "stride"])
def test_a_net_that_differs_in_anything_has_a_graph_of_its_own(traced, change):
    first, second = (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.SiLU()).eval() for _ in range(2))
    second.load_state_dict(first.state_dict())
    if change == "buffer":
        second[1].running_mean += 1
    else:
        second[0].stride = (2, 2)
    x = torch.randn(1, 3, 4, 4)
    for net in (first, second):
        assert_equal(engine(net)(x), net(x).detach())
    assert len(traced) == 2


@pytest.mark.parametrize("harm", ["empty", "cut", "flipped", "appended", "other"])
def test_a_damaged_file_is_not_read(tmp_path, harm):
    content = bytes(range(256))
    graph_files.write_graph(tmp_path, "k", content)
    path = tmp_path / "k.graph"
    whole = path.read_bytes()
    assert graph_files.read_graph(tmp_path, "k") == content
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    harmed = {"empty": b"", "cut": whole[:-1], "flipped": flipped, "appended": whole + b"\0", "other": b"x" * 99}
    path.write_bytes(harmed[harm])
    assert graph_files.read_graph(tmp_path, "k") is None


def test_a_graph_whose_file_was_damaged_is_made_and_written_again(traced, folder):
    x = torch.randn(1, 3, 4, 4)
    expected = engine(small_net())(x)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(engine(small_net())(x), expected) and len(traced) == 2
    assert torch.equal(engine(small_net())(x), expected) and len(traced) == 2


def test_a_folder_that_cannot_be_written_is_no_error(monkeypatch, tmp_path, traced):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "graphs"))
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(engine(small_net())(x), engine(small_net())(x)) and len(traced) == 2


def test_a_full_disk_is_no_error_and_leaves_nothing(monkeypatch, folder):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(graph_files.os, "replace", full)
    net, x = small_net(), torch.randn(1, 3, 4, 4)
    assert_equal(engine(net)(x), net(x).detach())
    assert list(folder.iterdir()) == []


def test_nothing_is_kept_where_that_is_off(monkeypatch, tmp_path, traced):
    monkeypatch.setenv(FOLDER_VARIABLE, "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(engine(small_net())(x), engine(small_net())(x)) and len(traced) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_in_the_users_cache_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert graph_files.cache_folder() == tmp_path / "gocom" / "graphs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert graph_files.cache_folder() == tmp_path / ".cache" / "gocom" / "graphs"


def test_the_folder_keeps_its_size_by_deleting_what_was_not_used_for_longest(monkeypatch, tmp_path):
    monkeypatch.setattr(graph_files, "MAX_BYTES", 400)
    for number, key in enumerate("abc"):
        graph_files.write_graph(tmp_path, key, bytes(100))
        graph_files.os.utime(tmp_path / f"{key}.graph", (number, number))
    assert graph_files.read_graph(tmp_path, "a") == bytes(100)  # used just now
    graph_files.write_graph(tmp_path, "d", bytes(100))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c", "d"]
    graph_files.write_graph(tmp_path, "e", bytes(400))  # too large to be kept
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_two_processes_that_write_one_file_leave_a_whole_one(tmp_path):
    code = f"""
from pathlib import Path
from gocom.common.nets.graph_files import write_graph
for n in range(200):
    write_graph(Path({str(tmp_path)!r}), "k", bytes([n]) * 50000)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    path, seen = tmp_path / "k.graph", 0
    while any(process.poll() is None for process in processes):
        if path.exists():
            assert len(set(graph_files.read_graph(tmp_path, "k"))) == 1
            seen += 1
    assert [process.wait() for process in processes] == [0, 0] and seen
    assert [file.name for file in tmp_path.iterdir()] == ["k.graph"]


class Refused(nn.Module):
    def forward(self, x):
        raise ValueError("not with me")


def test_a_module_that_cannot_be_converted_is_a_clear_error():
    with pytest.raises(
        NotReady, match=r"^engine: OpenVINO cannot run Refused \(not with me\); set GOCOM_ENGINE=torch$"
    ):
        engine(Refused())(torch.zeros(1))


def test_the_modules_own_warnings_are_seen():
    class Warning_(nn.Module):
        def forward(self, x):
            warnings.warn("of its own", UserWarning, stacklevel=1)
            return x + 1

    with pytest.warns(UserWarning, match="of its own"):
        assert engine(Warning_())(torch.zeros(1)).item() == 1


def test_an_attribute_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = engine(small_net()).nothing_like_it


def test_openvino_reports_nothing_over_the_network():
    code = """
import sys
from gocom.common.nets.openvino_engine import openvino
openvino()
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__, "openvino_telemetry" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]


def test_other_peoples_files_in_the_folder_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_files, "MAX_BYTES", 100)
    (tmp_path / "thesis.pdf").write_bytes(bytes(500))
    (tmp_path / "old").mkdir()
    for key in ("aa", "bb"):
        graph_files.write_graph(tmp_path, key, bytes(40))
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.pdf", "old", "bb.graph"}


def test_a_full_folder_of_temporary_files_costs_no_picture(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv(graph_files.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr("gocom.common.nets.openvino_engine.tempfile.TemporaryDirectory", full)
    net, x = torch.nn.Conv2d(3, 4, 3).eval(), torch.rand(1, 3, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(OpenVinoModule(net)(x), net(x), atol=1e-4, rtol=1e-4)
    assert not list(tmp_path.iterdir())


class AddedText(torch.nn.Module):
    """Adds the mean of a second input, [B,T,8], of any T."""

    def forward(self, x, text=None):
        return x if text is None else x + text.mean((1, 2))[:, None, None]


def test_a_second_tensor_that_happens_to_be_as_large_as_the_first_may_change(tmp_path, monkeypatch):
    monkeypatch.setenv(graph_files.FOLDER_VARIABLE, str(tmp_path))
    net = AddedText().eval()
    ours = OpenVinoModule(net)
    with torch.inference_mode():
        for length in (5, 7, 5):
            x, text = torch.rand(1, 5, 8), torch.rand(1, length, 8)
            torch.testing.assert_close(ours(x, text), net(x, text), atol=1e-4, rtol=1e-4)
        assert torch.equal(ours(x), x) and torch.equal(ours(x, None), x)
    assert len(ours._graphs) == 2  # with the text, and without
