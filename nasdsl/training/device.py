"""Where it runs and with how many bits: ``--device`` and ``--precision``."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor

from nasdsl.diagnostics import did_you_mean, failure

Precision = Literal["float32", "bfloat16", "float16"]


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:1``. Raises NasError N900 where it isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known = re.fullmatch(r"cpu|cuda(?::([0-9]+))?", name)
    if known is None:
        raise failure(
            "N900",
            f"unknown device `{name}`",
            did_you_mean(name, ["auto", "cpu", "cuda"]) or "one of auto, cpu, cuda",
        )
    if name != "cpu":
        number = known[1]
        if torch.version.cuda is None and not torch.cuda.is_available():
            raise failure(
                "N900",
                f"no CUDA device can be used here: torch {torch.__version__} was built without CUDA",
                "leave `--device` out, or install a torch with CUDA, which is its default on Linux",
            )
        if not torch.cuda.is_available():
            raise failure(
                "N900", "no CUDA device can be used here", "leave `--device` out, or say `--device cpu`"
            )
        if number and int(number) >= torch.cuda.device_count():
            raise failure("N900", f"there is no `{name}`: {torch.cuda.device_count()} CUDA devices are here")
    return torch.device(name)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; nobody waits for what a GPU is doing."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def autocast(device: torch.device, precision: str, *, cache: bool = True) -> AbstractContextManager[object]:
    """The block in which forward passes run: weights stay float32, matrix products take ``precision``. Without
    ``cache`` what weights are rounded to is not kept until the end of the block, which a recorded graph can't do with.

    Raises NasError N900 for an unknown precision, or one that the device can't do.
    """
    if precision == "float32":
        return nullcontext()
    if precision == "float16":
        return torch.autocast(device.type, dtype=torch.float16, cache_enabled=cache)
    if precision != "bfloat16":
        known = ["float32", "bfloat16", "float16"]
        help = did_you_mean(precision, known) or f"one of {', '.join(known)}"
        raise failure("N900", f"unknown precision `{precision}`", help)
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise failure("N900", "this GPU has no bfloat16", "leave `--precision` out")
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=cache)
