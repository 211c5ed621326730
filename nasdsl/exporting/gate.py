"""The gate: every form of a network is run against the network on real inputs before anybody gets to see it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nasdsl.diagnostics import NasError, failure
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import open_session
from nasdsl.exporting.program import Deployed, quiet, read_pt2

if TYPE_CHECKING:
    from nasdsl.exporting.job import Job

ONNX_TOLERANCE = 1e-5
"""Times the largest number that the network gives, or 1."""

Outputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """Inputs of one batch size and length, and what the network makes of them.

    Where the second output is the classes of the best ``scores``, those of all classes are here: [N, ..., classes].
    """

    inputs: Outputs
    outputs: Outputs
    scores: Tensor | None = None

    @property
    def words(self) -> str:
        return ", ".join(str(tuple(x.shape)) for x in self.inputs)


@dataclass(frozen=True)
class Finding:
    """How far one output of one form is from the network's."""

    case: Case
    output: str
    difference: float
    allowed: float


def make_cases(network: Network, inputs: Sequence[Tensor], reference: nn.Module | None = None) -> list[Case]:
    """The inputs at several batch sizes, and at two lengths where a dimension is free.

    ``reference`` says what is right, the network itself unless something stands around it.
    """
    given = reference if reference is not None else network
    batch = inputs[0].shape[0]
    batches = [tuple(x[:size] for x in inputs) for size in sorted({1, min(3, batch), batch})]
    cases = [_case(given, batch) for batch in batches]
    shorter = _shortened(network, batches[-1])
    if shorter is not None:
        try:
            cases.append(_case(given, shorter))
        except RuntimeError:
            # The dimension has a least size, and half of what was given is below it.
            pass
    return cases


def _case(module: nn.Module, inputs: Outputs) -> Case:
    scores = None
    if isinstance(module, Deployed) and module.top_k is not None:
        (scores,) = _run(module.scores, inputs)
    return Case(inputs, _run(module, inputs), scores)


