"""Writes the pages of the manual that follow from the program: the catalogue of operations and the diagnostics.

    python docs/generate.py            # writes docs/operations.md and docs/diagnostics.md
    python docs/generate.py --check    # says whether they are up to date, and writes nothing

What they say is written where it belongs: an operation's words in its class, a diagnostic's in ``nasdsl/cli/codes.toml``.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from nasdsl import pipeline
from nasdsl.cli.explain import Explanation, explanations
from nasdsl.diagnostics import Diagnostic, NasError, Severity, render
from nasdsl.diagnostics.quantities import grouped
from nasdsl.operations import shipped
from nasdsl.operations.example import Example, decide
from nasdsl.space.operation import REQUIRED, Instance, Operation, Setting, TorchCall

DOCS = Path(__file__).parent
GENERATED = "<!-- Written by docs/generate.py: change what it reads, not this page. -->\n"


class Form(NamedTuple):
    """A form of the language that reads like an operation. ``example`` stands in a space with `image` and `tokens`."""

    signature: str
    words: str
    example: str


FORMS = {
    "repeat": Form(
        "repeat(f, depth≈)",
        "`f` after `f`, `depth` times, each copy with its own weights and choices. A chosen depth keeps the first "
        "copies; 0 is the identity.",
        "return image -> conv(16, kernel = 3) -> repeat(relu -> conv(kernel = 3), 1|2|3)",
    ),
    "chain": Form(
        "chain(operations)",
        "One operation of a list after the other.",
        "return image -> chain(conv(w, kernel = 3, stride = 2) -> relu for w in [16, 32, 64])",
    ),
    "scan": Form(
        "scan(f, state)",
        "Runs `f` along the first axis. `f` takes an element and a state and gives a new state, or an output and a new "
        "state: `(x, h) -> h` or `(x, h) -> (y, h)`. `state` is the state's shape, several states a list of shapes; "
        "they start at zero. The result holds the outputs, one after the other.",
        "op rnn(x: [D], h: [H]) = tanh(linear(H)(x) + linear(H)(h))\n"
        "return tokens -> embedding(100, 32) -> scan(rnn, state = [64]) -> linear(100)",
    ),
    "unused": Form(
        "unused(list)",
        "The tensors of a list that no earlier use in the same body reads: the loose ends. Which they are may depend "
        "on what is chosen.",
        "n = [image]\nfor i in 1..3 { n[i] = choose { conv(8, kernel = 3)(t) for t in n } }\n"
        "return sum([conv(4, kernel = 1)(t) for t in unused(n)])",
    ),
    "len": Form(
        "len(list)",
        "How many elements a list has. Of a sub-list (`choose any of …`) it is a number that rests on the choice.",
        "some = choose any of { relu(image), tanh(image), gelu(image) }\nrequire len(some) >= 2\nreturn sum(some)",
    ),
    "min": Form(
        "min(numbers)",
        "The smallest of several numbers or of a list of numbers; `max` the largest. They may rest on choices.",
        "width = 16 | 32\nreturn image -> conv(min(width, 24), kernel = 3) -> conv(max(width, 24), kernel = 3)",
    ),
    "round": Form(
        "round(number)",
        "The nearest whole number, halves away from zero.",
        "return image -> conv(round(0.3 * 64), kernel = 3)",
    ),
    "count": Form(
        "count(label)",
        "Inside `require`: how many choices of an architecture took the candidate of this label, a cell's choice once.",
        "op edge = none: zero | skip: identity | conv: conv(kernel = 3)\n"
        'y = edge(image) + edge(image) + edge(image)\nrequire count("none") <= 1\nreturn y',
    ),
}  # fmt: skip


# --- operations.md ------------------------------------------------------------------------------------


def operations_page() -> str:
    """The catalogue, section by section."""
    found = [operation for operation in shipped() if not operation.internal]
    sections = list(dict.fromkeys(operation.section for operation in found))
    order = ["convolution", "dense", "pooling, size", "normalisation", "activation", "tokens", "structure"]
    sections.sort(key=lambda section: (order.index(section) if section in order else len(order), section))
    parts = [GENERATED, OPERATIONS_HEAD]
    for section in sections:
        parts.append(f"## {section.capitalize()}\n")
        for operation in (o for o in found if o.section == section):
            parts.append("\n".join(_operation(operation)))
    parts.append("## Forms\n\nThese read like operations; the language itself knows them.\n")
    for form in FORMS.values():
        parts.append(
            f"### `{form.signature}`\n\n{_wrapped(form.words)}\n\n```nas body\n{form.example}\n```\n"
        )
    internal = [o for o in shipped() if o.internal]
    parts.append("## Arithmetic\n\nWhat `a - b`, `2 * x` and the like become. It is not called by name.\n")
    rows = [f"| `{o.name}` | {_mark(o)} | {o.summary} |" for o in internal]
    parts.append("| in a graph | | meaning |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


OPERATIONS_HEAD = """\
# The catalogue of operations

