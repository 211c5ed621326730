"""The numbers that stand in a body's code, and which calls differ in numbers only."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from nasdsl.exporting.parameters import SIZES, Hole, Parameter, Reference, same
from nasdsl.exporting.structure import Call, Item, Key, Loop, Scan, Use, item_at
from nasdsl.operations.execute import is_torch, resolve
from nasdsl.space.operation import TorchCall
from nasdsl.space.size import Size

Path = tuple[int, ...]
Arguments = Callable[[Use], list[tuple[Parameter, Any]]]


def walk(items: Sequence[Item], prefix: Path = ()) -> Iterator[tuple[Path, Item]]:
    """The items of a body with their places, those of a scan's body after the scan."""
    for index, item in enumerate(items):
        path = (*prefix, index)
        yield path, item
        if isinstance(item, Scan):
            yield from walk(item.items, path)


def find_holes(
    pattern: Sequence[Item],
    bodies: Sequence[list[Item]],
    arguments: Arguments,
    is_single: Callable[[Loop], bool],
) -> Iterator[Hole]:
    """Every number in the code of a class, with its value in each of its uses.

    ``bodies`` are alike up to numbers; ``arguments`` gives what the constructor of a use inside is given, ``is_single``
    whether a loop has one turn in all of them.
    """
    made: set[tuple[Key, ...]] = set()
    for path, item in walk(pattern):
        alike: list[Any] = [item_at(body, path) for body in bodies]
        if isinstance(item, Scan):
            yield from _scan_holes(path, alike)
            continue
        # A module that is called several times is made once.
        if item.keys and item.keys in made:
            continue
        made.add(item.keys)
        if isinstance(item, Call):
            yield from _call_holes(path, alike)
        elif isinstance(item, Use):
            yield from _use_holes(path, None, alike, arguments)
        elif not item.open_ended:
            for turn in range(len(item.uses)):
                yield from _use_holes(path, turn, [loop.uses[turn] for loop in alike], arguments)
        elif is_single(item):
            yield from _use_holes(path, None, [loop.uses[0] for loop in alike], arguments)
        else:
            yield from _repeat_holes(path, alike, arguments)


def _call_holes(path: Path, alike: Sequence[Call]) -> Iterator[Hole]:
    if alike[0].call is None:
        for axis, dim in enumerate(alike[0].step.shape.dims):
            if not isinstance(dim, Size):
                yield Hole((path, axis), "size", tuple(item.step.shape.dims[axis] for item in alike))
        return
    calls = [item.call for item in alike if item.call is not None]
    if is_activation(alike[0]):
        yield Hole((path, "target"), "act", tuple(Reference(call.target) for call in calls))
        return
    roles = _roles(calls[0], len(alike[0].step.inputs))
    for position, value in enumerate(calls[0].args):
        if not is_number(value):
            continue
        role = roles[position] if position < len(roles) else "value"
        given = tuple(call.args[position] for call in calls)
        if role == "dims" and len({len(dims) for dims in given}) == 1:
            # The sizes of a shape are numbers of their own: most are sizes that the class knows already.
            for axis in range(len(given[0])):
                yield Hole((path, (position, axis)), "size", tuple(dims[axis] for dims in given), SIZES)
        else:
            yield Hole((path, position), role, given)
    for name in keywords(calls):
        values = tuple(call.kwargs[name] if name in call.kwargs else _default(call, name) for call in calls)
        if all(is_number(value) for value in values):
            yield Hole((path, name), name, values)


def is_activation(item: Call) -> bool:
    """Whether it is a function of torch's that takes one tensor and nothing else, so that it may be a parameter."""
    call = item.call
    if call is None or call.kind != "function" or call.args or call.kwargs or call.listed:
        return False
    return is_torch(call.target) and len(item.step.inputs) == 1 and item.borrows is None


def keywords(calls: Sequence[TorchCall]) -> list[str]:
    """The keyword arguments that at least one of the calls gives, in the order of the signature."""
    given = dict.fromkeys(name for call in calls for name in call.kwargs)
    order = [parameter.name for parameter in _signature(calls[0])]
    return sorted(given, key=lambda name: order.index(name) if name in order else len(order))


