"""How far two tensors are apart, and where in a network a difference begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasdsl.exporting.cases import Case, as_tuple, outputs_of
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import open_session
from nasdsl.exporting.program import quiet

ONNX_TOLERANCE = 1e-5
"""Times the largest number that the network gives, or 1."""


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


def first_difference(network: Network, source: Path, case: Case) -> str | None:
    """The first module of the exported source that gives another output than the network's own one."""
    spec = importlib.util.spec_from_file_location("exported_model", source)
    assert spec is not None and spec.loader is not None
    exported = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exported)
    model: nn.Module = getattr(exported, network.blueprint.top.name)()
    model.load_state_dict(network.state_dict())
    ours, theirs = record(network, case.inputs), record(model.eval(), case.inputs)
    for name, outputs in ours.items():
        for turn, (a, b) in enumerate(zip(outputs, theirs.get(name, []), strict=False)):
            difference = largest_difference(a, b)
            if difference:
                again = f", call {turn + 1}" if len(outputs) > 1 else ""
                return f"`{name}` ({type(model.get_submodule(name)).__name__}{again}), by {difference:.3g}"
        if len(theirs.get(name, [])) != len(outputs):
            return f"`{name}`, called {len(theirs.get(name, []))} times instead of {len(outputs)}"
    return "after the last module"


def record(module: nn.Module, inputs: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """What every module without modules of its own gives, call by call, in the order of the first calls."""
    found: dict[str, list[Tensor]] = {}
    handles = []
    for name, inner in module.named_modules():
        if name and not list(inner.children()):

            def note(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                found.setdefault(name, []).append(as_tuple(output)[0])

            handles.append(inner.register_forward_hook(note))
    try:
        outputs_of(module, inputs)
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
    for name, outputs in record(module, case.inputs).items():
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
