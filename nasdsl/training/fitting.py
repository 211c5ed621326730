"""Whether a space fits a task, and what would make it fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from nasdsl.diagnostics import NasError, failure
from nasdsl.space.size import Rational
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape

S = TypeVar("S", bound=Space)


def check_inputs(
    space: Space, task: str, shapes: Sequence[Shape], sizes: Mapping[str, int], *, resizable: bool = False
) -> None:
    """Raises NasError N912 where the space declares other inputs than ``shapes``. ``sizes`` are those of the task, by
    the names that a parameter of a space has that carries one. Images that are ``resizable`` have another way to fit."""
    nodes = [space.graph.node(i) for i in space.inputs]
    if len(nodes) != len(shapes):
        raise failure("N912", f"task `{task}` has {len(shapes)} input(s), space `{space.name}` {len(nodes)}")
    for node, shape in zip(nodes, shapes, strict=True):
        theirs = Shape(tuple(node.type.dims), node.type.dtype)  # type: ignore[arg-type]
        if not fits(theirs, shape):
            raise failure(
                "N912",
                f"task `{task}` gives `{node.name}` as {shape}, but space `{space.name}` takes {theirs}",
                _help_for_inputs(space, str(node.name), theirs, shape, sizes, resizable),
                node.span,
            )


def check_output(space: Space, task: str, number: int, wanted: Shape, what: str = "as output") -> None:
    """Raises NasError N913 where an output of the space has another shape than ``wanted``."""
    node = space.graph.node(space.outputs[number][1])
    theirs = Shape(tuple(node.type.dims), node.type.dtype)  # type: ignore[arg-type]
    if not fits(theirs, wanted):
        raise failure(
            "N913",
            f"task `{task}` wants {wanted} {what}, but space `{space.name}` returns {theirs}",
            _help_for_outputs(space, theirs, wanted),
            node.span,
        )


def fits(theirs: Shape, ours: Shape) -> bool:
    """Whether sizes agree where both are numbers; a free dimension takes any."""
    if theirs.dtype != ours.dtype or len(theirs.dims) != len(ours.dims):
        return False
    pairs = zip(theirs.dims, ours.dims, strict=True)
    return all(a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in pairs)


def fitted(
    load: Callable[[Mapping[str, Rational]], S],
    given: Mapping[str, Rational],
    sizes: Mapping[str, int],
    check: Callable[[S], None],
) -> tuple[S, dict[str, int]]:
    """A space whose sizes are those of the task: what ``load`` gives for the parameters.

    Where the space as it is asked for doesn't pass ``check``, parameters that carry a size of the task by name
    (``classes``, ``channels``, ``size``, …) and that were not ``given`` are set to it; these come along. Raises NasError N912 or N913 where
    that doesn't help.
    """
    space = load(given)
    try:
        check(space)
        return space, {}
    except NasError:
        ours = {
            name: value
            for name, value in sizes.items()
            if name in space.parameters and name not in given and space.parameters[name] != value
        }
        if not ours:
            raise
    changed = load({**given, **ours})
    check(changed)
    return changed, ours


def _help_for_inputs(
    space: Space, name: str, theirs: Shape, wanted: Shape, sizes: Mapping[str, int], resizable: bool
) -> str:
    """Parameters of the space that were set to another size than the task's, else the line as it should be."""
    wrong = [n for n, value in sizes.items() if space.parameters.get(n, value) != value and n != "classes"]
    if wrong:
        return "say " + " ".join(f"`--set {n}={sizes[n]}`" for n in wrong)
    square = len(theirs.dims) == len(wanted.dims) == 3 and theirs.dims[1] == theirs.dims[2] != wanted.dims[1]
    resized = f", or resize the images: `-c data.size={theirs.dims[1]}`" if resizable and square else ""
    return f"declare it as `input {name}: {wanted}`{resized}"


def _help_for_outputs(space: Space, theirs: Shape, wanted: Shape) -> str:
    """A parameter of the space that carries the size which is wrong, if one does; ``classes`` before any other."""
    for has, want in zip(theirs.dims, wanted.dims, strict=False):
        if has != want:
            named = [name for name, value in space.parameters.items() if value == has]
            for name in sorted(named, key=lambda n: n != "classes"):
                return f"say `--set {name}={want}`"
    return f"let the space return {wanted}"
