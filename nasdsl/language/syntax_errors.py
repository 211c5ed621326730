"""What is said where a text does not parse: one rule a kind of fault, each with its code.

A rule looks at the token that no rule of the grammar takes and at what stands around it, and answers
with a diagnostic or with None; :data:`RULES` is the order in which they are asked. None of them
names a terminal of the grammar: the words are those of a person who writes spaces.
"""

from __future__ import annotations

from collections.abc import Callable

from nasdsl.diagnostics import Diagnostic, Note, Span, closest
from nasdsl.language.fault import Fault, mended, shortened
from nasdsl.language.tokens import (
    END,
    KEYWORDS,
    OPERATORS,
    STATEMENT_WORDS,
    VALUE_ENDS,
    VALUE_STARTS,
    Tokens,
)

TITLES = {
    "N001": "something stands where it cannot",
    "N002": "a bracket without its partner",
    "N003": "two things side by side without an operator",
    "N004": "a character or a string that cannot be read",
    "N005": "a number that cannot be read",
    "N006": "nested too deeply",
    "N007": "a keyword used as a name",
    "N008": "a form in the wrong place",
    "N009": "something is missing",
    "N010": "a line that neither names nor returns its value",
    "N011": "an operator or a word of another language",
    "N012": "a word or sign that stands twice",
    "N013": "`if` as an expression and as a statement mixed up",
}

_WORDS = {
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "COLON": "`:`",
    "EQUAL": "`=`",
    "ARROW": "`->`",
    "VBAR": "`|`",
    "PLUS": "`+`",
    "MINUS": "`-`",
    "TIMES": "`*`",
    "DOTS": "`..`",
    "COMPARISON": "a comparison",
    "NUMBER": "a number",
    "STRING": "a string",
    "NAME": "a name",
}
_DECLARED = {
    "OP": "operation",
    "CELL": "cell",
    "SPACE": "space",
    "INPUT": "input",
    "SHARED": "shared operation",
}


def explain(fault: Fault) -> Diagnostic:
    """The first answer that a rule has."""
    fault = _where_it_began(fault)
    for rule in RULES:
        diagnostic = rule(fault)
        if diagnostic is not None:
            return diagnostic
    return _unexpected(fault)


def _where_it_began(fault: Fault) -> Fault:
    """The parser may notice a slip only after it took the next name for something it was not meant as."""
    tokens = fault.tokens
    if {"EQUAL", "COMMA"} <= fault.accepts <= {"EQUAL", "COMMA", "LSQB"}:
        # It took `b` in `x = a b` for the name of a next statement.
        name = _first_target(tokens, fault.index - 1)
        if name > 0 and not tokens.starts_line(name) and tokens.kind(name - 1) in VALUE_ENDS:
            return Fault(tokens, name, frozenset(("ARROW", "PLUS")))
    if fault.kind == "EQUAL" and fault.previous in ("IF", "FOR") and tokens.starts_line(fault.index - 1):
        # It took `if` in `if = 3` for the statement.
        return Fault(tokens, fault.index - 1, frozenset(("NAME",)))
    if fault.kind == "EQUAL" and "EQUAL" not in fault.accepts and fault.previous in ("NAME", "RSQB"):
        # It took `y` in `x = a -> ⏎ y = b` for what the pipe goes on with.
        name = _first_target(tokens, fault.index - 1)
        if (
            name > 0
            and tokens.starts_line(name)
            and tokens.kind(name - 1) not in VALUE_ENDS | {"LBRACE", "RBRACE"}
        ):
            return Fault(tokens, name, frozenset(("CHOOSE", "NAME")))
    return fault


def _first_target(tokens: Tokens, last: int) -> int:
    """The first name of `a, b[i]` where it ends with the token ``last``."""
    while True:
        name = last
        if tokens.kind(name) == "RSQB" and name in tokens.partner:
            name = tokens.partner[name] - 1
        if tokens.kind(name) != "NAME":
            return -1
        if tokens.kind(name - 1) != "COMMA" or tokens.starts_line(name):
            return name
        last = name - 2


def _foreign_word(fault: Fault) -> Diagnostic | None:
    """Operators and words of other languages."""
    for first in (fault.index - 1, fault.index):
        if (
            not 0 <= first < len(fault.tokens) - 2
            or fault.tokens.after(first).end != fault.tokens.span(first + 1).start
        ):
            continue
        pair = fault.tokens.span(first, first + 1)
        if pair.text == "**":
            return Diagnostic(
                "N011", "there is no power operator", pair, help="write `x*x`, or `1M` for 10 to the 6"
            )
        if pair.text in _FOREIGN_SIGNS:
            meant = _FOREIGN_SIGNS[pair.text]
            message = f"`{pair.text}` is written `{meant.strip()}`"
            return Diagnostic("N011", message, pair, help=mended(pair, meant))
        if fault.tokens.kind(first + 1) == "EQUAL" and fault.tokens.kind(first) in ("PLUS", "MINUS", "TIMES"):
            name = fault.tokens[first - 1]
            message = f"there is no `{pair.text}`"
            return Diagnostic("N011", message, pair, help=mended(pair, f"= {name} {pair.text[:-1]}"))
    if fault.kind == "TIMES" and fault.token == "//" and fault.new_line:
        return Diagnostic("N011", "a comment begins with `#`", fault.place, help=mended(fault.place, "#"))
    if fault.kind == "COMPARISON" and fault.token == "==" and "EQUAL" in fault.accepts:
        message = "`==` compares, `=` gives a name or a value"
        return Diagnostic("N011", message, fault.place, help=mended(fault.place, "="))
    if fault.kind == "EQUAL" and fault.after_value and _in_condition(fault):
        message = "`=` gives a name or a value, `==` compares"
        return Diagnostic("N011", message, fault.place, help=mended(fault.place, "=="))
    if fault.kind == "COLON" and "LBRACE" in fault.accepts:
        message = "a body stands between `{` and `}`"
        return Diagnostic("N011", message, fault.place, help=mended(fault.place, " {"))
    word = fault.tokens[fault.index - 1] if fault.index else None
    if word is not None and word.type == "NAME" and str(word) in _FOREIGN_WORDS:
        help_ = _FOREIGN_WORDS[str(word)]
        return Diagnostic("N011", f"`{word}` is no word of the language", fault.before, help=help_)
    if fault.kind == "NAME" and str(fault.token) in _FOREIGN_WORDS:
        help_ = _FOREIGN_WORDS[str(fault.token)]
        return Diagnostic("N011", f"`{fault.token}` is no word of the language", fault.place, help=help_)
    return None


