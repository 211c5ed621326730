"""Pickle files read without running what is in them.

A pickle can name any function of any module to be called. Here only what rebuilds a plain numpy array is known, and
stands for code of this file; any other name is refused. Lists, numbers, texts and dictionaries need no names.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nasdsl.diagnostics import failure


class _Dtype:
    """A numpy dtype of plain numbers, as it is pickled: a code such as ``u1``, then the byte order."""

    def __init__(self, code: Any, *more: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else str(order)

    def real(self) -> np.dtype[Any]:
        found = np.dtype((self.order if self.order in "<>" else "") + self.code)
        if found.kind not in "iufb":
            raise pickle.UnpicklingError(f"an array of {self.code!r}, not of numbers")
        return found


class _Array:
    """A numpy array, as it is pickled: an empty one, then its state."""

    value: np.ndarray[Any, Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _Dtype):
        raise pickle.UnpicklingError("an array whose numbers are no bytes")
    flat = np.frombuffer(data, dtype.real())
    if math.prod(shape) != len(flat):
        raise pickle.UnpicklingError("an array with more or fewer numbers than its shape says")
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(*about: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, Any]:
    return _array(data, dtype, shape, str(order))


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How Python 3 writes bytes in an old protocol."""
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"the encoding {encoding!r}")
    return str(text).encode("latin1")


class _Type:
    """Stands for ``numpy.ndarray`` where it is only named."""


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): _Type,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it wants to run `{module}.{name}`")
        return KNOWN[module, name]


def read_pickle(path: Path) -> Any:
    """What a pickle file holds: arrays, numbers, texts (as bytes where Python 2 wrote them), lists and dictionaries.

    Raises NasError N1006 where it can't be read, or where it names anything but arrays.
    """
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load())
    except Exception as error:  # a damaged pickle can raise almost anything
        reason = str(error) or type(error).__name__
        raise failure(
            "N1006", f"`{path}` is no pickle of plain arrays: {reason}", "code in it is never run"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {
            key.decode("latin1") if isinstance(key, bytes) else key: _plain(v) for key, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
