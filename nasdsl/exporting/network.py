"""The network of one genotype: a plain torch module with no trace of the supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import failure
from nasdsl.exporting.blueprint import draw_blueprint
from nasdsl.exporting.sizes import measure
from nasdsl.exporting.structure import Key
from nasdsl.operations.execute import bind, build_module
from nasdsl.operations.recurrent import (
    EMBEDDING,
    Dropouts,
    Scanned,
    Scanning,
    States,
    last_scans,
    multiplies,
    on_state,
    with_hidden_dropout,
)
from nasdsl.space.architecture import ZEROS, Architecture, Body, Step, first_output, reads
from nasdsl.space.branches import candidate_paths
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.operation import Catalogue
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape

Weights = Callable[[Step], Mapping[str, Tensor]]


def network(space: Space, genotype: Mapping[str, Taken]) -> Network:
    """The network of a genotype, with fresh weights."""
    architecture = space.architecture(genotype)
    return Network(architecture, space.catalogue, candidate_paths(space, architecture))


class Network(nn.Module):
    """Runs an architecture step by step; its weights lie where the exported source has them.

    It takes the space's inputs in their order, each with a batch axis in front, and returns its output, or a tuple
    where the space has several. ``architecture``, ``space_name`` and ``genotype`` say what it is.

    ``paths`` are the inputs of sums that drop-path acts on (:mod:`nasdsl.space.branches`): in training each is dropped
    for an example with the chance ``drop_path``, which is 0 until somebody sets it.
    Raises NasError (N951 to N953) where the architecture is no network.
    """

    def __init__(
        self,
        architecture: Architecture,
        catalogue: Catalogue,
        paths: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.paths = paths or {}
        self.drop_path = 0.0
        self.catalogue = catalogue
        self.blueprint = draw_blueprint(architecture, catalogue)
        self._place_modules()
        self._program = _Program(self)
        # Scans are loops, but one operator while the network is exported: see `scanning`.
        self.scans_as_operators = False

    @property
    def space_name(self) -> str:
        return self.architecture.name

    @property
    def genotype(self) -> Genotype:
        return Genotype(self.architecture.genotype)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(
            self.architecture.step(id).name or f"input_{i}" for i, id in enumerate(self.architecture.inputs)
        )

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Without the batch axis."""
        return tuple(self.architecture.step(id).shape for id in self.architecture.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.architecture.outputs)

    @property
    def output_shapes(self) -> tuple[Shape, ...]:
        """Without the batch axis."""
        return tuple(self.architecture.step(id).shape for _, id in self.architecture.outputs)

    @property
    def has_scans(self) -> bool:
        """Whether it hands on states."""
        return any(step.body is not None for step in self.architecture.steps)

    def forward(
        self,
        *inputs: Tensor,
        states: States | None = None,
        dropouts: Dropouts = Dropouts(),  # noqa: B008
    ) -> Tensor | tuple[Tensor, ...] | tuple[Tensor | tuple[Tensor, ...], Scanned]:
        """The outputs. With ``states``, scans start from them, with zeros where they have none, and the result is the
        outputs with what the scans came to; ``dropouts`` act then (:mod:`nasdsl.operations.recurrent`)."""
        values: dict[int, Tensor] = dict(zip(self.architecture.inputs, inputs, strict=True))
        scanning = None if states is None else Scanning(states, dropouts)
        self._program.run(values, self.scans_as_operators, scanning)
        found = tuple(values[id] for _, id in self.architecture.outputs)
        outputs = found[0] if len(found) == 1 else found
        return outputs if scanning is None else (outputs, scanning.scanned)

    def inherit(self, weights: Weights) -> Network:
        """Copies weights from where ``weights`` finds them for a step, such as a supernet's; returns itself.

        Raises NasError (N954) where a tensor is missing or has another shape.
        """
        done: set[int] = set()
        for step in all_steps(self.architecture.steps):
            if step.owner is None or step.owner in done or ("owner", step.owner) not in self.blueprint.paths:
                continue
            if self.catalogue[step.operation].borrows is not None:
                continue
            done.add(step.owner)
            path = self.blueprint.paths["owner", step.owner]
            self._copy(path, weights(step))
        return self

    def answering(self) -> Network:
        """The network of the first output alone, with the same weights: without its auxiliary heads, which are there for
        training. Itself where it has one output."""
        if len(self.architecture.outputs) == 1:
            return self
        alone = Network(first_output(self.architecture), self.catalogue, self.paths)
        alone.inherit(self._tensors_of)
        return alone.train(self.training)

    def _tensors_of(self, step: Step) -> Mapping[str, Tensor]:
        module = self.module_of(step)
        return {} if module is None else module.state_dict(keep_vars=True)

    def _copy(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        own = self.get_submodule(path).state_dict(keep_vars=True)
        for name, target in own.items():
            if name not in tensors:
                if name.endswith("num_batches_tracked"):
                    continue
                raise failure("N954", f"the weights of `{path}` have no `{name}`")
            if tensors[name].shape != target.shape:
                raise failure(
                    "N954",
                    f"`{path}.{name}` is {tuple(target.shape)} in the network and {tuple(tensors[name].shape)} in the weights",
                )
            with torch.no_grad():
                target.copy_(tensors[name])

    @contextmanager
    def scanning(self) -> Iterator[None]:
        """While it lasts, scans run as torch's scan operator, which exports with the sequence's length free."""
        self.scans_as_operators = True
        try:
            yield
        finally:
            self.scans_as_operators = False

    def extra_repr(self) -> str:
        return f"{self.space_name}, {self.genotype.text}"

    def __getstate__(self) -> dict[str, Any]:
        # What runs the steps is made of functions, which can't be copied to another process.
        return {**self.__dict__, "_program": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._program = _Program(self)

    def _place_modules(self) -> None:
        steps: dict[Key, Step] = {}
        for step in all_steps(self.architecture.steps):
            key = _key(step)
            if key in self.blueprint.paths and self.catalogue[step.operation].borrows is None:
                steps.setdefault(key, step)
        for key, path in self.blueprint.paths.items():
            *parents, name = path.split(".")
            parent: nn.Module = self
            for part in parents:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            step = steps[key]
            parent.add_module(name, build_module(self.catalogue[step.operation].torch(step.instance)))

    def module_of(self, step: Step) -> nn.Module | None:
        """The module that holds a step's weights."""
        path = self.module_path(step)
        return self.get_submodule(path) if path is not None else None

    def module_path(self, step: Step) -> str | None:
        """Where that module is: its name in ``named_modules``."""
        return self.blueprint.paths.get(_key(step))


@dataclass(frozen=True, slots=True)
class _Instruction:
    """Calls ``run`` with the values of ``inputs``, and before them the pass under way where it ``wants_scanning``;
    afterwards nobody needs those of ``dead``."""

    run: Callable[..., Tensor]
    inputs: tuple[int, ...]
    output: int
    dead: tuple[int, ...] = ()
    scan: _ScanProgram | None = None
    wants_scanning: bool = False


class _Program:
    """The steps of an architecture in order, bound to the network's modules."""

    def __init__(
        self,
        network: Network,
        steps: Sequence[Step] | None = None,
        kept: frozenset[int] = frozenset(),
        scan: Step | None = None,
    ) -> None:
        """That of the network, or of what ``scan`` repeats."""
        architecture = network.architecture
        if steps is None:
            steps = network.blueprint.structure.steps
            kept = frozenset(id for _, id in architecture.outputs)
        last: dict[int, int] = {}
        for position, step in enumerate(steps):
            for id in reads(step):
                last[id] = position
        made = {step.id for step in steps}
        dying: dict[int, list[int]] = {}
        for id, position in last.items():
            if id in made and id not in kept:
                dying.setdefault(position, []).append(id)
        self.last = frozenset() if scan is not None else last_scans(steps)
        self.instructions = [
            _instruction(network, step, tuple(dying.get(position, ())), scan)
            for position, step in enumerate(steps)
            if step.operation not in ("input", "element", "state")
        ]

    def run(self, values: dict[int, Tensor], scans_as_operators: bool, scanning: Scanning | None) -> None:
        """Adds the value of every step to ``values``, and drops what is no longer needed."""
        for instruction in self.instructions:
            if instruction.scan is not None:
                is_last = instruction.output in self.last
                values[instruction.output] = instruction.scan.run(
                    values, scans_as_operators, scanning, is_last
                )
            elif instruction.wants_scanning:
                given = [values[id] for id in instruction.inputs]
                values[instruction.output] = instruction.run(scanning, *given)
            else:
                given = [values[id] for id in instruction.inputs]
                values[instruction.output] = instruction.run(*given)
            for id in instruction.dead:
                values.pop(id, None)


class _ScanProgram:
    """A loop over axis 1 of a sequence; its states start at zeros, or at what the pass has for them."""

    def __init__(self, network: Network, step: Step, body: Body) -> None:
        self.step = step
        self.body = body
        kept = frozenset({*body.new_states, body.output, body.element, *body.states})
        self.program = _Program(network, body.steps, kept, step)
        self.states = [inner.shape for id in body.states for inner in body.steps if inner.id == id]

    def run(
        self, values: Mapping[int, Tensor], as_operator: bool, scanning: Scanning | None, is_last: bool
    ) -> Tensor:
        sequence = values[self.step.inputs[0]]
        if scanning is not None:
            sequence = scanning.read(sequence)
        states = [_zeros(sequence, self.step.instance.inputs[0], shape) for shape in self.states]
        if as_operator:
            return self._operator(values, sequence, states)
        if scanning is not None:
            states = scanning.start(self.step.id, states)
        outputs = []
        for t in range(sequence.shape[1]):
            states, output = self._turn(values, sequence[:, t], states, False, scanning)
            outputs.append(output)
        stacked = torch.stack(outputs, 1)
        return stacked if scanning is None else scanning.end(self.step.id, states, stacked, is_last)

    def _turn(
        self,
        values: Mapping[int, Tensor],
        element: Tensor,
        states: Sequence[Tensor],
        as_operator: bool,
        scanning: Scanning | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        inner = {**values, self.body.element: element, **dict(zip(self.body.states, states, strict=True))}
        self.program.run(inner, as_operator, scanning)
        return [inner[id] for id in self.body.new_states], inner[self.body.output]

    def _operator(self, values: Mapping[int, Tensor], sequence: Tensor, states: list[Tensor]) -> Tensor:
        try:
            from torch._higher_order_ops.scan import scan
        except ImportError:
            raise failure(
                "N955",
                "this version of torch has no scan operator, so a recurrent network can't be exported with a free length",
                help="export it as Python, or install torch 2.11 or newer",
            ) from None

        def turn(carried: tuple[Tensor, ...], element: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            new, output = self._turn(values, element, carried, True)
            # The operator wants results that are no views of each other or of what it was given.
            return tuple(state.clone() for state in new), output.clone()

        # Over axis 0: torch 2.11 leaves what it stacks there, whatever axis it went along.
        _, outputs = scan(turn, tuple(states), sequence.movedim(1, 0), dim=0)
        # As `torch.stack` leaves it: strides decide which kernels come after, and those the last digit.
        result: Tensor = outputs.movedim(0, 1).contiguous()
        return result


def _instruction(network: Network, step: Step, dead: tuple[int, ...], scan: Step | None) -> _Instruction:
    """What runs a step: one of the network itself, or of what ``scan`` repeats."""
    if step.operation == ZEROS:
        given, wanted = step.instance.inputs[0], step.shape
        return _Instruction(lambda x: _zeros(x, given, wanted), step.inputs, step.id, dead)
    if step.body is not None:
        return _Instruction(_never, step.inputs, step.id, dead, _ScanProgram(network, step, step.body))
    operation = network.catalogue[step.operation]
    call = operation.torch(step.instance)
    if call.kind == "module":
        module = network.module_of(step)
        assert module is not None
        dropping = _dropping(step, module, scan)
        return _Instruction(
            dropping or module, step.inputs, step.id, dead, wants_scanning=dropping is not None
        )
    function = bind(call)
    if step.id in network.paths:
        function = _with_drop_path(network, function, network.paths[step.id])
    if operation.borrows is None:
        return _Instruction(function, step.inputs, step.id, dead)
    lender, name = network.module_of(step), operation.borrows
    return _Instruction(lambda *given: function(*given, getattr(lender, name)), step.inputs, step.id, dead)


def _dropping(step: Step, module: nn.Module, scan: Step | None) -> Callable[..., Tensor] | None:
    """A module where dropouts act, as a function of the pass under way and its inputs; None for others."""
    if scan is None:
        if step.operation != EMBEDDING:
            return None
        vocabulary = step.instance.settings["vocab"]

        def embed(scanning: Scanning | None, tokens: Tensor) -> Tensor:
            vectors: Tensor = module(tokens)
            return vectors if scanning is None else scanning.embedded(tokens, vectors, vocabulary)

        return embed
    assert scan.body is not None
    places = on_state(scan.body).get(step.id)
    return with_hidden_dropout(module, scan.id, places) if places and multiplies(module) else None


def _with_drop_path(
    network: Network, add: Callable[..., Tensor], paths: tuple[int, ...]
) -> Callable[..., Tensor]:
    """A sum that drops some of what it adds, while the network is trained."""

    def run(*given: Tensor) -> Tensor:
        if network.training and network.drop_path:
            given = tuple(drop_path(x, network.drop_path) if i in paths else x for i, x in enumerate(given))
        return add(*given)

    return run


def drop_path(x: Tensor, chance: float) -> Tensor:
    """Examples of ``x`` [N, …] become zeros with that chance, and the others are divided by the chance to stay, so that
    the mean is as it was (Larsson et al., 2017)."""
    stays = torch.empty((x.shape[0], *[1] * (x.dim() - 1)), dtype=x.dtype, device=x.device)
    return x * stays.bernoulli_(1 - chance).div_(1 - chance)


def _key(step: Step) -> Key:
    return ("owner", step.owner) if step.owner is not None else ("step", step.id)


def _never(*_: Tensor) -> Tensor:
    raise AssertionError("a scan is run by its own program")


def _zeros(x: Tensor, given: Shape, wanted: Shape) -> Tensor:
    """Zeros of a shape, with the batch and the free dimensions of ``x``."""
    sizes = [measure(dim, x, given.dims) for dim in wanted.dims]
    if given.dtype == "float":
        return x.new_zeros(x.shape[0], *sizes)
    return torch.zeros(x.shape[0], *sizes, device=x.device)


def all_steps(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps of an architecture, and behind a scan those of its body."""
    for step in steps:
        yield step
        if step.body is not None:
            yield from all_steps(step.body.steps)
