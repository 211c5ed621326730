"""The order of lifting: trace, calls, modules, definitions, text; then the text is compiled, given the module's weights,
and has to compute the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasdsl.diagnostics import Source, failure
from nasdsl.exporting.network import Network, network
from nasdsl.language.format import format_file
from nasdsl.language.parser import parse
from nasdsl.lifting.definitions import define, snake_case
from nasdsl.lifting.scopes import gather
from nasdsl.lifting.trace import BATCH, trace
from nasdsl.lifting.translate import translate
from nasdsl.lifting.weights import match_weights
from nasdsl.lifting.write import RESERVED, write
from nasdsl.operations import catalogue
from nasdsl.space.size import Size
from nasdsl.space.space import Space
from nasdsl.space.tensor import Shape

TOLERANCE = 1e-5
FREE_SIZES = (13, 11)
"""What a free dimension is while the module is traced, and again while the numbers are compared."""


@dataclass(frozen=True)
class Lifted:
    """``text`` is the file; ``network`` its one architecture with the module's weights, which computes the module's
    outputs within ``difference`` (the largest seen, in evaluation mode)."""

    text: str
    space: Space
    network: Network
    difference: float


def lift(
    module: nn.Module, shapes: Sequence[Shape], compile: Callable[[str], Space], *, name: str = ""
) -> Lifted:
    """Turns a torch module into the text of a `.nas` file.

    ``shapes`` are those of its inputs without the batch axis; a dimension may be a free name. ``compile`` makes a space
    of a text. The module is looked at on the CPU and in evaluation mode, and left so.

    Raises NasError: N1085 for what the language can't say, each by name, N1086 where torch can't trace the module,
    N1087 where the lifted network doesn't compute the same numbers.
    """
    names = {str(d) for shape in shapes for d in shape.dims if isinstance(d, Size)}
    if len(names) > 1:
        raise failure("N1086", f"one dimension can be free, and there are {', '.join(sorted(names))}")
    module.to("cpu")
    traced = trace(module, _examples(shapes, FREE_SIZES[0]))
    outputs = translate(traced)
    root = gather(outputs)
    definitions = define(root, catalogue(), frozenset({*RESERVED, *catalogue()}))
    title = type(module).__name__
    free = dict.fromkeys(FREE_SIZES[:1], names.pop()) if names else {}
    unformatted = write(
        root,
        definitions,
        catalogue(),
        name=name or _space_name(title, {d.name for d in definitions.values()}),
        head=f"Lifted from the torch module {title}. Write `a | b` where you want a choice.",
        free=free,
    )
    source = Source("<lifted>", unformatted)
    text = format_file(parse(source), source)
    space = compile(text)
    built = network(space, space.genotype({}))
    weights = match_weights(built.architecture, outputs)
    built.inherit(lambda step: weights.get(step.id, {}))
    built.eval()
    return Lifted(text, space, built, _compare(module, built, shapes))


def _space_name(title: str, taken: set[str]) -> str:
    name = title.lower() if title.isalnum() else snake_case(title)
    return f"{name}_space" if name in taken | RESERVED or not name[0].isalpha() else name


def _examples(shapes: Sequence[Shape], free: int, batch: int = BATCH) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    found = []
    for shape in shapes:
        sizes = [batch, *(free if isinstance(d, Size) else d for d in shape.dims)]
        if shape.dtype == "int":
            # Below any vocabulary worth the name.
            found.append(torch.randint(0, 2, sizes, generator=random))
        else:
            found.append(torch.randn(sizes, generator=random))
    return found


@torch.no_grad()
def _compare(module: nn.Module, built: Network, shapes: Sequence[Shape]) -> float:
    """The largest difference between the two, at several batch sizes and free lengths."""
    largest = 0.0
    for batch, free in ((BATCH, FREE_SIZES[0]), (BATCH + 3, FREE_SIZES[1])):
        inputs = _examples(shapes, free, batch)
        try:
            theirs, ours = module(*inputs), built(*inputs)
        except Exception as error:
            raise failure(
                "N1087", f"the lifted network or the module doesn't run on a batch of {batch}: {error}"
            ) from None
        pairs = zip(_tensors(theirs), _tensors(ours), strict=True)
        for their, our in pairs:
            difference = float((their - our).abs().max())
            scale = max(1.0, float(their.abs().max()))
            if not difference <= TOLERANCE * scale:
                raise failure(
                    "N1087",
                    f"the lifted network differs from `{type(module).__name__}` by {difference:.3g} on a batch of {batch}",
                    "a normalisation with another epsilon than 1e-5, or a step that mixes examples, would do this",
                )
            largest = max(largest, difference)
    return largest


def _tensors(outputs: object) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    assert isinstance(outputs, (tuple, list))
    return [x for x in outputs if isinstance(x, Tensor)]
