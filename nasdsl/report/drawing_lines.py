"""A body of a space on one line: ``relu → conv 3×3 → batchnorm``, ``x + (layernorm → attention 3|4 heads)``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from nasdsl.report.drawing import Line, Run
from nasdsl.report.drawing_fonts import text_width
from nasdsl.report.drawing_structure import Atom, Reader
from nasdsl.report.drawing_words import alternatives, joined
from nasdsl.space.graph import Scope

ARROW = " → "
FLAT = 4
"""A pipeline of so many operations is said in full; a longer one by the name of its definition, where it has one."""
SHORT, LONG = 150.0, 330.0
"""What is said often in one body is said as shortly as this; nothing longer than that is said on one line."""
SIZE = 11.0
"""The font size of what stands in boxes."""

_PIPE, _SUM, _PRODUCT, _TIGHT = range(4)


def line_width(line: Line, size: float = SIZE) -> float:
    """How wide a line is."""
    return sum(text_width(run.text, size, run.style in ("bold", "chosen")) for run in line)


class Lines:
    """Says bodies on one line.

    ``exact`` says that what is drawn stands for one use, not for all uses of a definition. ``named`` collects the
    definitions with choices that a line mentions by name.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.exact = True
        self.named: dict[str, Scope] = {}
        self._variants: dict[str, bool] = {}

    # --- one atom

    def fixed(self, atom: Atom, most: float) -> Line:
        """What an atom without choices does: its operations in a row, else the name of its definition."""
        if atom.scope is None:
            return atom.line
        name: Line = (Run(atom.scope.definition),)
        if not self.exact and self._has_variants(atom.scope.definition):
            return name
        line = self.body(atom.scope, atom.nodes)
        if line is None or any(run.text == " + " for run in line):
            return name
        return line if line_width(line) <= (most if len(stages(line)) > FLAT else LONG) else name

    def _has_variants(self, definition: str) -> bool:
        """Whether uses of a definition are made of different operations."""
        known = self._variants.get(definition)
        if known is None:
            made: set[tuple[str, ...]] = set()
            for scope in self.reader.scopes.values():
                if scope.definition == definition:
                    nodes = sorted(self.reader.members[scope.id])
                    made.add(tuple(self.reader.nodes[id].operation for id in nodes))
            known = self._variants[definition] = len(made) > 1
        return known

    def short(self, atom: Atom, most: float = SHORT) -> Line:
        """An atom in a few words."""
        if atom.kind == "fixed":
            return self.fixed(atom, most)
        if atom.kind == "use":
            assert atom.scope is not None
            inline = self.inline(atom)
            if inline is not None:
                return inline
            self.named.setdefault(atom.scope.definition, atom.scope)
            return (Run(atom.scope.definition, "choice"),)
        if atom.kind == "repeat":
            copy = self.copy(atom)
            several = any(run.text in (ARROW, " + ") for run in copy)
            return (*(_bracketed(copy) if several else copy), Run(" ×", "muted"), *atom.times)
        if atom.kind == "scan":
            inner = self.scanned(atom)
            return (Run("scan("), *inner, Run(")"))
        if atom.kind == "choice":
            return self._choice(atom)
        return atom.line

    def copy(self, atom: Atom) -> Line:
        """One copy of a repeated operation."""
        assert atom.scope is not None and atom.copies
        line = self.body(atom.scope, atom.copies[0])
        return (Run("…"),) if line is None or line_width(line) > LONG else line

    def scanned(self, atom: Atom) -> Line:
        """What a scan runs over the sequence."""
        (inner, *others) = self.scan_body(atom)
        if not others:
            return self.short(inner)
        line = self._expression(
            [inner, *others], {}, frozenset().union(inner.nodes, *(a.nodes for a in others))
        )
        return line if line is not None and line_width(line) <= LONG else (Run("…"),)

    def scan_body(self, atom: Atom) -> list[Atom]:
        """The body of a scan taken apart."""
        inside = [id for id in atom.nodes if self.reader.nodes[id].region is not None]
        region = self.reader.nodes[inside[0]].region
        assert region is not None
        return self.merged(self.reader.atoms(self.reader.nodes[region].scope, inside, region))

    def _choice(self, atom: Atom) -> Line:
        if atom.definition is not None:
            self.named.setdefault(atom.definition, self.reader.nodes[atom.out].scope)
            return (Run(atom.definition, "choice"),)
        labels = [candidate.label for candidate in atom.candidates]
        if atom.choice is not None and sum(map(len, labels)) < 32:
            taken = None
            assignment = self.reader.words.assignment
            if assignment is not None and not atom.choice.is_sublist:
                taken = assignment[atom.choice.variables[0]]
            return (Run("("), *alternatives(labels, taken), Run(")"))
        return (Run(atom.pick, "choice"),)

    def inline(self, atom: Atom) -> Line | None:
        """A use with choices where it can be said in a line.

        It holds a single thing, or at most one choice, or choices that have a name and a key of their own.
        """
        assert atom.scope is not None
        if atom.scope.kind == "cell" and not self.reader.is_pure(atom.scope):
            return None
        atoms = self.merged(self.reader.atoms(atom.scope, atom.nodes))
        kept, self.named = self.named, {}
        line = self._expression(atoms, self._inputs(atom.scope), atom.nodes)
        named, self.named = self.named, kept
        if line is None or line_width(line) > (SHORT if self._is_frequent(atom.scope) else 280):
            return None
        if len(atoms) == 1 and atoms[0].kind == "use" and not self.reader.is_pure(atom.scope):
            if any(not self.reader.is_pure(scope) for scope in named.values()):
                return None
        if len(atoms) > 1 and len(self.reader.choices_in(atom.nodes)) > 1:
            if not named or not all(self.reader.is_pure(scope) for scope in named.values()):
                return None
        for name, scope in named.items():
            self.named.setdefault(name, scope)
        return line

    def _is_frequent(self, scope: Scope) -> bool:
        """Whether a definition is used so often in one body that its name says more than what it does."""
        alike = [
            s
            for s in self.reader.scopes.values()
            if s.definition == scope.definition and s.parent is scope.parent
        ]
        return len(alike) > FLAT

    # --- a body

    def body(self, base: Scope, nodes: Iterable[int], region: int | None = None) -> Line | None:
        """Some nodes of a body on one line, None where there is no such line."""
        nodes = frozenset(nodes)
        atoms = self.reader.atoms(base, nodes, region)
        return self._expression(atoms, self._inputs(base), nodes)

    @staticmethod
    def _inputs(scope: Scope) -> dict[int, str]:
        return {node: name for name, nodes in scope.inputs.items() for node in nodes}

    def _expression(
        self, atoms: Sequence[Atom], inputs: dict[int, str], nodes: frozenset[int]
    ) -> Line | None:
        outs = [
            i for i in self.reader.outs(nodes) if self.reader.nodes[i].operation not in ("element", "state")
        ]
        if len(outs) != 1 or not atoms:
            return None
        makers = {id: atom for atom in atoms for id in atom.nodes}
        if outs[0] not in makers:
            return None
        read = Counter(source for atom in atoms for source in atom.inputs)
        outside = {source for source in read if source not in makers}
        found = self._term(outs[0], makers, read, inputs, alone=len(outside) <= 1)
        return None if found is None else compressed(found[0])

    def _term(
        self, id: int, makers: dict[int, Atom], read: Counter[int], inputs: dict[int, str], alone: bool
    ) -> tuple[Line, int] | None:
        """The text of a node and how tightly it binds. ``alone`` says that the one input need not be named."""
        atom = makers.get(id)
        if atom is None:
            return ((), _TIGHT) if alone else ((Run(inputs.get(id, "x")),), _TIGHT)
        if read[id] > 1 or id != atom.out:
            return None
        below = [self._term(source, makers, read, inputs, alone) for source in atom.inputs]
        if any(term is None for term in below):
            return None
        terms = [term for term in below if term is not None]
        if atom.kind == "join":
            if atom.open:
                return None
            return self._joined(atom, terms)
        text = self.short(atom, LONG)
        if len(terms) > 1 or not terms:
            if not terms:
                return text, _PIPE
            lines = [line for line, _ in terms if line]
            listed = (*text, Run("("), *joined(lines, ", "), Run(")")) if lines else text
            return (*listed, *((Run(ARROW, "muted"), *atom.after) if atom.after else ())), _PIPE
        line, level = terms[0]
        if line and level in (_SUM, _PRODUCT):
            line = _bracketed(line)
        parts = [part for part in (line, text, atom.after) if part]
        return arrows(parts), _PIPE

    def _joined(self, atom: Atom, terms: Sequence[tuple[Line, int]]) -> tuple[Line, int] | None:
        operation = self.reader.nodes[min(atom.nodes)].operation
        signs = {
            "sum": (" + ", _SUM),
            "subtract": (" − ", _SUM),
            "multiply": (" × ", _PRODUCT),
            "divide": (" / ", _PRODUCT),
        }
        if operation not in signs:
            lines = [line if line else (Run("x"),) for line, _ in terms]
            found: Line = (*atom.line, Run("("), *joined(lines, ", "), Run(")"))
            return (arrows([found, atom.after]) if atom.after else found), _PIPE
        sign, own = signs[operation]
        lines = []
        for line, level in terms:
            line = line if line else (Run("x"),)
            several = any(run.text == ARROW for run in line)
            lines.append(
                _bracketed(line) if (level == _PIPE and several) or (level != _PIPE and level < own) else line
            )
        summed = joined(lines, sign)
        if atom.after:
            return arrows([_bracketed(summed), atom.after]), _PIPE
        return summed, own

    # --- pipelines

    def merged(self, atoms: Sequence[Atom], most: float = SHORT) -> list[Atom]:
        """Pipelines in one atom; what is done to a sum, or to what was chosen, goes with it."""
        found: list[Atom] = []
        makers: dict[int, Atom] = {}
        read = Counter(source for atom in atoms for source in atom.inputs)
        for atom in atoms:
            before = makers.get(atom.inputs[0]) if len(atom.inputs) == 1 else None
            if before is not None and atom.kind == "fixed" and self._follows(atom, before, read):
                line = self.fixed(atom, most)
                if before.kind == "fixed":
                    before.line, before.scope = arrows([self.fixed(before, most), line]), None
                else:
                    before.after = arrows([before.after, line]) if before.after else line
                before.nodes |= atom.nodes
                before.out = atom.out
                makers.update(dict.fromkeys(atom.nodes, before))
                continue
            found.append(atom)
            makers.update(dict.fromkeys(atom.nodes, atom))
        return found

    def _follows(self, atom: Atom, before: Atom, read: Counter[int]) -> bool:
        reader = self.reader
        if before.kind not in ("fixed", "join", "choice") or read[before.out] != 1:
            return False
        if atom.inputs[0] != before.out or before.out in reader.outputs:
            return False
        if any(reading not in atom.nodes for reading in reader.readers[before.out]):
            return False
        if reader.nodes[before.out].guard is not reader.nodes[atom.out].guard:
            return False
        if before.kind == "choice" and before.is_same_everywhere:
            return False
        return before.kind == "fixed" or reader.nodes[before.out].name is None


