"""Running of a torch module by OpenVINO, which compiles its graph for this machine's CPU.

    first call:  module --trace, convert--> graph for any size, kept in a file --compile--> compiled graph, in memory
    every call:  tensors --compiled graph--> tensors

A graph's file is found again by everything that the graph was made from, so weights, code or libraries that changed
have a file of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from gocom.common.errors import NotReady
from gocom.common.nets.graph_files import cache_folder, read_graph, write_graph

OWN_SIZES = 4
"""Number of sizes for which a net has compiled graphs of their own, which are a fifth quicker than that for any size
and take 0.3 to 0.6 s and the net's size in memory each. They are the first sizes that come, in batches of one."""

_MAX_REASON = 160
"""Limit on the characters of OpenVINO's own message in an error."""
_HEAD = struct.Struct("<?Q")
log = structlog.get_logger()

_LOCK = threading.Lock()
"""Held while a graph is made: tracing and the filters of warnings belong to the whole process."""


class Precision(StrEnum):
    """Type of the numbers within a graph."""

    FLOAT32 = "float32"
    """As in torch, from whose results these differ by rounding only."""
    BFLOAT16 = "bfloat16"
    """What OpenVINO itself would choose. It is meant for CPUs with AMX; on one without, it took longer than float32.
    Pictures are a little worse: lami_go lost 0.1 dB, so nobody gets it unasked."""


@cache
def openvino() -> Any:
    """Return the module openvino, imported without its telemetry: it would report each start over the network."""
    name = "openvino_telemetry"
    modules: dict[str, Any] = sys.modules
    hidden = {key: modules.pop(key) for key in list(modules) if key.partition(".")[0] == name}
    modules[name] = None  # its import fails, and OpenVINO uses a stand-in that sends nothing
    try:
        import openvino  # noqa: PLC0415 - it is optional
    finally:
        del modules[name]
        modules.update(hidden)
    return openvino