_FOREIGN_SIGNS = {"||": " or ", ":=": "=", "=>": "->", "-->": "->", "<-": "=", "++": "+", "===": "=="}
_FOREIGN_WORDS = {
    "let": "a name is given without a word: `x = 3`",
    "var": "a name is given without a word: `x = 3`",
    "const": "a name is given without a word: `x = 3`",
    "def": "an operation is defined with `op` or `cell`: `op name(x) { … }`",
    "fn": "an operation is defined with `op` or `cell`: `op name(x) { … }`",
    "func": "an operation is defined with `op` or `cell`: `op name(x) { … }`",
    "function": "an operation is defined with `op` or `cell`: `op name(x) { … }`",
    "lambda": "an operation is defined with `op` or `cell`: `op name(x) = …`",
    "class": "an operation is defined with `op` or `cell`: `op name(x) { … }`",
    "elif": "write `else if`",
    "elseif": "write `else if`",
    "while": "loops run over a list or a range: `for i in 1..3 { … }`",
    "assert": "a constraint is written `require`",
}


def _in_condition(fault: Fault) -> bool:
    return fault.inside not in ("call", "parameters") and (
        fault.stands("IF", "REQUIRE", since=("THEN", "ELSE", "LBRACE")) is not None
    )


def _twice(fault: Fault) -> Diagnostic | None:
    """A keyword or a sign that stands twice."""
    if "OF" in fault.accepts and (last := fault.stands("CHOOSE")) is not None:
        if fault.tokens.kind(last - 1) == "CHOOSE":
            return Diagnostic("N012", "`choose` stands twice", fault.tokens.span(last), "once is enough")
    if fault.index == 0 or str(fault.tokens[fault.index - 1]) != str(fault.token):
        return None
    if fault.kind in VALUE_ENDS or fault.kind in ("LPAR", "LSQB", END) or fault.new_line:
        return None
    if fault.kind == "LBRACE":
        note = Note(fault.before, "the first one")
        return Diagnostic("N012", "`{` stands twice", fault.place, "take this one out", (note,))
    gap = Span(fault.place.source, fault.before.start, fault.place.end)
    help_ = mended(gap, str(fault.token)) if not fault.new_line else None
    return Diagnostic("N012", f"{fault.text()} stands twice", fault.place, "once is enough", help=help_)


def _keyword_as_name(fault: Fault) -> Diagnostic | None:
    """`in = 3`, `op for(x)`, `f(of = 2)`: a keyword where a name belongs."""
    word = str(fault.token)
    if word not in KEYWORDS or "NAME" not in fault.accepts:
        return None
    follows = fault.next
    names = ("OP", "CELL", "SPACE", "INPUT", "SHARED", "FOR", "AS", "IMPORT")
    if fault.previous in names and follows in VALUE_STARTS | {"STRING"} - {"LPAR", "LSQB"}:
        return None
    is_name = (
        (
            fault.previous in names
            and (
                follows in ("LPAR", "EQUAL", "COLON", "LBRACE", "IN", "COMMA")
                or fault.previous in ("AS", "IMPORT")
            )
        )
        or follows in ("EQUAL", "COLON")
        or (fault.inside == "parameters" and follows in ("COMMA", "RPAR"))
    )
    if (
        not is_name
        and fault.wants_value
        and not (fault.new_line and fault.tokens.begins_statement(fault.index))
    ):
        is_name = follows in OPERATORS | {"RPAR", "RSQB", "COMMA"} and word not in ("in", "and", "or", "for")
    if not is_name or (fault.new_line and word in STATEMENT_WORDS and follows not in ("EQUAL", "COLON")):
        return None
    return Diagnostic(
        "N007",
        f"`{word}` is a keyword and cannot be a name",
        fault.place,
        help=f"choose another name, as `{word}_`",
    )


def _chained(fault: Fault) -> Diagnostic | None:
    """`a < b < c`."""
    if fault.kind not in ("COMPARISON", "IN") or not fault.after_value:
        return None
    stops = ("AND", "OR", "NOT", "THEN", "ELSE", "IF", "COMMA", "EQUAL", "VBAR", "ARROW", "LBRACE", "FOR")
    first = fault.stands("COMPARISON", "IN", since=stops)
    if first is None:
        return None
    middle = Span(fault.place.source, fault.tokens.span(first).end, fault.place.start).text.strip()
    return Diagnostic(
        "N008",
        "comparisons do not chain",
        fault.place,
        "a second comparison",
        (Note(fault.tokens.span(first), "the first one"),),
        mended(fault.gap, f" and {middle}"),
    )


