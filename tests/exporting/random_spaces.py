"""Spaces drawn at random, so that exported source meets shapes of code that nobody thought of."""

from __future__ import annotations

import random

PRIMITIVES = (
    "conv(kernel = 3)", "conv(kernel = 1)", "conv(kernel = 3 | 5)", "conv(4, kernel = 1)", "depthwise(3)", "batchnorm",
    "relu", "tanh", "sigmoid", "identity", "maxpool(3)", "avgpool(3)", "shift(1)", "dropout(0.2)",
    "(relu | tanh | identity)", "(conv(kernel = 3) | avgpool(3) | zero)",
)  # fmt: skip


class Author:
    """Writes one space; everything in it keeps [4, 6, 6]."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        # Name, number of inputs, and whether there is a setting.
        self.definitions: list[tuple[str, int, bool]] = []

    def space(self) -> str:
        parts = [self.definition(f"o{number}") for number in range(self.chance.randint(1, 5))]
        lines, names = self.body(["image"], self.chance.randint(2, 6))
        pairs = [name for name, inputs, setting in self.definitions if inputs == 2 and not setting]
        if pairs and self.chance.random() < 0.6:
            use = self.chance.choice(pairs)
            turn = self.chance.choice([f"n, {use}(m, n)", f"{use}(m, n), m", f"n, {use}(n, m)"])
            lines += [f"m = {names[-1]}", f"n = {self.chance.choice(names)}"]
            lines += [f"for i in 1..{self.chance.randint(2, 5)} {{ m, n = {turn} }}"]
            names += ["m", "n"]
        if self.chance.random() < 0.5:
            lines += [f"shared w = {self.operation()}"]
            lines += [
                f"{name} = {self.chance.choice(names)} -> {self.operation(2)} -> w" for name in ("s", "t")
            ]
            names += ["s", "t"]
        outputs = dict.fromkeys(self.chance.sample(names, self.chance.choice([1, 1, 2])))
        returned = ", ".join(f"({name} -> global_avgpool)" for name in outputs)
        body = "\n".join(f"  {line}" for line in [*lines, f"return {returned}"])
        return "\n".join([*parts, f"space net(width = 4) {{\n  input image: [4, 6, 6]\n{body}\n}}"])

    def definition(self, name: str) -> str:
        kind, inputs = (
            self.chance.choice(["op", "op", "cell"]),
            self.chance.choice([["p"], ["p"], ["p", "q"]]),
        )
        setting = self.chance.random() < 0.4
        parameters = [f"{inputs[0]}: [C, H, W]", *inputs[1:], *(["k: int"] if setting else [])]
        head = f"{kind} {name}({', '.join(parameters)})"
        end = f"{'conv(kernel = k) -> ' if setting else ''}conv(C, kernel = 1)"
        if len(inputs) == 1 and self.chance.random() < 0.3:
            text = f"{head} = p -> {self.operation()} -> {end}"
        else:
            lines, names = self.body(inputs, self.chance.randint(1, 4))
            text = (
                f"{head} {{\n"
                + "".join(f"  {line}\n" for line in lines)
                + f"  return {names[-1]} -> {end}\n}}"
            )
        self.definitions.append((name, len(inputs), setting))
        return text

    def body(self, inputs: list[str], length: int) -> tuple[list[str], list[str]]:
        """Assignments, and the names that there are after them."""
        names, lines = list(inputs), []
        for number in range(length):
            name = self.chance.choice([f"v{number}", f"v{number}", "a", "x", "y"])
            lines.append(f"{name} = {self.tensor(names)}")
            names.append(name)
        return lines, names

    def tensor(self, names: list[str]) -> str:
        a, b, c = (self.chance.choice(names) for _ in range(3))
        pairs = [(name, setting) for name, inputs, setting in self.definitions if inputs == 2]
        kind = self.chance.random()
        if kind < 0.15:
            return f"{a} + {b} * {c}"
        if kind < 0.25:
            return f"sum([{a}, {b}, {c}])"
        if kind < 0.33:
            return f"choose {{ t -> {self.operation(2)} for t in [{', '.join(dict.fromkeys(names))}] }}"
        if kind < 0.41:
            return f"concat([{a}, {b}]) -> conv(4, kernel = 1)"
        if kind < 0.55 and pairs:
            name, setting = self.chance.choice(pairs)
            return f"{name}({a}, {b}{', 3' if setting else ''})"
        return f"{a} -> {self.operation()}"

    def operation(self, depth: int = 0) -> str:
        kind = self.chance.random()
        if kind < 0.6 or depth > 2:
            single = [(name, setting) for name, inputs, setting in self.definitions if inputs == 1]
            if single and kind < 0.3:
                name, setting = self.chance.choice(single)
                return f"{name}({self.chance.choice([1, 3, 5])})" if setting else name
            return self.chance.choice(PRIMITIVES)
        if kind < 0.8:
            return f"({' -> '.join(self.operation(depth + 1) for _ in range(self.chance.randint(2, 4)))})"
        if kind < 0.95:
            times = self.chance.choice(["2", "3", "4", "1 | 2", "2 | 3", "1 | 3"])
            return f"repeat({self.operation(depth + 1)}, {times})"
        return f"({self.operation(depth + 1)} | {self.operation(depth + 1)})"