_Size = tuple[torch.Size, tuple[bool, ...]]
"""Size of a call: that of its first tensor, and which tensors are as large. A graph of its own has just these fixed."""


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
    and hashable constants such as None. The graph for a new combination of these is made at its first call. Calls from
    several threads run one after another, each with as many threads as torch had when the graph was made.
    Every other attribute, such as `config`, is the wrapped module's. Its weights must not change any more.

    The first size that comes decides once for all what the module decides in Python by the sizes of tensors. UNets of
    diffusers take another path where a side is no multiple of their downsampling, so they must get padded sizes.

    Args:
        module: module in eval mode on the CPU, whose result is a tensor or a tuple of tensors.
        precision: type of the numbers within.
    """

    def __init__(self, module: nn.Module, precision: Precision = Precision.FLOAT32) -> None:
        super().__init__()
        self.module = module
        self.precision = precision
        self._signature = inspect.signature(module.forward)
        self._graphs: dict[_Call, _Graph] = {}
        self._compiled: dict[tuple[_Call, _Size | None], _CompiledGraph] = {}  # None: of any size

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
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()  # what is left out and what is passed as its default is the same call
        arguments = bound.arguments
        tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
        call = _Call(
            tuple((name, value.dtype, value.dim()) for name, value in tensors.items()),
            tuple((name, value) for name, value in arguments.items() if name not in tensors),
        )
        first = next(iter(tensors.values())).shape
        size = first, tuple(tensor.shape[1:] == first[1:] for tensor in tensors.values())
        compiled = self._compiled.get((call, size))
        if compiled is None:
            with _LOCK:
                compiled = self._compiled.get((call, size)) or self._compile(call, size, tensors)
        return compiled(tensors)

    def _compile(self, call: _Call, size: _Size, tensors: Mapping[str, Tensor]) -> _CompiledGraph:
        """Return the compiled graph for a size, its own or that for any size."""
        first = size[0]
        own = len(first) > 0 and first[0] == 1 and sum(known is not None for _, known in self._compiled) < OWN_SIZES
        key = (call, size if own else None)
        if key in self._compiled:
            return self._compiled[key]
        try:
            if call not in self._graphs:
                self._graphs[call] = _load_or_trace(self.module, call, tensors)
            graph = self._graphs[call]
            model = _of_one_size(graph.model, first, tensors) if own else graph.model
            compiled = openvino().Core().compile_model(model, "CPU", _compile_config(self.precision))
        except Exception as error:  # the tracer, the converter and the compiler raise many types
            # OpenVINO first says in which of its files the error was found, a line each.
            lines = [line for line in str(error).splitlines() if not line.startswith("Exception from ")]
            words = " ".join(" ".join(lines).split())[:_MAX_REASON]
            raise NotReady(
                f"engine: OpenVINO cannot run {type(self.module).__name__} ({words}); set GOCOM_ENGINE=torch"
            ) from error
        return self._compiled.setdefault(key, _CompiledGraph(compiled, graph.is_tuple))


@dataclass(frozen=True, slots=True)
class _Graph:
    """A converted module: OpenVINO's graph for any size, and whether the module's result is a tuple."""

    model: Any
    is_tuple: bool


class _CompiledGraph:
    """A graph that can run. Calls run one after another: each uses all threads anyway."""

    def __init__(self, compiled: Any, is_tuple: bool) -> None:
        self._request = compiled.create_infer_request()
        self._is_tuple = is_tuple
        self._lock = threading.Lock()

    def __call__(self, tensors: Mapping[str, Tensor]) -> Any:
        inputs = [tensor.detach().contiguous().numpy() for tensor in tensors.values()]
        with self._lock:
            # Results are copied: the next call writes where these are.
            results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        found = tuple(_channels_first(torch.from_numpy(results[index])) for index in range(len(results)))
        return found if self._is_tuple else found[0]


def _channels_last(result: Tensor) -> Tensor:
    """Return [B,H,W,C] of [B,C,H,W], and any other tensor as it is.

    OpenVINO computes channels-last; another order of its results cost a tenth of a pass of the token denoiser.
    """
    return result.permute(0, 2, 3, 1) if result.dim() == 4 else result


def _channels_first(result: Tensor) -> Tensor:
    """Undo _channels_last, without moving numbers in memory."""
    return result.permute(0, 3, 1, 2) if result.dim() == 4 else result


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

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        result = self.module(**dict(zip(self._names, tensors, strict=True)), **self._constants)
        self.is_tuple = isinstance(result, tuple)
        return tuple(_channels_last(tensor) for tensor in (result if self.is_tuple else (result,)))


def _load_or_trace(module: nn.Module, call: _Call, tensors: Mapping[str, Tensor]) -> _Graph:
    """Return the graph of a call from its file, or else make it and write the file."""
    folder = cache_folder()
    key = None if folder is None else _key(module, call)
    if folder is None or key is None:
        return _trace(module, call, tensors)
    kept = read_graph(folder, key)
    if kept is not None:
        return _unpack(kept)
    graph = _trace(module, call, tensors)
    try:
        write_graph(folder, key, _pack(graph))
    except (OSError, RuntimeError) as error:  # the folder of temporary files is full, say
        log.info("a graph cannot be kept for the next start", folder=str(folder), reason=str(error))
    return graph


def _trace(module: nn.Module, call: _Call, tensors: Mapping[str, Tensor]) -> _Graph:
    """Make the graph of a call, with these tensors as the example."""
    with torch.inference_mode(False), torch.no_grad(), _quiet_tracer():
        # Copies are no tensors of the inference mode, which the tracer does not take.
        example = tuple(tensor.clone() for tensor in tensors.values())
        wrapped = _TensorsOnly(module, call).eval()
        trace: Any = torch.jit.trace
        traced = trace(wrapped, example, check_trace=False)
        return _Graph(openvino().convert_model(traced, example_input=example), wrapped.is_tuple)


def _of_one_size(model: Any, size: torch.Size, tensors: Mapping[str, Tensor]) -> Any:
    """Return a copy of a graph for a batch of one, and for one size of the first tensor and of those that are as large.

    Other tensors keep their free dimensions: a text may have any length.
    """
    copied, shapes = model.clone(), {}
    for port, tensor in zip(copied.inputs, tensors.values(), strict=True):
        shape = port.partial_shape
        if tensor.shape[1:] == size[1:]:
            shape = openvino().PartialShape(list(tensor.shape))
        elif tensor.dim():
            shape[0] = tensor.shape[0]
        shapes[port] = shape
    copied.reshape(shapes)
    return copied


def _pack(graph: _Graph) -> bytes:
    """Return a graph as bytes: whether the result is a tuple, size of the XML, the XML, the weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        openvino().save_model(graph.model, path, compress_to_fp16=False)
        xml, weights = path.read_bytes(), path.with_suffix(".bin").read_bytes()
    return _HEAD.pack(graph.is_tuple, len(xml)) + xml + weights


def _unpack(packed: bytes) -> _Graph:
    """Return the graph that _pack made bytes of."""
    is_tuple, length = _HEAD.unpack_from(packed)
    weights = packed[_HEAD.size + length :]
    return _Graph(openvino().Core().read_model(packed[_HEAD.size : _HEAD.size + length], weights), is_tuple)


@contextlib.contextmanager
def _quiet_tracer() -> Iterator[None]:
    """Ignore what the tracer warns of: that torch will drop it, and what Python decides by sizes (OpenVinoModule)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        yield


def _compile_config(precision: Precision) -> dict[str, Any]:
    """Return OpenVINO's settings: one call at a time by torch's number of threads, which the system may move."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Pinned threads of several processes would share the first cores while others are idle.
        "ENABLE_CPU_PINNING": False,
        # Prepared operations that a graph for any size remembers; by default 5000, 300 MB more after 400 sizes.
        "CPU_RUNTIME_CACHE_CAPACITY": "500",
        "INFERENCE_PRECISION_HINT": "f32" if precision is Precision.FLOAT32 else "bf16",
    }


def _key(module: nn.Module, call: _Call) -> str | None:
    """Return a name for the graph of a call: a hash of all that it is made from. None: part of that has no file.

    That is the call, the versions of the libraries, the source files of this module and of the classes of all
    submodules, their settings and their weights.
    """
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update(repr(values).encode() + b"\0")

    add(call, openvino().__version__, torch.__version__)
    kinds = {type(part) for part in module.modules()} | {_TensorsOnly}
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
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _settings(module: nn.Module) -> dict[str, str]:
    """Return the plain values among a module's attributes, such as its stride."""
    plain = (bool, int, float, str, tuple, type(None))
    return {name: repr(value) for name, value in vars(module).items() if name[0] != "_" and isinstance(value, plain)}
