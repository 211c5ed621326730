"""From a space to a picture of it: an overview, a panel for each cell, a key for each choice of an operation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from nasdsl.diagnostics import NasError, Span
from nasdsl.diagnostics.quantities import grouped
from nasdsl.report.drawing import Item, Key, Line, Link, Panel, Part, Picture, Row, Run, State, plain
from nasdsl.report.drawing_lines import SHORT, Lines, arrows, line_width
from nasdsl.report.drawing_structure import SIGNS, Atom, Candidate, Reader, ordered
from nasdsl.report.drawing_words import Words, alternatives, joined
from nasdsl.space.choice import Choice, Taken
from nasdsl.space.diagram import Diagram
from nasdsl.space.graph import Node, Scope

if TYPE_CHECKING:
    from nasdsl.space.space import Space

LISTED = 34
"""A panel whose choices have more candidates than this together shows each as a stack, listed in a key."""
SUMMED_UP = 3
"""A use says its choices itself if they are numbers and no more than this."""
PANELS_A_USE = 6
"""In a picture of an architecture, an operation has a panel for each of its uses up to this many."""
ALIKE = 3
"""So many operations that are alike and summed up are drawn as one."""
SURVEYED = 60
"""So many uses of a definition are looked at for what its candidates do."""


def picture_of(space: Space, genotype: Mapping[str, Taken] | None = None) -> Picture:
    """The picture of a space or, with a genotype of it, of one architecture within its space."""
    return _Painter(space, genotype).picture()


class _Painter:
    def __init__(self, space: Space, genotype: Mapping[str, Taken] | None) -> None:
        self.space = space
        self.genotype = genotype
        self.assignment = None if genotype is None else space.assignment(genotype)
        self.words = Words(space, self.assignment)
        self.reader = Reader(space, self.words)
        self.lines = Lines(self.reader)
        self.shown: set[int] = set()
        self.keys: dict[str, Scope] = {}
        self.uses: dict[str, Scope] = {}
        # In a picture of an architecture, the uses that have panels of their own.
        self.titles: dict[int, str] = {}
        # In a picture of an architecture, choices that took `zero`.
        self.absent: set[int] = set()
        # The names of tensors that are made in one box.
        self.bundled: dict[int, str] = {}
        # What the panel that is drawn calls its inputs.
        self.local: Mapping[int, str] = {}
        # Elements of a list that no assignment names: `n = [a, b]` has n0 and n1.
        self.elements: dict[int, str] = {}

    # --- the whole

    def picture(self) -> Picture:
        if self.assignment is not None:
            self._name_uses()
        overview = self._overview()
        parts: list[Part] = []
        drawn: set[str] = set()
        drawn_keys: set[str] = set()
        while True:
            self._take_named()
            fresh = next((name for name in self.uses if name not in drawn), None)
            if fresh is not None:
                drawn.add(fresh)
                parts += self._panels_of(fresh)
                continue
            fresh = next((name for name in self.keys if name not in drawn_keys), None)
            if fresh is None:
                break
            drawn_keys.add(fresh)
            key = self._key(fresh)
            if key is not None:
                parts.append(key)
        parts = _merged_panels(parts)
        rest = self._others()
        if rest is not None:
            parts.append(rest)
        return Picture(self.space.name, self._notes(), overview, parts, self.genotype is not None)

    def _notes(self) -> list[str]:
        if self.genotype is not None:
            found = self.space.measure(self.genotype)
            return [f"one architecture · {_short(found.params)} params · {_short(found.flops)} multiply-adds"]
        try:
            count = self.space.count()
        except NasError:
            return []
        return [f"{grouped(count)} architectures"]

    def _take_named(self) -> None:
        for name, scope in self.lines.named.items():
            if self.reader.is_pure(scope):
                self.keys.setdefault(name, scope)
            else:
                self.uses.setdefault(name, scope)

    def _for_one_use(self, one: bool) -> None:
        """Whether what is drawn stands for one use, and not for all uses of a definition."""
        self.lines.exact = self.reader.sizes = one

    def _overview(self) -> Panel:
        reader = self.reader
        self._for_one_use(True)
        atoms = self.lines.merged(reader.atoms(reader.root, range(len(reader.nodes))), most=175)
        atoms = _runs(reader, atoms)
        inputs = {node: reader.nodes[node].name or "input" for node in self.space.inputs}
        panel = self._panel(
            "network", "", atoms, inputs, {node: name for name, node in self.space.outputs}, sizes=True
        )
        self._for_one_use(False)
        return panel

    # --- panels

    def _uses(self, definition: str) -> list[Scope]:
        """The uses of a definition that make choices; in a picture of an architecture those that are in it."""
        members = self.reader.members
        uses = [
            s for s in self.reader.scopes.values() if s.definition == definition and s.kind in ("op", "cell")
        ]
        uses = [s for s in uses if self.reader.choices_in(members[s.id])]
        return [s for s in uses if self._alive(max(members[s.id]))] or uses

    def _has_panel_a_use(self, uses: Sequence[Scope]) -> bool:
        """Whether each use is drawn by itself: in an architecture they differ, unless their boxes say how."""
        if self.assignment is None or uses[0].kind != "op" or not 1 < len(uses) <= PANELS_A_USE:
            return False
        return not self._summary(self.reader.members[uses[0].id])

    def _name_uses(self) -> None:
        for definition in {scope.definition for scope in self.reader.scopes.values() if scope.kind == "op"}:
            uses = self._uses(definition)
            if uses and not self.reader.is_pure(uses[0]) and self._has_panel_a_use(uses):
                self.titles.update((scope.id, f"{definition} {n}") for n, scope in enumerate(uses, 1))

    def _panels_of(self, definition: str) -> list[Panel]:
        uses = self._uses(definition)
        kind = uses[0].kind
        if self._has_panel_a_use(uses):
            return [self._use_panel(scope, self.titles.get(scope.id, definition)) for scope in uses]
        scope = self._typical(uses)
        plain_panel = kind == "op" and len(uses) > 1 and self.assignment is not None
        return [self._use_panel(scope, definition, undecided=plain_panel)]

    def _typical(self, uses: Sequence[Scope]) -> Scope:
        """The use that a definition is drawn from: of those with the most choices, one like most others."""
        members = self.reader.members
        most = max(len(self.reader.choices_in(members[s.id])) for s in uses)
        uses = [s for s in uses if len(self.reader.choices_in(members[s.id])) == most]
        # A first cell may read one tensor twice.
        fed = {s.id: len(self.reader.inputs(members[s.id])) for s in uses}
        uses = [s for s in uses if fed[s.id] == max(fed.values())]
        made = Counter(map(self._operations, uses))
        return max(uses, key=lambda s: made[self._operations(s)])

    def _use_panel(self, scope: Scope, title: str, undecided: bool = False) -> Panel:
        reader = self.reader
        kept = self.assignment, self.words.assignment
        if undecided:
            self.assignment = self.words.assignment = None
        self._for_one_use(False)
        body, nodes = scope, frozenset(reader.members[scope.id])
        while True:
            region = reader.nodes[min(nodes)].region
            atoms = self.lines.merged(reader.atoms(body, nodes, region))
            # `cell normal(…) = motif(…)` is drawn as the motif.
            if len(atoms) != 1 or atoms[0].kind != "use" or atoms[0].scope is None:
                break
            body = atoms[0].scope
        atoms = _runs(reader, atoms)
        inputs = {node: name for name, found in body.inputs.items() for node in found}
        outside = reader.inputs(nodes)
        for position, node in enumerate(outside):
            inputs.setdefault(node, "x" if len(outside) == 1 else f"x{position + 1}")
        inputs = {node: name for node, name in inputs.items() if node in outside}
        outs = reader.outs(nodes)
        outputs = dict.fromkeys(outs, "out")
        panel = self._panel(title, self._use_note(scope), atoms, inputs, outputs)
        self.assignment, self.words.assignment = kept
        return panel

    def _use_note(self, scope: Scope) -> str:
        if scope.id in self.titles:
            return ""
        uses = [
            s
            for s in self.reader.scopes.values()
            if s.kind == scope.kind and s.definition == scope.definition
        ]
        if scope.kind == "cell":
            return "one choice for all its uses" if len(uses) > 1 else ""
        # What it is given, an activation say, may make a use of it another network.
        made = Counter(
            self._operations(use) for use in uses if self.reader.choices_in(self.reader.members[use.id])
        )
        alike, total = made[self._operations(scope)], sum(made.values())
        if scope.parent is None or len(made) == 1 or scope.definition in self.recursive:
            return "each use makes its own choices"
        return f"each use makes its own choices; as in {alike} of {total}"

    def _operations(self, scope: Scope) -> tuple[str, ...]:
        return tuple(self.reader.nodes[id].operation for id in sorted(self.reader.members[scope.id]))

    @cached_property
    def recursive(self) -> set[str]:
        """The definitions that are used inside themselves."""
        found: set[str] = set()
        for scope in self.reader.scopes.values():
            names = [around.definition for around in scope.path()]
            found |= {name for name in names if names.count(name) > 1}
        return found

    def _panel(
        self,
        title: str,
        note: str,
        atoms: Sequence[Atom],
        inputs: Mapping[int, str],
        outputs: Mapping[int, str],
        sizes: bool = False,
    ) -> Panel:
        reader = self.reader
        rows = sum(len(a.candidates) for a in atoms if a.kind == "choice" and a.is_same_everywhere)
        fed = any(
            not a.is_same_everywhere and any(c.nodes for c in a.candidates)
            for a in atoms
            if a.kind == "choice"
        )
        stacked = rows > LISTED or fed
        self.local, self.elements, self.bundled = inputs, {}, {}
        self._name_elements(atoms)
        atoms = self._bundles(self._joins(atoms, stacked))
        panel = Panel(title, note, [], [])
        ids: dict[int, str] = {}
        for node, name in inputs.items():
            item = Item(f"in{node}", "tensor", [(Run(name),)])
            if sizes:
                item.size = self.words.shape(reader.nodes[node].type)
            panel.items.append(item)
            ids[node] = item.id
        for atom in atoms:
            item = self._item(atom, stacked)
            self._note_absence(atom)
            if sizes:
                item.size = self.words.shape(reader.nodes[atom.out].type)
            panel.items.append(item)
            self._links(panel, atom, item, ids)
            last = item
            made = reader.nodes[atom.out]
            named = (
                item.kind == "choice"
                and not item.stacked
                and self._names_itself(made)
                and atom.is_same_everywhere
            )
            if named and atom.out not in outputs and not sizes:
                pill = Item(f"{item.id}n", "tensor", [(Run(made.name or ""),)], state=item.state)
                panel.items.append(pill)
                panel.links.append(Link(item.id, pill.id, state="left" if atom.out in self.absent else ""))
                last = pill
            for id in atom.nodes:
                ids[id] = last.id
        for node, name in outputs.items():
            if node not in ids:
                continue
            source = next(item for item in panel.items if item.id == ids[node])
            if source.kind == "join" and source.name and not sizes:
                continue
            pill = Item(f"out{node}", "tensor", [(Run(name),)])
            panel.items.append(pill)
            panel.links.append(Link(source.id, pill.id))
        return panel

    def _name_elements(self, atoms: Sequence[Atom]) -> None:
        """Names for elements of a list, which no assignment names: ``n = [f(a), f(b)]``."""
        for atom in atoms:
            if (
                atom.scope is not None
                and atom.scope.span is not None
                and not self.reader.nodes[atom.out].name
            ):
                name = _element_name(atom.scope.span)
                if name:
                    self.elements.setdefault(atom.out, name)
            if atom.kind not in ("choice", "join") or (atom.kind == "choice" and atom.is_same_everywhere):
                continue
            pairs = [(c.label, c.inputs[0]) for c in atom.candidates if len(c.inputs) == 1]
            names = {
                name.removesuffix(label)
                for label, node in pairs
                if label.isdigit() and (name := self.reader.nodes[node].name or "").endswith(label)
            }
            if len(names) == 1 and all(names):
                (base,) = names
                self.elements.update((node, f"{base}{label}") for label, node in pairs if label.isdigit())

    def _links(self, panel: Panel, atom: Atom, item: Item, ids: Mapping[int, str]) -> None:
        known: dict[str, Link] = {}
        for source in atom.inputs:
            if source not in ids:
                continue
            state = (
                "left" if source in self.absent or atom.out in self.absent else self._link_state(atom, source)
            )
            link = Link(ids[source], item.id, open=source in atom.open, state=state)
            before = known.get(link.source)
            if before is None:
                known[link.source] = link
            else:
                before.open = before.open and link.open
                before.state = before.state if before.state == "chosen" else link.state
        panel.links += known.values()

    def _link_state(self, atom: Atom, source: int) -> State:
        if self.assignment is None or source not in atom.open:
            return "" if self.assignment is None or self._alive(atom.out) else "left"
        for part in (atom, *atom.absorbed):
            for candidate in part.candidates:
                if (source in candidate.inputs or source == candidate.source) and candidate.guard.at(
                    self.assignment
                ):
                    return "chosen"
        return "left"

    def _note_absence(self, atom: Atom) -> None:
        if self.assignment is None or atom.kind != "choice" or not atom.is_same_everywhere or atom.line:
            return
        taken = [c for c in atom.candidates if c.guard.at(self.assignment)]
        if taken and all(self.reader.nodes[c.source].operation == "zero" for c in taken):
            self.absent.add(atom.out)

    def _alive(self, node: int) -> bool:
        return self.assignment is None or bool(self.reader.nodes[node].guard.at(self.assignment))

    # --- items

    def _names_itself(self, node: Node) -> bool:
        """Whether the name of a tensor was given where it is made, and not by whoever used what a body returns."""
        scope, span = node.scope, node.span
        while self.reader.is_pure(scope) and scope.parent is not None:
            scope, span = scope.parent, scope.span
        if node.name is None or span is None:
            return False
        before = span.source.text[: span.start].rpartition("\n")[2]
        return re.search(rf"\b{re.escape(node.name.rstrip('0123456789'))}[0-9]*\b[^\n]*=", before) is not None

    def _item(self, atom: Atom, stacked: bool) -> Item:
        node = self.reader.nodes[atom.out]
        name = self._name(atom.out) if self._names_itself(node) or atom.out in self.elements else ""
        item = Item(f"n{atom.out}", "fixed", name=name)
        if not self._alive(atom.out):
            item.state = "left"
        match atom.kind:
            case "fixed":
                self._see_numbers(atom)
                item.lines = [self.lines.fixed(atom, SHORT)]
                item.name = self.bundled.get(atom.out) or self.elements.get(atom.out, "")
                if atom.scope is not None and atom.scope.doc:
                    item.hint = atom.scope.doc
            case "use":
                self._use_item(item, atom)
            case "repeat":
                self._repeat_item(item, atom)
            case "scan":
                self._scan_item(item, atom)
            case "join":
                self._join_item(item, atom)
            case "choice":
                self._choice_item(item, atom, stacked)
        if atom.count > 1:
            item.times = (Run(str(atom.count)),)
        if item.kind == "fixed" and any(
            run.style not in ("plain", "muted") for line in item.lines for run in line
        ):
            item.kind = "use"
        return item

    def _scan_item(self, item: Item, atom: Atom) -> None:
        item.kind, item.name = "use", ""
        inner = self.lines.scan_body(atom)
        said: Line = self.lines.scanned(atom)
        if len(inner) == 1 and inner[0].kind == "use":
            assert inner[0].scope is not None
            item.hint = inner[0].scope.doc or ""
            said = (Run(inner[0].scope.definition, "bold"),)
        item.lines = [said, (Run("over the sequence", "muted"),)]

    def _use_item(self, item: Item, atom: Atom) -> None:
        assert atom.scope is not None
        item.kind = "use"
        item.hint = atom.scope.doc or ""
        inline = self.lines.inline(atom)
        if inline is not None:
            self._see(atom.nodes)
            inner = self.lines.merged(self.reader.atoms(atom.scope, atom.nodes))
            if len(inner) == 1 and inner[0].kind == "repeat":
                self._repeat_item(item, inner[0])
                return
            item.lines = [inline]
            return
        self.uses.setdefault(atom.scope.definition, atom.scope)
        title = self.titles.get(atom.scope.id, atom.scope.definition)
        item.lines = [(Run(title, "bold"),), *self._summary(atom.nodes)]

    def _summary(self, nodes: Iterable[int]) -> list[Line]:
        """The choices of a use, where they are few and numbers: ``kernel 3|5|7``."""
        choices = self.reader.choices_in(nodes)
        if self.assignment is None and any(choice.kind == "tensor" for choice in choices):
            return []
        if len(choices) > SUMMED_UP or any(choice.is_sublist for choice in choices):
            return []
        if self.assignment is not None:
            self.shown |= {choice.index for choice in choices}
        return [(Run(f"{_short_name(choice)} ", "muted"), *self._labels(choice)) for choice in choices]

    def _labels(self, choice: Choice) -> Line:
        taken = None
        if self.assignment is not None and not choice.is_sublist and choice.guard.at(self.assignment):
            taken = self.assignment[choice.variables[0]]
        return alternatives(choice.labels, taken)

    def _see(self, nodes: Iterable[int]) -> None:
        if self.assignment is not None:
            self.shown |= {
                choice.index for choice in self.reader.choices_in(nodes) if choice.kind != "tensor"
            }

    def _see_numbers(self, atom: Atom) -> None:
        """Numbers that are chosen and said where they are used."""
        if self.assignment is None:
            return
        for id in atom.nodes:
            for value in self.reader.nodes[id].settings.values():
                if isinstance(value, Diagram):
                    owners = {self.reader.owner[v].index for v in value.support()}
                    if len(owners) == 1:
                        self.shown |= owners

    def _repeat_item(self, item: Item, atom: Atom) -> None:
        assert atom.scope is not None
        item.kind, item.times, item.name = "use", atom.times, ""
        if atom.choice is not None and self.assignment is not None:
            self.shown.add(atom.choice.index)
        copy = atom.copies[0]
        choices = self.reader.choices_in(copy)
        if not choices and atom.choice is None:
            item.kind = "fixed"
        line = self.lines.copy(atom)
        inner = self.lines.merged(self.reader.atoms(atom.scope, copy, self.reader.nodes[min(copy)].region))
        if len(inner) == 1 and inner[0].kind == "use" and self.lines.inline(inner[0]) is None:
            assert inner[0].scope is not None
            definition = inner[0].scope
            self.uses.setdefault(definition.definition, definition)
            item.lines = [(Run(definition.definition, "bold"),)]
            item.hint = definition.doc or ""
            if definition.kind == "op":
                if self.assignment is None or len(atom.copies) == 1:
                    item.lines += self._summary(copy)
                else:
                    item.rows = self._copy_rows(atom)
            return
        item.lines = [line]
        if self.assignment is not None and choices and len(atom.copies) > 1:
            item.rows = self._copy_rows(atom)

    def _copy_rows(self, atom: Atom) -> list[Row]:
        """What each copy took, in a picture of an architecture."""
        assert self.assignment is not None
        rows = []
        for number, copy in enumerate(atom.copies, 1):
            alive = self._alive(max(copy))
            choices = [c for c in self.reader.choices_in(copy) if c.guard.at(self.assignment)]
            if not alive:
                rows.append(Row((Run(str(number), "faint"),), (), "left"))
                continue
            said: list[Line] = []
            for choice in choices:
                if choice.is_sublist or len(choices) > 4:
                    continue
                self.shown.add(choice.index)
                label = choice.labels[self.assignment[choice.variables[0]]]
                said.append((Run(f"{_short_name(choice)} ", "muted"), Run(label, "chosen")))
            rows.append(Row((Run(str(number), "muted"),), joined(said, ", "), "chosen"))
        return rows

    def _join_item(self, item: Item, atom: Atom) -> None:
        sign = plain(atom.line)
        item.kind = "join"
        if atom.absorbed:
            self._absorbing_item(item, atom, sign)
            return
        pick: Line = (Run(f"{atom.pick}", "choice"),) if atom.open else ()
        if atom.choice is not None and atom.open and self.assignment is not None:
            self.shown.add(atom.choice.index)
        head = [part for part in ((Run(sign, "muted"),) if sign else (), pick) if part]
        line = arrows([joined(head, " "), atom.after]) if atom.after else joined(head, " ")
        if item.name and not atom.after:
            line = (*line, Run(" "), Run(item.name)) if line else (Run(item.name),)
        item.lines = [line] if line else [(Run("·"),)]
        if atom.open or atom.after:
            item.kind = "choice" if atom.open else "fixed"

    def _absorbing_item(self, item: Item, atom: Atom, sign: str) -> None:
        """A sum of things that are alike: ``Σ 3 of 3``, ``edge``."""
        item.kind, item.stacked = "choice", True
        heads: list[Line] = []
        if atom.absorbed[0].kind == "fixed":
            heads = [
                (Run(atom.pick or f"all {len(atom.absorbed)}", "muted"),),
                self.lines.fixed(atom.absorbed[0], SHORT),
            ]
            item.kind = "choice" if atom.open else "fixed"
        else:
            for (pick, text), count in Counter(self._said(part) for part in atom.absorbed).items():
                words = f"{count} × {pick}" if pick else f"{count} of {count}"
                if count > 1 or pick:
                    heads.append((Run(words if count > 1 else pick, "muted"),))
                heads.append((Run(text, "choice"),))
            if atom.open and atom.choice is not None and atom.candidates:
                heads.append((Run("+ ", "muted"), Run(atom.pick, "choice")))
        if len(atom.absorbed) > 1:
            heads[0] = (Run(f"{sign} ", "muted"), *heads[0])
        item.lines = heads
        if atom.after:
            item.lines.append((Run("→ ", "muted"), *atom.after))
        if self.assignment is not None:
            if atom.choice is not None:
                self.shown.add(atom.choice.index)
            if atom.absorbed[0].kind == "choice":
                item.rows = [row for part in atom.absorbed for row in self._taken_rows(part)]
            taken = [self._name(c.source) for c in atom.candidates if c.guard.at(self.assignment)]
            if atom.candidates and atom.choice is not None and self._alive(atom.out):
                item.rows.append(Row((Run(f"+ {', '.join(taken) or 'nothing'}", "chosen"),), (), "chosen"))

    def _said(self, atom: Atom) -> tuple[str, str]:
        if atom.is_same_everywhere:
            if atom.definition is not None:
                self.keys.setdefault(atom.definition, self.reader.nodes[atom.out].scope)
            return "", atom.definition or atom.pick
        return atom.pick, plain(self._content(atom))

    def _content(self, atom: Atom) -> Line:
        """What is done to each tensor that may be chosen, if it is the same for all of them."""
        said: list[Line] = []
        for candidate in atom.candidates:
            line = self._candidate(atom, candidate)
            if line is None or (said and plain(line) != plain(said[0])):
                return ()
            said.append(line)
        return said[0] if said else ()

    def _candidate(self, atom: Atom, candidate: Candidate) -> Line | None:
        if not candidate.nodes:
            return ()
        base = self.reader.nodes[atom.out].scope
        return self.lines.body(base, candidate.nodes, self.reader.nodes[atom.out].region)

    def _choice_item(self, item: Item, atom: Atom, stacked: bool) -> None:
        item.kind = "choice"
        same = atom.is_same_everywhere
        content = () if same else self._content(atom)
        sign = plain(atom.line)
        if not same and (content or not any(c.nodes for c in atom.candidates)):
            head: Line = (Run(f"{sign} " if sign else "", "muted"), Run(atom.pick, "muted"))
            item.lines = [head] if not content else [head, content]
            if atom.after:
                item.lines.append((Run("→ ", "muted"), *atom.after))
            item.stacked = bool(content)
            if self.assignment is not None:
                item.rows = self._taken_rows(atom)
            return
        item.name = ""
        if atom.definition is not None and (stacked or len(atom.candidates) > 8):
            self.keys.setdefault(atom.definition, self.reader.nodes[atom.out].scope)
            item.stacked = True
            item.lines = [(Run(atom.definition, "choice"),), (Run(f"{sign} {atom.pick}".strip(), "muted"),)]
            if self.assignment is not None:
                item.rows = self._taken_rows(atom, told=True)
        else:
            item.lines = [(Run(f"{sign} {atom.pick}".strip(), "muted"),)]
            if atom.definition is not None:
                item.lines = [
                    (Run(f"{atom.definition} ", "choice"), Run(f"{sign} {atom.pick}".strip(), "muted"))
                ]
            item.rows = self._candidate_rows(atom, self._is_keyed(atom))
        if atom.after:
            item.lines.append((Run("→ ", "muted"), *atom.after))

    def _is_keyed(self, atom: Atom) -> bool:
        """Whether a choice that is listed where it stands is explained in a key besides: one that is used often."""
        if atom.definition is None:
            return False
        uses = sum(1 for s in self.reader.scopes.values() if s.definition == atom.definition)
        if uses <= 1:
            return False
        told = any(
            plain(self._candidate(atom, c) or (Run(c.label),)) not in (c.label, "") for c in atom.candidates
        )
        if told:
            self.keys.setdefault(atom.definition, self.reader.nodes[atom.out].scope)
        return told

    def _candidate_rows(self, atom: Atom, keyed: bool) -> list[Row]:
        rows = []
        if atom.choice is not None and self.assignment is not None and self._alive(atom.out):
            self.shown.add(atom.choice.index)
        for candidate in atom.candidates:
            text: Line = ()
            if not keyed:
                line = self._candidate(atom, candidate)
                if line and plain(line) != candidate.label and line_width(line) < 220:
                    text = line
            state: State = ""
            if self.assignment is not None and self._alive(atom.out):
                state = "chosen" if candidate.guard.at(self.assignment) else "left"
            rows.append(Row((Run(candidate.label),), text, state))
        return rows

    def _taken_rows(self, atom: Atom, told: bool = False) -> list[Row]:
        """In a picture of an architecture, what a choice took: ``sep_conv_3x3 ← n1``."""
        assert self.assignment is not None
        if not self._alive(atom.out):
            return []
        rows = []
        if atom.choice is not None:
            self.shown.add(atom.choice.index)
        for candidate in atom.candidates:
            if not candidate.guard.at(self.assignment):
                continue
            if atom.is_same_everywhere:
                label, sources = candidate.label, atom.inputs
            else:
                label, sources = self._inner_labels(candidate), candidate.inputs
            names = [] if told else [self._name(source) for source in sources]
            tail: Line = (Run(f"← {', '.join(n for n in names if n)}", "muted"),) if any(names) else ()
            rows.append(Row((Run(label, "chosen"),) if label else (), tail, "chosen"))
        return rows

    def _inner_labels(self, candidate: Candidate) -> str:
        """The labels that the choices within a candidate took."""
        assert self.assignment is not None
        labels = []
        for choice in self.reader.choices_in(candidate.nodes):
            if choice.guard.at(self.assignment) and not choice.is_sublist:
                self.shown.add(choice.index)
                labels.append(choice.labels[self.assignment[choice.variables[0]]])
        return ", ".join(labels)

    def _name(self, node: int) -> str:
        """What the author calls a tensor, empty where it has no name."""
        if node in self.elements:
            return self.elements[node]
        return self.local.get(node) or self.reader.nodes[node].name or ""

    # --- choices that a join absorbs

    def _joins(self, atoms: Sequence[Atom], stacked: bool) -> list[Atom]:
        """What is read by one sum alone becomes part of it, where it is alike: ``n2 = edge(n0) + edge(n1)`` is one box."""
        makers = {node: atom for atom in atoms for node in atom.nodes}
        read = Counter(source for atom in atoms for source in atom.inputs)
        gone: set[int] = set()
        for atom in atoms:
            if atom.kind != "join":
                continue
            before = [makers[i] for i in atom.inputs if i in makers and read[i] == 1 and makers[i].out == i]
            parts: list[Atom] = []
            if stacked and plain(atom.line) == SIGNS["sum"] and (atom.choice is not None or not atom.open):
                parts = [p for p in before if p.kind == "choice" and (p.definition or self._open_choice(p))]
            if not parts:
                alike = [p for p in before if p.kind == "fixed" and len(p.inputs) == 1]
                if len(alike) >= ALIKE and len({plain(self.lines.fixed(p, SHORT)) for p in alike}) == 1:
                    parts = alike
            conditional = {p.inputs[0] for p in parts if p.kind == "fixed" and p.out in atom.open}
            if not parts or any(makers.get(i) not in parts and i not in atom.open for i in atom.inputs):
                continue
            atom.absorbed = parts
            opened = {source for part in parts for source in part.open} | conditional
            always = {source for part in parts for source in part.inputs} - opened
            inside = {part.out for part in parts}
            atom.inputs = tuple(
                dict.fromkeys(i for part in (*parts, atom) for i in part.inputs if i not in inside)
            )
            atom.open = frozenset((atom.open - inside | opened) - always)
            atom.nodes = atom.nodes.union(*(part.nodes for part in parts))
            gone |= {id(part) for part in parts}
        return [atom for atom in atoms if id(atom) not in gone]

    def _bundles(self, atoms: Sequence[Atom]) -> list[Atom]:
        """The same done to each tensor of a list, ``[f(t) for t in n]``, becomes one box."""
        found: list[Atom] = []
        runs: list[list[Atom]] = []
        for atom in sorted(atoms, key=lambda atom: atom.out):
            alike = atom.kind == "fixed" and len(atom.inputs) == 1
            last = runs[-1][-1] if runs else None
            if (
                alike
                and last is not None
                and last.kind == "fixed"
                and len(last.inputs) == 1
                and plain(self.lines.fixed(last, SHORT)) == plain(self.lines.fixed(atom, SHORT))
                and last.inputs != atom.inputs
                and last.out not in atom.inputs
            ):
                runs[-1].append(atom)
            else:
                runs.append([atom])
        for run in runs:
            if len(run) < ALIKE:
                found += run
                continue
            first, *others = run
            names = [self._name(atom.out) for atom in run]
            first.line, first.scope = self.lines.fixed(first, SHORT), None
            first.count = len(run)
            first.nodes = first.nodes.union(*(atom.nodes for atom in others))
            first.inputs = tuple(dict.fromkeys(i for atom in run for i in atom.inputs))
            first.out = run[-1].out
            if all(names):
                self.bundled[first.out] = f"{names[0]} … {names[-1]}"
            found.append(first)
        return ordered(found)

    def _open_choice(self, atom: Atom) -> bool:
        return not atom.is_same_everywhere and bool(self._content(atom))

    # --- keys

    def _key(self, definition: str) -> Key | None:
        """The candidates of a choice that has a name, and what each does in any of its uses."""
        reader = self.reader
        self._for_one_use(False)
        uses = [s for s in reader.scopes.values() if s.definition == definition and reader.is_pure(s)]
        texts: dict[str, list[Line]] = {}
        pick = ""
        words = reader.words
        reader.words = Words(self.space, strides=False)
        for scope in uses[:SURVEYED]:
            (atom,) = reader.atoms(scope.parent or reader.root, reader.members[scope.id], self._region(scope))
            pick = f"{plain(atom.line)} {atom.pick}".strip()
            for candidate in atom.candidates:
                line = self._candidate(atom, candidate)
                found = texts.setdefault(candidate.label, [])
                if line:
                    found.append(line)
        reader.words = words
        rows = []
        for label, found in texts.items():
            rows.append(Row((Run(label),), joined(_variants(found), " or ") or (Run("unchanged"),)))
        if all(plain(row.text) == plain(row.label) for row in rows):
            rows = [Row(row.label) for row in rows]
        kind = uses[0].kind
        note = pick if kind == "op" else f"{pick}, the same everywhere"
        return Key(definition, note, rows)

    def _region(self, scope: Scope) -> int | None:
        return self.reader.nodes[min(self.reader.members[scope.id])].region

    def _others(self) -> Key | None:
        """In a picture of an architecture, what it took that is seen nowhere else."""
        if self.genotype is None:
            return None
        rows = []
        for choice in self.space.choices:
            if choice.name in self.genotype and choice.index not in self.shown:
                taken = self.genotype[choice.name]
                label = taken if isinstance(taken, str) else ", ".join(taken) or "nothing"
                rows.append(Row((Run(choice.name),), (Run(label, "chosen"),), ""))
        return Key("Also chosen", "", rows) if rows else None


def _element_name(span: Span) -> str:
    """What a use is called that stands in a list: ``n1`` for the second in ``n = [f(a), f(b)]``."""
    before = span.source.text[: span.start].rpartition("\n")[2]
    match = re.match(r"\s*(\w+)\s*=\s*\[(.*)$", before)
    if match is None:
        return ""
    depth = position = 0
    for character in match[2]:
        depth += (character in "([{") - (character in ")]}")
        position += character == "," and depth == 0
    return f"{match[1]}{position}" if depth == 0 else ""


def _short_name(choice: Choice) -> str:
    """The last step of a choice's name, without its number."""
    steps = [step.partition("#")[0] for step in choice.name.split(".")]
    return steps[-2] if steps[-1] == "choice" and len(steps) > 1 else steps[-1]