def _shortened(network: Network, inputs: Outputs) -> Outputs | None:
    """The inputs with every free dimension at half its size."""
    found = []
    for shape, x in zip(network.input_shapes, inputs, strict=True):
        for axis, dim in enumerate(shape.dims, 1):
            if not isinstance(dim, int):
                x = x.narrow(axis, 0, -(-x.shape[axis] // 2))
        # Strides decide which kernels torch takes, and those the last digit.
        found.append(x.clone(memory_format=torch.contiguous_format))
    return tuple(found) if any(a.shape != b.shape for a, b in zip(found, inputs, strict=True)) else None


def _run(module: Callable[..., Any], inputs: Sequence[Tensor]) -> Outputs:
    with torch.no_grad():
        return _as_tuple(module(*inputs))


def _as_tuple(outputs: Any) -> Outputs:
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


# --- the forms -------------------------------------------------------------------------------------


def check_source(job: Job) -> float:
    """Runs ``model.py`` with ``weights.safetensors`` where nasdsl can't be imported. Must agree bit for bit.

    Raises NasError N950 where it fails, or gives other numbers.
    """
    from safetensors.torch import load_file, save_file

    network, folder, cases = job.network, job.folder, job.cases
    tensors = {
        f"{i}.{j}": x.clone().contiguous() for i, case in enumerate(cases) for j, x in enumerate(case.inputs)
    }
    given, made = folder / "inputs.tmp", folder / "outputs.tmp"
    save_file(tensors, given)
    class_name = network.blueprint.top.name
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-c", _SCRIPT, str(folder), class_name, str(torch.get_num_threads())],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
        if process.returncode:
            lines = process.stderr.strip().splitlines() or ["it ended without a word"]
            raise failure(
                "N950",
                f"the exported `model.py` of `{network.space_name}` does not run: {lines[-1]}",
                help="\n".join(lines[-8:]),
            )
        results = load_file(made)
    finally:
        given.unlink(missing_ok=True)
        made.unlink(missing_ok=True)
    found = [tuple(results[f"{i}.{j}"] for j in range(len(case.outputs))) for i, case in enumerate(cases)]
    return _judge(
        network,
        "model.py",
        cases,
        found,
        0.0,
        lambda case: first_difference(network, folder / "model.py", case),
    )


# What runs the exported source: any attempt to import nasdsl fails, as it would where it is not installed.
_SCRIPT = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nasdsl":
            raise ImportError("exported code must not need nasdsl")

sys.meta_path.insert(0, Blocker())
folder, name, threads = sys.argv[1:]
sys.path.insert(0, folder)
sys.dont_write_bytecode = True
import torch
from safetensors.torch import load_file, save_file

torch.set_num_threads(int(threads))
import model

network = getattr(model, name)()
model.load_weights(network, f"{folder}/weights.safetensors")
network.eval()
inputs, outputs = load_file(f"{folder}/inputs.tmp"), {}
cases = sorted({int(key.partition(".")[0]) for key in inputs})
for case in cases:
    given = [inputs[f"{case}.{i}"] for i in range(sum(key.startswith(f"{case}.") for key in inputs))]
    with torch.no_grad():
        found = network(*given)
    for i, output in enumerate(found if isinstance(found, tuple) else [found]):
        outputs[f"{case}.{i}"] = output.clone().contiguous()
assert "nasdsl" not in sys.modules
save_file(outputs, f"{folder}/outputs.tmp")
"""


def check_pt2(job: Job, path: Path) -> float:
    """Reloads a ``.pt2`` file and runs it. Must agree bit for bit."""
    module = read_pt2(path)
    found = [_run(module, case.inputs) for case in job.graph_cases]

    def locate(case: Case) -> str | None:
        return first_program_difference(job.deployed, torch.export.load(path), case)

    return _judge(job.network, path.name, job.graph_cases, found, 0.0, locate, job.output_names)


def check_onnx(job: Job, path: Path) -> float:
    """Runs an ONNX file in onnxruntime, which must agree to 1e-5 of the largest output."""
    session = open_session(path)
    inputs = [value.name for value in session.get_inputs()]
    found = []
    for case in job.graph_cases:
        given = {name: x.numpy() for name, x in zip(inputs, case.inputs, strict=True)}
        found.append(tuple(torch.from_numpy(np.asarray(output)) for output in session.run(None, given)))

    def locate(case: Case) -> str | None:
        # A difference between network and program comes before one between program and file.
        earlier = first_program_difference(job.deployed, job.program, case)
        return earlier or first_onnx_difference(job.program, path, case)

    return _judge(job.network, path.name, job.graph_cases, found, ONNX_TOLERANCE, locate, job.output_names)


def check_outputs(job: Job, form: str, module: nn.Module) -> float:
    """Runs another module of the same architecture. Must agree bit for bit."""

    def locate(case: Case) -> str | None:
        # Their names may differ, but both call the same modules in the same order.
        ours, theirs = _record(job.network, case.inputs), _record(module, case.inputs)
        for name, other in zip(ours, theirs, strict=False):
            difference = max(map(largest_difference, ours[name], theirs[other]))
            if difference:
                return f"`{other}` ({type(module.get_submodule(other)).__name__}), by {difference:.3g}"
        return "after the last module"

    return _judge(
        job.network, form, job.cases, [_run(module, case.inputs) for case in job.cases], 0.0, locate
    )


def check_weights(job: Job, path: Path) -> float:
    """Reads a safetensors file back. Raises NasError N950 where its tensors are not the network's."""
    from safetensors.torch import load_file

    found, right = load_file(path), job.network.state_dict()
    for name, tensor in right.items():
        if name not in found or largest_difference(found[name], tensor):
            raise failure(
                "N950",
                f"`{path.name}` of `{job.network.space_name}` does not give `{name}` back; nothing was exported",
            )
    return 0.0


# --- judging ----------------------------------------------------------------------------------------


def largest_difference(a: Tensor, b: Tensor) -> float:
    """The largest distance of two entries; infinite where the shapes differ or one is no number."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0 or torch.equal(a, b):
        return 0.0
    x, y = a.double(), b.double()
    both = (x == y) | (x.isnan() & y.isnan())
    return float(
        torch.where(both, 0.0, (x - y).abs()).nan_to_num(nan=float("inf"), posinf=float("inf")).max()
    )


def _judge(
    network: Network,
    form: str,
    cases: Sequence[Case],
    found: Sequence[Outputs],
    tolerance: float,
    locate: Callable[[Case], str | None] | None = None,
    names: Sequence[str] | None = None,
) -> float:
    """The largest difference. Raises NasError (N950) with a table where one is over the tolerance.

    ``names`` are those of the outputs, where they aren't the network's.
    """
    findings: list[Finding] = []
    for case, outputs in zip(cases, found, strict=True):
        for name, right, mine in zip(names or network.output_names, case.outputs, outputs, strict=True):
            if case.scores is not None and not right.is_floating_point():
                # Two classes may be as likely: what counts is how likely those are that were found.
                right, mine = case.outputs[0], case.scores.gather(-1, mine)
            scale = float(right.abs().nan_to_num().max()) if right.numel() else 0.0
            allowed = tolerance * max(1.0, scale)
            findings.append(Finding(case, name, largest_difference(right, mine), allowed))
    over = [finding for finding in findings if finding.difference > finding.allowed]
    if over:
        raise _too_far(network, form, over, locate)
    return max((finding.difference for finding in findings), default=0.0)


def _too_far(
    network: Network, form: str, over: Sequence[Finding], locate: Callable[[Case], str | None] | None
) -> NasError:
    rows = [f"{'input':<28} {'output':<12} {'difference':>10}  {'allowed':>10}"]
    rows += [f"{f.case.words:<28} {f.output:<12} {f.difference:>10.3g}  {f.allowed:>10.3g}" for f in over]
    place = None
    if locate is not None:
        try:
            place = locate(over[0].case)
        except Exception as error:
            # Looking for the place must not hide that there is a difference.
            place = f"not found ({type(error).__name__}: {error})"
    if place is not None:
        rows.append(f"first difference: {place}")
    worst = max(finding.difference for finding in over)
    return failure(
        "N950",
        f"`{form}` of `{network.space_name}` gives other numbers than the network (by up to {worst:.3g}); nothing was exported",
        help="\n".join(rows),
    )


def first_difference(network: Network, source: Path, case: Case) -> str | None:
    """The first module of the exported source that gives another output than the network's own one."""
    spec = importlib.util.spec_from_file_location("exported_model", source)
    assert spec is not None and spec.loader is not None
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    model: nn.Module = getattr(exported, network.blueprint.top.name)()
    model.load_state_dict(network.state_dict())
    ours, theirs = _record(network, case.inputs), _record(model.eval(), case.inputs)
    for name, outputs in ours.items():
        for turn, (a, b) in enumerate(zip(outputs, theirs.get(name, []), strict=False)):
            difference = largest_difference(a, b)
            if difference:
                again = f", call {turn + 1}" if len(outputs) > 1 else ""
                return f"`{name}` ({type(model.get_submodule(name)).__name__}{again}), by {difference:.3g}"
        if len(theirs.get(name, [])) != len(outputs):
            return f"`{name}`, called {len(theirs.get(name, []))} times instead of {len(outputs)}"
    return "after the last module"


def _record(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """What every module without modules of its own gives, call by call, in the order of the first calls."""
    found: dict[str, list[Tensor]] = {}
    handles = []
    for name, inner in module.named_modules():
        if name and not list(inner.children()):

            def note(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                found.setdefault(name, []).append(_as_tuple(output)[0])

            handles.append(inner.register_forward_hook(note))
    try:
        _run(module, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def first_program_difference(
    module: nn.Module, program: torch.export.ExportedProgram, case: Case
) -> str | None:
    """The first module whose output is another one in its program than where it runs itself, if there is one."""
    values = _values_of(program, case.inputs)
    last_of: dict[str, str] = {}
    for node in program.graph.nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if stack and node.op == "call_function":
            last_of[stack[-1][0]] = node.name
    for name, outputs in _record(module, case.inputs).items():
        # Of a module that is called several times the program has only the last call under its name.
        if len(outputs) == 1 and name in last_of and last_of[name] in values:
            difference = largest_difference(outputs[0], values[last_of[name]])
            if difference > ONNX_TOLERANCE * max(1.0, float(outputs[0].abs().max())):
                kind = type(module.get_submodule(name)).__name__
                return f"`{name.removeprefix('network.')}` ({kind}), by {difference:.3g}"
    return None


def first_onnx_difference(program: torch.export.ExportedProgram, path: Path, case: Case) -> str | None:
    """The first value of an ONNX graph that differs from the one of its name in the program it was made from."""
    import onnx

    model = onnx.load(path)
    outputs = [value.name for value in model.graph.output]
    wanted = {**_values_of(program, case.inputs), **dict(zip(outputs, case.outputs, strict=True))}
    order = [name for node in model.graph.node for name in node.output if name in wanted]
    for name in order:
        if name not in outputs:
            model.graph.output.add().name = name
    probe = path.with_suffix(".probe.tmp")
    onnx.save(model, probe)
    try:
        session = open_session(probe)
        names = [value.name for value in session.get_inputs()]
        values = session.run(order, {n: x.numpy() for n, x in zip(names, case.inputs, strict=True)})
    finally:
        probe.unlink(missing_ok=True)
    for name, value in zip(order, values, strict=True):
        right = wanted[name]
        allowed = ONNX_TOLERANCE * max(1.0, float(right.abs().max()) if right.numel() else 0.0)
        difference = largest_difference(right.float(), torch.from_numpy(np.asarray(value)).float())
        if difference > allowed:
            kind = next(node.op_type for node in model.graph.node if name in node.output)
            return f"`{name}` ({kind}), by {difference:.3g}"
    return None


def _values_of(program: torch.export.ExportedProgram, inputs: Sequence[Tensor]) -> Mapping[str, Tensor]:
    found: dict[str, Tensor] = {}

    class Noting(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                found[n.name] = value.detach().clone()
            return value

    with quiet(), torch.no_grad():
        graph: Any = program.module()
        Noting(graph).run(*inputs)
    return found
