"""Names of the stored weights: the author's structure, so that a checkpoint can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from nasdsl.space.graph import Node


def module_names(nodes: Iterable[Node]) -> dict[int, str]:
    """A name for each node: the labels of the uses that it stands in, then its operation, joined by dots.

    Equal names under one parent are numbered from 1: ``repeat.normal_2.b.conv3x3.conv``.
    """
    nodes = list(nodes)
    labels: dict[int, str] = {}  # of scopes and, negated, of nodes
    siblings: dict[int, dict[int, str]] = {}
    for node in nodes:
        path = [scope for scope in node.scope.path() if scope.parent is not None]
        for scope in path:
            assert scope.parent is not None
            siblings.setdefault(scope.parent.id, {})[scope.id] = _plain(scope.label)
        parent = node.scope.id
        siblings.setdefault(parent, {})[-1 - node.id] = _plain(node.name or node.operation)
    for group in siblings.values():
        total = Counter(group.values())
        seen: Counter[str] = Counter()
        taken: set[str] = set(total)
        for key, label in group.items():
            if total[label] > 1:
                seen[label] += 1
                while f"{label}_{seen[label]}" in taken:
                    seen[label] += 1
                label = f"{label}_{seen[label]}"
                taken.add(label)
            labels[key] = label
    return {
        node.id: ".".join(
            [labels[s.id] for s in node.scope.path() if s.parent is not None] + [labels[-1 - node.id]]
        )
        for node in nodes
    }


def put(root: nn.Module, name: str, module: nn.Module) -> None:
    """Registers a module under a dotted name, making the modules in between."""
    *path, last = name.split(".")
    holder = root
    for part in path:
        if part not in holder._modules:
            holder.add_module(part, nn.Module())
        holder = holder.get_submodule(part)
    holder.add_module(last, module)


def _plain(label: str) -> str:
    """A label as torch takes it: no dots, and nothing that a module already has (a cell may be called ``half``)."""
    label = label.replace(".", "_") or "_"
    return label + "_" if hasattr(nn.Module(), label) else label
