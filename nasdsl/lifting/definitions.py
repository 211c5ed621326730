"""Modules of one kind as one definition: what is the same in all its uses is written, what differs is a parameter."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from nasdsl.lifting.call import ARITHMETIC, Call, Setting
from nasdsl.lifting.scopes import Scope
from nasdsl.space.operation import Catalogue

SIZES = frozenset({"channels", "features"})

Key = tuple[int, str, int]
"""A number in a body: the item it belongs to, the name of its setting, and its position where that is a list."""


@dataclass(eq=False)
class Definition:
    """One ``op``: the scopes that use it, the first of which shows its body, and what is said at each number of it.

    ``parameters`` are its settings, with their values in every use, and ``defaults`` what some of them are where a use
    doesn't say it; ``words`` says for a number of the body how it is written (a parameter, a dimension of the first
    input, an expression of one).
    """

    name: str
    uses: list[Scope]
    words: dict[Key, str] = field(default_factory=dict)
    parameters: dict[str, list[Setting]] = field(default_factory=dict)
    defaults: dict[str, Setting] = field(default_factory=dict)
    dimensions: tuple[str, ...] | None = None

    @property
    def body(self) -> Scope:
        return self.uses[0]

    def settings(self, use: Scope) -> dict[str, Setting]:
        """The settings of one use, those without default first."""
        i = self.uses.index(use)
        order = sorted(self.parameters, key=lambda name: name in self.defaults)
        return {name: self.parameters[name][i] for name in order}


def define(root: Scope, catalogue: Catalogue, taken: frozenset[str]) -> dict[Scope, Definition]:
    """The definition of every module in a tree, inner ones first. ``taken`` are names that can't be used."""
    kinds: dict[Hashable, Definition] = {}
    found: dict[Scope, Definition] = {}
    for scope in _inner_first(root):
        assert scope.place is not None
        shape = _shape(scope, found)
        definition = kinds.get(shape)
        if definition is None:
            definition = kinds[shape] = Definition("", [])
        definition.uses.append(scope)
        found[scope] = definition
        # The body's own inner definitions must be complete before this one's numbers are looked at.
    order = list(dict.fromkeys(found.values()))
    used = set(taken)
    for definition in order:
        definition.name = _name(definition, order, used)
        used.add(definition.name)
        _words(definition, found, catalogue)
    return found


def _inner_first(scope: Scope) -> Iterator[Scope]:
    for item in scope.items:
        if isinstance(item, Scope):
            yield from _inner_first(item)
            yield item


def _shape(scope: Scope, found: Mapping[Scope, Definition]) -> Hashable:
    """What two uses of a definition have in common: everything but numbers."""
    index: dict[Call, int] = {call: -1 - i for i, call in enumerate(scope.inputs)}
    entries: list[Hashable] = []
    for i, item in enumerate(scope.items):
        given = tuple(index[x] for x in item.inputs)
        if isinstance(item, Scope):
            entries.append((id(found[item]), given))
            index[item.outputs[0]] = i
        else:
            kinds = tuple((name, _kind(value)) for name, value in sorted(item.settings.items()))
            entries.append((item.operation, kinds, given))
            index[item] = i
    assert scope.place is not None
    return (scope.place.kind, tuple(len(x.shape) for x in scope.inputs), tuple(entries))


def _kind(value: Setting) -> Hashable:
    # A boolean is never a parameter.
    if isinstance(value, bool):
        return value
    return len(value) if isinstance(value, tuple) else "number"


# --- numbers ----------------------------------------------------------------------------------------


def numbers(item: Call | Scope, found: Mapping[Scope, Definition]) -> Iterator[tuple[str, int, Setting]]:
    """The numbers that an item of a body is called with: (setting, position, value)."""
    settings = found[item].settings(item) if isinstance(item, Scope) else item.settings
    for name, value in settings.items():
        if isinstance(value, tuple):
            yield from ((name, i, entry) for i, entry in enumerate(value))
        elif not isinstance(value, bool):
            yield name, 0, value


def _words(definition: Definition, found: Mapping[Scope, Definition], catalogue: Catalogue) -> None:
    columns: dict[Key, list[Setting]] = {}
    for use in definition.uses:
        for i, item in enumerate(use.items):
            for name, position, value in numbers(item, found):
                columns.setdefault((i, name, position), []).append(value)
    dims = [use.inputs[0].shape for use in definition.uses] if definition.body.inputs else []
    letters = {1: ("D",), 2: ("T", "D"), 3: ("C", "H", "W")}.get(len(dims[0]) if dims else 0, ())
    by_value: dict[tuple[Setting, ...], str] = {}
    # Where the body comes back to the size of its input, its other sizes are said by that too.
    returns = any(
        key[1] in SIZES and values == [d[_axis(letters)] for d in dims]
        for key, values in columns.items()
        if letters
    )
    for key, values in columns.items():
        i, name, _ = key
        item = definition.body.items[i]
        if _is_default(definition, i, name, values, found, catalogue):
            continue
        if len(set(values)) == 1 and not (name == "sizes" or (returns and name in SIZES)):
            continue
        said = _of_dimensions(values, dims, letters)
        if said is not None:
            definition.words[key] = said
            definition.dimensions = letters
        elif len(set(values)) > 1:
            column = tuple(values)
            if column not in by_value:
                parameter = by_value[column] = _fresh(name, definition.parameters)
                definition.parameters[parameter] = list(values)
                default = _default(item, name, found, catalogue)
                if isinstance(default, int):
                    definition.defaults[parameter] = default
            definition.words[key] = by_value[column]