def _parameters(fault: Fault) -> Diagnostic | None:
    """The commas, names and types between the brackets of `op name(…)`, and the type of an input."""
    tokens, kind = fault.tokens, fault.kind
    in_input = tokens.kind(fault.index - 2) == "INPUT"
    if "COLON" in fault.accepts and (fault.inside == "parameters" or in_input):
        if kind in ("OP", "CELL", "LSQB") or (in_input and kind == "NAME" and not fault.new_line):
            message = f"`:` is missing before the type `{fault.operand_here()}`"
            return Diagnostic("N009", message, fault.place, help=mended(fault.gap, ":"))
    if fault.inside != "parameters":
        return None
    if kind in VALUE_STARTS - {"LPAR", "MINUS"} and (fault.after_value or fault.previous in ("OP", "CELL")):
        message = f"`{fault.operand_before()}` and `{fault.operand_here()}` stand side by side"
        help_ = mended(fault.gap, ",")
        if "COLON" in fault.accepts and fault.next in ("COMMA", "RPAR", "EQUAL"):
            help_ = mended(fault.gap, ":") + ", or put a comma between them"
        return Diagnostic("N003", message, fault.place, "parameters are parted by commas", help=help_)
    if fault.previous in ("LPAR", "COMMA") and kind in ("COMMA", "EQUAL", "COLON"):
        message = f"the name of a parameter is missing before `{fault.token}`"
        return Diagnostic("N009", message, fault.place)
    return None


def _misplaced_label(fault: Fault) -> Diagnostic | None:
    """`f(none: zero)`, `image: [3, 32, 32]`, `| : zero`."""
    if fault.kind != "COLON":
        colon = fault.stands("COLON", since=("VBAR", "COMMA", "EQUAL")) if "VBAR" in fault.accepts else None
        if colon is None or fault.inside not in ("call", "group", "list") or fault.kind in VALUE_STARTS:
            return None
        name = fault.tokens[colon - 1]
        return Diagnostic(
            "N008",
            "a label stands only before a candidate",
            fault.tokens.span(colon - 1, colon),
            "this is the only one",
            help=f"a setting is given with `=`, as in `{name} = 3`; candidates are parted by `|`",
        )
    label = fault.tokens[fault.index - 1] if fault.index else None
    if label is not None and label.type == "NAME":
        if fault.inside == "body" and fault.index - 1 == fault.head:
            before = fault.tokens.span(fault.index - 1)
            if fault.next in ("LSQB", "NAME"):
                message = f"`input` is missing before `{label}`"
                return Diagnostic("N009", message, before, help=mended(before, f"input {label}"))
        if fault.inside == "call":
            return Diagnostic(
                "N008",
                "a label stands only before a candidate",
                fault.place,
                f"a setting is given with `=`: `{label} = …`",
                help=mended(fault.place, " ="),
            )
    if fault.wants_value:
        return Diagnostic(
            "N009",
            "a label is missing before `:`",
            fault.place,
            help="a candidate is written `label: operation`",
        )
    place = fault.place if label is None else fault.tokens.span(fault.index - 1, fault.index)
    return Diagnostic(
        "N008",
        "a label stands only before a candidate",
        place,
        "this is no candidate",
        help="candidates stand between `|`, or between the braces of `choose`: `none: zero | skip: identity`",
    )


def _declaration_word(fault: Fault) -> Diagnostic | None:
    """`normal(x) { … }`, `i in 1..3 { … }`, `x > 2 { … }`: the word in front is missing or misspelt."""
    tokens = fault.tokens
    name = fault.index if fault.kind == "NAME" and _fresh(fault, fault.index) else fault.index - 1
    if name < 0 or tokens.kind(name) != "NAME" or not _fresh(fault, name):
        return None
    text, place = str(tokens[name]), tokens.span(name)
    after = name + 1
    if tokens.kind(after) in ("SPACE", "OP", "CELL", "INPUT", "SHARED", "RETURN", "REQUIRE", "FOR", "IF"):
        if tokens.line(after) == tokens.line(name):
            both = tokens.span(name, after)
            message = f"`{tokens[after]}` belongs before `{text}`"
            help_ = mended(both, f"{tokens[after]} {text}")
            return Diagnostic("N008", message, tokens.span(after), help=help_)
    if tokens.kind(after) in ("NAME", "STRING") and tokens.line(after) == tokens.line(name):
        word = closest(text, STATEMENT_WORDS)
        if word and fault.index in (name, after):
            help_ = f"did you mean `{word}`?"
            return Diagnostic("N011", f"`{text}` is no word of the language", place, help=help_)
    end = after
    if tokens.kind(end) == "LPAR" and end in tokens.partner:
        end = tokens.partner[end] + 1
    if tokens.kind(end) == "LBRACE" or (
        tokens.kind(end) == "EQUAL" and (end > after or fault.inside == "file")
    ):
        words = "`space`, `op` or `cell`" if fault.inside == "file" else "`op` or `cell`"
        message = f"{words} is missing before `{text}`"
        return Diagnostic(
            "N009", message, place, "a definition begins with a word", help=mended(place, f"op {text}")
        )
    if name == fault.index:
        return None
    if fault.kind == "IN" and fault.comes("LBRACE"):
        message = f"`for` or `if` is missing before `{text}`"
        return Diagnostic("N009", message, place, help=mended(place, f"for {text}"))
    if fault.kind == "COMPARISON" and fault.comes("LBRACE"):
        return Diagnostic("N009", f"`if` is missing before `{text}`", place, help=mended(place, f"if {text}"))
    return None


