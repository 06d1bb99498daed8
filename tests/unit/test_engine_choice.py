"""Which engine runs a receiver's nets."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from gocom.common.errors import InvalidInput, NotReady
from gocom.common.nets import engines
from gocom.common.nets.engines import (
    ENGINE_VARIABLE,
    PRECISION_VARIABLE,
    Engine,
    EngineName,
    chosen_engine,
    put_on_engine,
)
from gocom.common.nets.openvino_engine import OpenVinoModule, Precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def installed(monkeypatch):
    """Say whether openvino is installed."""

    def say(is_installed):
        monkeypatch.setattr(engines, "find_spec", lambda name: object() if is_installed else None)

    say(True)
    monkeypatch.delenv(ENGINE_VARIABLE, raising=False)
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)
    return say


def test_auto_takes_openvino_where_it_can(installed, monkeypatch):
    for value in ("", "auto"):
        monkeypatch.setenv(ENGINE_VARIABLE, value)
        assert chosen_engine(CPU) == Engine(EngineName.OPENVINO, Precision.FLOAT32)
        assert chosen_engine(CUDA).name is EngineName.TORCH
    installed(False)
    assert chosen_engine(CPU).name is EngineName.TORCH


def test_torch_and_a_precision_are_taken_as_told(installed, monkeypatch):
    monkeypatch.setenv(PRECISION_VARIABLE, "bfloat16")
    assert chosen_engine(CPU) == Engine(EngineName.OPENVINO, Precision.BFLOAT16)
    monkeypatch.setenv(ENGINE_VARIABLE, "torch")
    assert chosen_engine(CPU).name is EngineName.TORCH


@pytest.mark.parametrize(
    ("values", "device", "is_installed", "error", "words"),
    [
        ({ENGINE_VARIABLE: "onnx"}, CPU, True, InvalidInput, "GOCOM_ENGINE: no 'onnx'; choose auto, torch, openvino"),
        ({PRECISION_VARIABLE: "int8"}, CPU, True, InvalidInput, "PRECISION: no 'int8'; choose float32, bfloat16"),
        ({ENGINE_VARIABLE: "openvino"}, CUDA, True, InvalidInput, "openvino runs nets on the CPU, not on cuda:0"),
        ({ENGINE_VARIABLE: "openvino"}, CPU, False, NotReady, "pip install 'gocom[openvino]'"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_is_a_clear_error(installed, monkeypatch, values, device, is_installed, error, words):
    installed(is_installed)
    for variable, value in values.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(error) as caught:
        chosen_engine(device)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_net_or_its_parts_are_put_on_the_engine():
    engine = Engine(EngineName.OPENVINO, Precision.BFLOAT16)
    net = nn.ModuleDict({"encoder": nn.Linear(2, 2), "decoder": nn.Linear(2, 2)})
    whole = put_on_engine(net, (), engine)
    assert isinstance(whole, OpenVinoModule) and whole.module is net and whole.precision is Precision.BFLOAT16
    decoder = net["decoder"]
    assert put_on_engine(net, ("decoder",), Engine()) is net and net["decoder"] is decoder
    assert put_on_engine(net, ("decoder",), engine) is net
    assert isinstance(net.decoder, OpenVinoModule) and net.decoder.module is decoder
    assert isinstance(net["encoder"], nn.Linear)


def test_torch_does_not_import_openvino():
    code = """
import sys, torch
from gocom.common.nets.engines import chosen_engine, put_on_engine
net = torch.nn.Linear(2, 2)
assert put_on_engine(net, (), chosen_engine(torch.device("cpu"))) is net
sys.exit("openvino" in sys.modules)
"""
    environment = {**os.environ, ENGINE_VARIABLE: "torch"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0