def _axis(letters: tuple[str, ...]) -> int:
    """The axis of channels or features."""
    return 0 if len(letters) == 3 else -1


def _is_default(
    definition: Definition,
    i: int,
    name: str,
    values: Sequence[Setting],
    found: Mapping[Scope, Definition],
    catalogue: Catalogue,
) -> bool:
    """Whether a setting needn't be written in any use."""
    items = [use.items[i] for use in definition.uses]
    return all(
        default_of(item, name, found, catalogue) == value for item, value in zip(items, values, strict=True)
    )


def default_of(
    item: Call | Scope, name: str, found: Mapping[Scope, Definition], catalogue: Catalogue
) -> object:
    """What a setting of an item is where it isn't written; an object that equals nothing where it has no default."""
    default = _default(item, name, found, catalogue)
    return item.inputs[0].shape[0] if default == "C" else default


def _default(
    item: Call | Scope, name: str, found: Mapping[Scope, Definition], catalogue: Catalogue
) -> object:
    if isinstance(item, Scope):
        return found[item].defaults.get(name, object())
    operation = catalogue.get(item.operation)
    for setting in operation.settings if operation is not None else ():
        if setting.name == name:
            return setting.default
    return object()


def _of_dimensions(
    values: Sequence[Setting], dims: Sequence[tuple[int, ...]], letters: tuple[str, ...]
) -> str | None:
    """The numbers as an expression of one dimension of the first input, if one says them all."""
    if not all(isinstance(v, int) for v in values):
        return None
    for axis, letter in enumerate(letters):
        sizes = [d[axis] for d in dims]
        # Height and width are equal so often that nothing follows from it.
        factors = {Fraction(v, s) for v, s in zip(values, sizes, strict=True)}  # type: ignore[arg-type]
        if len(factors) != 1:
            continue
        (factor,) = factors
        if factor == 1:
            return letter
        if axis == 0 or letter == "D":
            if factor.denominator == 1 and factor.numerator <= 16:
                return f"{factor.numerator}*{letter}"
            if factor.numerator == 1 and factor.denominator <= 64:
                return f"{letter} // {factor.denominator}"
    return None


def _fresh(name: str, taken: Mapping[str, object]) -> str:
    return free_name(name, lambda text: text not in taken)


# --- names ------------------------------------------------------------------------------------------


def _name(definition: Definition, all_of_them: Sequence[Definition], used: set[str]) -> str:
    place = definition.body.place
    assert place is not None
    same = [d for d in all_of_them if d.body.place is not None and d.body.place.kind == place.kind]
    name = snake_case(place.kind)
    if len(same) > 1 and definition is not same[0]:
        # A module that differs by one that it holds besides (`downsample`) is called after that.
        more = _attributes(definition.body) - _attributes(same[0].body)
        operations = _operations(definition.body) - _operations(same[0].body)
        if len(more) == 1:
            name = f"{name}_{snake_case(next(iter(more)))}"
        elif len(operations) == 1:
            name = f"{name}_{snake_case(next(iter(operations)))}"
    return free_name(name, lambda text: text not in used)


def _attributes(scope: Scope) -> set[str]:
    """The names of what stands right in a module."""
    depth = _depth(scope)
    names = {call.path[depth].attribute for call in scope.calls() if len(call.path) > depth}
    return {name for name in names if not name.isdigit()}


def _operations(scope: Scope) -> set[str]:
    return {call.operation for call in scope.calls()} - set(ARITHMETIC)


def _depth(scope: Scope) -> int:
    """How many modules are around what stands right in this one."""
    call = next(scope.calls())
    return next(i for i, place in enumerate(call.path, 1) if place == scope.place)


def snake_case(name: str) -> str:
    """A class's name as the language writes names.

    >>> snake_case("ConvBNReLU"), snake_case("ViTBlock"), snake_case("Conv2dNormActivation")
    ('conv_bn_relu', 'vit_block', 'conv2d_norm_activation')
    """
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name.replace("ReLU", "Relu"))
    text = re.sub(r"([a-z0-9])([A-Z])(?!_|$)", r"\1_\2", text).lower()
    return re.sub(r"[^a-z0-9_]+", "_", text).strip("_") or "block"


def free_name(name: str, free: Callable[[str], bool]) -> str:
    """The name, or the next one like it that is free."""
    if keyword.iskeyword(name):
        name += "_"
    if free(name):
        return name
    number = 2
    while not free(f"{name}_{number}"):
        number += 1
    return f"{name}_{number}"
