from types import SimpleNamespace
from typing import Any

from torch import nn

from nasdsl.supernet.names import module_names, put


def scope(id: int, label: str, parent: Any) -> Any:
    made = SimpleNamespace(id=id, label=label, parent=parent)
    made.path = lambda: [*(parent.path() if parent else []), made]
    return made


def test_names_follow_the_structure_and_are_unique():
    root = scope(0, "quickstart", None)
    first, second = scope(1, "normal", root), scope(2, "normal", root)
    edge = scope(3, "b.1", first)
    nodes: list[Any] = [
        SimpleNamespace(id=0, scope=root, name=None, operation="conv"),
        SimpleNamespace(id=1, scope=edge, name=None, operation="conv"),
        SimpleNamespace(id=2, scope=edge, name=None, operation="conv"),
        SimpleNamespace(id=3, scope=second, name=None, operation="conv"),
        SimpleNamespace(id=4, scope=root, name=None, operation="half"),
    ]
    names = module_names(nodes)
    assert names == {
        0: "conv",
        1: "normal_1.b_1.conv_1",
        2: "normal_1.b_1.conv_2",
        3: "normal_2.conv",
        4: "half_",
    }
    holder = nn.Module()
    for name in names.values():
        put(holder, name, nn.Linear(1, 1))
    assert "normal_1.b_1.conv_2.weight" in holder.state_dict()