The operations that come with the language. `C`, `D` are the channels and features of the input.

- **≈** marks a setting that may be chosen (`kernel = 3|5`): one weight is stored at the largest size and sliced.
- **∅** marks an operation that passes absence on: where its input is `zero`, so is its output. The others get a tensor
  of zeros.
- A setting with `= …` has a default; the others must be given. Settings may be given in order or by name.
- Shapes are without the batch axis. Params are counted as torch counts them, FLOPs are multiply-adds for one example.
- The last column is what torch runs. A function or module without a dot in its name (`one_hot`, `Attention`) is a few
  lines in `nasdsl/operations/torch_code.py`, which exported code takes along.

An installed package adds operations of its own: see [CONTRIBUTING](../CONTRIBUTING.md).
"""


def _mark(operation: Operation) -> str:
    return "∅" if operation.passes_absence else ""


def _operation(operation: Operation) -> Iterator[str]:
    yield f"### `{signature(operation)}`{' ∅' if operation.passes_absence else ''}\n"
    words = _plain_words(inspect.getdoc(type(operation)) or "")
    if not words.lower().startswith(operation.summary.lower()):
        yield _sentence(operation.summary) + "\n"
    yield words + "\n"
    yield "| call | on | gives | params | FLOPs | in torch |"
    yield "| --- | --- | --- | ---: | ---: | --- |"
    seen: set[tuple[Any, ...]] = set()
    for example in getattr(operation, "examples", ()):
        if "divisor" in example.settings:  # filled when an architecture is decided
            continue
        row = _row(operation, example)
        if row not in seen:
            seen.add(row)
            yield "| " + " | ".join(row) + " |"
    yield ""


def _sentence(summary: str) -> str:
    first = summary.split()[0]
    is_word = first.replace("-", "").isalpha() and first != "x"
    return f"{summary[0].upper() if is_word else summary[0]}{summary[1:]}."


def _row(operation: Operation, example: Example) -> tuple[str, ...]:
    instance = decide(operation, example.inputs, **example.settings)
    cost = operation.cost(instance)
    on = ", ".join(f"`{shape}`" for shape in example.inputs)
    call = operation.torch(instance)
    return (
        f"`{_call(operation, example)}`", on, f"`{instance.output}`", _number(cost.params), _number(cost.flops),
        f"`{torch_text(call, instance, operation.borrows)}`",
    )  # fmt: skip


def _number(value: Any) -> str:
    if value == 0:
        return ""
    return grouped(value) if isinstance(value, int) else str(value)


def _call(operation: Operation, example: Example) -> str:
    if operation.borrows is not None:
        return f"{operation.name}(words)"
    shown = [s for s in operation.settings if s.name in example.settings]
    if operation.variadic:
        tensors = ", ".join(_letters(len(example.inputs)))
        rest = "".join(f", {s.name} = {_text(example.settings[s.name])}" for s in shown)
        return f"{operation.name}([{tensors}]{rest})"
    if not shown:
        return operation.name
    first = operation.settings[0]
    given = [
        _text(example.settings[s.name]) if s is first else f"{s.name} = {_text(example.settings[s.name])}"
        for s in shown
    ]
    return f"{operation.name}({', '.join(given)})"


def signature(operation: Operation) -> str:
    """``conv(channels≈ = C, kernel≈, stride = 1, …)``."""
    if operation.name == "unembed":
        return "unembed(embedding)"  # the language fills its settings from the embedding
    given = [_setting(s) for s in operation.settings if not (s.name == "divisor" and s.default is None)]
    if operation.variadic:
        given = ["list", *given]
    return f"{operation.name}({', '.join(given)})" if given else operation.name


def _setting(setting: Setting) -> str:
    name = setting.name + ("≈" if setting.elastic else "")
    return name if setting.default is REQUIRED else f"{name} = {_text(setting.default)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Fraction):
        return str(float(value)) if Fraction(str(float(value))) == value else str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)


def torch_text(call: TorchCall, instance: Instance, borrows: str | None = None) -> str:
    """How torch computes it, as one would write it."""
    inputs = _letters(len(instance.inputs))
    if borrows is not None:
        inputs.append(f"words.{borrows}")
    arguments = [*map(_python, call.args), *(f"{k}={_python(v)}" for k, v in call.kwargs.items())]
    if call.kind == "operator":
        if call.number_at is not None:
            inputs = (
                [_python(call.args[0]), *inputs]
                if call.number_at == "left"
                else [*inputs, _python(call.args[0])]
            )
        return f" {call.target} ".join(inputs)
    if call.kind == "module":
        return f"{call.target}({', '.join(arguments)})"
    if call.kind == "method":
        return f"x.{call.target}({', '.join(arguments)})"
    if call.listed:
        inputs = [f"[{', '.join(inputs)}]"]
    return f"{call.target}({', '.join([*inputs, *arguments])})"


def _letters(n: int) -> list[str]:
    return ["x"] if n == 1 else [chr(ord("a") + i) for i in range(n)]


def _python(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(float(value))
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_python, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value)


def _plain_words(text: str) -> str:
    """A docstring in Markdown."""
    return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", text.replace("``", "`"))


def _wrapped(text: str, width: int = 120) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return "\n".join(lines)


# --- diagnostics.md -----------------------------------------------------------------------------------

STAGES = {
    "N0": "The text",
    "N1": "Names",
    "N2": "Kinds and arguments",
    "N3": "Shapes",
    "N4": "Choices",
    "N5": "Constraints",
    "N6": "Files and bounds",
    "N7": "Lints",
    "N8": "Genotypes",
    "N9": "Tasks, devices, runs, files and options",
    "N10": "Data, training, processes, exports and lifting",
}
"""By the code without its last two digits."""

DIAGNOSTICS_HEAD = """\
# Diagnostics