def _fresh(fault: Fault, index: int) -> bool:
    """Whether a token is the first of a line that is not meant to go on with the line before."""
    tokens = fault.tokens
    before = index - 1
    if index == 0 or (tokens.kind(before) == "LBRACE" and tokens.role(before) == "body"):
        return True
    if tokens.kind(before) == "RBRACE" and tokens.role(tokens.partner.get(before, -1)) == "body":
        return True
    return (
        tokens.starts_line(index)
        and tokens.role(tokens.enclosing[index]) in ("body", "file")
        and tokens.kind(index - 1) in VALUE_ENDS
    )


def _alone(fault: Fault) -> Diagnostic | None:
    """`conv(3)` or `x -> relu` on a line of its own."""
    tokens = fault.tokens
    name = fault.index
    if fault.kind not in VALUE_STARTS or not _fresh(fault, fault.index):
        name = _first_target(tokens, fault.index - 1)
    if (
        name < 0
        or not _fresh(fault, name)
        or tokens.kind(name) not in VALUE_STARTS - {"LPAR", "LSQB", "MINUS"}
    ):
        return None
    if tokens.kind(name) == "STRING" and tokens.kind(name + 1) in ("IMPORT", "FROM"):
        word = "is missing" if tokens.kind(name + 1) == "IMPORT" else "belongs"
        return Diagnostic(
            "N009",
            f"`from` {word} before the path",
            tokens.span(name),
            help=mended(_start(tokens.span(name)), "from "),
        )
    if _is_label(tokens, name):
        return None
    if fault.inside == "file":
        return Diagnostic(
            "N008",
            f"`{tokens[name]}` cannot stand at the level of the file",
            tokens.span(name),
            help="a file holds imports, then `space`, `op` and `cell`",
        )
    if fault.inside != "body":
        return None
    if name == fault.index and tokens.kind(name - 1) != "RBRACE" and name > 0:
        # Further in than the line above: meant to go on with it.
        if tokens.indent(name) > tokens.indent(name - 1):
            return None
    elif name != fault.index:
        if fault.kind in VALUE_STARTS - {"LPAR", "LSQB", "MINUS"} | {"EQUAL", "COLON", "COMMA"}:
            return None
    return _unused(tokens, name)


def _unused(tokens: Tokens, first: int) -> Diagnostic:
    return Diagnostic(
        "N010",
        "this line neither names nor returns its value",
        tokens.span(first),
        "a value nobody uses",
        help=f"give it a name, `y = {tokens[first]} …`, return it, or go on with the line above by an operator",
    )


def _is_label(tokens: Tokens, index: int) -> bool:
    return tokens.kind(index) == "NAME" and tokens.kind(index + 1) == "COLON"


def _missing(fault: Fault, text: str, where: str, help: str | None = None) -> Diagnostic:
    """A word or sign that the form asks for, before the token or at the end of the line above it."""
    place, mend = (fault.gap, f" {text}") if fault.new_line else (fault.place, f"{text} {fault.token}")
    help = help or mended(place, mend)
    return Diagnostic("N009", f"`{text}` is missing {where}", place, f"`{text}` belongs here", help=help)


_IMPORT = 'write `from "lib/cifar.nas" import sep_conv`'


def _import_parts(fault: Fault) -> Diagnostic | None:
    """`from lib import f`, `from "lib.nas" f`."""
    if fault.previous == "FROM":
        place = fault.gap if fault.new_line else fault.place
        help_ = mended(place, f'"{fault.token}.nas"') if fault.kind == "NAME" else _IMPORT
        return Diagnostic("N009", '`from` wants a path between `"`', place, "a path belongs here", help=help_)
    if "IMPORT" in fault.accepts:
        return _missing(fault, "import", "after the path", None if fault.kind == "NAME" else _IMPORT)
    return None


def _choose_parts(fault: Fault) -> Diagnostic | None:
    """`choose 2 {…}`, `choose a, b`."""
    if "LBRACE" in fault.accepts and fault.previous == "OF":
        return _missing(fault, "{", "after `of`")
    if "LBRACE" in fault.accepts and fault.previous == "CHOOSE" and fault.kind not in VALUE_STARTS:
        return _missing(fault, "{", "after `choose`")
    choose = fault.stands("CHOOSE") if "OF" in fault.accepts else None
    if choose is None:
        return None
    if fault.kind == "LBRACE":
        return _missing(fault, "of", "after the number to choose")
    if fault.comes("OF", "LBRACE") or fault.stands("LBRACE") is not None:
        return None
    place = fault.tokens.after(choose)
    message = "`{` is missing after `choose`"
    return Diagnostic("N009", message, place, "`{` belongs here", help=mended(place, " {"))


def _loop_parts(fault: Fault) -> Diagnostic | None:
    """`for i 1..3 {…}`, `[f(t) for t n]`."""
    loop = fault.stands("FOR", since=("IN",)) if "IN" in fault.accepts else None
    if loop is None or fault.kind == "IN" or fault.previous == "FOR" or fault.comes("IN"):
        return None
    return _missing(fault, "in", "between the name and what it runs over")


