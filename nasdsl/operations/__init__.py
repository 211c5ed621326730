"""The primitive operations: signature, shape rule, cost, torch module and source code of each in one place.

Every file of this folder holds one idea; the operations that it defines are in the catalogue, and so under the
contract tests, without being listed anywhere. Packages add operations by entry points of the group
``nasdsl.operations``, each an :class:`~nasdsl.space.operation.Operation` or a class of one.

Importing this package doesn't import torch: ``execute.py``, ``recurrent.py`` and ``torch_code.py`` are for
those who run networks.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules

from nasdsl.diagnostics import Diagnostic, failure
from nasdsl.space.operation import Catalogue, Operation

__all__ = ["catalogue", "shipped"]

GROUP = "nasdsl.operations"
_WITH_TORCH = {"execute", "recurrent", "torch_code"}


def catalogue(plugins: bool = True) -> Catalogue:
    """All operations that ship and, with ``plugins``, those of installed packages.

    What can't be loaded, or is no operation, is kept in ``unusable``: it matters to a space that names it. Raises NasError
    (N902) where a package brings a name that is taken.
    """
    found = Catalogue(list(shipped()))
    if plugins:
        for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
            _plug_in(found, entry)
    return found


def shipped() -> Iterator[Operation]:
    """One of each operation that is defined in this folder, file by file."""
    for module in iter_modules(__path__):
        if module.name in _WITH_TORCH:
            continue
        members = vars(import_module(f"{__name__}.{module.name}"))
        for member in members.values():
            # Classes without a name of their own are there to be inherited from.
            if (
                inspect.isclass(member)
                and issubclass(member, Operation)
                and member.__module__ == f"{__name__}.{module.name}"
                and "name" in vars(member)
            ):
                yield member()


def _plug_in(found: Catalogue, entry: EntryPoint) -> None:
    origin = f"the plug-in `{entry.name} = {entry.value}`"
    try:
        loaded = entry.load()
        operation = loaded() if inspect.isclass(loaded) else loaded
    except Exception as error:
        # Whatever a foreign package raises, the person at the keyboard needs to know which one it was.
        why = f"{origin} can't be loaded: {type(error).__name__}: {error}"
        found.unusable[entry.name] = Diagnostic("N902", why, help="mend or uninstall its package")
        return
    if not isinstance(operation, Operation):
        why = f"{origin} is no operation: it gives a {type(operation).__name__}"
        found.unusable[entry.name] = Diagnostic("N902", why, help="mend or uninstall its package")
        return
    try:
        found.add(operation)
    except ValueError as error:
        raise failure(
            "N902", f"{origin} clashes: {error}", help="rename the operation or uninstall its package"
        ) from error
