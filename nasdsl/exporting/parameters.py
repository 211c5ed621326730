"""Which numbers of a class's code become parameters of its constructor, what they are called, and how others follow."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from nasdsl.exporting.names import free, identifier

CHANNELS = "channels"
"""The family of sizes that flow from one operation to the next; its members may be multiples of each other."""

# Where a number stands in a body: the path of items down to it (several in a scan), and its place there.
Slot = tuple[tuple[int, ...], Hashable]

_CHANNEL_ROLES = {
    "in_channels": "channels",
    "out_channels": "channels",
    "num_features": "channels",
    "channels": "channels",
    "in_features": "features",
    "out_features": "features",
    "features": "features",
    "normalized_shape": "features",
    "embedding_dim": "features",
}
_SHORT = {"kernel_size": "kernel", "num_embeddings": "vocab", "scale_factor": "scale"}
_ONE_BY_DEFAULT = {"stride", "dilation", "groups"}
_LARGEST_RATIO = 8
_HIDDEN_BASE = 3


SIZES = "size"
"""The family of sizes that are written as channels where they are equal to some."""


class Reference(str):
    """The name of a function of torch's, as a value."""

    def __repr__(self) -> str:
        return str(self)


class Symbol(str):
    """An expression over parameters that stands in the code where a number would."""

    def __repr__(self) -> str:
        return str(self)


@dataclass(eq=False)
class Hole:
    """A number in a body: its place, what it is there (``kernel_size``), and its value in each use of the class."""

    slot: Slot
    role: str
    values: tuple[Any, ...]
    family: str = ""

    def __post_init__(self) -> None:
        if not self.family:
            self.family = CHANNELS if self.role in _CHANNEL_ROLES else self.role

    @property
    def is_constant(self) -> bool:
        return all(same(value, self.values[0]) for value in self.values)


@dataclass(eq=False)
class Parameter:
    """A parameter of a constructor, with its value in each use."""

    values: tuple[Any, ...]
    family: str
    roles: list[str] = field(default_factory=list)
    name: str = ""

    @property
    def is_positional(self) -> bool:
        """Whether calls give it by position: sizes are, other settings are named."""
        return self.family == CHANNELS

    @property
    def default(self) -> int | None:
        """What calls may leave out, as they may in torch."""
        return 1 if self.family in _ONE_BY_DEFAULT and any(same(value, 1) for value in self.values) else None

    @property
    def declaration(self) -> str:
        """``stride: int = 1``."""
        default = f" = {self.default}" if self.default is not None else ""
        return f"{self.name}: {self.annotation}{default}"

    @property
    def annotation(self) -> str:
        return " | ".join(dict.fromkeys(_type(value) for value in self.values))


@dataclass(frozen=True)
class Sizes:
    """The sizes of an input or output of a class, one row a use; ``name`` is the input's."""

    name: str
    dims: tuple[tuple[Any, ...], ...]

    def holds(self, values: Sequence[Any]) -> bool:
        """Whether the values are its channels or its features."""
        return any(tuple(row[axis] for row in self.dims if row) == tuple(values) for axis in (0, -1))


def same(a: Any, b: Any) -> bool:
    """Equal as numbers in code are: 1 is not True."""
    return type(a) is type(b) and a == b


