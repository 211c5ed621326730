"""What an ONNX file costs in onnxruntime on this machine: time, memory, arithmetic, and which operators take it.

Multiply-adds are counted on the shapes that a run really has, so that a free length, or a loop over one, counts as often
as it runs.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.exporting.latency import Latency, onnx_latency
from nasdsl.exporting.onnx import open_session

CONTROL = frozenset({"Scan", "Loop", "If"})
"""Operators whose time is that of the operators in their body, which are counted by themselves."""
NUMPY_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How a file is run: ``batch`` examples at once, free dimensions of ``length``, ``threads`` threads; ``warm_up`` runs
    that don't count, then ``runs`` that do, as far as they begin within ``seconds``."""

    threads: int = 1
    batch: int = 1
    length: int = 16
    warm_up: int = 10
    runs: int = 100
    seconds: float = 10.0


@dataclass(frozen=True)
class OperatorTime:
    """One kind of operator: how often it runs in one run of the file, and how long all of these take."""

    operator: str
    calls: float
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """One file. ``params`` are the numbers that its weights hold, ``flops`` the multiply-adds of one run,
    ``peak_memory`` the bytes that loading and running it adds to a process with onnxruntime (None where the system
    doesn't tell)."""

    file: str
    bytes: int
    params: int
    flops: int
    peak_memory: int | None
    latency: Latency
    operators: tuple[OperatorTime, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """How many times as long the second file takes as the first, run by turns: the median of the pairs' ratios, and
    between which values nine of ten pairs lie."""

    first: Latency
    second: Latency
    ratio: float
    p05: float
    p95: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def profile(path: Path, settings: Settings) -> Profile:
    """Measures a file. Raises NasError N1077 where onnxruntime can't load or run it."""
    given = made_inputs(path, settings)
    try:
        latency = onnx_latency(
            path,
            given,
            threads=settings.threads,
            warm_up=settings.warm_up,
            runs=settings.runs,
            at_most=settings.seconds,
        )
        operators = _operators(path, given, settings)
        flops = _flops(path, given)
    except Exception as fault:
        raise _unusable(path, fault) from None
    return Profile(
        path.name, path.stat().st_size, _params(path), flops, _peak_memory(path, settings), latency, operators
    )


def compare(first: Path, second: Path, settings: Settings) -> Comparison:
    """Runs two files by turns, so that whatever else the machine does meets both."""
    sessions = [open_session(path, settings.threads) for path in (first, second)]
    inputs = [made_inputs(path, settings) for path in (first, second)]
    taken: list[list[float]] = [[], []]
    begin = time.perf_counter()
    for turn in range(settings.warm_up + settings.runs):
        if turn > settings.warm_up and time.perf_counter() - begin > settings.seconds:
            break
        # Each goes first in half of the pairs.
        for which in (0, 1) if turn % 2 else (1, 0):
            start = time.perf_counter()
            sessions[which].run(None, inputs[which])
            if turn >= settings.warm_up:
                taken[which].append(time.perf_counter() - start)
    ratios = np.array(taken[1]) / np.array(taken[0])
    p05, median, p95 = (float(value) for value in np.percentile(ratios, [5, 50, 95]))
    one, other = (Latency.of(times, settings.threads, settings.batch) for times in taken)
    return Comparison(one, other, median, p05, p95)


def made_inputs(path: Path, settings: Settings) -> dict[str, np.ndarray]:
    """Inputs of the right shapes and kinds: numbers drawn at random, and zeros where they are whole.

    Raises NasError N1077 where the file can't be read.
    """
    try:
        session = open_session(path)
    except Exception as fault:
        raise _unusable(path, fault) from None
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for value in session.get_inputs():
        sizes = [
            size if isinstance(size, int) else settings.batch if axis == 0 else settings.length
            for axis, size in enumerate(value.shape)
        ]
        kind = NUMPY_TYPES.get(value.type)
        if kind is None:
            raise failure(
                "N1077", f"`{path}` takes `{value.name}` as {value.type}, which can't be made up here"
            )
        if issubclass(kind, np.floating):
            found[value.name] = random.standard_normal(sizes).astype(kind)
        else:
            found[value.name] = np.zeros(sizes, dtype=kind)
    return found


def _unusable(path: Path, fault: Exception) -> Exception:
    reason = next((line for line in str(fault).splitlines() if line.strip()), type(fault).__name__)
    return failure("N1077", f"onnxruntime can't run `{path}`: {reason}")


# --- operators --------------------------------------------------------------------------------------


def _events(path: Path, given: Mapping[str, np.ndarray], runs: int, **options: Any) -> list[dict[str, Any]]:
    """What onnxruntime notes of each operator that it runs, over so many runs."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, profile=Path(folder) / "profile", **options)
        for _ in range(runs):
            session.run(None, dict(given))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return [
        event
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and "op_name" in event["args"]
    ]


def _operators(path: Path, given: Mapping[str, np.ndarray], settings: Settings) -> tuple[OperatorTime, ...]:
    """By the time that they take, the longest first. Of each operator of the graph the median over the runs counts: the
    first runs are slow, and they aren't what is asked for."""
    runs = max(5, min(25, settings.runs))
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in _events(path, given, runs, threads=settings.threads):
        if event["args"]["op_name"] not in CONTROL:
            taken[event["args"]["op_name"], event["name"]].append(event["dur"] / 1e3)
    calls: dict[str, float] = defaultdict(float)
    times: dict[str, float] = defaultdict(float)
    for (kind, _), durations in taken.items():
        calls[kind] += len(durations) / runs
        times[kind] += float(np.median(durations)) * len(durations) / runs
    total = sum(times.values()) or 1.0
    found = [OperatorTime(kind, calls[kind], spent, spent / total) for kind, spent in times.items()]
    return tuple(sorted(found, key=lambda one: (-one.milliseconds, one.operator)))


def _flops(path: Path, given: Mapping[str, np.ndarray]) -> int:
    """Multiply-adds of convolutions and matrix products in one run, the graph as it is written."""
    return sum(_multiply_adds(event["args"]) for event in _events(path, given, 1, optimise=False))


def _multiply_adds(about: Mapping[str, Any]) -> int:
    operator = about["op_name"]
    inputs, outputs = (
        [sizes for shape in about[key] for sizes in shape.values()]
        for key in ("input_type_shape", "output_type_shape")
    )
    if operator in ("Conv", "ConvInteger", "QLinearConv"):
        # Weights are [out, in / groups, *kernel], the only other input with as many axes.
        weights = next(sizes for sizes in inputs[1:] if len(sizes) == len(inputs[0]))
        return math.prod(outputs[0]) * math.prod(weights[1:])
    if operator == "ConvTranspose":
        weights = next(sizes for sizes in inputs[1:] if len(sizes) == len(inputs[0]))
        return math.prod(inputs[0]) * math.prod(weights[1:])
    if operator in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul"):
        return math.prod(outputs[0]) * inputs[0][-1]
    return 0


def _params(path: Path) -> int:
    """The numbers in the file's weights; not those of the graph's own arithmetic (shapes, scales and zero points)."""
    import onnx

    model = onnx.load(path)
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.DOUBLE}
    total = 0
    for graph in _graphs(model.graph):
        scales = {name for node in graph.node if "Linear" in node.op_type for name in node.input[1:]}
        total += sum(
            math.prod(tensor.dims)
            for tensor in graph.initializer
            if tensor.data_type in kinds and tensor.name not in scales and tensor.dims
        )
    return total


def _graphs(graph: Any) -> Sequence[Any]:
    """A graph and those in its operators."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(deeper for one in inner for deeper in _graphs(one))]


# --- memory -----------------------------------------------------------------------------------------

# Run in a process of its own, for memory once taken is seldom given back.
_SCRIPT = """
import sys
import numpy as np
import onnxruntime

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024

path, inputs, threads = sys.argv[1:]
given = dict(np.load(inputs))
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(threads)
options.log_severity_level = 3
before = peak()
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
for _ in range(3):
    session.run(None, given)
print(peak() - before)
"""


def _peak_memory(path: Path, settings: Settings) -> int | None:
    if not Path("/proc/self/status").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npz"
        arrays: dict[str, Any] = dict(made_inputs(path, settings))
        np.savez(inputs, **arrays)
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(path), str(inputs), str(settings.threads)],
            capture_output=True,
            text=True,
            check=False,
        )
    return int(done.stdout) if done.returncode == 0 else None
