"""A table over every space that ships: is the source the network, how far is ONNX from it, do pt2 and .nas give the same?

python -m benchmarks.exports                     # small sizes, 20 genotypes as source, 1 in the other forms
python -m benchmarks.exports --full darts        # the papers' sizes, one space

The first genotypes go through the gate in every form; of all of them the source is run once more, together in one
process in which importing nasdsl fails. A row is written only where each agrees. With `-o` the table is stored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks._timing import machine
from nasdsl import resources
from nasdsl.diagnostics import NasError
from nasdsl.exporting.differences import largest_difference
from nasdsl.exporting.export import export
from nasdsl.exporting.network import Network
from nasdsl.exporting.source import write_blueprint
from nasdsl.pipeline import load
from tests.exporting import cases

HEAD = ("space", "genotypes", "source", "s", "ONNX", "s", "OpenVINO", "pt2", "s", ".nas", "s")
FORMS = ("python", "onnx", "pt2", "nas")


def row(name: str, sources: int, others: int, full: bool) -> tuple[str, ...]:
    """Exports random genotypes of one space; seconds are those of one genotype, by the clock."""
    space = load(resources.spaces() / f"{name}.nas") if full else cases.shipped(name)
    nets = [cases.make(space, seed) for seed in range(sources)]
    worst: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    for net in nets[:others]:
        given = cases.inputs(net, batch=4)
        with tempfile.TemporaryDirectory() as folder:
            report = export(net, Path(folder) / "net", FORMS, sample_inputs=given, space=space)
            for form in report.forms:
                worst[form.format] = max(worst[form.format], form.difference or 0.0)
                seconds[form.format] += form.seconds / others
            worst["openvino"] = max(worst["openvino"], second_reader(net, report.form("onnx").files[0]))
    return (
        name,
        f"{sources} / {others}",
        "equal" if sources_are_equal(nets) else "DIFFERENT",
        f"{seconds['python']:.1f}",
        f"{worst['onnx']:.1e}",
        f"{seconds['onnx']:.1f}",
        f"{worst['openvino']:.1e}",
        same(worst["pt2"]),
        f"{seconds['pt2']:.1f}",
        same(worst["nas"]),
        f"{seconds['nas']:.1f}",
    )


def sources_are_equal(nets: Sequence[Network]) -> bool:
    """Whether the source of each network, with its weights, gives its outputs bit for bit without nasdsl."""
    with tempfile.TemporaryDirectory() as name:
        for number, net in enumerate(nets):
            folder = Path(name) / str(number)
            folder.mkdir()
            given = cases.inputs(net)
            (folder / "model.py").write_text(write_blueprint(net.blueprint), encoding="utf-8")
            (folder / "class.txt").write_text(net.blueprint.top.name, encoding="utf-8")
            save_file(
                {key: t.contiguous() for key, t in net.state_dict().items()}, folder / "weights.safetensors"
            )
            outputs = cases.outputs(net, given)
            tensors = {f"i{i}": x for i, x in enumerate(given)} | {f"o{i}": x for i, x in enumerate(outputs)}
            save_file(
                {key: t.clone().contiguous() for key, t in tensors.items()}, folder / "case.safetensors"
            )
        done = subprocess.run([sys.executable, "-B", "-c", _SCRIPT, name, str(len(nets))], check=False)
    return done.returncode == 0


_SCRIPT = """
import importlib.util, sys
sys.modules["nasdsl"] = None
import torch
from safetensors.torch import load_file

torch.set_num_threads(1)
folder, count = sys.argv[1:]
for number in range(int(count)):
    place = f"{folder}/{number}"
    spec = importlib.util.spec_from_file_location(f"model_{number}", f"{place}/model.py")
    model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(model)
    network = getattr(model, open(f"{place}/class.txt").read())()
    model.load_weights(network, f"{place}/weights.safetensors")
    case = load_file(f"{place}/case.safetensors")
    with torch.no_grad():
        found = network.eval()(*(case[f"i{i}"] for i in range(sum(key[0] == "i" for key in case))))
    for i, output in enumerate(found if isinstance(found, tuple) else [found]):
        assert torch.equal(output, case[f"o{i}"]), number
"""


def same(difference: float) -> str:
    return "equal" if not difference else f"{difference:.1e}"


def second_reader(net: Network, file: Path) -> float:
    """How far OpenVINO is from the network, as a share of the largest output where that is over 1."""
    import openvino

    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"})
    model = core.compile_model(core.read_model(file), "CPU")
    given = cases.inputs(net, batch=4)
    found = model([x.numpy() for x in given])
    return max(
        largest_difference(right, torch.from_numpy(np.array(found[i]))) / max(1.0, float(right.abs().max()))
        for i, right in enumerate(cases.outputs(net, given))
    )


def lines(spaces: list[str], sources: int, others: int, full: bool) -> Iterator[str]:
    yield f"| {' | '.join(HEAD)} |"
    yield f"| {' | '.join('---' for _ in HEAD)} |"
    for name in spaces:
        try:
            cells = row(name, sources, min(others, sources), full)
        except NasError as error:
            cells = (name, "-", str(error.diagnostics[0].message), *["-"] * (len(HEAD) - 3))
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spaces", nargs="*", metavar="SPACE", help="by default all that ship")
    parser.add_argument(
        "--sources", type=int, default=20, help="genotypes of each that are exported as source"
    )
    parser.add_argument("--others", type=int, default=1, help="those of them that are exported in all forms")
    parser.add_argument("--full", action="store_true", help="the spaces at their own size")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where the table is stored as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for line in lines(options.spaces or cases.SHIPPED, options.sources, options.others, options.full):
        print(line, flush=True)
        table.append(line)
    size = "the spaces' own sizes" if options.full else "reduced sizes (tests/exporting/cases.py)"
    head = [
        *machine(),
        "",
        "Random genotypes of each space (seeds from 0), exported and run against the network: how many as source / in",
        "all forms. `equal` is bit for bit. ONNX: the largest difference, where 1e-5 of the largest output, and at least",
        "1e-5, is allowed; OpenVINO: its share of the largest output, where that is over 1. Seconds are those of one",
        f"export by the clock, its check included, on a machine with other work. {size[0].upper()}{size[1:]}.",
    ]
    print("\n".join(head))
    if options.output is not None:
        options.output.write_text("\n".join([*head, "", *table]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
