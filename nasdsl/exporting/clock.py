"""How long architectures take in onnxruntime on this machine: measured as a whole, or operation by operation.

Each operation is exported by itself, as a network of one step, and timed beside a file with one ``Identity`` in it,
whose time is taken off: that is what a run takes without anything to compute.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nasdsl.exporting.cases import random_inputs
from nasdsl.exporting.latency import RUNS, Latency, in_turns, onnx_latency
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import write_onnx
from nasdsl.exporting.program import export_program
from nasdsl.space.architecture import Architecture, Step, first_output
from nasdsl.space.graph import Scope
from nasdsl.space.latency import LatencyTable, Row, rows_of_space, timed
from nasdsl.space.operation import Catalogue, Instance
from nasdsl.space.space import Space
from nasdsl.version import VERSION

LENGTH = 16
"""Of free dimensions."""
WHOLE = 5
"""How many architectures are timed as a whole beside the operations of a space."""


def measure_table(
    space: Space,
    *,
    threads: int = 1,
    length: int = LENGTH,
    runs: int = RUNS,
    whole: int = WHOLE,
    seed: int = 0,
    on_file: Callable[[int, int], None] = lambda done, all: None,
) -> LatencyTable:
    """Times every operation that occurs in a space, each once, at batch size 1.

    Alone an operation takes longer than among others (onnxruntime keeps images in another layout between convolutions),
    so the rows are scaled by one number, with which their sums come closest to what ``whole`` architectures take that
    are drawn from the space and timed beside the operations; none with 0. ``on_file`` is told how many files are
    exported, which takes the longest.
    """
    rows = rows_of_space(space, length)
    drawn = [first_output(space.architecture(genotype)) for genotype in space.sample(seed, whole)]
    networks = [_alone(row, space.catalogue) for row in rows] + drawn
    with tempfile.TemporaryDirectory() as work:
        paths = [Path(work) / "nothing.onnx"]
        inputs = [_write_nothing(paths[0])]
        for number, architecture in enumerate(networks):
            paths.append(Path(work) / f"{number}.onnx")
            inputs.append(_write(Network(architecture, space.catalogue), paths[-1], length))
            on_file(number + 1, len(networks))
        nothing, *found = in_turns(paths, inputs, threads=threads, runs=runs)
    table = LatencyTable(
        {row.text: _nanoseconds(one, nothing) for row, one in zip(rows, found, strict=False)},
        _nanoseconds(nothing),
        space.name,
        {name: str(value) for name, value in space.parameters.items()},
        length,
        threads,
        _machine(),
        {"nasdsl": VERSION} | {name: version(name) for name in ("onnxruntime", "torch")},
    )
    clock = timed(space, table).clock
    assert clock is not None
    sums = [clock.time(architecture, space.catalogue) - table.overhead for architecture in drawn]
    ratios = [
        _nanoseconds(one, nothing) / said for one, said in zip(found[len(rows) :], sums, strict=True) if said
    ]
    return table.scaled(float(np.median(ratios)), len(ratios)) if ratios else table


def measure_whole(
    architecture: Architecture,
    catalogue: Catalogue,
    *,
    threads: int = 1,
    length: int = LENGTH,
    runs: int = RUNS,
) -> Latency:
    """Exports an architecture, without auxiliary heads and with random weights, and times the file on one example."""
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "model.onnx"
        inputs = _write(Network(first_output(architecture), catalogue), path, length)
        return onnx_latency(path, inputs, threads=threads, runs=runs)


def _write(network: Network, path: Path, length: int) -> dict[str, np.ndarray]:
    """Exports a network with random weights, and makes inputs of one example."""
    inputs = random_inputs(network.eval(), batch=1, length=length)
    write_onnx(network, path, export_program(network, inputs))
    return {name: x.numpy() for name, x in zip(network.input_names, inputs, strict=True)}


def _alone(row: Row, catalogue: Catalogue) -> Architecture:
    """A network of one operation."""
    scope = Scope(0, "space", row.operation, row.operation, None, None)
    last = len(row.inputs)
    given = [
        Step(id, "input", Instance((), {}, shape), (), scope, f"x{id}") for id, shape in enumerate(row.inputs)
    ]
    weights = catalogue[row.operation].torch(row.instance).kind == "module"
    call = Step(last, row.operation, row.instance, tuple(range(last)), scope, owner=last if weights else None)
    return Architecture(row.operation, {}, (*given, call), tuple(range(last)), (("y", last),))


def _write_nothing(path: Path) -> dict[str, np.ndarray]:
    from onnx import TensorProto, checker, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return {"x": np.zeros((1, 1), dtype=np.float32)}


def _nanoseconds(found: Latency, less: Latency | None = None) -> int:
    return max(0, round(1e9 * (found.median - (less.median if less is not None else 0.0))))


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
