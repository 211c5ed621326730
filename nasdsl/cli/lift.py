"""``nasdsl lift``: a torch module as a `.nas` file."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasdsl.cli import files
from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.diagnostics.foreign import of_theirs
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape

if TYPE_CHECKING:
    from torch import nn


def command(
    module: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME",
            help="A class of torch modules, a function that makes one, or one: where Python imports it from.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            metavar="SHAPE",
            help="The shape of an input without the batch axis: 3,32,32 or int[T]. Repeatable, in order.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.nas", help="The file to write.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Weights of the module: a state dict, as .safetensors or what torch.save wrote.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="OUT.safetensors",
            help="Also write the module's weights under the names of the lifted network.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Turn a torch module into a `.nas` file that people can put choices into.

    The module's classes become `op`s, equal ones in a row a `repeat`. What is written has been compiled, given the
    module's weights, and computes the same numbers in evaluation mode; otherwise nothing is written, and what the
    language can't say is named.

    Examples:

        nasdsl lift models:ResNet --input 3,32,32 -o resnet.nas
        nasdsl lift models:make_model --input int[T] --checkpoint model.pt -o model.nas --weights model.safetensors
    """
    from nasdsl import pipeline

    shapes = [read_shape(text) for text in inputs]
    made = _module(module)
    if checkpoint is not None:
        _load(made, checkpoint)
    for path in (output, weights):
        if path is not None and not path.parent.is_dir():
            raise failure("N986", f"can't write `{path}`: there is no folder `{path.parent}`")
    lifted = pipeline.lift(made, shapes)
    if weights is not None:
        from safetensors.torch import save

        from nasdsl.training.checkpoint import write_durably

        write_durably(weights, save({n: t.contiguous() for n, t in lifted.network.state_dict().items()}))
    if output is None:
        print(lifted.text, end="")
    else:
        files.write_whole(output, lifted.text)
        params = sum(p.numel() for p in lifted.network.parameters())
        print(
            f"wrote {output}: {params:,} params".replace(",", " ")
            + f", the same numbers as the module (largest difference {lifted.difference:.1e})"
        )
    if weights is not None and output is not None:
        print(f"wrote {weights}: its weights, by the names of the network of {output}")


def read_shape(text: str) -> Shape:
    """A shape as it was typed. Raises NasError N984.

    >>> str(read_shape("3,32,32")), str(read_shape("int[T]"))
    ('[3, 32, 32]', 'int[T]')
    """
    match = re.fullmatch(r"(int)?\s*\[?([^\[\]]*)\]?", text.strip())
    parts = [part.strip() for part in match.group(2).split(",") if part.strip()] if match else []
    if match is None or not all(re.fullmatch(r"[1-9][0-9]{0,8}|[A-Z][A-Z0-9_]*", p) for p in parts):
        raise failure(
            "N984",
            f"--input {text}: this is no shape",
            "write sizes without the batch axis: --input 3,32,32, --input int[T]",
        )
    dims = tuple(int(part) if part.isdigit() else Size.free(part) for part in parts)
    return Shape(dims, "int" if match.group(1) else "float")


def _module(text: str) -> nn.Module:
    """The torch module that a command names. Raises NasError N1088."""
    from torch import nn

    place, colon, name = text.partition(":")
    if not colon or not place or not name:
        raise failure(
            "N1088",
            f"`{text}` names no torch module",
            "write MODULE:NAME, such as models:ResNet for models.py",
        )
    # As `python -m` does it: a file in this folder can be imported.
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(place)
    except Exception as error:
        theirs = None if isinstance(error, ModuleNotFoundError) else of_theirs(error)
        if theirs is not None:
            raise theirs from None
        help = (
            f"name the module, not its file: {place[:-3].replace('/', '.')}:{name}"
            if place.endswith(".py")
            else None
        )
        raise failure("N1088", f"can't import `{place}`: {type(error).__name__}: {error}", help) from None
    finally:
        sys.path.pop(0)
    for part in name.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
            raise failure("N1088", f"`{place}` has no `{name}`", did_you_mean(part, names))
        found = getattr(found, part)
    if isinstance(found, nn.Module):
        return found
    try:
        made = found()
    except Exception as error:
        theirs = of_theirs(error)
        if theirs is not None:
            raise theirs from None
        raise failure(
            "N1088",
            f"`{text}` can't be made without arguments: {type(error).__name__}: {error}",
            "write a function without arguments that returns the module, and name that",
        ) from None
    if not isinstance(made, nn.Module):
        raise failure("N1088", f"`{text}` gives a {type(made).__name__}, and no torch module")
    return made


def _load(module: nn.Module, path: Path) -> None:
    """Puts weights from a file into a module. Raises NasError N1089."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: Any
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise failure("N1089", f"can't read the weights in `{path}`: {str(error).splitlines()[0]}") from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise failure("N1089", f"`{path}` holds no state dict")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise failure(
            "N1089", f"the weights in `{path}` are not this module's: {' '.join(lines[1:3])[:300]}"
        ) from None
