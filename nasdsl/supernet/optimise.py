"""What the compiler does to a plan so that it runs faster or in less memory: one switch each.

Every one gives the outputs and gradients of the plain path, to rounding; ``tests/supernet/test_supernet_optimise.py``
holds them to 1e-12 in float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nasdsl.supernet.compiled import Backend

Fusion = Literal["off", "same", "padded"]


@dataclass(frozen=True)
class Optimisations:
    """The switches of a :class:`~nasdsl.supernet.supernet.Supernet`; those that pay are on.

    ``share``
        Operations without weights that read the same tensors run once: one ReLU, one pool for all edges that leave a
        node (:mod:`nasdsl.supernet.common`).
    ``ride``
        A node's sum is one call with one buffer. Weights of a mixture and gates are the scale of the batch norms in
        front of it, or one dot product with the node's gradient (:mod:`nasdsl.supernet.node`).
    ``in_place``
        A ReLU overwrites what nobody else reads.
    ``kernels``
        On a CPU, batch norms and average pools run as faster compositions of torch's operations
        (:mod:`nasdsl.supernet.kernels`).
    ``cells``
        What a genotype leaves of a cell is worked out once for all its uses (:mod:`nasdsl.supernet.cells`): the same calls
        in a fraction of the time. With ``fuse``, ``recompute`` or ``compile`` plans are made step by step.
    ``fuse``
        Candidates of one kind that read one tensor run as one, with as many times the channels, over all edges that
        leave a node (:mod:`nasdsl.supernet.fuse`): fewer launches of kernels (``benchmarks/launches.py``). ``same``
        joins convolutions of one size of kernel, ``padded`` also smaller ones, with zeros around them, which is more
        arithmetic. It asks for ``ride``, and leaves everything as it is with ``recompute``.
    ``recompute``
        What leads to a node's sum alone is computed again in the backward pass, not kept
        (:mod:`nasdsl.supernet.recompute`): half the memory of a mixture for half as much time again (NAS-Bench-201,
        DARTS, batch 64: 475 MB for 956). It asks for ``ride``, and leaves ReLUs alone.
    ``compile``
        A backend of ``torch.compile``, such as ``inductor``: each candidate is compiled by itself, once, whatever
        paths are run (:mod:`nasdsl.supernet.compiled`). Compiling takes from half a minute to minutes, and on a CPU
        it was measured not to pay; ``cudagraphs`` records each candidate on a GPU, and launches it as one. It makes no
        use of ``kernels`` and ``in_place`` inside a candidate.
    """

    share: bool = True
    ride: bool = True
    in_place: bool = True
    kernels: bool = True
    cells: bool = True
    fuse: Fusion = "off"
    recompute: bool = False
    compile: Backend | None = None

    @property
    def fast_pools(self) -> bool:
        """Whether ``kernels`` hold for pools: they stand inside candidates, and torch 2.11 compiles the backward pass of a
        function of ours into another one."""
        return self.kernels and self.compile is None

    @property
    def plans_cells(self) -> bool:
        return self.cells and self.compile is None and not self.recompute and self.fuse == "off"


PLAIN = Optimisations(share=False, ride=False, in_place=False, kernels=False, cells=False)
"""None of them: the path that they are compared with."""
