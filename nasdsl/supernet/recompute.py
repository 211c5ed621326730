"""What leads to one node's sum alone is computed again in the backward pass, instead of being kept until then.

    a = relu(x)                                     a = relu(x)
    y = w0 · bn(conv3(a)) + w1 · bn(conv1(a))  ──►  y = [ c0 = conv3(a); c1 = conv1(a); w0 · bn(c0) + w1 · bn(c1) ](a)

A segment in brackets is one call, which keeps its inputs and no more (Chen et al., "Training Deep Nets with Sublinear
Memory Cost", 2016). Of a mixture's candidates nothing stays but ReLUs and pools that several nodes share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.space.architecture import SEGMENT, ZEROS, Architecture, Segment, Step, reads
from nasdsl.space.tensor import Shape
from nasdsl.supernet.node import Node, NodeRun


def recompute_segments(architecture: Architecture) -> Architecture:
    """The same architecture with every node, and the steps that only it rests on, as one step."""
    readers: dict[int, list[int]] = {}
    for step in architecture.steps:
        for id in reads(step):
            readers.setdefault(id, []).append(step.id)
    outputs = {id for _, id in architecture.outputs}
    # Backwards: the node that a step leads to alone. Nodes, loops and what is made from nothing are never inside.
    leads_to: dict[int, int] = {}
    for step in reversed(architecture.steps):
        if isinstance(step, Node):
            leads_to[step.id] = step.id
        elif step.operation not in ("input", ZEROS) and step.body is None and step.id not in outputs:
            found = {leads_to.get(reader) for reader in readers.get(step.id, ())}
            (only,) = found if len(found) == 1 else (None,)
            if only is not None:
                leads_to[step.id] = only
    inside: dict[int, list[Step]] = {}
    for step in architecture.steps:
        if step.id in leads_to:
            inside.setdefault(leads_to[step.id], []).append(step)
    shapes = {step.id: step.shape for step in architecture.steps}
    steps: list[Step] = []
    for step in architecture.steps:
        if step.id not in leads_to:
            steps.append(step)
        elif isinstance(step, Node):
            steps.append(_segment(step, inside[step.id], shapes) if len(inside[step.id]) > 1 else step)
    return replace(architecture, steps=tuple(steps))


def _segment(node: Node, steps: list[Step], shapes: Mapping[int, Shape]) -> Segment:
    made = {step.id for step in steps}
    inputs = tuple(dict.fromkeys(id for step in steps for id in step.inputs if id not in made))
    instance = replace(node.instance, inputs=tuple(shapes[id] for id in inputs))
    return Segment(node.id, SEGMENT, instance, inputs, node.scope, node.name, steps=tuple(steps))


def run_segment(
    first: Callable[..., list[Tensor]], node: NodeRun, modules: list[nn.Module]
) -> Callable[..., Tensor]:
    """``first(context, *inputs)`` gives what the node reads; ``modules`` are all that run in the segment."""
    norms = [m for module in modules for m in module.modules() if isinstance(m, _BatchNorm)]

    def run(context: Any, *inputs: Tensor) -> Tensor:
        # The coefficients are made outside, once: what several nodes share is not made again in the backward pass.
        coefficients = node.coefficients(context, inputs[0].device)

        def inside(*given: Tensor) -> Tensor:
            return node.add(coefficients, context, first(context, *given))

        # Running statistics would move twice.
        moves = any(norm.training and norm.track_running_stats for norm in norms)
        if moves or not torch.is_grad_enabled():
            return inside(*inputs)
        from torch.utils.checkpoint import checkpoint

        result: Tensor = checkpoint(inside, *inputs, use_reentrant=False)
        return result

    return run