def arrows(lines: Sequence[Line]) -> Line:
    """Lines one after the other, as a pipeline."""
    runs: list[Run] = []
    for line in lines:
        if runs and line:
            runs.append(Run(ARROW, "muted"))
        runs += line
    return tuple(runs)


def stages(line: Line) -> list[Line]:
    """A pipeline taken apart at its arrows, those in brackets left alone."""
    found: list[list[Run]] = [[]]
    depth = 0
    for run in line:
        depth += run.text.count("(") - run.text.count(")")
        if run.text == ARROW and depth == 0:
            found.append([])
        else:
            found[-1].append(run)
    return [tuple(runs) for runs in found]


def compressed(line: Line) -> Line:
    """A pipeline that is a shorter one several times over, said once.

    >>> from nasdsl.report.drawing import plain
    >>> plain(compressed(arrows([(Run("relu"),), (Run("conv"),)] * 2)))
    '(relu → conv) ×2'
    """
    parts = stages(line)
    for period in range(2, len(parts) // 2 + 1):
        if len(parts) % period == 0 and parts == parts[:period] * (len(parts) // period):
            return (Run("("), *arrows(parts[:period]), Run(f") ×{len(parts) // period}"))
    return line


def _bracketed(line: Line) -> Line:
    return (Run("("), *line, Run(")"))