def _if_parts(fault: Fault) -> Diagnostic | None:
    """`if c a else b`, `if c then a`, and the two forms of `if` mixed up."""
    accepts, tokens = fault.accepts, fault.tokens
    if "THEN" in accepts and not fault.comes("THEN") and fault.stands("IF", since=("THEN",)) is not None:
        if fault.kind == "LBRACE":
            help_ = "write `if … then … else …`; `if … { … } else { … }` is a statement"
            return Diagnostic("N013", "an `if` in an expression has no braces", fault.place, help=help_)
        if fault.kind not in OPERATORS:
            return _missing(fault, "then", "after the condition")
    if fault.kind == "THEN" and "LBRACE" in accepts and (word := fault.stands("IF")) is not None:
        if not tokens.starts_line(word) and tokens.kind(word - 1) in VALUE_ENDS:
            return _side_by_side(Fault(tokens, word, frozenset(("ARROW",))))
        if fault.comes("ELSE") and not fault.comes("EQUAL"):
            return _unused(tokens, word)
        help_ = "write `if … { … } else { … }`, or `y = if … then … else …`"
        return Diagnostic("N013", "an `if` statement has braces", fault.place, help=help_)
    if "ELSE" in accepts and fault.after_value and fault.stands("THEN", since=("ELSE",)) is not None:
        if not fault.comes("ELSE") and fault.kind not in OPERATORS:
            here = fault.kind in VALUE_STARTS and not fault.new_line
            both = "both sides are written: `if … then … else …`"
            return _missing(fault, "else", "after the value of `then`", None if here else both)
    return None


def _body_parts(fault: Fault) -> Diagnostic | None:
    """The `{` or `=` before a body."""
    accepts, tokens = fault.accepts, fault.tokens
    if fault.kind == "LBRACE" and fault.previous == "EQUAL" and fault.inside in ("file", "body"):
        if fault.next.lower() in STATEMENT_WORDS:
            both = tokens.span(fault.index - 1, fault.index)
            return Diagnostic("N001", "a body in braces stands without `=`", both, help=mended(both, "{"))
        inside = {tokens.kind(i) for i in tokens.after_in_bracket(fault.index + 1)}
        if inside and inside.isdisjoint(("COMMA", "COLON", "FOR", "VBAR")):
            help_ = "take the braces away, or write a body without `=`: `{ …; return y }` over several lines"
            return Diagnostic("N001", "what follows `=` stands without braces", fault.place, help=help_)
    if "LBRACE" in accepts and fault.previous == "ELSE":
        return _missing(fault, "{", "after `else`")
    header = tokens.header_before(fault.index)
    word = header.lower()
    if header in ("OP", "CELL") and {"LBRACE", "EQUAL"} <= accepts:
        if not fault.new_line and fault.comes("EQUAL", "LBRACE"):
            return None
        place, help_ = fault.gap, f"write `{word} name = relu` or `{word} name(x) {{ return relu(x) }}`"
        if fault.kind == "ARROW" and not fault.new_line:
            place, help_ = fault.place, mended(fault.place, "=")
        elif not fault.new_line:
            help_ = mended(place, " =")
        message = f"`=` is missing before the body of this `{word}`"
        return Diagnostic("N009", message, place, "`=` or `{` belongs here", help=help_)
    if header in ("FOR", "IF", "SPACE") and "LBRACE" in accepts and fault.after_value:
        if fault.kind not in OPERATORS | {"EQUAL"} and not fault.comes("LBRACE"):
            return _missing(fault, "{", f"before the body of `{word}`")
    if "EQUAL" in accepts and fault.previous == "NAME" and tokens.kind(fault.index - 2) == "SHARED":
        return _missing(fault, "=", "after the name")
    return None


def _assignment(fault: Fault) -> Diagnostic | None:
    """`x1 edge(x0)`, `prev cur = …`: the `=` or the comma of an assignment."""
    if {"EQUAL", "COMMA"} <= fault.accepts <= {"EQUAL", "COMMA", "LSQB"} and fault.new_line:
        name = fault.operand_before()
        return Diagnostic("N009", f"`{name}` gets no value", fault.gap, "`=` and a value belong here")
    if "EQUAL" not in fault.accepts or fault.inside != "body" or fault.new_line:
        return None
    if fault.previous not in ("NAME", "RSQB") or fault.kind not in VALUE_STARTS | {"IF", "VBAR"}:
        return None
    if fault.kind == "NAME" and fault.tokens.begins_statement(fault.index):
        return Diagnostic(
            "N003",
            f"`{fault.operand_before()}` and `{fault.operand_here()}` stand side by side",
            fault.place,
            "names are parted by commas",
            help=mended(fault.gap, ","),
        )
    name = fault.operand_before()
    return Diagnostic(
        "N009",
        f"`=` is missing after `{name}`",
        fault.place,
        f"the value of `{name}`",
        help=mended(fault.gap, " ="),
    )


def _side_by_side(fault: Fault) -> Diagnostic | None:
    """Two values without an operator between them."""
    if not fault.after_value or fault.kind not in VALUE_STARTS | {"IF"} - {"MINUS"}:
        return None
    left, right = fault.operand_before(), fault.operand_here()
    message = f"`{left}` and `{right}` stand side by side without an operator"
    notes = (Note(fault.before, "the one before"),) if fault.new_line else ()
    if _is_label(fault.tokens, fault.index):
        if fault.inside == "choice":
            message = f"a comma is missing before the candidate `{fault.token}`"
            return Diagnostic("N003", message, fault.gap, "`,` belongs here", help=mended(fault.gap, ","))
        return Diagnostic(
            "N003",
            f"`|` is missing before the candidate `{fault.token}`",
            fault.place,
            f"`{left}` stands right before it",
            notes,
            mended(_start(fault.place), "| "),
        )
    help_ = _parting(fault, left, right)
    return Diagnostic("N003", message, fault.place, "an operator is missing before this", notes, help_)


