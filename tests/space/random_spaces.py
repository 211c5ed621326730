"""Random programs of the language that mostly make sense, for tests that hold the whole against reality."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st


class Writer:
    """Writes one space over images [C, H, W]. Most of its operations keep sizes, so that most tensors fit each other."""

    inputs: ClassVar[tuple[str, ...]] = ("input x: [4, 8, 8]", "input x: [8, 8, 8]")
    pattern = "[C, H, W]"
    keep = "conv(C, kernel = 1)"

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.widths = ["4", "4", "8"]
        self.kernels = ["1", "3"]
        self.depths = ["1", "2"]
        self.operations: list[str] = []
        self.takes_operation: list[str] = []
        self.tensors = ["x"]
        self.sublists: list[str] = []
        self.lines: list[str] = []
        self.definitions: list[str] = []
        self.names = 0

    # --- chance ----------------------------------------------------------------------------------

    def one(self, *options: str) -> str:
        return str(self.draw(st.sampled_from(options)))

    def some(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def chance(self, percent: int) -> bool:
        return self.some(0, 99) < percent

    def name(self, start: str) -> str:
        self.names += 1
        return f"{start}{self.names}"

    # --- what depends on the kind of tensor ------------------------------------------------------

    def simple(self) -> str:
        """An operation that keeps sizes."""
        return self.one(
            "relu",
            "batchnorm",
            "tanh",
            "identity",
            "conv(kernel = 3)",
            "avgpool(3)",
            "dropout(0.1)",
            "zero",
            "maxpool(3)",
            "shift(1)",
        )

    def resized(self) -> str:
        """An operation that changes the number of features."""
        return f"conv({self.width()}, kernel = {self.kernel()})"

    def special(self) -> str:
        """Operations that change more, or fit seldom."""
        return self.one(
            f"depthwise({self.kernel()})",
            f"conv({self.width()}, kernel = [1, 3])",
            "avgpool(2, stride = 2)",
            f"conv({self.width()}, kernel = 3, stride = 2)",
            "upsample(2)",
            f"conv(8, kernel = 3, groups = {self.one('1', '2', '4', '1 | 2', *self.widths)})",
            "layernorm",
            "softmax",
        )

    def odd(self, tensor: str) -> str:
        """A tensor that is made in a roundabout way."""
        w = self.one("4", *self.widths)
        return f"reshape({tensor} -> conv({w}, kernel = 1), [{w}, 64]) -> reshape([{w}, 8, 8])"

    def heads(self, tensor: str) -> list[str]:
        """What a space may return of a tensor."""
        pooled = ", ".join(f"{t} -> global_avgpool" for t in self.tensors[1:]) or "x -> global_maxpool"
        return [
            f"{tensor} -> global_avgpool -> linear({self.one('3', '2 | 3')})",
            f"concat([{pooled}]) -> linear({self.one('3', '2 | 3')})",
        ]

    # --- numbers ---------------------------------------------------------------------------------

    def width(self) -> str:
        return self.one("4 | 8", "2 | 4 | 6", "8 | 4") if self.chance(12) else self.one(*self.widths)

    def kernel(self) -> str:
        return self.one("1 | 3", "3 | 5") if self.chance(15) else self.one(*self.kernels)

    def chosen(self) -> list[str]:
        return [n for n in (*self.widths, *self.depths) if not n.isdigit()]

    def condition(self) -> str:
        numbers = self.chosen()
        if not numbers:
            return self.one("1 == 1", "2 < 1")
        text = f"{self.one(*numbers)} {self.one('==', '<=', '>', '!=')} {self.one('1', '2', '4', '6', '8')}"
        if self.chance(15):
            text = (
                f"not {text}"
                if self.chance(50)
                else f"{text} {self.one('and', 'or')} {self.one(*numbers)} < 8"
            )
        return text

    def number_statement(self) -> None:
        kind = self.some(0, 5)
        if kind == 2:
            name, into, value = self.name("k"), self.kernels, self.one("1 | 3", "3 | 5", "1 | 3 | 5")
        elif kind == 3:
            name, into, value = self.name("d"), self.depths, self.one("1 | 2", "0 | 1", "0 | 1 | 2")
        else:
            name, into = self.name("w"), self.widths
            value = self.one("4 | 8", "2 | 4", "4 | 6 | 8", "small: 4 | large: 8")
            if kind == 4:
                form = self.one(
                    "2 * {}",
                    "{} + 4",
                    "{} // 2",
                    "max({}, 6)",
                    "if {} == 4 then 8 else 4",
                    "8 - {} // 2",
                    "8 // {}",
                )
                value = form.format(self.one(*self.widths))
            elif kind == 5:
                value = f"if {self.condition()} then ({self.width()}) else 8"
        self.lines.append(f"{name} = {value}")
        into.append(name)

    # --- operations ------------------------------------------------------------------------------

    def stage(self, depth: int = 2) -> str:
        kind = self.some(0, 20)
        if depth <= 0 or kind < 6:
            return self.simple()
        if kind < 10:
            return self.resized()
        if kind <= 11:
            return self.special()
        if kind <= 14:
            return f"({self.alternatives(depth - 1)})"
        if kind == 15:
            return f"({self.stage(depth - 1)} -> {self.stage(depth - 1)})"
        if kind == 16:
            return f"repeat({self.stage(depth - 1)}, {self.one('1 | 2', '0 | 1', '2', '0', *self.depths)})"
        if kind == 17:
            return f"(if {self.condition()} then {self.stage(depth - 1)} else {self.stage(depth - 1)})"
        if kind == 18 and self.takes_operation:
            return f"{self.one(*self.takes_operation)}({self.stage(depth - 1)})"
        if kind == 19:
            return f"chain([{self.stage(depth - 1)} for i in 0..{self.some(0, 2)}])"
        return self.one(*self.operations) if self.operations else "relu"

    def alternatives(self, depth: int) -> str:
        found = list(dict.fromkeys(self.stage(depth) for _ in range(self.some(2, 3))))
        if len(found) == 1:
            return found[0]
        if self.chance(50):
            found = [f"{label}: {text}" for label, text in zip("abc", found, strict=False)]
        return " | ".join(found)

    def definition(self) -> None:
        word, name, kind = self.one("op", "cell"), self.name("f"), self.some(0, 7)
        if kind == 0:
            text = f"{word} {name} = {self.stage(2)}"
        elif kind <= 2:
            text = f"{word} {name} = {self.alternatives(2)}"
        elif kind == 3:
            given = f"v = {self.one('4', '4 | 8', '8')}"
            text = f"{word} {name}(y, {given}) = y -> {self.resized().replace('(', '(v + 0 * ', 1)} -> {self.stage(1)}"
        elif kind == 4:
            result = self.one(
                "a + b", "b", "sum([a, b, y])", "a * b", "b - y", "(a | b)", "2 * b + 1", "max([a, b])"
            )
            text = (
                f"{word} {name}(y) {{\n    a = y -> {self.stage(1)}\n    b = {self.one('a', 'y')} -> {self.stage(1)}\n"
                f"    return {result}\n  }}"
            )
        elif kind == 5:
            body = self.one("y + g(y)", "g(g(y))", f"g(y) -> {self.keep}", "g(y) | y")
            self.definitions.append(f"{word} {name}(y: {self.pattern}, g: op) = {body}")
            self.takes_operation.append(name)
            return
        elif kind == 6:
            chosen = f"choose {self.one('1', '1..2', 'any', '2')} of {{ y, relu(y), y -> {self.stage(1)} }}"
            text = f"{word} {name}(y: {self.pattern}) = {self.one('sum', 'mean', 'sum', 'max')}({chosen}) -> {self.keep}"
        else:
            more = self.one(
                f"{self.simple()} -> {name}(d - 1)", f"({name}(d - 1) | {self.simple()} -> {name}(d - 1))"
            )
            text = f"op {name}(d = {self.one('1', '2')}) = if d == 0 then {self.simple()} else {more}"
        self.definitions.append(text)
        self.operations.append(name)

    # --- tensors ---------------------------------------------------------------------------------

    def tensor(self, depth: int = 2) -> str:
        kind = self.some(0, 14)
        known = self.one(*self.tensors)
        if depth <= 0 or kind < 2:
            return known
        if kind < 7:
            return f"({known} -> {self.stage(2)})"
        if kind == 7:
            return f"({self.tensor(depth - 1)} {self.one('+', '+', '*', '-', '/')} {self.tensor(depth - 1)})"
        if kind == 8:
            return f"concat([{self.tensor(depth - 1)}, {self.tensor(depth - 1)}])"
        if kind == 9:
            return f"({self.tensor(depth - 1)} | {self.tensor(depth - 1)})"
        if kind == 10:
            return f"(if {self.condition()} then {self.tensor(depth - 1)} else {self.tensor(depth - 1)})"
        if kind == 11:
            return f"({self.one('2 *', '1 -', '0.5 *', '-')} {self.tensor(depth - 1)})"
        if kind == 12 and self.sublists:
            s = self.one(*self.sublists)
            return self.one(
                f"sum({s} + [{known}])",
                f"mean({s} + [{known}])",
                f"sum({s})",
                f"concat({s} + [{known}])",
                f"sum([{self.stage(1)}(t) for t in {s}])",
                f"({self.resized().replace('(', f'(4 * len({s}) + 0 * ', 1)})({known})",
                f"max({s})",
                f"concat({s})",
            )
        if kind == 13 and self.chance(30):
            return f"({self.odd(known)})"
        return f"({known} -> {self.stage(1)} -> {self.stage(1)})"

    def add_tensor(self, text: str) -> None:
        name = self.name("y")
        self.lines.append(f"{name} = {text}")
        self.tensors.append(name)

    def statement(self) -> None:
        kind = self.some(0, 11)
        if kind < 5:
            self.add_tensor(self.tensor())
        elif kind == 5:
            self.sublist()
        elif kind == 6:
            self.loop()
        elif kind == 7:
            name = self.name("s")
            self.lines.append(f"shared {name} = {self.stage(2)}")
            self.operations.append(name)
        elif kind == 8:
            quantity = self.one("", "1 of ", "2 of ", "any of ", "1..2 of ")
            pool = ", ".join(self.one(*self.tensors) for _ in range(self.some(2, 3)))
            chosen = f"choose {quantity}{{ {self.stage(1)}(t) for t in [{pool}] }}"
            self.add_tensor(f"sum({chosen})" if quantity else chosen)
        elif kind == 9:
            self.add_tensor(
                f"{self.one(*self.tensors)} -> repeat({self.stage(2)}, {self.one('1 | 2', '0 | 2', *self.depths)})"
            )
        elif kind == 10:
            self.require()
        else:
            self.number_statement()

    def sublist(self) -> None:
        name = self.name("sub")
        found = [self.tensor(1) for _ in range(3)]
        if self.chance(60):
            candidates = ", ".join(f"{label}: {text}" for label, text in zip("abc", found, strict=True))
        else:
            candidates = ", ".join(
                f"{text} -> {f}" for text, f in zip(found, ("relu", "tanh", "gelu"), strict=True)
            )
        self.lines.append(
            f"{name} = choose {self.one('1', '2', '1..2', 'any', '1..3')} of {{ {candidates} }}"
        )
        self.sublists.append(name)

    def loop(self) -> None:
        """A small cell, with loose ends."""
        n, i = self.name("n"), self.name("i")
        edge = self.one(*self.operations) if self.operations and self.chance(60) else self.stage(1)
        body = self.one(
            f"{edge}({n}[{i} - 1])",
            f"sum({edge}(t) for t in {n})",
            f"choose {{ {edge}(t) for t in {n} }}",
            f"sum(choose 1..2 of {{ {edge}(t) for t in {n} }})",
            f"{n}[0] + {edge}({n}[{i} - 1])",
        )
        self.lines.append(f"{n} = [{self.one(*self.tensors)}]")
        self.lines.append(f"for {i} in 1..{self.some(1, 3)} {{ {n}[{i}] = {body} }}")
        self.add_tensor(
            self.one(
                f"sum({n})",
                f"sum(unused({n}))",
                f"mean(unused({n}))",
                f"concat(unused({n}))",
                f"concat({n}[1..])",
                f"max({n})",
            )
        )

    def require(self) -> None:
        numbers = self.chosen()
        options = ['require count("relu") <= 1', 'require count("a") >= 1']
        if numbers:
            options.append(
                f"require {self.one(*numbers)} {self.one('<=', '>=', '!=')} {self.one('2', '4', '6')}"
            )
            options.append(f"require {self.one(*numbers)} <= 4 or {self.one(*numbers)} != 2")
        if self.sublists:
            options.append(f"require len({self.one(*self.sublists)}) {self.one('>= 1', '<= 2', '!= 1')}")
        self.lines.append(self.one(*options[-3:]))

    def program(self) -> str:
        for _ in range(self.some(1, 3)):
            self.number_statement()
        for _ in range(self.some(1, 4)):
            self.definition()
        for _ in range(self.some(2, 6)):
            self.statement()
        last = self.tensors[-1]
        returned = self.one(
            last,
            f"{last} -> {self.stage(1)}",
            ", ".join(dict.fromkeys(self.tensors[-2:])),
            *self.heads(last),
            *self.heads(last),
        )
        body = "\n  ".join([self.one(*self.inputs), *self.definitions, *self.lines, f"return {returned}"])
        return f"space random {{\n  {body}\n}}\n"


class SoundWriter(Writer):
    """Sequences of features over a free time axis, [C, T]."""

    inputs = ("input x: [4, T]", "input x: [8, T]")
    pattern = "[C, T]"

    def special(self) -> str:
        return self.one(
            f"depthwise({self.kernel()})",
            "avgpool(2, stride = 2)",
            f"conv({self.width()}, kernel = 3, stride = 2)",
            "upsample(2)",
            f"conv(8, kernel = 3, groups = {self.one('1', '2', '4', '1 | 2', *self.widths)})",
            "avgpool(3, stride = 2) -> upsample(2)",
        )

    def odd(self, tensor: str) -> str:
        w = self.one("4", *self.widths)
        return f"reshape({tensor} -> conv({w}, kernel = 1), [{w} * T]) -> reshape([{w}, T])"


class TokenWriter(Writer):
    """Tokens with features, [T, D]."""

    inputs = (
        "input t: int[T]\n  shared words = embedding(10, 4)\n  x = t -> words",
        "input t: int[T]\n  shared words = embedding(10, 4 | 8)\n  x = t -> words",
        "input x: [5, 4]",
    )
    pattern = "[T, D]"
    keep = "linear(D)"

    def simple(self) -> str:
        return self.one(
            "relu", "layernorm", "tanh", "identity", "gelu", "dropout(0.1)", "zero", "softmax", "hardswish"
        )

    def resized(self) -> str:
        return f"linear({self.width()})"

    def special(self) -> str:
        heads, size = self.one("1", "2", "1 | 2"), self.one("2", "4", "2 | 4")
        return self.one(
            f"attention({heads}, {size})",
            f"attention({heads}, head_dim = {size}, causal = true)",
            "scan(rnn, state = [4])",
        )

    def odd(self, tensor: str) -> str:
        return f"{tensor} -> linear(4) -> scan(rnn2, state = [4])"

    def heads(self, tensor: str) -> list[str]:
        return [f"{tensor} -> mean_tokens -> linear({self.one('3', '2 | 3')})"]

    def program(self) -> str:
        act = self.one("tanh", "(relu | tanh)", "(x -> tanh)")
        self.definitions += [
            f"op rnn(e, h: [D]) = {act}(linear(D)(e) + {self.one('linear(D)(h)', 'h')})".replace(
                "(x -> tanh)", "tanh"
            ),
            f"cell rnn2(e, h: [D]) {{ g = sigmoid(linear(D)(e)) * {self.one('h', '(h | relu(h))', 'zero(h)')}\n    return g -> linear(4 | 8), g }}",
        ]
        text = super().program()
        return (
            text.replace("-> mean_tokens -> linear(3)", "-> linear(4) -> unembed(words)")
            if "embedding(10, 4)\n" in text
            else text
        )


@st.composite
def programs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """The text of a space."""
    kind = draw(st.sampled_from([Writer, Writer, SoundWriter, TokenWriter]))
    text: str = kind(draw).program()
    return text