def fill(
    holes: Sequence[Hole], inputs: Sequence[Sizes], outputs: Sequence[Sizes]
) -> tuple[list[Parameter], dict[Slot, Any]]:
    """The parameters, and for each hole the number or expression that stands in it."""
    filled: dict[Slot, Any] = {h.slot: h.values[0] for h in holes if h.is_constant}
    open_holes = [hole for hole in holes if not hole.is_constant]
    paddings = [hole for hole in open_holes if hole.role == "padding" and _window(hole, holes) is not None]
    found: list[Parameter] = []
    parameter_of: dict[int, Parameter] = {}
    # As many groups as channels is said in channels.
    for hole in sorted(open_holes, key=lambda hole: hole.family in ("groups", SIZES)):
        if hole in paddings:
            continue
        families = (CHANNELS, hole.family) if hole.family in ("groups", SIZES) else (hole.family,)
        parameter = next(
            (p for p in found if p.family in families and all(map(same, p.values, hole.values))), None
        )
        if parameter is None:
            parameter = Parameter(hole.values, hole.family)
            found.append(parameter)
        parameter.roles.append(hole.role)
        parameter_of[id(hole)] = parameter
    derived = _derive(found, inputs, outputs)
    kept = [p for p in found if p not in derived]
    kept.sort(key=lambda p: _rank(p, inputs))
    _name(kept, derived, inputs, outputs)
    for hole in open_holes:
        if hole in paddings:
            continue
        parameter = parameter_of[id(hole)]
        if parameter in derived:
            base, form = derived[parameter]
            filled[hole.slot] = Symbol(form.format(base.name))
        else:
            filled[hole.slot] = Symbol(parameter.name)
    for hole in paddings:
        window = _window(hole, holes)
        assert window is not None
        kernel, dilation = window
        filled[hole.slot] = _padding(
            filled[kernel.slot], filled[dilation.slot] if dilation is not None else 1, kernel.values
        )
    return kept, filled


def _derive(
    found: Sequence[Parameter], inputs: Sequence[Sizes], outputs: Sequence[Sizes]
) -> dict[Parameter, tuple[Parameter, str]]:
    """Sizes that are a multiple of another one in every use: the other one, and the expression.

    Of sizes in proportion that one is the base which leaves the fewest quotients in the code; one that goes in or comes
    out has a small advantage.
    """
    sizes = [p for p in found if p.family == CHANNELS and all(type(v) is int for v in p.values)]
    derived: dict[Parameter, tuple[Parameter, str]] = {}
    hidden = [p for p in sizes if not any(s.holds(p.values) for s in (*inputs, *outputs))]
    left = list(sizes)
    while left:
        first = left[0]
        group = [p for p in left if p is first or _ratio(p.values, first.values)]

        costs = [_quotients(p, group) + _HIDDEN_BASE * (p in hidden) for p in group]
        base = group[costs.index(min(costs))]
        for p in group:
            form = _ratio(p.values, base.values)
            if p is not base and form is not None:
                derived[p] = (base, form)
        left = [p for p in left if p is not base and p not in derived]
    return derived


def _quotients(base: Parameter, group: Sequence[Parameter]) -> int:
    """How many quotients stand in the code if the others of a group are written over this one."""
    forms = {p: _ratio(p.values, base.values) for p in group if p is not base}
    return sum(len(p.roles) for p, form in forms.items() if form is None or not form.endswith("{}"))


def _ratio(values: Sequence[int], base: Sequence[int]) -> str | None:
    for factor in range(2, _LARGEST_RATIO + 1):
        if all(v == factor * b for v, b in zip(values, base, strict=True)):
            return f"{factor} * {{}}"
        if all(factor * v == b for v, b in zip(values, base, strict=True)):
            return f"{{}} // {factor}"
    return None


def _rank(parameter: Parameter, inputs: Sequence[Sizes]) -> tuple[int, int]:
    if parameter.family == CHANNELS:
        place = next((i for i, sizes in enumerate(inputs) if sizes.holds(parameter.values)), len(inputs))
        return 0, place
    if parameter.default is not None:
        return 3, 0
    if parameter.family == "list":
        return 2, 0
    return 1, parameter.annotation.startswith("Callable")


def _name(
    parameters: Sequence[Parameter],
    derived: Mapping[Parameter, tuple[Parameter, str]],
    inputs: Sequence[Sizes],
    outputs: Sequence[Sizes],
) -> None:
    taken: set[str] = set()
    sizes = [p for p in parameters if p.family == CHANNELS]
    for parameter in parameters:
        base = (
            _size_name(parameter, sizes, derived, inputs, outputs)
            if parameter in sizes
            else _plain(parameter)
        )
        parameter.name = free(base, taken)
        taken.add(parameter.name)