def _parting(fault: Fault, left: str, right: str) -> str:
    """What could stand between two values."""
    two_before = fault.tokens.kind(fault.index - 2)
    if (
        fault.previous == "NAME"
        and two_before == "VBAR"
        and fault.inside in ("body", "group", "file", "call")
    ):
        return f"{mended(fault.gap, ':')}; or `{left} -> {right}`"
    if fault.stands("IF", "FOR", "CHOOSE") is not None or fault.inside == "choice":
        return "write the operator that belongs between them"
    if fault.inside == "call" and fault.next == "EQUAL":
        return mended(fault.gap, ",")
    if fault.inside == "call" and fault.previous == "NAME" and two_before in ("COMMA", "LPAR"):
        return f"{mended(fault.gap, ' =')}, or put a comma between them"
    if fault.inside in ("call", "list", "parameters"):
        return mended(fault.gap, ",")
    if fault.new_line:
        return mended(_start(fault.place), "-> ", "to go on with the line above, write")
    group = fault.tokens.role(fault.tokens.partner.get(fault.index - 1, -1)) == "group"
    product = group and fault.next not in ("LPAR", "ARROW")
    if product or "NUMBER" in (fault.previous, fault.kind):
        return "write the operator that belongs between them"
    return f"{mended(fault.gap, ' ->')}, or the operator you mean"


def _start(place: Span) -> Span:
    return Span(place.source, place.start, place.start)


def _missing_name(fault: Fault) -> Diagnostic | None:
    """`op = relu`, `for in 1..3`, `from "a.nas" import`: the name is missing."""
    first = fault.new_line or fault.previous == "LBRACE"
    if fault.kind in ("EQUAL", "COMMA") and "RETURN" in fault.accepts and first:
        message = f"the name before `{fault.token}` is missing"
        return Diagnostic("N009", message, fault.place, help=mended(_start(fault.place), "y "))
    if "NAME" not in fault.accepts or fault.wants_value:
        return None
    place = fault.gap if fault.new_line and fault.index else fault.place
    if fault.previous in _DECLARED:
        word = _DECLARED[fault.previous]
        message = f"the name of the {word} is missing"
        keyword = str(fault.tokens[fault.index - 1])
        help_ = f"`{keyword}` is a keyword; a name follows it: `{keyword} name`"
        return Diagnostic("N009", message, place, f"a name belongs after `{keyword}`", help=help_)
    if fault.previous == "FOR":
        return Diagnostic(
            "N009", "the name of the loop variable is missing", place, help="write `for i in 1..3`"
        )
    if fault.previous in ("IMPORT", "AS"):
        word = str(fault.tokens[fault.index - 1])
        return Diagnostic(
            "N009",
            f"a name is missing after `{word}`",
            place,
            help=_IMPORT,
        )
    if fault.previous == "COMMA" and fault.kind != "COMMA":
        return Diagnostic("N009", "a name is missing after the comma", place)
    if fault.previous == "COLON" or (
        "OP" in fault.accepts and fault.inside == "parameters" and "LSQB" in fault.accepts
    ):
        help_ = "types are `int`, `op`, `[C, H, W]` or `int[T]`"
        if fault.kind == "NUMBER" and fault.previous == "COLON":
            help_ += f"; a default follows `=`: `{fault.tokens[fault.index - 2]} = {fault.token}`"
        return Diagnostic("N009", "a type is missing after `:`", place, help=help_)
    return None


