"""The gate: every form of a network is run against the network on real inputs before anybody gets to see it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasdsl.diagnostics import NasError, failure
from nasdsl.exporting.cases import Case, Outputs, outputs_of
from nasdsl.exporting.differences import (
    ONNX_TOLERANCE,
    first_difference,
    first_onnx_difference,
    first_program_difference,
    largest_difference,
    record,
)
from nasdsl.exporting.job import Job
from nasdsl.exporting.network import Network
from nasdsl.exporting.onnx import open_session
from nasdsl.exporting.program import read_pt2


@dataclass(frozen=True)
class Finding:
    """How far one output of one form is from the network's."""

    case: Case
    output: str
    difference: float
    allowed: float


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
    """Reloads a ``.pt2`` file and runs it. Must agree bit for bit. Raises NasError (N957) where it runs at some lengths
    alone: before 2.13 torch writes that for a pool with a stride."""
    module = read_pt2(path)
    try:
        found = [outputs_of(module, case.inputs) for case in job.graph_cases]
    except AssertionError as error:
        raise failure(
            "N957",
            f"`{path.name}` of `{job.network.space_name}` does not run at every length: {error}",
            help="export it as python or onnx, or with a newer torch",
        ) from None

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
        ours, theirs = record(job.network, case.inputs), record(module, case.inputs)
        for name, other in zip(ours, theirs, strict=False):
            difference = max(map(largest_difference, ours[name], theirs[other]))
            if difference:
                return f"`{other}` ({type(module.get_submodule(other)).__name__}), by {difference:.3g}"
        return "after the last module"

    return _judge(
        job.network, form, job.cases, [outputs_of(module, case.inputs) for case in job.cases], 0.0, locate
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
