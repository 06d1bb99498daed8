"""Running of a torch module by OpenVINO, which compiles its graph for this machine's CPU.

    first call --trace--> TorchScript --convert--> OpenVINO's graph --compile--> kept in memory and in a file
    every call: tensors -> compiled graph -> tensors

Sizes are free in a graph: one serves pictures and batches of any size. A compiled graph is found again by everything
that it was made from, so weights, code, libraries or a CPU that changed have a file of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gocom.common.errors import NotReady
from gocom.common.nets.compiled_graph_cache import cache_folder, read_graph, write_graph

_LOCK = threading.Lock()
"""Held while a graph is made: tracing and the filters of warnings belong to the whole process."""


class Precision(StrEnum):
    """Type of the numbers within a graph."""

    DEFAULT = "default"
    """What OpenVINO chooses for this CPU: bfloat16 where it has instructions for it, otherwise float32."""
    FLOAT32 = "float32"
    """float32 as in torch; results differ from torch's by rounding only."""


@cache
def openvino() -> Any:
    """Return the module openvino, imported without its telemetry: it would report each start over the network."""
    name = "openvino_telemetry"
    hidden = {key: sys.modules.pop(key) for key in list(sys.modules) if key.partition(".")[0] == name}
    sys.modules[name] = None  # type: ignore[assignment] - import fails, and OpenVINO uses a stand-in that sends nothing
    try:
        import openvino  # noqa: PLC0415 - it is optional
    finally:
        del sys.modules[name]
        sys.modules.update(hidden)
    return openvino


@dataclass(frozen=True, slots=True)
class _Call:
    """What distinguishes calls of a module that need graphs of their own.

    Attributes:
        tensors: name, type and number of dimensions of each argument that is a tensor, in the order of the signature.
        constants: name and value of each other argument.
    """

    tensors: tuple[tuple[str, torch.dtype, int], ...]
    constants: tuple[tuple[str, Any], ...]


class OpenVinoModule(nn.Module):
    """A module whose forward pass runs in OpenVINO, on the CPU, without gradients.

    Its arguments and results are those of the wrapped module: tensors, of any size but of a fixed number of dimensions,
    and hashable constants such as None. The graph for a new combination of these is made at its first call; calls from
    several threads run one after another, each with as many threads as torch has at that first call.
    Every other attribute, such as `config`, is the wrapped module's. Its weights must not change any more.

    What a forward pass decides in Python by the sizes of tensors, it decides once: such a net gets padded sizes, as
    UNets of diffusers do, which take another path where sides are no multiples of their downsampling.

    Args:
        module: module in eval mode on the CPU, whose result is a tensor or a tuple of tensors.
        precision: type of the numbers within.
    """

    def __init__(self, module: nn.Module, precision: Precision = Precision.DEFAULT) -> None:
        super().__init__()
        self.module = module
        self.precision = precision
        self._signature = inspect.signature(module.forward)
        self._graphs: dict[_Call, _Graph] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("module"), name)

    def __reduce__(self) -> tuple[type, tuple[nn.Module, Precision]]:
        """Pickle and copy without the graphs, which the copy makes again."""
        return type(self), (self.module, self.precision)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the module's result. Raises NotReady if OpenVINO cannot run the module."""
        arguments = self._signature.bind(*args, **kwargs).arguments
        tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        call = _Call(
            tuple((name, value.dtype, value.dim()) for name, value in tensors.items()),
            tuple((name, value) for name, value in arguments.items() if name not in tensors),
        )
        graph = self._graphs.get(call)
        if graph is None:
            with _LOCK:
                graph = self._graphs.get(call) or self._make(call, tensors)
                self._graphs[call] = graph
        return graph(tensors)

    def _make(self, call: _Call, tensors: Mapping[str, Tensor]) -> _Graph:
        """Load the graph of a call from its file, or else make it and write the file."""
        folder, config = cache_folder(), _compile_config(self.precision)
        key = None if folder is None else _key(self.module, call, config)
        try:
            if folder is not None and key is not None and (kept := read_graph(folder, key)) is not None:
                with contextlib.suppress(RuntimeError):  # of a form that this OpenVINO does not read after all
                    return _Graph(openvino().Core().import_model(kept[1:], "CPU", config), bool(kept[0]))
            compiled, is_tuple = _compile(self.module, call, tensors, config)
            if folder is not None and key is not None:
                write_graph(folder, key, bytes([is_tuple]) + _exported(compiled))
        except Exception as error:  # the tracer, the converter and the compiler raise many types
            words = str(error).strip().split("\n")[0]
            raise NotReady(
                f"engine: OpenVINO cannot run {type(self.module).__name__} ({words}); set GOCOM_ENGINE=torch"
            ) from error
        return _Graph(compiled, is_tuple)