def _missing_value(fault: Fault) -> Diagnostic | None:
    """`a + `, `x = `, `f(, 3)`, `return` without a value, empty braces."""
    if not fault.wants_value:
        return None
    tokens, kind = fault.tokens, fault.kind
    if fault.new_line and fault.previous == "LBRACE":
        return None
    at_end = fault.new_line or kind in ("RPAR", "RSQB", "RBRACE", "COMMA")
    previous = tokens[fault.index - 1] if fault.index else None
    if fault.previous == "LBRACE" and kind == "RBRACE":
        return Diagnostic(
            "N009",
            "this choice has no candidates",
            tokens.span(fault.index - 1, fault.index),
            help="write `choose { none: zero, skip: identity }` or `choose { f(t) for t in n }`",
        )
    if fault.previous == "LPAR" and kind == "RPAR":
        return Diagnostic("N009", "these brackets are empty", tokens.span(fault.index - 1, fault.index))
    if previous is None:
        return None
    if fault.previous == "RETURN" and (at_end or kind in OPERATORS):
        place = fault.before
        return Diagnostic("N009", "`return` has no value", place, help="write `return y`")
    if fault.previous == "REQUIRE" and at_end:
        return Diagnostic(
            "N009", "`require` has no condition", fault.before, help="write `require params <= 5M`"
        )
    if fault.previous == "EQUAL" and at_end:
        named = tokens.kind(fault.index - 2) == "NAME" and tokens.kind(fault.index - 3) != "COLON"
        name = f" of `{tokens[fault.index - 2]}`" if named else ""
        return Diagnostic("N009", f"the value{name} is missing", fault.gap, "a value belongs after `=`")
    if fault.previous in OPERATORS | {"NOT"} and not (kind in OPERATORS and not at_end):
        what = (
            "candidate"
            if fault.previous == "VBAR"
            else "condition"
            if fault.previous in ("AND", "OR", "NOT")
            else "value"
        )
        place = fault.gap if at_end else fault.place
        return Diagnostic(
            "N009", f"a {what} is missing after `{previous}`", place, f"`{previous}` wants a {what} after it"
        )
    if kind in OPERATORS | {"EQUAL"} and fault.previous in OPERATORS | {"EQUAL"} and not fault.new_line:
        message = f"a value is missing between `{previous}` and `{fault.token}`"
        return Diagnostic("N009", message, tokens.span(fault.index - 1, fault.index))
    if at_end and (fault.new_line or kind not in OPERATORS | {"EQUAL", "COMMA"}):
        return Diagnostic("N009", f"a value is missing after `{previous}`", fault.gap)
    if kind in OPERATORS | {"EQUAL", "COMMA", "FOR"}:
        help_ = None
        if kind == "DOTS" and fault.previous == "LSQB":
            help_ = "write `n[0..2]`, or `n[2..]` for the rest"
        elif kind == "FOR":
            help_ = "a comprehension begins with a value: `f(t) for t in n`"
        return Diagnostic("N009", f"a value is missing before `{fault.token}`", fault.place, help=help_)
    if str(fault.token) in KEYWORDS:
        message = f"`{fault.token}` cannot stand here: a value is missing after `{previous}`"
        return Diagnostic("N009", message, fault.place, f"`{fault.token}` is a keyword")
    return None


def _misplaced_word(fault: Fault) -> Diagnostic | None:
    """Words whose other half is missing, and declarations in the wrong place."""
    kind, place = fault.kind, fault.place
    word = str(fault.token)
    if kind == "FROM" and fault.inside == "file":
        return Diagnostic(
            "N008",
            "imports stand before everything else",
            place,
            help="move this line to the top of the file",
        )
    if kind == "IMPORT":
        return Diagnostic(
            "N009",
            "`from` and a path are missing before `import`",
            place,
            help=_IMPORT,
        )
    if kind == "ELSE":
        if fault.previous in ("RBRACE", "LBRACE") or fault.after_value:
            help_ = "an `else` follows `if … { … }` or `if … then …`"
            return Diagnostic("N008", "this `else` has no `if`", place, help=help_)
    if kind == "THEN":
        return Diagnostic("N008", "this `then` has no `if`", place, help="write `if … then … else …`")
    if kind == "OF":
        return Diagnostic("N008", "this `of` has no `choose`", place, help="write `choose 2 of { … }`")
    if kind == "AS":
        return Diagnostic(
            "N008",
            "`as` stands only in an import",
            place,
            help='write `from "lib/cifar.nas" import sep_conv as sep`',
        )
    if kind == "LBRACE" and fault.previous == "RBRACE":
        return Diagnostic("N009", "`else` is missing before `{`", place, help=mended(place, "else {"))
    if kind == "LBRACE" and fault.wants_value:
        return Diagnostic("N009", "`choose` is missing before `{`", place, help=mended(place, "choose {"))
    if (
        kind in ("OP", "CELL", "SPACE", "INPUT", "FROM")
        and fault.inside == "body"
        and fault.previous in VALUE_ENDS | {"LBRACE"}
    ):
        homes = {
            "OP": "an `op` is defined in a file or a space",
            "CELL": "a `cell` is defined in a file or a space",
            "SPACE": "a `space` is defined in a file",
            "INPUT": "an `input` stands in a space",
            "FROM": "imports stand at the top of the file",
        }
        return Diagnostic("N008", f"`{word}` cannot stand here", place, homes[kind])
    if kind.lower() in STATEMENT_WORDS and fault.inside == "file" and fault.previous in VALUE_ENDS | {END}:
        return Diagnostic(
            "N008",
            f"`{word}` cannot stand at the level of the file",
            place,
            help="a file holds imports, then `space`, `op` and `cell`; a `}` too many may have ended the space above",
        )
    if (
        kind in ("FOR", "IF")
        and fault.after_value
        and fault.inside in ("body", "group")
        and not fault.new_line
    ):
        if kind == "FOR":
            return Diagnostic(
                "N008",
                "a `for` in an expression stands in brackets",
                place,
                help="write `[f(t) for t in n]`, `choose { f(t) for t in n }` or `sum(f(t) for t in n)`",
            )
    return None


