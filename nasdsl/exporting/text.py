"""An architecture as a ``.nas`` file: its space with every choice made, and weights under the names it gives them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from nasdsl.diagnostics import Findings, Source, failure
from nasdsl.exporting.gate import check_outputs
from nasdsl.exporting.job import Job
from nasdsl.exporting.network import Network, all_steps
from nasdsl.language.builder import Limits
from nasdsl.language.elaborate import Elaborator
from nasdsl.language.modules import Loader, Module, pick_space
from nasdsl.language.narrowing import Narrowed, Setup, narrow, prepare
from nasdsl.operations import catalogue
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space


def write_text(job: Job, text: Path, weights: Path) -> float:
    """Writes the architecture, and its weights under the names that the text gives them.

    Raises NasError N1070 where the space has no text, N950 where the text compiles to a network of other numbers.
    """
    from safetensors.torch import load_file, save_file

    if job.space is None or not job.space.sources:
        raise failure(
            "N1070",
            f"`{job.network.space_name}` can't be written as .nas: its own text isn't known here",
            "export from the .nas file, or from a run",
        )
    found = architecture_text(job.space, job.network.genotype, text)
    text.write_text(found.text, encoding="utf-8")
    network = _network_of(text, found.space.name)
    moved = renamed_weights(job.network, network)
    save_file({name: tensor.contiguous() for name, tensor in moved.items()}, weights)
    network.load_state_dict(load_file(weights))
    return check_outputs(job, text.name, network.eval())


def architecture_text(space: Space, genotype: Genotype, home: Path) -> Narrowed:
    """The text of one architecture of a space. ``home`` is where it will stand.

    Where it would import a file that isn't found from there, it is written tensor by tensor instead.
    """
    first = next(iter(space.sources))
    module = _read(Path(first), space.sources[first])
    setup = Setup(catalogue(), Limits(), dict(space.parameters))
    return narrow(prepare(module, pick_space(module, space.name), setup), dict(genotype), home)


def _read(path: Path, text: str) -> Module:
    findings = Findings()
    module = Loader(findings).load(path, Source(str(path), text))
    findings.raise_if_any()
    return module


def _network_of(path: Path, name: str) -> Network:
    """The network of a file that holds one architecture."""
    module = _read(path, path.read_text(encoding="utf-8"))
    known = catalogue()
    space = Elaborator(known, Limits()).space(module, pick_space(module, name), {})
    return Network(space.architecture({}), known)


def renamed_weights(network: Network, other: Network) -> dict[str, Tensor]:
    """The weights of a network under the names of another one of the same architecture.

    Step by step, for the names come from the text: ``n2_0`` where there was a choice is ``sep_conv`` where there is
    none. Raises NasError N950 where the steps aren't the same.
    """
    found: dict[str, Tensor] = {}
    ours, theirs = (list(all_steps(net.architecture.steps)) for net in (network, other))
    same = len(ours) == len(theirs) and all(
        a.operation == b.operation for a, b in zip(ours, theirs, strict=True)
    )
    for mine, its in zip(ours, theirs, strict=False):
        source, target = network.module_path(mine), other.module_path(its)
        if source is None or target is None:
            same = same and source is target
            continue
        for name, tensor in network.get_submodule(source).state_dict().items():
            found[f"{target}.{name}"] = tensor
    if not same or set(found) != set(other.state_dict()):
        raise failure(
            "N950",
            f"the .nas text of `{network.space_name}` holds another architecture; nothing was exported",
        )
    return found