class _Graph:
    """A compiled graph. Calls run one after another: each uses all threads anyway."""

    def __init__(self, compiled: Any, is_tuple: bool) -> None:
        self._request = compiled.create_infer_request()
        self._is_tuple = is_tuple
        self._lock = threading.Lock()

    def __call__(self, tensors: Mapping[str, Tensor]) -> Any:
        inputs = [tensor.detach().contiguous().numpy() for tensor in tensors.values()]
        with self._lock:
            # Results are copied: the next call writes where these are.
            results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        found = tuple(torch.from_numpy(results[index]) for index in range(len(results)))
        return found if self._is_tuple else found[0]


class _TensorsOnly(nn.Module):
    """A module with the constants of its call filled in, so that it can be traced.

    Attributes:
        is_tuple: whether the result was a tuple of tensors, known after a pass.
    """

    def __init__(self, module: nn.Module, call: _Call) -> None:
        super().__init__()
        self.module = module
        self.is_tuple = False
        self._names = [name for name, _, _ in call.tensors]
        self._constants = dict(call.constants)

    def forward(self, *tensors: Tensor) -> Any:
        result = self.module(**dict(zip(self._names, tensors, strict=True)), **self._constants)
        self.is_tuple = isinstance(result, tuple)
        return result


def _compile(
    module: nn.Module, call: _Call, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[Any, bool]:
    """Return the compiled graph of a call, and whether its result is a tuple."""
    with torch.inference_mode(False), torch.no_grad(), _quiet_tracer():
        # Copies are no tensors of the inference mode, which the tracer does not take.
        example = tuple(tensor.clone() for tensor in tensors.values())
        wrapped = _TensorsOnly(module, call).eval()
        traced = torch.jit.trace(wrapped, example, check_trace=False)
        graph = openvino().convert_model(traced, example_input=example)
    return openvino().Core().compile_model(graph, "CPU", dict(config)), wrapped.is_tuple


@contextlib.contextmanager
def _quiet_tracer() -> Iterator[None]:
    """Ignore what the tracer warns of: that it will be replaced, and decisions in Python about sizes (see the class)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


def _exported(compiled: Any) -> bytes:
    exported = compiled.export_model()
    return exported if isinstance(exported, bytes) else bytes(exported.getbuffer())


def _compile_config(precision: Precision) -> dict[str, Any]:
    """Return OpenVINO's settings: one call at a time by torch's number of threads, which the system may move."""
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Pinned threads of several processes would share the first cores while others are idle.
        "ENABLE_CPU_PINNING": False,
    }
    return config | ({"INFERENCE_PRECISION_HINT": "f32"} if precision is Precision.FLOAT32 else {})


def _key(module: nn.Module, call: _Call, config: Mapping[str, Any]) -> str | None:
    """Return a name for the graph of a call: a hash of all that it is made from. None: part of that has no file.

    That is the call, OpenVINO's settings, the CPU, the versions of the libraries, the source files of the classes of
    all submodules, their settings and their weights.
    """
    core, digest = openvino().Core(), hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update(repr(values).encode() + b"\0")

    add(call, sorted(config.items()), openvino().__version__, torch.__version__)
    add(*(core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")))
    kinds = {type(part) for part in module.modules()}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source is None:
            return None
        library = sys.modules.get(kind.__module__.partition(".")[0])
        add(kind.__module__, kind.__qualname__, getattr(library, "__version__", None))
        digest.update(hashlib.sha256(Path(source).read_bytes()).digest())
    for name, part in module.named_modules():
        add(name, type(part).__qualname__, sorted(_settings(part).items()))
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        add(name, weight.dtype, tuple(weight.shape))
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(module: nn.Module) -> dict[str, str]:
    """Return the plain values among a module's attributes, such as its stride."""
    plain = (bool, int, float, str, tuple, type(None))
    return {name: repr(value) for name, value in vars(module).items() if name[0] != "_" and isinstance(value, plain)}