def _list_or_index(fault: Fault) -> Diagnostic | None:
    """`n [a, b]`: a list that reads as an index, because the sign before it is missing."""
    tokens, opener = fault.tokens, fault.opener
    if fault.inside == "index" and fault.kind in ("COMMA", "FOR"):
        if (fault.kind == "COMMA" and fault.next == "RSQB") or opener not in tokens.partner:
            return Diagnostic(
                "N001", "an index is a single number", fault.place, help="write `n[i]`, `n[2..5]` or `n[2..]`"
            )
        left, right = tokens[opener - 1], shortened(tokens.span(opener, tokens.partner[opener]))
        message = f"`{left}` and `{right}` stand side by side without an operator"
        place = tokens.span(opener)
        at = Fault(tokens, opener, frozenset())
        if at.stands("FOR", since=("IN",)) is not None:
            return Diagnostic(
                "N009", f"`in` is missing after `{left}`", place, help=mended(_start(place), "in ")
            )
        if at.stands("IF", "REQUIRE", since=("THEN", "IN", "COMPARISON")) is not None:
            message = f"`in` or a comparison is missing after `{left}`"
            return Diagnostic("N009", message, place, help=mended(_start(place), "in "))
        if (opener - 1 == at.head and tokens.kind(opener - 1) == "NAME") or (
            tokens.role(tokens.enclosing[opener]) == "call" and tokens.kind(opener - 2) in ("LPAR", "COMMA")
        ):
            help_ = mended(tokens.after(opener - 1), " =")
        else:
            help_ = f"an operation is applied to a list in round brackets: `{left}({right})`"
        return Diagnostic(
            "N003", message, place, "this reads as an index, which is a single number", help=help_
        )
    bracket = fault.index if fault.kind == "LSQB" else tokens.partner.get(fault.index - 1, -1)
    if fault.kind in ("LSQB", "EQUAL") and tokens.kind(bracket) == "LSQB" and _begins_line(tokens, bracket):
        return Diagnostic(
            "N009",
            "a name is missing before `[`",
            tokens.span(bracket),
            help=mended(_start(tokens.span(bracket)), "n"),
        )
    return None


def _begins_line(tokens: Tokens, index: int) -> bool:
    return tokens.starts_line(index) or tokens.kind(index - 1) == "LBRACE"


def _inside_brackets(fault: Fault) -> Diagnostic | None:
    """A statement word inside round or square brackets, and other things that do not belong there."""
    tokens, kind = fault.tokens, fault.kind
    if (
        kind == "EQUAL"
        and fault.inside == "group"
        and fault.previous == "NAME"
        and fault.next in VALUE_STARTS
    ):
        message = f"the operation that `{tokens[fault.index - 1]}` is a setting of is missing"
        return Diagnostic("N009", message, tokens.span(fault.opener), "a name belongs before this bracket")
    if kind == "EQUAL" and fault.after_value:
        return Diagnostic(
            "N001",
            "`=` cannot stand inside a value",
            fault.place,
            help="`=` gives a name to a value, or a value to a setting; `==` compares",
        )
    if fault.inside in ("body", "file") or fault.opener < 0:
        return None
    note = (Note(tokens.span(fault.opener), "this bracket is open"),)
    if kind == "FOR":
        message = "this `for` cannot stand here"
        help_ = "a comprehension has one value, and stands alone in its brackets: `[f(t) for t in n]`"
        return Diagnostic("N008", message, fault.place, "", note, help_)
    if kind.lower() in STATEMENT_WORDS and kind != "IF":
        message = f"`{fault.token}` cannot stand inside `{tokens[fault.opener]}`"
        return Diagnostic("N008", message, fault.place, "", note)
    return None


def _one_candidate(fault: Fault) -> Diagnostic | None:
    """`| relu` alone."""
    if "VBAR" not in fault.accepts or not fault.after_value:
        return None
    if fault.kind in VALUE_STARTS and (not fault.new_line or _is_label(fault.tokens, fault.index)):
        return None
    bar = fault.stands("VBAR", since=("COMMA", "EQUAL"))
    if bar is None or fault.tokens.kind(bar - 1) in VALUE_ENDS:
        return None
    place = fault.tokens.span(bar)
    return Diagnostic(
        "N009",
        "a choice has two candidates or more",
        place,
        "only one follows",
        help="write `relu | gelu`, or take the `|` out",
    )


def _brackets(fault: Fault) -> Diagnostic | None:
    """A bracket where none belongs."""
    if fault.kind == "RBRACE" and fault.inside == "body":
        return None
    if fault.kind in ("LBRACE", "LSQB", "LPAR") and not fault.wants_value:
        expected = expectation(fault)
        return Diagnostic("N001", f"`{fault.token}` cannot stand here", fault.place, expected)
    return None


def expectation(fault: Fault) -> str:
    """What could have stood there, in a few words; nothing where it could have been almost anything."""
    accepts = set(fault.accepts)
    words: list[str] = []
    if fault.wants_value:
        return "a value belongs here"
    if {"ARROW", "PLUS"} & accepts and len(accepts) > 8:
        words.append("an operator")
        accepts -= OPERATORS | {"LPAR", "LSQB"}
    accepts -= {kind for kind in accepts if kind.lower() in STATEMENT_WORDS}
    words += [_WORDS.get(kind, f"`{kind.lower()}`") for kind in sorted(accepts) if kind != END]
    if not words or len(words) > 4:
        return ""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) + " belongs here"


def _unexpected(fault: Fault) -> Diagnostic:
    place = fault.gap if fault.new_line and fault.wants_value and fault.index else fault.place
    if fault.kind == END:
        return Diagnostic("N009", "the file ends too early", fault.gap, expectation(fault))
    return Diagnostic("N001", f"{fault.text()} cannot stand here", place, expectation(fault))


RULES: tuple[Callable[[Fault], Diagnostic | None], ...] = (
    _foreign_word,
    _twice,
    _keyword_as_name,
    _chained,
    _parameters,
    _misplaced_label,
    _import_parts,
    _choose_parts,
    _loop_parts,
    _if_parts,
    _body_parts,
    _one_candidate,
    _declaration_word,
    _alone,
    _assignment,
    _side_by_side,
    _missing_name,
    _misplaced_word,
    _missing_value,
    _list_or_index,
    _inside_brackets,
    _brackets,
)