def _use_holes(path: Path, turn: int | None, uses: Sequence[Use], arguments: Arguments) -> Iterator[Hole]:
    rows = [arguments(use) for use in uses]
    for position, (parameter, _) in enumerate(rows[0]):
        values = tuple(row[position][1] for row in rows)
        yield Hole((path, (turn, position)), parameter.name, values, parameter.family)


def _repeat_holes(path: Path, loops: Sequence[Loop], arguments: Arguments) -> Iterator[Hole]:
    """The arguments that all turns of a use have in common one by one, the others as a list with an entry a turn."""
    rows = [[arguments(use) for use in loop.uses] for loop in loops]
    parameters = [parameter for parameter, _ in rows[0][0]]
    varied: list[int] = []
    for position, parameter in enumerate(parameters):
        columns = [[turn[position][1] for turn in row] for row in rows]
        if all(same(value, column[0]) for column in columns for value in column):
            yield Hole(
                (path, (None, position)), parameter.name, tuple(c[0] for c in columns), parameter.family
            )
        else:
            varied.append(position)
    if varied:
        lists = [
            [turn[varied[0]][1] if len(varied) == 1 else tuple(turn[p][1] for p in varied) for turn in row]
            for row in rows
        ]
        name = f"{parameters[varied[0]].name}s" if len(varied) == 1 else loops[0].label or "layers"
        yield Hole((path, ("list", tuple(varied))), name, tuple(lists), "list")
    else:
        yield Hole((path, "count"), "depth", tuple(len(loop.uses) for loop in loops))


def _scan_holes(path: Path, scans: Sequence[Scan]) -> Iterator[Hole]:
    shapes = [
        [step.shape for step in scan.step.body.steps if step.id in scan.step.body.states]
        for scan in scans
        if scan.step.body is not None
    ]
    for state, shape in enumerate(shapes[0]):
        for axis in range(len(shape.dims)):
            yield Hole((path, (state, axis)), "hidden", tuple(row[state].dims[axis] for row in shapes))


def call_signature(item: Call) -> Hashable:
    """What two calls have in common that differ in numbers only."""
    call = item.call
    if call is None:
        source = item.step.instance.inputs[0].dims if item.step.instance.inputs else ()
        dims = tuple(
            _axis_of(dim, source) if isinstance(dim, Size) else "number" for dim in item.step.shape.dims
        )
        return ("zeros", dims, item.step.shape.dtype)
    if is_activation(item):
        return ("function", "activation")
    keep = {n for n, v in call.kwargs.items() if not (is_number(v) and _has_number_default(call, n))}
    return (
        call.kind,
        call.target,
        call.listed,
        call.number_at,
        item.borrows,
        tuple("number" if is_number(value) else repr(value) for value in call.args),
        tuple((n, "number" if is_number(call.kwargs[n]) else repr(call.kwargs[n])) for n in sorted(keep)),
    )


def _axis_of(dim: Size, dims: Sequence[Any]) -> Hashable:
    return ("axis", list(dims).index(dim)) if dim in dims else ("size", str(dim))


def is_number(value: Any) -> bool:
    """Whether a value may become a parameter: a number, or several of them."""
    if isinstance(value, (tuple, list)):
        return all(is_number(entry) for entry in value)
    return isinstance(value, (int, float, Fraction))


def _signature(call: TorchCall) -> list[inspect.Parameter]:
    """The parameters of what is called, those of the tensors left out; empty where torch doesn't tell."""
    try:
        parameters = list(inspect.signature(resolve(call.target)).parameters.values())
    except (AttributeError, TypeError, ValueError):
        return []
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return []
    return parameters


def _has_number_default(call: TorchCall, name: str) -> bool:
    found = next((p for p in _signature(call) if p.name == name), None)
    return found is not None and isinstance(found.default, (int, float))


def _default(call: TorchCall, name: str) -> Any:
    return next(p.default for p in _signature(call) if p.name == name)


def _roles(call: TorchCall, inputs: int) -> list[str]:
    """What the positional arguments of a call are for, by the names that torch gives them."""
    names = [parameter.name for parameter in _signature(call) if parameter.name != "self"]
    if call.kind == "function":
        names = names[1 if call.listed else inputs :]
    return names or (["kernel_size"] if "pool" in call.target else [])
