"""``module:function``: a function of the user's that gives a task, or the arrays of one.

================================================ =============================================================
it returns                                       what becomes of it
================================================ =============================================================
a :class:`~nasdsl.training.tasks.Task`           that task
``(inputs, targets)``                            a test part is cut
``(inputs, targets, test inputs, test targets)`` parts as they are
``{"inputs": …, "targets": …, …}``               the same by name, also ``test_inputs``, ``test_targets``,
                                                 ``validation_inputs``, ``validation_targets`` and ``weights``
================================================ =============================================================

Inputs and targets are an array [N, …], or a dictionary of arrays by the names of the space's inputs and outputs.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasdsl.diagnostics import failure
from nasdsl.diagnostics.foreign import attribute
from nasdsl.training.data.dataset import Array, ArrayData, Examples
from nasdsl.training.tasks import Task

NAME = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")
KEYS = {
    "inputs",
    "targets",
    "test_inputs",
    "test_targets",
    "validation_inputs",
    "validation_targets",
    "weights",
}


def is_name(path: str) -> bool:
    return NAME.fullmatch(path) is not None and not Path(path).exists()


def read(name: str) -> Task | ArrayData:
    """What the function gives. Raises NasError N1013 where it isn't there or gives something else; what it raises itself
    comes through."""
    try:
        found = _function(name)()
    except Exception as error:
        attribute(error, name.partition(":")[0].partition(".")[0])
        raise
    if isinstance(found, Task):
        return found
    if isinstance(found, tuple) and len(found) in (2, 4):
        found = dict(zip(("inputs", "targets", "test_inputs", "test_targets"), found, strict=False))
    if not isinstance(found, Mapping) or not {"inputs", "targets"} <= set(found) <= KEYS:
        raise failure(
            "N1013",
            f"`{name}` returned {_what(found)}",
            "it returns a Task, (inputs, targets), (inputs, targets, test inputs, test targets), or a dictionary of them",
        )
    return ArrayData(
        _examples(name, found, ""),
        _examples(name, found, "test_") if "test_inputs" in found else None,
        _examples(name, found, "validation_") if "validation_inputs" in found else None,
        dict(found.get("weights", {})),
    )


def _function(name: str) -> Callable[[], Any]:
    match = NAME.fullmatch(name)
    assert match is not None
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(match[1])
    except ModuleNotFoundError as error:
        if error.name != match[1].partition(".")[0] and error.name != match[1]:
            raise failure(
                "N1013", f"`{match[1]}` wants the module `{error.name}`, which isn't there"
            ) from None
        raise failure(
            "N1013",
            f"there is no module `{match[1]}`",
            "it is looked for in the working folder and among what is installed",
        ) from None
    function = getattr(module, match[2], None)
    if not callable(function):
        raise failure("N1013", f"`{match[1]}` has no function `{match[2]}`")
    return function


def _examples(name: str, found: Mapping[str, Any], start: str) -> Examples:
    if f"{start}targets" not in found:
        raise failure("N1013", f"`{name}` gives `{start}inputs`, but no `{start}targets`")
    return Examples(_arrays(name, found[f"{start}inputs"], "x"), _arrays(name, found[f"{start}targets"], "y"))


def _arrays(name: str, value: Any, single: str) -> dict[str, Array]:
    by_name = dict(value) if isinstance(value, Mapping) else {single: value}
    arrays = {str(key): np.asarray(array) for key, array in by_name.items()}
    strange = [key for key, array in arrays.items() if array.ndim == 0 or array.dtype.kind not in "iufb"]
    if strange or not arrays:
        what = _what(by_name[strange[0]]) if strange else "nothing"
        raise failure("N1013", f"`{name}` gives {what} where an array of numbers [N, …] is wanted")
    return arrays


def _what(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    if isinstance(value, Mapping):
        return "a dictionary of " + ", ".join(map(str, value))
    return f"`{type(value).__name__}`"
