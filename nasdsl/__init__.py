"""A language and a compiler for neural architecture search.

    >>> import nasdsl
    >>> space = nasdsl.load("spaces/quickstart.nas")
    >>> space.count()
    1125

From a file to a trained network in files: :func:`load`, :func:`load_data`, :func:`search`, :func:`train`,
:func:`evaluate`, :func:`export`; between them a space's ``sample``, ``network`` and ``describe``, and
:class:`Supernet`. From a torch module to a text: :func:`lift`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasdsl.version import VERSION

if TYPE_CHECKING:
    from nasdsl.diagnostics import NasError
    from nasdsl.pipeline import (
        SearchSpace,
        Trained,
        evaluate,
        export,
        lift,
        load,
        load_data,
        loads,
        search,
        train,
    )
    from nasdsl.space.choice import Genotype
    from nasdsl.supernet import Supernet

__version__ = VERSION

__all__ = [
    "Genotype",
    "NasError",
    "SearchSpace",
    "Supernet",
    "Trained",
    "__version__",
    "evaluate",
    "export",
    "lift",
    "load",
    "load_data",
    "loads",
    "search",
    "train",
]

_WHERE = {
    "NasError": "nasdsl.diagnostics",
    "Genotype": "nasdsl.space.choice",
    "Supernet": "nasdsl.supernet",
}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: `import nasdsl` is quick, and torch comes with the supernet.
    if name not in __all__:
        raise AttributeError(f"module `nasdsl` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(_WHERE.get(name, "nasdsl.pipeline")), name)


def __dir__() -> list[str]:
    return __all__
