"""The house keeps its shape: imports run one way, and what must be light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nasdsl"
TORCH_FREE = ("diagnostics", "space", "language", "operations", "report", "cli")
WITH_TORCH = {"execute.py", "recurrent.py", "torch_code.py"}
"""For those who run networks; nothing else of their package imports them."""
HEAVY = {"torch", "sklearn", "onnx", "onnxruntime", "onnxscript", "scipy"}


def test_imports_run_one_way() -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(cache_dir=None) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("package", TORCH_FREE)
def test_light_packages_import_heavy_things_where_they_are_used(package: str) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        if path.name in WITH_TORCH:
            continue
        for node in _at_import_time(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            )
            heavy = {name.partition(".")[0] for name in names} & HEAVY
            assert not heavy, f"{path}:{node.lineno} imports {heavy} at once"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "quickstart"],
        ["compile", "quickstart"],
        ["compile", "quickstart", "--json"],
        ["compile", "quickstart", "--emit", "tree"],
        ["compile", "quickstart", "--emit", "graph"],
        ["compile", "quickstart", "--emit", "supernet"],
        ["count", "quickstart"],
        ["sample", "quickstart", "-n", "2"],
        ["fmt", "--check", str(PACKAGE.parent / "spaces" / "quickstart.nas")],
        ["explain", "N980"],
    ],
    ids=" ".join,
)
def test_looking_at_a_space_never_loads_torch(arguments: list[str]) -> None:
    program = (
        "import sys; from nasdsl.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"loaded = {sorted(HEAVY)!r}\n"
        "assert not [name for name in loaded if name in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "fmt" in arguments


def _at_import_time(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """Imports that run when the module is loaded: not those of a function, nor those for type checkers."""
    found: list[ast.Import | ast.ImportFrom] = []
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        else:
            stack += ast.iter_child_nodes(node)
    return found
