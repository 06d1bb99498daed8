"""Choice of the engine that runs a receiver's nets: torch itself, or OpenVINO, which is quicker on a CPU.

    GOCOM_ENGINE             auto (default): openvino if it is installed and the device is the CPU, otherwise torch
                             torch, openvino: this one
    GOCOM_ENGINE_PRECISION   float32 (default): torch's pictures but for rounding
                             bfloat16: for a CPU with AMX, on which speed counts more than 0.1 dB

Only nets that make pictures from what arrived run in it. Encoders decide the bits of a first round and always run in
torch, so a packet never depends on the engine.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import TypeVar, cast

import torch
from torch import nn

from gocom.common.errors import InvalidInput, NotReady, abbreviate
from gocom.common.nets.openvino_engine import OpenVinoModule, Precision

ENGINE_VARIABLE = "GOCOM_ENGINE"
PRECISION_VARIABLE = "GOCOM_ENGINE_PRECISION"

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class EngineName(StrEnum):
    """The engines, and how one of them is chosen."""

    AUTO = "auto"
    TORCH = "torch"
    OPENVINO = "openvino"


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs a net.

    Attributes:
        name: TORCH or OPENVINO.
        precision: type of the numbers within OpenVINO; torch computes in the type of the weights.
    """

    name: EngineName = EngineName.TORCH
    precision: Precision = Precision.FLOAT32


def chosen_engine(device: torch.device) -> Engine:
    """Return the engine for nets on a device, as GOCOM_ENGINE and GOCOM_ENGINE_PRECISION say.

    Raises:
        InvalidInput: one of the variables has no such value, or openvino is chosen for a device that is not the CPU.
        NotReady: openvino is chosen and not installed.
    """
    name = _choice(ENGINE_VARIABLE, EngineName, EngineName.AUTO)
    precision = _choice(PRECISION_VARIABLE, Precision, Precision.FLOAT32)
    is_cpu, is_installed = device.type == "cpu", find_spec("openvino") is not None
    if name is EngineName.AUTO:
        name = EngineName.OPENVINO if is_cpu and is_installed else EngineName.TORCH
    elif name is EngineName.OPENVINO and not is_cpu:
        raise InvalidInput(f"{ENGINE_VARIABLE}: openvino runs nets on the CPU, not on {device}; choose torch")
    elif name is EngineName.OPENVINO and not is_installed:
        raise NotReady(f"{ENGINE_VARIABLE}: openvino is not installed; `pip install 'gocom[openvino]'` installs it")
    return Engine(name, precision)


def put_on_engine(net: ModuleT, parts: Sequence[str], engine: Engine) -> ModuleT:
    """Return a net that runs in an engine, and is used like the one that was given; that one may be changed.

    Args:
        net: net in eval mode; for OPENVINO on the CPU.
        parts: names of the submodules that run in the engine, such as "decoder"; none: the whole net.
        engine: the engine.
    """
    if engine.name is not EngineName.OPENVINO:
        return net
    if not parts:
        return cast(ModuleT, OpenVinoModule(net, engine.precision))
    for part in parts:
        setattr(net, part, OpenVinoModule(net.get_submodule(part), engine.precision))
    return net


def _choice(variable: str, kind: type[ChoiceT], default: ChoiceT) -> ChoiceT:
    value = os.environ.get(variable) or default
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(f"{variable}: no {abbreviate(value)}; choose {', '.join(kind)}") from None
