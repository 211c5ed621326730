"""Networks as files: source code, ONNX and torch programs, each checked against the network.

The package can be called like the function of its name: ``nasdsl.export(network, folder)`` means the same before and
after something below it has been imported.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        from nasdsl.export.export import export

        return export(*args, **options)


sys.modules[__name__].__class__ = _Callable
