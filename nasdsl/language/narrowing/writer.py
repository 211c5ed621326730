"""Writes the text of a smaller space, place by place of the original."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from nasdsl.language import syntax
from nasdsl.language.format import number_text
from nasdsl.language.kinds import is_input
from nasdsl.language.narrowing.decisions import Decisions, Kept
from nasdsl.language.narrowing.faults import OpenDepth, Untraceable
from nasdsl.language.narrowing.fold import folded
from nasdsl.language.narrowing.pieces import Piece, apart, fitted, kind_of, stage, value_text
from nasdsl.language.narrowing.prepare import Prepared
from nasdsl.language.narrowing.trace import Called, Copied, Site, key_of
from nasdsl.language.narrowing.tree import children, counts_in, holds_choice, names_in, repeated
from nasdsl.language.narrowing.unused import tidy
from nasdsl.language.narrowing.walks import Context, Signature, Walks
from nasdsl.language.values import Definition, Names, Template, Value


class Writer:
    """Writes a space's text with what is decided in it written down."""

    def __init__(self, prepared: Prepared, decisions: Decisions) -> None:
        self.module = prepared.module
        self.declaration = prepared.declaration
        self.space = prepared.space
        self.setup = prepared.setup
        self.trace = prepared.trace
        self.decisions = decisions
        self.walks = Walks(prepared.trace, decisions)
        self.names: dict[tuple[int, Signature], str] = {}
        self.written: dict[tuple[int, Signature], tuple[Definition, str]] = {}
        self.taken_names: set[str] = set(re.findall(r"\w+", "\n".join(self.module.sources().values())))
        visible = [definition for use in self.trace.uses if (definition := use.definition) is not None]
        self._definitions = {definition.name: definition.syntax for definition in visible}

    # --- the file

    def text(self) -> str:
        """The whole file."""
        source = self.module.source
        edits: list[tuple[int, int, str]] = []
        body = self._render(self.declaration, Context(frozenset({id(self.walks.root)})))
        if body.kind != "same":
            edits.append((self.declaration.span.start, self.declaration.span.end, body.text))
        text = source.text
        local = {id(node) for node in self.declaration.body}
        outside = [
            (definition, written)
            for definition, written in self.written.values()
            if id(definition.syntax) not in local
        ]
        for item in self.module.tree.items:
            replaced = [written for definition, written in outside if definition.syntax is item]
            if replaced:
                kept = [item.span.text] if self._keeps(item) else []
                edits.append((item.span.start, item.span.end, apart([*kept, *replaced])))
        own = {id(item) for item in self.module.tree.items}
        for definition, _ in outside:
            if id(definition.syntax) not in own:
                raise Untraceable(
                    f"`{definition.name}` is imported, and its uses would need texts of their own",
                    definition.syntax.name_span,
                )
        for start, end, new in sorted(edits, reverse=True):
            text = text[:start] + new + text[end:]
        return tidy(text, source.path, self.module)

    # --- nodes

    def _render(self, node: syntax.Node, context: Context) -> Piece:
        """The text of a node, with what is decided in it written down."""
        match node:
            case syntax.Space():
                return self._render_space(node, context)
            case syntax.For():
                return self._render_for(node, context)
            case syntax.If():
                taken = self._outcome(node.condition, context)
                if taken is not None and context.exact:
                    body = node.then if taken else node.otherwise
                    return Piece("\n".join(self._render(s, context).text for s in body), "loose")
            case syntax.Require():
                return self._render_require(node, context)
            case syntax.Name():
                if node.name in context.words:
                    word = context.words[node.name]
                    return Piece(word, "atom" if re.fullmatch(r"[\w.]+(\[[^\[\]]*\])?", word) else "loose")
                return self._render_use(node, context)
            case syntax.Alternatives() | syntax.Choose():
                return self._render_choice(node, context)
            case syntax.Call():
                return self._render_call(node, context)
            case syntax.IfExpression():
                return self._render_if(node, context)
            case syntax.List(items=(syntax.Comprehension() as inner,)):
                if self.walks.differs(inner, context):
                    return Piece(f"[{', '.join(self._written_out(inner, context))}]", "atom")
            case syntax.Comprehension():
                if self.walks.differs(node, context):
                    return Piece(f"[{', '.join(self._written_out(node, context))}]", "atom")
            case syntax.Binary() | syntax.Compare() | syntax.Logical() | syntax.Not() | syntax.Negate():
                if context.words:
                    value = folded(node, context.words)
                    if value is not None:
                        return Piece(value_text(value), "atom")
        return self._spliced(node, context)

    def _spliced(self, node: syntax.Node, context: Context) -> Piece:
        """A node's own text around the texts of the nodes below it."""
        source = node.span.source.text
        pieces: list[str] = []
        at = node.span.start
        changed = False
        for child in children(node):
            if child.span.end <= at and child.span.start < at:
                continue
            gap = source[at : child.span.start]
            if context.words and isinstance(node, syntax.Call) and self._is_default(node, child, context):
                at, changed = child.span.end, True
                pieces.append(re.sub(r",\s*$", "", gap))
                continue
            new = self._render(child, context)
            if new.kind == "same":
                pieces += [gap, source[child.span.start : child.span.end]]
            else:
                changed = True
                if isinstance(child, syntax.Alternatives):
                    gap = re.sub(r"\s*\|\s*$", " ", gap)
                pieces += [gap, fitted(node, child, new)]
            at = child.span.end
        pieces.append(source[at : node.span.end])
        return Piece("".join(pieces), kind_of(node)) if changed else Piece(node.span.text, "same")

    def _is_default(self, call: syntax.Call, argument: syntax.Node, context: Context) -> bool:
        """Whether a setting that was handed on came to what it is anyway: ``stride = 1``."""
        if (
            not isinstance(argument, syntax.Argument)
            or argument.name is None
            or argument is call.arguments[0]
        ):
            return False
        if not isinstance(call.function, syntax.Name) or not isinstance(argument.value, syntax.Name):
            return False
        value = folded(argument.value, context.words)
        if not isinstance(value, Fraction):
            return False
        definition = self._definitions.get(call.function.name)
        if definition is not None:
            for parameter in definition.parameters:
                if parameter.name == argument.name:
                    return isinstance(parameter.default, syntax.Number) and parameter.default.value == value
            return False
        operation = self.setup.catalogue.get(call.function.name)
        settings = () if operation is None else operation.settings
        return any(setting.name == argument.name and setting.default == value for setting in settings)

    def _render_space(self, node: syntax.Space, context: Context) -> Piece:
        source = node.span.source.text
        pieces: list[str] = []
        at = node.span.start
        for parameter in node.parameters:
            value = self.setup.parameters.get(parameter.name)
            if value is None:
                continue
            # What was set is what the smaller space was made for.
            pieces += [
                source[at : parameter.span.start],
                f"{parameter.name} = {number_text(Fraction(value))}",
            ]
            at = parameter.span.end
        statements = [s for s in node.body if not isinstance(s, syntax.Define)]
        new = {id(statement): self._render(statement, context) for statement in statements}
        # Definitions last: by then it is known which texts of theirs are asked for.
        for statement in node.body:
            pieces.append(source[at : statement.span.start])
            at = statement.span.end
            if not isinstance(statement, syntax.Define):
                piece = new[id(statement)]
                if not piece.text:
                    pieces[-1] = re.sub(r"\n[ \t]*$", "", pieces[-1])
                pieces.append(piece.text)
                continue
            written = [text for d, text in self.written.values() if d.syntax is statement]
            if self._keeps(statement):
                # Where nothing asks for it any more, it goes with what else is not used.
                written.insert(0, statement.span.text)
            pieces.append(apart(written))
        pieces.append(source[at : node.span.end])
        text = "".join(pieces)
        return Piece(text, "loose" if text != node.span.text else "same")

    def _keeps(self, define: syntax.Node) -> bool:
        """Whether a definition's own text stays: unless the only text that its uses ask for has taken its name."""
        return not any(
            d.syntax is define and self.names[key] == d.name for key, (d, _) in self.written.items()
        )

    # --- loops

    def _render_for(self, node: syntax.For, context: Context) -> Piece:
        if not self.walks.differs(node, context):
            return self._spliced(node, context)
        lines: list[str] = []
        for inner in self._turns(node.iterable, node.targets, context):
            lines += [self._render(statement, inner).text for statement in node.body]
        return Piece("\n".join(lines), "loose")

    def _turns(
        self, iterable: syntax.Expression, targets: Sequence[syntax.Target], context: Context
    ) -> Iterator[Context]:
        """The turns of a loop, each with its variables written out."""
        loop = key_of(iterable.span)
        turns: dict[int, list[Sequence[Value]]] = {}
        for turned in self.trace.turned.get(loop, ()):
            if all(context.turns.get(k, at) == at for k, at in turned.turns.items()):
                turns.setdefault(turned.position, []).append(turned.values)
        for position in sorted(turns):
            words = dict(context.words)
            for index, target in enumerate(targets):
                values = [found[index] for found in turns[position]]
                several = len(targets) > 1
                words[target.name] = self._turn_word(
                    iterable, position, index if several else None, values, context
                )
            yield replace(context, turns={**context.turns, loop: position}, words=words, exact=True)

    def _turn_word(
        self,
        iterable: syntax.Expression,
        position: int,
        index: int | None,
        values: Sequence[Value],
        context: Context,
    ) -> str:
        """What stands for a loop variable in one turn."""
        first = values[0]
        if isinstance(first, (int, Fraction)) and not isinstance(first, bool):
            if any(value != first for value in values):
                raise Untraceable("a loop variable has several values here", iterable.span)
            return number_text(Fraction(first))
        if isinstance(iterable, syntax.List) and not any(
            isinstance(i, syntax.Comprehension) for i in iterable.items
        ):
            item = iterable.items[position]
            if index is not None and isinstance(item, (syntax.Tuple, syntax.List)):
                item = item.items[index]
                index = None
            if index is None:
                return self._render(item, context).text
        if index is None and isinstance(iterable, (syntax.Name, syntax.Index)):
            return f"{self._render(iterable, context).text}[{position}]"
        if index is None and isinstance(iterable, syntax.Rest):
            start = folded(iterable.start, context.words)
            if isinstance(start, (int, Fraction)):
                return f"{self._render(iterable.value, context).text}[{int(start) + position}]"
        if isinstance(first, Template) and isinstance(first.expression, syntax.Name):
            return first.expression.name
        raise Untraceable("the turns of this loop differ, and can't be written out one by one", iterable.span)

    def _written_out(self, node: syntax.Comprehension | syntax.Choose, context: Context) -> list[str]:
        """The elements of a comprehension, one by one."""
        element = node.element if isinstance(node, syntax.Comprehension) else node.items[0].value
        return [self._item(element, inner) for inner in self._clause_turns(node.clauses, context)]

    def _clause_turns(self, clauses: Sequence[syntax.Clause], context: Context) -> Iterator[Context]:
        if not clauses:
            yield context
            return
        first, *rest = clauses
        for inner in self._turns(first.iterable, first.targets, context):
            if first.condition is not None and self._outcome(first.condition, inner) is False:
                continue
            yield from self._clause_turns(rest, inner)

    def _item(self, element: syntax.Expression, context: Context) -> str:
        piece = self._render(element, context)
        return (
            f"({piece.text})"
            if isinstance(element, syntax.Alternatives) and piece.kind == "same"
            else piece.text
        )

    # --- choices

    def _render_choice(self, node: syntax.Alternatives | syntax.Choose, context: Context) -> Piece:
        key = key_of(node.span)
        sites: list[Site] = self.walks.events(self.trace.sites, key, context)
        decisions = {self.walks.decision(site) for site in sites}
        if len(decisions) > 1:
            raise Untraceable("one place in the text is decided in several ways at once", node.span)
        decision: Any = next(iter(decisions), None)
        clauses = node.clauses if isinstance(node, syntax.Choose) else ()
        some = isinstance(node, syntax.Choose) and node.quantity is not None
        if decision is None and sites and self.walks.whole and all(site.record is None for site in sites):
            # One way only: written as what it comes to.
            decision = sites[0].labels if some else sites[0].labels[0]
        if decision is None:
            if clauses and isinstance(node, syntax.Choose) and self.walks.differs(node, context):
                return self._render_candidates(node, sites, context)
            return self._spliced(node, context)
        if isinstance(decision, Kept):
            return self._left(node, sites, decision, context)
        wanted = decision if isinstance(decision, tuple) else (decision,)
        found: list[Piece] = []
        for label in wanted:
            found.append(self._candidate(node, sites, str(label), context))
        if not some:
            return found[0]
        return Piece(f"[{', '.join(piece.text for piece in found)}]", "atom")

    def _left(
        self, node: syntax.Alternatives | syntax.Choose, sites: Sequence[Site], kept: Kept, context: Context
    ) -> Piece:
        """A choice among the candidates that it keeps, with what stands between them."""
        labels = sites[0].labels
        if any(site.labels != labels for site in sites):
            raise Untraceable("the candidates differ from use to use", node.span)
        if isinstance(node, syntax.Choose) and node.clauses:
            return self._turns_left(node, sites[0], kept, context)
        if len(labels) != len(node.items):
            raise Untraceable("these candidates don't stand one by one in the text", node.span)
        source, at = node.span.source.text, node.span.start
        pieces: list[str] = []
        gap: str | None = None
        for label, item in zip(labels, node.items, strict=True):
            # Between two that stay stands what followed the first: a comment on its line is about it.
            gap = source[at : item.span.start] if gap is None else gap
            if label in kept.labels:
                piece = self._render(item, context)
                pieces += [gap, item.span.text if piece.kind == "same" else piece.text]
                gap = None
            at = item.span.end
        return Piece("".join([*pieces, source[at : node.span.end]]), kind_of(node))

    def _turns_left(self, node: syntax.Choose, site: Site, kept: Kept, context: Context) -> Piece:
        """Candidates that a loop makes: its other turns are left out, or where turns differ, each is written out."""
        (first, *more), wanted = node.clauses, [site.labels.index(label) for label in kept.labels]
        if more or len(first.targets) > 1 or self.walks.differs(node, context):
            items = [self._candidate(node, [site], label, context).text for label in kept.labels]
            return Piece(f"choose {{ {', '.join(items)} }}", "atom")
        loop, (target,) = key_of(first.iterable.span), first.targets
        turns = {inner.turns[loop]: inner for inner in self._turns(first.iterable, first.targets, context)}
        words = [turns[site.turns_of[position][loop]].words[target.name] for position in wanted]
        where = node.span.source.text[first.iterable.span.end : node.span.end]
        element = self._item(node.items[0].value, context)
        return Piece(f"choose {{ {element} for {target.name} in [{', '.join(words)}]{where}", "atom")

    def _candidate(
        self, node: syntax.Alternatives | syntax.Choose, sites: Sequence[Site], label: str, context: Context
    ) -> Piece:
        position = sites[0].labels.index(label)
        if any(site.labels != sites[0].labels for site in sites):
            raise Untraceable("the candidates differ from use to use", node.span)
        clauses = node.clauses if isinstance(node, syntax.Choose) else ()
        if not clauses:
            return self._chosen(node.items[position].value, context)
        turns = sites[0].turns_of[position]
        for inner in self._clause_turns(clauses, context):
            if all(inner.turns.get(loop) == at for loop, at in turns.items()):
                return self._chosen(node.items[0].value, inner)
        raise Untraceable(f"the candidate `{label}` is not found again", node.span)

    def _render_candidates(self, node: syntax.Choose, sites: Sequence[Site], context: Context) -> Piece:
        """An open choice whose candidates are decided differently: listed one by one."""
        items = ", ".join(self._written_out(node, context))
        if node.quantity is not None and all(site.record is None and site.labels for site in sites):
            return Piece(f"[{items}]", "atom")  # All of them have to be taken.
        quantity = "" if node.quantity is None else f"{node.quantity.span.text} "
        if quantity and not quantity.rstrip().endswith("of"):
            quantity = f"{quantity.rstrip()} of "
        return Piece(f"choose {quantity}{{ {items} }}", "atom")

    # --- conditions

    def _outcome(self, condition: syntax.Expression, context: Context) -> bool | None:
        """What a condition came to, where it rests on no choice and is the same for all that is written here."""
        values = {
            event.value for event in self.walks.events(self.trace.conditions, key_of(condition.span), context)
        }
        if len(values) == 1:
            return bool(values.pop())
        if values:
            return None
        value = folded(condition, context.words) if context.words else None
        return value if isinstance(value, bool) else None

    def _render_if(self, node: syntax.IfExpression, context: Context) -> Piece:
        taken = self._outcome(node.condition, context)
        if taken is not None:
            side, other = (node.then, node.otherwise) if taken else (node.otherwise, node.then)
            # The side that is never taken may hold what would still look like a choice.
            if context.exact or (self.walks.whole and holds_choice(other)):
                return self._chosen(side, context)
        sides = [self._render(side, context).text for side in (node.then, node.otherwise)]
        return self._chosen(node.then, context) if sides[0] == sides[1] else self._spliced(node, context)

    def _chosen(self, node: syntax.Expression, context: Context) -> Piece:
        """A part of an expression in place of the whole."""
        piece = self._render(node, context)
        return Piece(piece.text, kind_of(node) if piece.kind == "same" else piece.kind)

    def _render_require(self, node: syntax.Require, context: Context) -> Piece:
        """``count("none")`` counts what is left; what is decided is added to it."""
        pieces: list[str] = []
        source = node.span.source.text
        at = node.span.start
        for call in counts_in(node.condition):
            (argument,) = call.arguments
            assert isinstance(argument.value, syntax.String)
            label = argument.value.value
            taken = left = 0
            for choice in self.space.choices:
                if label not in choice.labels:
                    continue
                if choice.index not in self.decisions.taken:
                    left += label in self.decisions.labels(choice) and self.decisions.may_hold(choice.guard)
                    continue
                decision = self.decisions.taken[choice.index]
                chosen = decision == label if isinstance(decision, str) else label in decision
                guard = self.decisions.restricted(choice.guard)
                if chosen and guard is not self.space.table.false:
                    if guard is not self.space.table.true:
                        raise Untraceable("`count` rests on a choice that may not exist", call.span)
                    taken += 1
            word = (
                f"({call.span.text} + {taken})" if left and taken else call.span.text if left else str(taken)
            )
            pieces += [source[at : call.span.start], word]
            at = call.span.end
        if not pieces:
            return self._spliced(node, context)
        if self.walks.whole:
            return Piece("", "loose")
        return Piece("".join([*pieces, source[at : node.span.end]]), "loose")

    # --- uses

    def _render_call(self, node: syntax.Call, context: Context) -> Piece:
        operation = repeated(node)
        if operation is not None:
            copies = self._copied(operation, context)
            alive = {event.number for event in copies if self.walks.alive(event)}
            if copies and not alive:
                return Piece("identity", "atom")
            if (
                alive == {1}
                and len({event.number for event in copies}) > 1
                and not any(self._rests_on_kept(event) for event in copies)
            ):
                # Of several copies one is left, which is in every architecture.
                return self._chosen(operation, context)
            if self.walks.differs_over(key_of(operation.span), operation.span, context):
                return self._copies(node, operation, copies, context)
        name = node.function.name if isinstance(node.function, syntax.Name) else ""
        if len(node.arguments) == 1 and isinstance(
            node.arguments[0].value, syntax.List | syntax.Comprehension
        ):
            inner: syntax.Expression = node.arguments[0].value
            if isinstance(inner, syntax.List) and len(inner.items) == 1:
                inner = inner.items[0]
            if (
                name == "chain"
                and isinstance(inner, syntax.Comprehension)
                and self.walks.differs(inner, context)
            ):
                return Piece(" -> ".join(stage(text) for text in self._written_out(inner, context)), "pipe")
        if name in ("sum", "mean", "max") and len(node.arguments) == 1:
            nothing = self._nothing(node.arguments[0].value, context)
            if nothing is not None:
                return Piece(f"{name}([{nothing}])", "atom")
        return self._render_use(node, context)

    def _nothing(self, node: syntax.Expression, context: Context) -> str | None:
        """A sum of a sub-list that is empty is absent, in the shape of its candidates: ``zero`` of one of them."""
        if not isinstance(node, syntax.Choose) or node.quantity is None:
            return None
        sites: list[Site] = self.walks.events(self.trace.sites, key_of(node.span), context)
        if not sites or any(self.walks.decision(site) != () for site in sites):
            return None
        first = self._candidate(node, sites, sites[0].labels[0], context)
        return f"zero({first.text})"

    def _rests_on_kept(self, event: Copied) -> bool:
        """Whether it is left open by a choice that keeps several candidates, such as a depth of 0 or 1."""
        return not self.decisions.restricted(event.guard).support().isdisjoint(self.decisions.left)

    def _copied(self, operation: syntax.Expression, context: Context) -> list[Copied]:
        copies = [e for e in self.trace.copies.get(key_of(operation.span), ()) if id(e.use) in context.uses]
        return [e for e in copies if all(context.turns.get(k, at) == at for k, at in e.turns.items())]

    def _copies(
        self, node: syntax.Call, operation: syntax.Expression, copies: Sequence[Copied], context: Context
    ) -> Piece:
        """The copies of a repeat that are decided differently, one after the other."""
        loop = key_of(operation.span)
        numbers = sorted({event.number for event in copies if self.walks.alive(event)})
        there = [*copies[:1], *(event for event in copies if event.number in numbers)]
        guards = [self.decisions.restricted(event.guard) for event in there]
        if any(guard is not guards[0] for guard in guards):
            raise OpenDepth(node.span)
        found = []
        for number in numbers:
            inner = replace(context, turns={**context.turns, loop: number})
            piece = self._render(operation, inner)
            kind = kind_of(operation) if piece.kind == "same" else piece.kind
            found.append(piece.text if kind in ("atom", "pipe") else f"({piece.text})")
        return Piece(" -> ".join(found) or "identity", "pipe" if len(found) > 1 else "atom")

    def _render_use(self, node: syntax.Name | syntax.Call, context: Context) -> Piece:
        """A use of a definition: of the text that is decided as its uses here are."""
        events: list[Called] = self.walks.events(self.trace.calls, key_of(node.span), context)
        targets = [event.target for event in events]
        found = {self.walks.signature(target) for target in targets}
        if not found or found == {frozenset()}:
            return (
                self._spliced(node, context)
                if isinstance(node, syntax.Call)
                else Piece(node.span.text, "same")
            )
        if len(found) > 1:
            raise Untraceable("uses here are decided differently, in one place of the text", node.span)
        (signature,) = found
        definition = targets[0].definition
        assert definition is not None
        if len(self.walks.variants[id(definition.syntax)]) > 1:
            put = self._put_in_place(node, events, context)
            if put is not None:
                return put
        name = self._written_definition(definition, signature)
        if isinstance(node, syntax.Name):
            return Piece(name, "atom") if name != node.name else Piece(node.name, "same")
        rest = self._spliced(node, context)
        if not isinstance(node.function, syntax.Name) or name == node.function.name:
            return rest
        return Piece(name + rest.text[len(node.function.name) :], "atom")

    def _written_definition(self, definition: Definition, signature: Signature) -> str:
        """The name of a definition's text for uses that are decided so; writes it the first time."""
        key = (id(definition.syntax), signature)
        known = self.names.get(key)
        if known is not None:
            return known
        define = definition.syntax
        name = define.name
        if len(self.walks.variants[id(define)]) > 1:
            name = self._fresh_name(definition, signature)
        self.names[key] = name
        uses = [
            use for use in self.walks.uses if use.definition is not None and use.definition.syntax is define
        ]
        same = frozenset(id(use) for use in uses if self.walks.signature(use) == signature)
        text = self._spliced(define, Context(same)).text
        at = define.name_span.start - define.span.start
        text = text[:at] + name + text[at + len(define.name) :]
        self.written[key] = (definition, text)
        return name

    def _fresh_name(self, definition: Definition, signature: Signature) -> str:
        """A name for one way in which a definition is decided: after its only decision, else with a number."""
        stem = definition.name
        candidates: list[str] = []
        if len(signature) == 1:
            ((key, _, value),) = signature
            records = [site.record for site in self.trace.sites.get(key, ()) if site.record is not None]
            if isinstance(value, str) and records:
                step = self.space.choices[records[0].index].name.rpartition(".")[2].partition("#")[0]
                word = value if not value[:1].isdigit() else f"{step}{value}"
                candidates += [f"{stem}_{word}"] if re.fullmatch(r"\w+", word) else []
        candidates += [f"{stem}_{number}" for number in range(1, len(self.taken_names) + 2)]
        name = next(c for c in candidates if c not in self.taken_names)
        self.taken_names.add(name)
        return name

    def _put_in_place(
        self, node: syntax.Name | syntax.Call, events: Sequence[Called], context: Context
    ) -> Piece | None:
        """The candidate of an operation that is but a choice, in place of its use; None where it doesn't fit there."""
        definition = events[0].target.definition
        assert definition is not None
        define = definition.syntax
        if (
            define.kind != "op"
            or isinstance(define.body, tuple)
            or any(is_input(p) for p in define.parameters)
        ):
            return None
        inside = Context(frozenset(id(event.target) for event in events), exact=True)
        body: syntax.Expression = define.body
        while isinstance(body, syntax.IfExpression):
            taken = self._outcome(body.condition, inside)
            if taken is None:
                return None
            body = body.then if taken else body.otherwise
        if isinstance(body, syntax.Alternatives) or (
            isinstance(body, syntax.Choose) and body.quantity is None
        ):
            sites: list[Site] = self.walks.events(self.trace.sites, key_of(body.span), inside)
            if not sites or any(self._is_open(site) for site in sites):
                return None
        elif not isinstance(body, syntax.Name | syntax.Call):
            return None
        words = self._settings(node, events, define, context)
        if words is None or not self._reads_alike(body, define, events):
            return None
        piece = self._render(body, replace(inside, words=words))
        if piece.kind == "same":
            piece = Piece(piece.text, kind_of(body))
        if piece.kind == "loose":
            return None
        tensors = events[0].target.tensors
        if not tensors:
            return piece
        given = [self._render(tensor, context).text for tensor in tensors]
        if piece.kind == "pipe":
            return Piece(f"{stage(given[0])} -> {piece.text}", "pipe") if len(given) == 1 else None
        return Piece(f"{piece.text}({', '.join(given)})", "atom")

    def _is_open(self, site: Site) -> bool:
        decision = self.walks.decision(site)
        return decision is None or isinstance(decision, Kept)

    def _settings(
        self, node: syntax.Expression, events: Sequence[Called], define: syntax.Define, context: Context
    ) -> dict[str, str] | None:
        """The text of each setting; None where one holds a choice, which would be made once for each mention."""
        words: dict[str, str] = {}
        given = events[0].target.given
        for parameter in define.parameters:
            value = given.get(parameter.name)
            if value is not None:
                text = self._render(value, context).text
                if context.words and (number := folded(value, context.words)) is not None:
                    text = value_text(number)
            elif parameter.default is not None:
                value, text = parameter.default, parameter.default.span.text
            else:
                return None
            if holds_choice(value) and any(mark in text for mark in ("|", "choose")):
                return None
            words[parameter.name] = text
        return words

    def _reads_alike(self, body: syntax.Expression, define: syntax.Define, events: Sequence[Called]) -> bool:
        """Whether the names in a definition's body mean the same where it is used."""
        target = events[0].target
        assert target.definition is not None
        inner = {parameter.name for parameter in define.parameters}
        for name in names_in(body):
            if name in inner:
                continue
            meant = _find(target.definition.names, name)
            if any(_find(event.target.names, name) is not meant for event in events):
                return False
        return True


def _find(names: Names | None, name: str) -> Any:
    while names is not None:
        if name in names.own:
            return names.own[name]
        names = names.outer
    return None
