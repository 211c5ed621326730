"""The contract of a primitive operation, and the catalogue that holds them.

An operation states each fact once, about *one* architecture, with plain numbers: its shape rule, its cost, how torch
computes it, which slice of a larger weight it takes. That every architecture of a space is well formed, how large
its networks can be, what the supernet runs and how exported code reads all follow from these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Union

from nasdsl.diagnostics import Diagnostic
from nasdsl.space.size import Size
from nasdsl.space.tensor import Parts, Shape, SpaceDim


class ShapeError(Exception):
    """A shape rule says no. ``help`` says what would mend it, if that is known."""

    def __init__(self, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.help = help


REQUIRED = object()
"""The default of a setting that a call has to give."""

# What a setting takes. "number" is any rational, "ints" a whole number or a list of them (one an axis).
SettingKind = Literal["int", "ints", "number", "bool", "dims"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of an operation; ``default`` may be ``"C"``, the size of the first input's first axis."""

    name: str
    kind: SettingKind
    default: Any = REQUIRED
    elastic: bool = False


# Which entries of an axis of a stored weight an architecture takes.
Index = Union[slice, tuple[int, ...]]


@dataclass(frozen=True)
class Instance:
    """One operation with everything about it decided.

    ``parts[i][axis]`` are the parts of that axis of input i with decided sizes, None where the axis is whole;
    ``output_parts`` the same for the output.
    """

    inputs: tuple[Shape, ...]
    settings: Mapping[str, Any]
    output: Shape
    parts: tuple[tuple[Parts, ...], ...] = ()
    output_parts: tuple[Parts, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """``flops`` are multiply-adds at batch size 1, a formula where a dimension is free."""

    params: int = 0
    flops: int | Size = 0


@dataclass(frozen=True, slots=True)
class Held:
    """What a call keeps in memory besides its output; :mod:`nasdsl.space.memory` adds these up.

    ``view``: the output is the first input under another name or other sizes, and takes no memory; ``idle``: so it is
    when evaluating (dropout). ``stored`` are the output's numbers in memory, where they are more than its entries.

    For the backward pass it keeps the inputs at the positions ``inputs``, where ``crosswise`` each for the gradients of
    the others alone, and where ``for_weights`` for those of its weights alone; its ``output``; and ``extra`` bytes an
    example and ``fixed`` bytes besides. ``scratch`` bytes an example and ``scratch_fixed`` besides are taken within the
    call and given back after it, where there is no backward pass. The gradients of the inputs at ``passes`` are that of
    the output itself (a sum), as they are of a view.

    Sizes are formulas where a dimension is free. A call that has no weights and whose inputs want no gradient keeps
    nothing.
    """

    view: bool = False
    idle: bool = False
    stored: int | Size | None = None
    inputs: tuple[int, ...] = ()
    crosswise: bool = False
    for_weights: bool = False
    output: bool = False
    extra: int | Size = 0
    fixed: int | Size = 0
    scratch: int | Size = 0
    scratch_fixed: int | Size = 0
    passes: tuple[int, ...] = ()


FLOAT = 4
"""Bytes of a real number; measures are those of float32."""
INT = 8
"""Bytes of a whole number."""


@dataclass(frozen=True, slots=True)
class TorchCall:
    """How torch computes an operation, as data: the supernet calls it and the exporter writes it.

    ======== ================================== ====================================================
    kind     target                             written as
    ======== ================================== ====================================================
    module   ``nn.Conv2d``, ``Attention``       ``self.conv = nn.Conv2d(16, …)``, ``self.conv(x)``
    function ``torch.relu``, ``F.max_pool2d``   ``F.max_pool2d(x, 3, stride=1, padding=1)``
    method   ``mean``, ``flatten``              ``x.mean((2, 3))``
    operator ``+``, ``-``, ``*``, ``/``         ``a + b`` (a number in ``args`` stands at ``number_at``)
    ======== ================================== ====================================================

    A target without a dot, of kind module or function, is defined in ``operations/torch_code.py``, whose source text
    is copied into exported code. With ``listed`` the inputs go in as one list (``torch.cat([a, b], 1)``).
    """

    kind: Literal["module", "function", "method", "operator"]
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    listed: bool = False
    # For an operator between a tensor and a number: whether the number stands "left" or "right".
    number_at: Literal["left", "right"] | None = None


class Operation(ABC):
    """A primitive operation. One file in ``operations/`` holds one idea; see ``CONTRIBUTING.md`` for the recipe.

    Class attributes say what it is called and takes; methods are given plain, decided values. Nothing here imports
    torch before a module is built.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for the catalogue in the manual."""
    section: ClassVar[str]
    """Heading in the catalogue."""
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    variadic: ClassVar[bool] = False
    """Takes a list of tensors as its one input (``sum``, ``concat``)."""
    settings: ClassVar[tuple[Setting, ...]] = ()
    passes_absence: ClassVar[bool] = False
    """With an absent input (``zero``) its output is absent too; other operations get a tensor of zeros."""
    new_axes: ClassVar[tuple[int, ...]] = ()
    """Output axes that are made afresh, as one part; other axes keep the parts of the first input's."""
    borrows: ClassVar[str | None] = None
    """It has no weights of its own but reads this parameter of another use (``unembed`` an embedding's ``weight``),
    which is handed to the torch function after the inputs. Its ``slices`` then name that parameter."""
    alone: ClassVar[str | None] = None
    """Of an operation that borrows, the operation that it is in an architecture without the other use: it has the same
    settings and keeps the weights itself."""
    merges_with: ClassVar[tuple[str, ...]] = ()
    """Operations that an inference runtime merges it with where it alone reads their result (a batch norm with a
    convolution), so that it takes no time of its own."""
    internal: ClassVar[bool] = False
    """Made by the language for arithmetic; not to be called by name."""

    @abstractmethod
    def shape(self, inputs: Sequence[Shape], **settings: Any) -> Shape:
        """The output's shape. Raises :class:`ShapeError` in words about tensors."""

    def defaults(self, inputs: Sequence[Shape], **settings: Any) -> dict[str, Any]:
        """Values for defaults that rest on the inputs; by default ``"C"`` is the first input's first size."""
        return {}

    @abstractmethod
    def torch(self, instance: Instance) -> TorchCall:
        """How torch computes it."""

    def cost(self, instance: Instance) -> Cost:
        """Parameters and multiply-adds; by default none."""
        return Cost()

    def held(self, instance: Instance) -> Held:
        """What it keeps in memory as torch runs it; by default nothing but its output."""
        return Held()

    def slices(self, full: Instance, active: Instance) -> dict[str, tuple[Index, ...]]:
        """For each parameter and buffer of the module, the entries that ``active`` takes, an index an axis.

        ``full`` has the largest settings. Only called where something about the use is elastic; a tensor that is not
        named (``num_batches_tracked``) is taken whole.
        """
        raise TypeError(f"`{self.name}` has no elastic weights")

    def stored(self, largest: Instance, decided: Sequence[Instance]) -> Instance:
        """What a supernet stores for a use: by default the one with every setting at its largest.

        ``decided`` are the instances that occur in the space, for operations whose largest settings together don't
        give the largest weight.
        """
        return largest

    def parts(
        self, inputs: Sequence[tuple[Parts, ...]], dims: Sequence[tuple[SpaceDim, ...]], **settings: Any
    ) -> tuple[Parts, ...] | None:
        """The output's parts where ``new_axes`` can't say it (``concat``, ``flatten``); None: it can."""
        return None


def leading(parts: Parts, size: int) -> Index:
    """Which stored entries an axis takes: all of it, or the leading entries of each part.

    >>> from nasdsl.space.tensor import Part
    >>> leading((Part(4, 2), Part(4, 3)), 5)
    (0, 1, 4, 5, 6)
    >>> leading((Part(8, 3),), 3)
    slice(0, 3, None)
    """
    if parts is None:
        return slice(0, size)
    if len(parts) == 1:
        return slice(0, parts[0].size)
    taken: list[int] = []
    offset = 0
    for part in parts:
        assert isinstance(part.size, int)
        taken.extend(range(offset, offset + part.size))
        offset += part.limit
    return tuple(taken) if len(taken) < offset else slice(0, offset)


class Catalogue(Mapping[str, Operation]):
    """The operations that a space can name. A clash of names is an error. ``unusable`` says of names that a package should
    have brought why it didn't."""

    def __init__(self, operations: Sequence[Operation] = ()) -> None:
        self.unusable: dict[str, Diagnostic] = {}
        self._operations: dict[str, Operation] = {}
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> None:
        """Raises ValueError where the name is taken."""
        if operation.name in self._operations:
            holder = type(self._operations[operation.name])
            raise ValueError(
                f"operation `{operation.name}` is already defined by {holder.__module__}.{holder.__qualname__}"
            )
        self._operations[operation.name] = operation

    def __getitem__(self, name: str) -> Operation:
        return self._operations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)