def _plain(parameter: Parameter) -> str:
    role = parameter.roles[0]
    return identifier(_SHORT.get(role, role), "value")


def _size_name(
    parameter: Parameter,
    sizes: Sequence[Parameter],
    derived: Mapping[Parameter, tuple[Parameter, str]],
    inputs: Sequence[Sizes],
    outputs: Sequence[Sizes],
) -> str:
    """``channels`` where a size goes in and out or is the only one, else ``in_channels``, ``out_channels``, ``hidden``."""
    word = next((_CHANNEL_ROLES[r] for r in parameter.roles if r in _CHANNEL_ROLES), None)
    if word is None:
        word = "features" if any("features" in role for role in parameter.roles) else "channels"
    goes_in = [sizes.name for sizes in inputs if sizes.holds(parameter.values)]
    goes_out = any(sizes.holds(parameter.values) for sizes in outputs)
    if (goes_in and goes_out) or (len(sizes) == 1 and (goes_in or goes_out)):
        return word
    if goes_in and not any(
        s.holds(p.values) for p in sizes if p is not parameter for s in (*inputs, *outputs)
    ):
        return word
    if goes_in:
        others = {
            name
            for p in sizes
            if p is not parameter
            for s in inputs
            if s.holds(p.values)
            for name in [s.name]
        }
        return f"{goes_in[0]}_{word}" if others else f"in_{word}"
    if goes_out:
        return f"out_{word}"
    multiple = any(
        _ratio([row[axis] for row in s.dims], parameter.values) for s in outputs for axis in (0, -1) if all(s.dims)
        if all(type(row[axis]) is int for row in s.dims)
    )  # fmt: skip
    return word if multiple else "hidden"


def _window(padding: Hole, holes: Sequence[Hole]) -> tuple[Hole, Hole | None] | None:
    """The kernel and the dilation that a padding follows from, if it does in every use."""
    beside = {hole.role: hole for hole in holes if hole.slot[0] == padding.slot[0]}
    kernel, dilation = beside.get("kernel_size"), beside.get("dilation")
    if kernel is None or not all(type(value) is int for value in kernel.values):
        return None
    spread = dilation.values if dilation is not None else (1,) * len(kernel.values)
    if not all(type(value) is int for value in spread):
        return None
    follows = all(
        p == d * (k - 1) // 2 for p, d, k in zip(padding.values, spread, kernel.values, strict=True)
    )
    return (kernel, dilation) if follows else None


def _padding(kernel: Any, dilation: Any, kernels: Sequence[int]) -> Any:
    """``dilation * (kernel - 1) // 2`` as one would write it.

    >>> _padding(Symbol("kernel"), 1, (3, 5)), _padding(3, Symbol("dilation"), (3, 3)), _padding(Symbol("kernel"), 2, (3, 5))
    (kernel // 2, dilation, kernel - 1)
    """
    chosen_kernel, chosen_dilation = isinstance(kernel, Symbol), isinstance(dilation, Symbol)
    if chosen_kernel and not chosen_dilation:
        if dilation == 1:
            return Symbol(f"{kernel} // 2" if all(k % 2 for k in kernels) else f"({kernel} - 1) // 2")
        return Symbol(f"{kernel} - 1" if dilation == 2 else f"{dilation} * ({kernel} - 1) // 2")
    if chosen_dilation and not chosen_kernel and kernel % 2:
        return Symbol(dilation if kernel == 3 else f"{kernel // 2} * {dilation}")
    return Symbol(f"{dilation} * ({kernel} - 1) // 2")


def _type(value: Any) -> str:
    if isinstance(value, Reference):
        return "Callable[[Tensor], Tensor]"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, (float, Fraction)):
        return "float"
    if isinstance(value, list):
        return f"list[{' | '.join(dict.fromkeys(_type(entry) for entry in value))}]"
    return f"tuple[{', '.join(_type(entry) for entry in value)}]"