A page a code. `nasdsl explain N301` prints the same in a terminal; `nasdsl explain` lists the codes. Errors of a file
come several a run, each with its place and, where there is one, the text as it should be.
"""


def diagnostics_page() -> str:
    """A section a code, with what nasdsl says about the example that fails."""
    known = explanations()
    parts = [GENERATED, DIAGNOSTICS_HEAD]
    for prefix, title in STAGES.items():
        entries = [entry for entry in known.values() if entry.code[:-2] == prefix]
        rows = [f"| [{entry.code}](#{entry.code.lower()}) | {entry.title} |" for entry in entries]
        if rows:
            parts.append(f"**{title}**\n\n| code | |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    for prefix, title in STAGES.items():
        entries = [entry for entry in known.values() if entry.code[:-2] == prefix]
        if entries:
            parts.append(f"## {title}\n")
            parts += ["\n".join(_diagnostic(entry)) for entry in entries]
    return "\n".join(parts)


def _diagnostic(entry: Explanation) -> Iterator[str]:
    yield f"### {entry.code}\n\n**{entry.title[0].upper()}{entry.title[1:]}**\n"
    yield entry.text.strip() + "\n"
    language = "sh" if entry.command else "nas"
    if entry.fails:
        yield f"This fails:\n\n```{language}\n{entry.fails.strip()}\n```\n"
        if not entry.command:
            said = "\n\n".join(render(d) for d in said_of(entry.fails))
            yield f"```text\n{said}\n```\n"
    if entry.passes:
        head = "This passes:" if entry.fails else "To try:"
        yield f"{head}\n\n```{language}\n{entry.passes.strip()}\n```\n"


def said_of(text: str) -> list[Diagnostic]:
    """The errors of a text or, where it compiles, its warnings."""
    try:
        return list(pipeline.loads(text.strip("\n"), path="mine.nas").warnings)
    except NasError as fault:
        return [d for d in fault.diagnostics if d.severity is Severity.ERROR]


# ------------------------------------------------------------------------------------------------------

PAGES: dict[str, Callable[[], str]] = {"operations.md": operations_page, "diagnostics.md": diagnostics_page}


def main() -> int:
    stale = []
    for name, page in PAGES.items():
        text = page()
        path = DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"docs/{name} {'is out of date' if '--check' in sys.argv else 'written'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
