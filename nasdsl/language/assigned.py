"""What the statements of a body assign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from nasdsl.language import syntax


class Assigned:
    """The targets of a body. ``n = …`` and ``n[i] = …`` are two targets: (name, whether an item of it is assigned).

    ``once`` are those that one statement assigns, ``names`` all of them.
    """

    def __init__(self, statements: Sequence[syntax.Statement]) -> None:
        self._statements = statements
        counts = Counter(targets(statements))
        self.once = frozenset(target for target, n in counts.items() if n == 1)
        self.names = frozenset(name for name, _ in counts)

    def rebound(self, before: Iterable[str]) -> frozenset[str]:
        """Names that a definition inside may not read: assigned twice, item by item, in a loop, or bound before."""
        counts: Counter[str] = Counter(dict.fromkeys(before, 1))

        def walk(body: Sequence[syntax.Statement], weight: int) -> None:
            for statement in body:
                match statement:
                    case syntax.Assign():
                        for target in statement.targets:
                            counts[target.name] += 2 if target.index is not None else weight
                    case syntax.Shared():
                        counts[statement.name] += weight
                    case syntax.For():
                        for target in statement.targets:
                            counts[target.name] += 2
                        walk(statement.body, 2)
                    case syntax.If():
                        walk(statement.then, weight)
                        walk(statement.otherwise, weight)

        walk(self._statements, 1)
        return frozenset(name for name, n in counts.items() if n > 1)


def targets(statements: Sequence[syntax.Statement]) -> Iterator[tuple[str, bool]]:
    """Each target of each statement, in order, those in blocks included."""
    for statement in statements:
        match statement:
            case syntax.Assign():
                yield from ((t.name, t.index is not None) for t in statement.targets)
            case syntax.Shared():
                yield statement.name, False
            case syntax.For():
                yield from ((t.name, False) for t in statement.targets)
                yield from targets(statement.body)
            case syntax.If():
                yield from targets(statement.then)
                yield from targets(statement.otherwise)
