"""A torch module as a graph of torch's own operators, through ``torch.export``.

Every operator remembers the modules that it stands in, which is how the author's structure survives. Weights and
whatever else rests on no input are constants.
"""

from __future__ import annotations

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from io import StringIO
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from nasdsl.diagnostics import failure
from nasdsl.lifting.call import Place

BATCH = 2
"""How many examples are traced; anything but 1, so that an axis of size 1 is not mistaken for it."""


@dataclass(frozen=True, eq=False)
class Trace:
    """``inputs`` and ``outputs`` are nodes of ``graph``; ``tensors`` the values of nodes that stand for weights, buffers
    and other tensors of the module, ``names`` what they are called there, and ``parameters`` those names that are of
    parameters."""

    module: nn.Module
    graph: fx.Graph
    inputs: Mapping[fx.Node, str]
    outputs: tuple[fx.Node, ...]
    tensors: Mapping[fx.Node, Tensor]
    names: Mapping[fx.Node, str]
    parameters: frozenset[str]

    @cached_property
    def needed(self) -> list[fx.Node]:
        """The nodes that the outputs rest on, and all inputs, in order. What changes a tensor in place is one of them
        where the tensor is."""
        found = {*self.outputs, *self.inputs}
        for node in reversed(self.graph.nodes):
            if node in found or (in_place(node) and node.args[0] in found):
                found.add(node)
                found.update(node.all_input_nodes)
        return [node for node in self.graph.nodes if node in found and node.op != "output"]

    @cached_property
    def constants(self) -> dict[fx.Node, Tensor]:
        """The values of all nodes that rest on no input."""
        found: dict[fx.Node, Any] = dict(self.tensors)
        with torch.no_grad():
            for node in self.graph.nodes:
                if node.op == "call_function" and all(n in found for n in node.all_input_nodes):
                    found[node] = call(node, found)
        return found

    def path(self, node: fx.Node) -> tuple[Place, ...]:
        """The modules around an operator, from the outermost in; the root is not among them."""
        stack = [
            (str(path).partition("@")[0], kind if isinstance(kind, str) else kind.__qualname__)
            for path, kind in node.meta.get("nn_module_stack", {}).values()
        ]
        places: list[Place] = []
        above = ""
        for path, kind in stack:
            if path:
                attribute = path.removeprefix(f"{above}.") if above else path
                places.append(Place(attribute, kind.rpartition(".")[2]))
                above = path
        return tuple(places)

    def where(self, node: fx.Node) -> str:
        """The place of an operator in the author's words: the path of its module."""
        return ".".join(place.attribute for place in self.path(node)) or type(self.module).__name__


def call(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    """Runs an operator on other values than those it was traced with."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: values[n])
    target: Any = node.target
    return target(*args, **kwargs)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an operator by name, with its defaults."""
    target: Any = node.target
    found: dict[str, Any] = {}
    if not hasattr(target, "_schema"):
        return found
    for i, argument in enumerate(target._schema.arguments):
        if i < len(node.args):
            found[argument.name] = node.args[i]
        elif argument.name in node.kwargs:
            found[argument.name] = node.kwargs[argument.name]
        else:
            found[argument.name] = argument.default_value
    return found


def shape(node: fx.Node) -> tuple[int, ...]:
    """Of what an operator gives, with the batch axis."""
    return tuple(int(size) for size in node.meta["val"].shape)


def operator(node: fx.Node) -> str:
    """The name of an operator without its overload: ``conv2d``."""
    target: Any = node.target
    packet = getattr(target, "overloadpacket", None)
    return str(packet).rpartition(".")[2] if packet is not None else getattr(target, "__name__", str(target))


def in_place(node: fx.Node) -> bool:
    """Whether an operator changes its first input."""
    return node.op == "call_function" and operator(node).endswith("_")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch prints and logs of its attempts; what goes wrong is said in our words."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(disabled)


def trace(module: nn.Module, inputs: Sequence[Tensor]) -> Trace:
    """Traces a module in evaluation mode on inputs [N, …] with N = :data:`BATCH`.

    Raises NasError N1086 where torch can't trace it, or the module doesn't run on such inputs.
    """
    module.eval()
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fast path of torch's transformer layers is one operator that nobody can look into.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, tuple(inputs), strict=False)
    except GuardOnDataDependentSymNode:
        raise failure(
            "N1086",
            f"`{type(module).__name__}` can't be lifted: its Python branches on values in the data",
            "an `if`, a `while` or a size that rests on a tensor's values has no graph: compute both and choose with "
            "torch.where, or leave it out of the module",
        ) from None
    except Exception as error:
        said = str(error).strip()
        first = said.splitlines()[0] if said else type(error).__name__
        raise failure(
            "N1086",
            f"torch.export can't trace `{type(module).__name__}` on inputs {_said(inputs)}: {first[:200]}",
            "--input gives the shapes without the batch axis; what the module does must not rest on values in the data",
        ) from None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    signature = program.graph_signature
    lent: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    tensors: dict[fx.Node, Tensor] = {}
    names: dict[fx.Node, str] = {}
    given: dict[fx.Node, str] = {}
    called = iter(_input_names(module, len(inputs)))
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        if node.name in lent:
            name = lent[node.name]
            value = program.state_dict.get(name, program.constants.get(name))
            assert isinstance(value, Tensor)
            tensors[node], names[node] = value.detach(), name
        else:
            given[node] = next(called)
    (end,) = (node for node in program.graph.nodes if node.op == "output")
    results = list(end.args[0])
    nodes = tuple(node for node in results if isinstance(node, fx.Node))
    if not nodes or len(nodes) != len(results):
        raise failure("N1086", f"`{type(module).__name__}` gives something that is no tensor")
    parameters = frozenset(signature.inputs_to_parameters.values())
    return Trace(module, program.graph, given, nodes, tensors, names, parameters)


def _input_names(module: nn.Module, count: int) -> list[str]:
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [
        plain[i] if i < len(plain) and re.fullmatch("[a-z][a-z0-9_]*", plain[i]) else f"input_{i}"
        for i in range(count)
    ]


def _said(inputs: Sequence[Tensor]) -> str:
    return ", ".join(str(list(x.shape)) for x in inputs)