def _short(value: int) -> str:
    for limit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return str(value)


def _variants(lines: Sequence[Line]) -> list[Line]:
    """Lines that say different things, of those that differ in numbers alone the first."""
    found: dict[str, Line] = {}
    for line in lines:
        key = "".join(c for c in plain(line) if not c.isdigit())
        found.setdefault(key, line)
    return list(found.values())


def _runs(reader: Reader, atoms: Sequence[Atom]) -> list[Atom]:
    """Uses of the same cell one after the other become one atom, told how often it stands there."""
    found = list(atoms)
    at = 0
    while at + 1 < len(found):
        a, b = found[at], found[at + 1]
        if _is_run(reader, a, b, found):
            a.nodes |= b.nodes
            a.out = b.out
            a.count += 1
            del found[at + 1]
            a.inputs = tuple(i for i in a.inputs if i not in a.nodes)
            continue
        at += 1
    return found


def _is_run(reader: Reader, a: Atom, b: Atom, atoms: Sequence[Atom]) -> bool:
    if a.kind != "use" or b.kind != "use" or a.scope is None or b.scope is None:
        return False
    if a.scope.kind != "cell" or a.scope.definition != b.scope.definition or a.out not in b.inputs:
        return False
    if reader.words.shape(reader.nodes[a.out].type) != reader.words.shape(reader.nodes[b.out].type):
        return False
    before = set(a.inputs)
    if not {i for i in b.inputs if i not in a.nodes} <= before:
        return False
    read_a = {id(x) for x in atoms if x is not a and x is not b and a.nodes & set(x.inputs)}
    read_b = {id(x) for x in atoms if x is not b and b.nodes & set(x.inputs)}
    return read_a <= read_b


def _merged_panels(parts: Sequence[Part]) -> list[Part]:
    """Panels that look the same are drawn once, under all their names."""
    found: list[Part] = []
    seen: dict[object, Panel] = {}
    for part in parts:
        if isinstance(part, Key):
            found.append(part)
            continue
        look = _look(part)
        if look in seen:
            seen[look].title += f", {part.title}"
            if not seen[look].note.startswith("each has"):
                seen[look].note = "each has choices of its own" + (
                    ", the same in all its uses" if part.note else ""
                )
            continue
        seen[look] = part
        found.append(part)
    return found


def _look(panel: Panel) -> object:
    numbers = {item.id: n for n, item in enumerate(panel.items)}
    items = tuple(
        (i.kind, tuple(i.lines), tuple(i.rows), i.name, i.times, i.state, i.stacked) for i in panel.items
    )
    links = tuple((numbers[x.source], numbers[x.target], x.open, x.state) for x in panel.links)
    return items, links, panel.note
