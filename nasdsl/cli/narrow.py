"""``nasdsl narrow``: a space with some of its choices fixed, or none, as a file of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import errors, files, networks, options
from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.diagnostics.quantities import grouped

if TYPE_CHECKING:
    from nasdsl.language.narrowing.decisions import Wish
    from nasdsl.space.choice import Choice
    from nasdsl.space.space import Space


def command(
    file: options.FileArgument,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHOICE=LABEL...",
            help="What to fix, or with 'CHOICE=A|B' what to leave. A sub-list is written CHOICE=a,b; CHOICE= takes nothing.",
            show_default=False,
        ),
    ] = None,
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON",
            help="Fix a whole genotype: JSON, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.nas", help="The file to write.", show_default=False),
    ] = None,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Fix choices, or leave them some of their candidates, and write the smaller space as a file that reads like the
    original.

    With every choice fixed, what is written is one architecture; with none, a copy of the space, such as one that ships
    and is to be changed. Nothing is written unless the smaller space compiles and is the original one with these
    choices made. What `--set` changes becomes the default.

    Examples:

        nasdsl narrow quickstart -o mine.nas
        nasdsl narrow darts normal.n[2].0=sep_conv_3x3 -o mine.nas
        nasdsl narrow quickstart 'width=16|24' 'normal.b=skip|conv3x3' -o small.nas
        nasdsl narrow ofa_mobilenetv3 stage#1.repeat.depth=2 stage#2.repeat.depth=2
        nasdsl narrow nasbench201 -g best.json -o best.nas
    """
    from nasdsl import pipeline
    from nasdsl.language.modules import pick_space
    from nasdsl.language.narrowing import Setup, narrow, prepare
    from nasdsl.operations import catalogue

    path = files.find_space(file)
    setup = Setup(catalogue(), options.limits(limits), options.parameters(settings))
    module = pipeline.read(path, setup.limits)
    prepared = prepare(module, pick_space(module, space_name), setup)
    space = prepared.space
    errors.warn(space)
    wishes: dict[str, Wish] = {}
    if genotype is not None:
        wishes.update(space.genotype(networks.read_genotype(genotype)))
    wishes.update(read_assignments(space, assignments or [], wishes))
    found = narrow(prepared, wishes, path if output is None else output)
    if found.flat:
        print(
            "note: the original text can't say this architecture, so it is written tensor by tensor",
            file=sys.stderr,
        )
    if output is None:
        print(found.text, end="")
        return
    files.write_whole(output, found.text, not_over=path)
    count = found.space.count()
    print(f"wrote {output}: {grouped(count)} architecture{'' if count == 1 else 's'}")


def read_assignments(space: Space, assignments: Sequence[str], known: Mapping[str, Wish]) -> dict[str, Wish]:
    """``CHOICE=LABEL`` and ``CHOICE=A|B`` as decisions. Raises NasError (N623) for what is not of that form, or is said twice."""
    found: dict[str, Wish] = {}
    names = {choice.name: choice for choice in space.choices}
    for text in assignments:
        name, label = _split(text, names)
        if name not in names:
            help = did_you_mean(name, names) or "`nasdsl compile` lists the choices"
            raise failure("N801", f"the space `{space.name}` has no choice `{name}`", help)
        taken = _taken(names[name], label)
        before = found.get(name, known.get(name, taken))
        if before != taken:
            raise failure("N623", f"`{name}` is fixed twice: to {_said(before)} and to {_said(taken)}")
        found[name] = taken
    return found


def _split(text: str, names: Mapping[str, object]) -> tuple[str, str]:
    # A name may hold the text of a candidate, which may hold an equals sign.
    places = [i for i, character in enumerate(text) if character == "="]
    if not places:
        raise failure("N623", f"`{text[:80]}` is not of the form CHOICE=LABEL", "for example: width=32")
    for place in reversed(places):
        if text[:place].strip() in names:
            return text[:place].strip(), text[place + 1 :].strip()
    return text[: places[0]].strip(), text[places[0] + 1 :].strip()


def _taken(choice: Choice, label: str) -> Wish:
    from nasdsl.language.narrowing import Kept

    if label not in choice.labels and "|" in label:
        return Kept(tuple(part.strip() for part in label.split("|")))
    if not choice.is_sublist:
        return label
    if label.startswith("["):
        try:
            found = json.loads(label)
        except ValueError:
            found = None
        if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
            raise failure("N623", f"`{label}` is no list of labels", f'write {choice.name}=a,b or ["a", "b"]')
        return tuple(found)
    if label in choice.labels:
        return (label,)
    return tuple(part.strip() for part in label.split(",")) if label else ()


def _said(wish: Wish) -> str:
    if isinstance(wish, str):
        return f"`{wish}`"
    return f"`{','.join(wish)}`" if isinstance(wish, tuple) else f"`{'|'.join(wish.labels)}`"
