"""``nasdsl show``: a picture of a space, or of one architecture within it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.cli import files, networks, options
from nasdsl.cli.spaces import load_space
from nasdsl.diagnostics import failure

if TYPE_CHECKING:
    from nasdsl.report.drawing import Picture


class Format(StrEnum):
    """What a picture is written as."""

    SVG = "svg"
    HTML = "html"
    DOT = "dot"
    MERMAID = "mermaid"


SUFFIXES = {
    ".svg": Format.SVG,
    ".html": Format.HTML,
    ".htm": Format.HTML,
    ".dot": Format.DOT,
    ".gv": Format.DOT,
    ".mmd": Format.MERMAID,
    ".mermaid": Format.MERMAID,
}


def command(
    file: options.FileArgument,
    genotype: Annotated[
        str | None,
        typer.Option(
            "-g",
            "--genotype",
            metavar="JSON",
            help="Show this architecture within its space: JSON, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="What to write: a picture, a page, or text for Graphviz or Mermaid. Else -o tells.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="The file to write.", show_default=False),
    ] = None,
    settings: options.SetOption = None,
    space_name: options.SpaceOption = None,
    limits: options.LimitOption = None,
) -> None:
    """Draw a space: its network, each cell once, and its choices as choices.

    Prints the picture, or writes it with -o. The HTML page is as large as the picture, so that a screenshot of it is a
    PNG. With a genotype, what the architecture took stands out.

    Examples:

        nasdsl show darts -o darts.svg
        nasdsl show mine.nas -g best.json -o best.svg
        nasdsl show quickstart --format mermaid
    """
    from nasdsl.report.drawing_panels import picture_of

    path = files.find_space(file)
    form = form or _of_suffix(output)
    space = load_space(file, settings, space_name, limits)
    found = None if genotype is None else space.genotype(networks.read_genotype(genotype))
    text = written(picture_of(space, found), form)
    if output is None:
        print(text, end="")
        return
    files.write_whole(output, text, not_over=path)
    print(f"wrote {output}")


def written(picture: Picture, form: Format) -> str:
    """The picture in a format."""
    from nasdsl.report import drawing_graph, drawing_svg

    writers = {
        Format.SVG: drawing_svg.svg,
        Format.HTML: drawing_svg.html,
        Format.DOT: drawing_graph.dot,
        Format.MERMAID: drawing_graph.mermaid,
    }
    return writers[form](picture)


def _of_suffix(output: Path | None) -> Format:
    if output is None or not output.suffix:
        return Format.SVG
    found = SUFFIXES.get(output.suffix.lower())
    if found is None:
        known = ", ".join(dict.fromkeys(SUFFIXES))
        help = f"name one with --format, or end the file in one of {known}"
        if output.suffix.lower() == ".png":
            help = "write a .html page and take a browser's screenshot, or turn a .svg into a PNG"
        raise failure("N631", f"no picture is written as `{output.suffix}`", help=help)
    return found
