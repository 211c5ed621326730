"""The table ``optimise`` of the configuration: what the compiler does for speed and memory, as switches.

None of them changes a result but by rounding; :mod:`nasdsl.supernet.optimise` says what each does.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from nasdsl.diagnostics import NasError, did_you_mean, failure
from nasdsl.supernet.optimise import Fusion, Optimisations
from nasdsl.training.config import Config


class OptimiseSettings(Config):
    """The defaults are those that pay everywhere."""

    share: bool = Field(
        default=True, description="operations without weights that read the same tensors run once"
    )
    ride: bool = Field(
        default=True,
        description="a node's sum is one call with one buffer; weights of a mixture and gates are the scale of the batch norms in front of it",
    )
    in_place: bool = Field(default=True, description="a ReLU overwrites what nobody else reads")
    kernels: bool = Field(
        default=True,
        description="on a CPU, batch norms and average pools run as faster compositions of torch's operations",
    )
    cells: bool = Field(
        default=True,
        description="what a genotype leaves of a cell is worked out once for all its uses: plans are made in a fraction of the time",
    )
    fuse: Fusion = Field(
        default="off",
        description="candidates of one kind that read one tensor run as one, with as many times the channels: fewer kernels to launch; same: convolutions of one size of kernel; padded: smaller ones too, with zeros around; needs ride",
    )
    recompute: bool = Field(
        default=False,
        description="candidates are computed again in the backward pass, not kept: about half the memory of a mixture, half as much time again; needs ride",
    )
    static: Literal["off", "auto", "on"] = Field(
        default="off",
        description="single paths run on one static graph for all genotypes, which a CUDA device records once and launches as one CUDA graph; auto: on a CUDA device, where strategy and space can have it; on: an error where they can't",
    )
    compile: str = Field(
        default="",
        description="a backend of torch.compile, through which each kind of candidate goes once: inductor; cudagraphs, which records each candidate by itself and needs a CUDA device; empty is none",
    )


def switches(settings: OptimiseSettings) -> Optimisations:
    """What a supernet is given."""
    return Optimisations(
        share=settings.share,
        ride=settings.ride,
        in_place=settings.in_place,
        kernels=settings.kernels,
        cells=settings.cells,
        fuse=settings.fuse,
        recompute=settings.recompute,
        compile=settings.compile or None,
    )


def changed(settings: OptimiseSettings) -> dict[str, bool | str]:
    """The switches that are set to something else than their default."""
    usual = OptimiseSettings()
    return {name: value for name, value in settings if value != getattr(usual, name)}


def usable(settings: OptimiseSettings, device: torch.device) -> Optimisations:
    """What a supernet on a device is given. Raises NasError N968 for a backend that isn't there or can't run on the
    device, and for a switch that asks for another."""
    if settings.recompute and not settings.ride:
        raise failure(
            "N968",
            "`optimise.recompute` computes again what leads to a node's sum, which `optimise.ride=false` takes apart",
            "leave `optimise.ride` on",
        )
    if settings.fuse != "off" and not settings.ride:
        raise failure(
            "N968",
            f"`optimise.fuse={settings.fuse}` joins what ends in a node's sum, which `optimise.ride=false` takes apart",
            "leave `optimise.ride` on",
        )
    if settings.fuse != "off" and settings.recompute:
        raise failure(
            "N968",
            f"`optimise.fuse={settings.fuse}` joins candidates of several nodes, and `optimise.recompute` computes again "
            "what one node alone rests on",
            "set one of them",
        )
    backend = settings.compile
    if not backend:
        return switches(settings)
    everyone = torch.compiler.list_backends(exclude_tags=())  # takes seconds, so only where it is asked for
    if backend not in everyone:
        usual = ", ".join(f"`{name}`" for name in torch.compiler.list_backends())
        help = did_you_mean(backend, everyone) or f"there are {usual}; empty is none"
        raise failure("N968", f"`optimise.compile`: torch has no backend `{backend}`", help)
    if backend == "cudagraphs" and device.type != "cuda":
        raise failure(
            "N968",
            f"`optimise.compile=cudagraphs` records what a CUDA device runs, and this search runs on `{device.type}`",
            "`--device cuda` where there is one; `inductor` compiles for a CPU too",
        )
    return switches(settings)


def is_compilers(error: BaseException) -> bool:
    """Whether an exception is one of torch.compile's."""
    return any(
        kind.__module__.startswith(("torch._dynamo", "torch._inductor")) for kind in type(error).__mro__
    )


def not_compiled(settings: OptimiseSettings, error: BaseException) -> NasError:
    """N968 where a backend that is there doesn't work: no C++ compiler, or one that it can't do with."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return failure(
        "N968",
        f"`optimise.compile={settings.compile}` can't compile this space here: {said}",
        "leave `optimise.compile` out; inductor needs a C++ compiler on a CPU, and Triton on a GPU",
    )
