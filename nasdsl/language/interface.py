"""What a space shows to those who use it: parameters, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from nasdsl.diagnostics import did_you_mean
from nasdsl.language import syntax
from nasdsl.language.place import Place
from nasdsl.language.stop import fail, listed
from nasdsl.language.values import (
    Names,
    Poison,
    Tensor,
    Tuple,
    Value,
    is_rational,
)
from nasdsl.space.diagram import Diagram
from nasdsl.space.size import Rational, Size
from nasdsl.space.tensor import TensorType

if TYPE_CHECKING:
    from nasdsl.language.elaborate import Elaborator


class Interface:
    """Reads the head of one space, its inputs, and what it returns."""

    def __init__(self, elaborator: Elaborator) -> None:
        self.elaborator = elaborator
        self.builder = elaborator.builder

    def parameters(
        self, declaration: syntax.Space, settings: Mapping[str, Rational], names: Names, place: Place
    ) -> dict[str, Rational]:
        """The values of a space's parameters: as set, else their defaults. Binds their names."""
        known = [p.name for p in declaration.parameters]
        for name in settings:
            if name not in known:
                self.elaborator.findings.error(
                    "N108",
                    f"the space `{declaration.name}` has no parameter `{name}`",
                    declaration.name_span,
                    help=did_you_mean(name, known)
                    or (f"its parameters are {listed(f'`{k}`' for k in known)}" if known else "it has none"),
                )
        values: dict[str, Rational] = {}

        def bind(parameter: syntax.Parameter) -> None:
            names[parameter.name] = Poison()
            value: Any
            if parameter.name in settings:
                value = settings[parameter.name]
                if isinstance(value, float):
                    value = Fraction(str(value))
                if isinstance(value, Fraction) and value.denominator == 1:
                    value = value.numerator
            elif parameter.default is None:
                fail(
                    "N202",
                    f"the parameter `{parameter.name}` of the space needs a value",
                    parameter.span,
                    help=f"give it a default, `{parameter.name} = 16`, or a value with `--set {parameter.name}=16`",
                )
            else:
                value = self.elaborator.evaluate(parameter.default, names, place)
            if isinstance(value, Diagram):
                fail(
                    "N208",
                    f"the parameter `{parameter.name}` of a space can't rest on a choice",
                    parameter.span,
                    help=f"choose inside the space: `{parameter.name} = 16 | 24` as a statement",
                )
            if not is_rational(value):
                fail(
                    "N205",
                    f"the parameters of a space are numbers, and `{parameter.name}` is {self.elaborator.describe(value)}",
                    parameter.span,
                )
            if parameter.type is not None and parameter.type.name == "int" and not isinstance(value, int):
                fail(
                    "N205",
                    f"`{parameter.name}` is a whole number, and this is {self.elaborator.describe(value)}",
                    parameter.span,
                )
            values[parameter.name] = value
            names[parameter.name] = value

        for parameter in declaration.parameters:
            self.elaborator.wrongs.attempt(partial(bind, parameter), self.elaborator.root)
        return values

    def inputs(self, declaration: syntax.Space, names: Names, place: Place) -> list[int]:
        """The nodes of a space's inputs. Binds their names, and those of free dimensions."""
        found: list[int] = []

        def add(statement: syntax.Input) -> None:
            names[statement.name] = Poison()
            found.append(self._input(statement, names, place))

        for statement in declaration.body:
            if isinstance(statement, syntax.Input):
                self.elaborator.wrongs.attempt(partial(add, statement), self.elaborator.root)
        return found

    def _input(self, statement: syntax.Input, names: Names, place: Place) -> int:
        if statement.type.name not in (None, "int", "float") or statement.type.dimensions is None:
            fail(
                "N305",
                f"the input `{statement.name}` needs its dimensions",
                statement.type.span,
                help=f"write `input {statement.name}: [3, 32, 32]`, or `input {statement.name}: int[T]` for tokens",
            )
        dims: list[int | Size] = []
        for dimension in statement.type.dimensions:
            if isinstance(dimension, syntax.Name) and not self._is_known(dimension.name, names):
                if not dimension.name.isupper():
                    self.elaborator.unknown(dimension, names)
                names[dimension.name] = Size.free(dimension.name)
            value = self.elaborator.evaluate(dimension, names, place)
            if isinstance(value, Size) and not isinstance(dimension, syntax.Name):
                fail(
                    "N305",
                    f"a free dimension of the input `{statement.name}` stands by itself",
                    dimension.span,
                    label=f"this is {value}",
                    help="give it a name of its own, in capitals",
                )
            if isinstance(value, Diagram):
                fail(
                    "N208",
                    f"a dimension of the input `{statement.name}` can't rest on a choice",
                    dimension.span,
                    help="an input is the same for every architecture: choose after it",
                )
            dims.append(
                value
                if isinstance(value, Size)
                else self.elaborator.lists.whole(value, dimension.span, "a dimension", least=1)
            )
        type = TensorType(tuple(dims), "int" if statement.type.name == "int" else "float")
        node = self.builder.add(
            "input", [], type, place.guard, place.body.scope, statement.span, name=statement.name
        )
        names[statement.name] = Tensor(node)
        return node

    @staticmethod
    def _is_known(name: str, names: Names) -> bool:
        scope: Names | None = names
        while scope is not None:
            if name in scope.own:
                return True
            scope = scope.outer
        return False

    def outputs(self, result: Value, body: Sequence[syntax.Statement]) -> list[tuple[str, int]]:
        """What a space returns: the name and node of each output."""
        returned = body[-1]
        assert isinstance(returned, syntax.Return)
        values = result.items if isinstance(result, Tuple) else (result,)
        outputs: list[tuple[str, int]] = []
        for i, value in enumerate(values):
            e = returned.values[i] if len(values) == len(returned.values) else returned.values[0]
            if not isinstance(value, Tensor):
                fail(
                    "N206", f"a space returns tensors, and this is {self.elaborator.describe(value)}", e.span
                )
            name = e.name if isinstance(e, syntax.Name) else None
            if name is None and len(values) > len(returned.values):
                name = self.builder.nodes[value.node].name
            if name is None:
                name = "output" if len(values) == 1 else f"output_{i + 1}"
            if name in dict(outputs):
                fail(
                    "N206",
                    f"two outputs of the space are called `{name}`",
                    e.span,
                    help="outputs are named by their variables: assign one of them another name",
                )
            outputs.append((name, value.node))
        return outputs
