"""Partial channels: candidates see a part of the channels, the rest passes by (PC-DARTS, Xu et al., 2020).

A blended choice whose candidates all read one tensor [C, H, W] and give [C, H', W'] is rewritten,

    first, rest = the first C/K channels, the others
    y = shuffle(concat(blend of candidates of `first`, rest))

where ``rest`` is halved by a max pool as often as the candidates halve it, and ``shuffle`` deals the channels out to K
groups. The candidates' weights are the leading slices of those that the supernet stores. Choices that are not of this
kind (numbers of channels that K doesn't divide, candidates of several inputs, choices inside candidates) stay whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from nasdsl.space.architecture import MIX, ZEROS, Architecture, Step, needed
from nasdsl.space.graph import Scope
from nasdsl.space.operation import Catalogue, Instance, ShapeError
from nasdsl.space.tensor import Shape

FIRST = "first channels"
REJOIN = "rejoined channels"


def partial_channels(architecture: Architecture, share: int, catalogue: Catalogue) -> Architecture:
    """A mixture in which choices see one of ``share`` parts of the channels."""
    if share == 1:
        return architecture
    fresh = iter(range(max(step.id for step in architecture.steps) + 1, 10**9))
    steps: list[Step] = []
    for step in architecture.steps:
        made = None
        if step.operation == MIX and step.choice is not None:
            made = _partial(architecture, step, share, catalogue, fresh)
        steps += made or [step]
    return replace(architecture, steps=needed(architecture, steps))


def _partial(
    architecture: Architecture, mix: Step, share: int, catalogue: Catalogue, fresh: Iterator[int]
) -> list[Step] | None:
    """The steps in place of a choice's, or None where it stays whole."""
    inside: set[int] = set()
    entries: set[int] = set()
    stack = list(mix.inputs)
    while stack:
        step = architecture.step(stack.pop())
        if step.operation in ("input", "element", "state") or not _is_within(step.scope, mix.scope):
            entries.add(step.id)
        elif step.id not in inside:
            if step.operation in (MIX, ZEROS, "scan"):
                return None
            inside.add(step.id)
            stack += step.inputs
    if len(entries) != 1:
        return None
    (entry,) = entries
    whole, output = architecture.step(entry).shape, mix.shape
    if not _fits(whole, output, share):
        return None
    channels = int(whole.dims[0])  # type: ignore[arg-type]
    first = replace(
        mix, id=next(fresh), operation=FIRST, inputs=(entry,), weights=(), choice=None, owner=None,
        instance=Instance((whole,), {"channels": channels // share}, _narrow(whole, share)),
    )  # fmt: skip
    made = [first]
    by_id = {entry: first}
    for id in sorted(inside):
        step = architecture.step(id)
        inputs = tuple(by_id[i].id for i in step.inputs)
        shapes = tuple(by_id[i].shape for i in step.inputs)
        settings = dict(step.instance.settings)
        for name in ("channels", "groups"):
            value = settings.get(name)
            if isinstance(value, int) and value > 1:
                if value % share:
                    return None
                settings[name] = value // share
        try:
            shape = catalogue[step.operation].shape(shapes, **settings)
        except ShapeError:
            return None
        instance = Instance(shapes, settings, shape)
        # Its module is that of the step that it narrows.
        owner = step.owner
        if owner is None and catalogue[step.operation].torch(instance).kind == "module":
            owner = id
        narrow = replace(step, id=next(fresh), inputs=inputs, instance=instance, owner=owner)
        made.append(narrow)
        by_id[id] = narrow
    narrow_output = _narrow(output, share)
    if any(by_id[i].shape != narrow_output for i in mix.inputs):
        return None
    inputs = tuple(by_id[i].id for i in mix.inputs)
    blend = replace(
        mix,
        id=next(fresh),
        inputs=inputs,
        instance=Instance(tuple(narrow_output for _ in inputs), {}, narrow_output),
    )
    joined = replace(
        mix, operation=REJOIN, inputs=(blend.id, entry), weights=(), choice=None,
        instance=Instance((narrow_output, whole), {"share": share}, output),
    )  # fmt: skip
    return [*made, blend, joined]


def _fits(whole: Shape, output: Shape, share: int) -> bool:
    if len(whole.dims) != 3 or len(output.dims) != 3 or whole.dims[0] != output.dims[0]:
        return False
    sizes = [*whole.dims, *output.dims]
    if not all(isinstance(size, int) for size in sizes):
        return False
    c, h, w, _, h2, w2 = (int(size) for size in sizes)  # type: ignore[arg-type]
    return c % share == 0 and ((h, w) == (h2, w2) or (h, w) == (2 * h2, 2 * w2))


def _narrow(shape: Shape, share: int) -> Shape:
    channels, *rest = shape.dims
    return Shape((int(channels) // share, *rest), shape.dtype)  # type: ignore[arg-type]


def _is_within(scope: Scope, outer: Scope) -> bool:
    return any(s.id == outer.id for s in scope.path())


def run_of(step: Step) -> Callable[..., Tensor]:
    """What runs a step of this module."""
    if step.operation == FIRST:
        count = step.instance.settings["channels"]
        return lambda x: x[:, :count]
    share = step.instance.settings["share"]

    def rejoin(blended: Tensor, x: Tensor) -> Tensor:
        rest = x[:, blended.shape[1] :]
        if rest.shape[2:] != blended.shape[2:]:
            rest = F.max_pool2d(rest, 2, 2)
        return F.channel_shuffle(torch.cat([blended, rest], 1), share)

    return rejoin
