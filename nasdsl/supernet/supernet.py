"""The weight-sharing module: it holds each weight once and runs the active nodes of a genotype alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nasdsl.operations.execute import bind, build_module
from nasdsl.operations.recurrent import Dropouts, Scanned, Scanning, States
from nasdsl.space.architecture import Architecture, Step
from nasdsl.space.choice import Genotype, Taken
from nasdsl.space.operation import TorchCall
from nasdsl.space.remembered import Remembered
from nasdsl.space.space import Space
from nasdsl.supernet.batchnorm import Policy, apply_policy, without_affine
from nasdsl.supernet.cells import CellPlanner
from nasdsl.supernet.chance import seeded_with
from nasdsl.supernet.compiled import Compiler
from nasdsl.supernet.elastic import Cut, Sliced
from nasdsl.supernet.gates import GATINGS
from nasdsl.supernet.kernels import fast_pool
from nasdsl.supernet.lowering import lowered
from nasdsl.supernet.mixture import Blend
from nasdsl.supernet.names import module_names, put
from nasdsl.supernet.optimise import Optimisations
from nasdsl.supernet.partial import partial_channels
from nasdsl.supernet.plan import Calling, Context, Plan, Run, make_plan
from nasdsl.supernet.superposition import Join, is_superposed, superposition

Relaxed = Mapping[str, Taken]
"""A genotype, or a relaxed assignment, in which a sub-list may hold more or fewer candidates than the space allows, and
a choice of one a tuple of them (:mod:`nasdsl.supernet.superposition`)."""


class Supernet(nn.Module):
    """Every architecture of a space, with shared weights.

    Weights are stored at their largest size; a sub-network takes slices of them. ``seed`` decides their first values.
    ``affine`` says whether batch norms have scale and offset, ``batch_norm`` whose statistics they use (see
    :mod:`nasdsl.supernet.batchnorm`). ``channels_last`` lays out images and convolutions in that memory format.
    ``optimise`` says what is done for speed and memory; it changes no result (:mod:`nasdsl.supernet.optimise`).

    In ``state_dict`` a weight goes by the uses that it stands in: ``weights.repeat.normal_1.b.conv3x3.conv.weight``.

    A weight that a genotype doesn't use gets no gradient: it stays None, so that optimisers leave the weight alone.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        affine: bool = True,
        batch_norm: Policy = "running",
        channels_last: bool = False,
        plans: int = 1024,
        optimise: Optimisations = Optimisations(),  # noqa: B008
    ) -> None:
        super().__init__()
        self.space = space
        self.affine = affine
        self.batch_norm: Policy = batch_norm
        self.channels_last = channels_last
        self.plans = plans
        self.optimise = optimise
        self._dtype = dtype if dtype is not None else torch.get_default_dtype()
        self.weights = nn.Module()
        self._modules_of: dict[int, nn.Module] = {}
        self._calls_of: dict[int, TorchCall] = {}
        self._small: dict[tuple[int, str], nn.Module] = {}
        self._bound: Remembered[Step, Run] = Remembered()
        self._made: Remembered[Any, Any] = Remembered()
        self._every: list[nn.Module] | None = None
        self._learned: list[nn.Parameter] | None = None
        self._compiler: Compiler | None = None
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        with seeded_with(seed):
            self._build()
        self.to(device=device, dtype=dtype)
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.train()

    def _build(self) -> None:
        owners: dict[int, TorchCall] = {}
        graph, catalogue = self.space.graph, self.space.catalogue
        for node in graph.all_nodes():
            owner = node.id if node.owner is None else node.owner
            if node.operation not in catalogue or owner in owners:
                continue
            operation = catalogue[node.operation]
            if operation.borrows is None:
                call = operation.torch(self.space.largest(owner))
                if call.kind == "module":
                    owners[owner] = call
        names = module_names(graph.node(owner) for owner in owners)
        for owner, call in owners.items():
            module = build_module(call)
            if not self.affine:
                without_affine(module)
            put(self.weights, names[owner], module)
            self._modules_of[owner] = module
        self._calls_of = owners

    @property
    def dtype(self) -> torch.dtype:
        """That of the weights; in a space without weights the one asked for."""
        return next((p.dtype for p in self.weights.parameters()), self._dtype)

    @property
    def has_scans(self) -> bool:
        """Whether any architecture hands on states."""
        return any(node.operation == "scan" for node in self.space.graph.all_nodes())

    # --- running ---------------------------------------------------------------------------------

    def forward(
        self,
        *inputs: Tensor,
        genotype: Relaxed | None = None,
        gates: Mapping[str, Tensor] | None = None,
        gating: str = "multiply",
        mixture: Mapping[str, Tensor] | None = None,
        among: Mapping[str, tuple[int, ...]] | None = None,
        share: int = 1,
        join: Join = "sum",
        states: States | None = None,
        dropouts: Dropouts = Dropouts(),  # noqa: B008
    ) -> Tensor | tuple[Tensor, ...] | tuple[Tensor | tuple[Tensor, ...], Scanned]:
        """The outputs of a genotype's sub-network (one tensor, or a tuple where the space returns several).

        ``inputs`` are [N, …] in the order of the space's inputs. ``gates`` are [K] for some choices of tensors, and
        ``gating`` says how they act on what the taken candidate gives (:mod:`nasdsl.supernet.gates`). A choice
        without a gate, or that doesn't exist in the genotype, is run without. ``join`` says what becomes of the outputs
        of several candidates of a choice of one (:mod:`nasdsl.supernet.superposition`).

        With ``mixture``, the weights [K] of every choice, all candidates run and are blended
        (:mod:`nasdsl.supernet.mixture`); ``among`` says for some choices which candidates run at all, and ``share``
        in one of how many parts of the channels (:mod:`nasdsl.supernet.partial`). There is no genotype then, and no gate. Raises NasError (N506) where candidates can't be blended.

        With ``states``, scans start from them, with zeros where they have none of that scan and size, and the result is
        the outputs with what the scans came to. ``dropouts`` act then (:mod:`nasdsl.operations.recurrent`).
        """
        scanning = None if states is None else Scanning(states, dropouts)
        outputs = self._outputs(inputs, genotype, gates, gating, mixture, among or {}, share, join, scanning)
        return outputs if scanning is None else (outputs, scanning.scanned)

    def _outputs(
        self,
        inputs: tuple[Tensor, ...],
        genotype: Relaxed | None,
        gates: Mapping[str, Tensor] | None,
        gating: str,
        mixture: Mapping[str, Tensor] | None,
        among: Mapping[str, tuple[int, ...]],
        share: int,
        join: Join,
        scanning: Scanning | None,
    ) -> Tensor | tuple[Tensor, ...]:
        if mixture is not None:
            blend = Blend(self.space, mixture, self.dtype)
            return self._run(inputs, self._mixture_plan(among, share), blend=blend, scanning=scanning)
        assert genotype is not None, "either a genotype or a mixture is run"
        # A gradient of ones reaches a gate also where its candidate is absent, so absence has to stay visible.
        plan = self.plan(
            genotype, tuple(gates or ()), keep_absent=bool(gates) and gating == "ones_for_others", join=join
        )
        return self._run(inputs, plan, gates or {}, gating, scanning=scanning)

    def _run(
        self,
        inputs: tuple[Tensor, ...],
        plan: Plan,
        gates: Mapping[str, Tensor] | None = None,
        gating: str = "multiply",
        blend: Blend | None = None,
        scanning: Scanning | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        if self.channels_last:
            inputs = tuple(
                x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
            )
        context = Context(gates or {}, GATINGS[gating](), self.dtype, self.channels_last, blend, scanning)
        outputs = plan(inputs, context)
        return outputs[0] if len(outputs) == 1 else outputs

    def _mixture_plan(self, among: Mapping[str, tuple[int, ...]], share: int = 1) -> Plan:
        key = ("mixture", tuple(sorted(among.items())), share)
        found = self._plans.get(key)
        if found is None:
            blended = partial_channels(self.space.mixture(among), share, self.space.catalogue)
            found = self._keep(key, self._plan(blended))
        return found

    def plan(
        self,
        genotype: Relaxed,
        gated: tuple[str, ...] = (),
        *,
        keep_absent: bool = False,
        join: Join = "sum",
    ) -> Plan:
        """The calls of a genotype, from the cache where it was run lately."""
        text = genotype.text if isinstance(genotype, Genotype) else Genotype(genotype).text
        key = (text, gated, keep_absent, join)
        found = self._plans.get(key)
        if found is None:
            if self._cells is not None and not is_superposed(self.space, genotype):
                found = self._cells.plan(genotype, gated, keep_absent)
                if found is not None:
                    return self._keep(key, found)
            architecture = self.architecture(genotype, gated, keep_absent=keep_absent, join=join)
            return self._keep(key, self._plan(architecture))
        self._plans.move_to_end(key)
        return found

    @cached_property
    def _cells(self) -> CellPlanner | None:
        if not self.optimise.plans_cells:
            return None
        found = CellPlanner(self.space, self.optimise, self._bind, self._rides)
        return found if found.uses else None

    def _plan(self, architecture: Architecture) -> Plan:
        return make_plan(self._lowered(architecture), self._bind, self._calling, self._made)

    def _lowered(self, architecture: Architecture) -> Architecture:
        """The architecture after the passes that are switched on."""
        return lowered(
            architecture, self.space.catalogue, self.optimise, self._rides, self._compiles, self._made
        )

    @property
    def _calling(self) -> Calling:
        if self.optimise.compile is not None and self._compiler is None:
            self._compiler = Compiler(self.optimise.compile)
        return Calling(self.optimise.kernels, self._compiler)

    def _compiles(self, step: Step) -> bool:
        """Whether a step is an operation with weights of its stored size, or without any."""
        if (
            step.operation not in self.space.catalogue
            or self.space.catalogue[step.operation].borrows is not None
        ):
            return False
        return not isinstance(self._bind(step), Sliced)

    def _rides(self, step: Step) -> bool:
        """Whether a step is a batch norm of its stored size, whose scale may carry a coefficient."""
        return step.operation in self.space.catalogue and isinstance(self._bind(step), _BatchNorm)

    def _keep(self, key: tuple[Any, ...], plan: Plan) -> Plan:
        self._plans[key] = plan
        if len(self._plans) > self.plans:
            self._plans.popitem(last=False)
        return plan

    def architecture(
        self,
        genotype: Relaxed,
        gated: tuple[str, ...] = (),
        *,
        keep_absent: bool = False,
        join: Join = "sum",
    ) -> Architecture:
        if is_superposed(self.space, genotype):
            return superposition(self.space, genotype, join)
        return self.space.architecture(genotype, gated=gated, keep_absent=keep_absent)

    def stored(self) -> list[nn.Module]:
        """The modules that hold the weights."""
        return list(self._modules_of.values())

    def active(self, genotype: Relaxed) -> list[nn.Module]:
        """The stored modules that a genotype uses."""
        owners: set[int] = set()

        def collect(steps: Sequence[Step]) -> None:
            for step in steps:
                if step.owner is not None:
                    owners.add(step.owner)
                if step.body is not None:
                    collect(step.body.steps)

        collect(self.architecture(genotype).steps)
        return [self._modules_of[owner] for owner in sorted(owners)]

    def _bind(self, step: Step) -> Run:
        """What runs a step."""
        found = self._bound.get(step)
        return self._bound.keep(step, self._bind_anew(step)) if found is None else found

    def _bind_anew(self, step: Step) -> Run:
        operation = self.space.catalogue[step.operation]
        call = operation.torch(step.instance)
        if operation.borrows is not None:
            return self._borrow(step, bind(call))
        if call.kind != "module":
            return fast_pool(call, bind(call)) if self.optimise.fast_pools else bind(call)
        owner = step.id if step.owner is None else step.owner
        module = self._modules_of[owner]
        if call == self._calls_of[owner]:
            return module
        slices = operation.slices(self.space.largest(owner), step.instance) if _has_tensors(module) else {}
        return Sliced(module, self._small_module(owner, call), slices)

    def _small_module(self, owner: int, call: TorchCall) -> nn.Module:
        key = (owner, repr(call))
        found = self._small.get(key)
        if found is None:
            found = build_module(call, device="meta")
            if not self.affine:
                without_affine(found)
            self._small[key] = found
        return found

    def _borrow(self, step: Step, function: Run) -> Run:
        """Reads a parameter of another use: ``unembed`` an embedding's."""
        operation = self.space.catalogue[step.operation]
        assert step.owner is not None and operation.borrows is not None
        module, name = self._modules_of[step.owner], operation.borrows
        full = self.space.largest(step.id)
        if operation.torch(step.instance) == operation.torch(full) and step.instance.inputs == full.inputs:
            return lambda *inputs: function(*inputs, module.get_parameter(name))
        cut = Cut(operation.slices(full, step.instance)[name])
        return lambda *inputs: function(*inputs, cut.take(module.get_parameter(name)))

    # --- weights ---------------------------------------------------------------------------------

    def weights_of(self, step: Step) -> dict[str, Tensor]:
        """The tensors that a step of an architecture uses, at their active size, under the names that its own module
        has for them: parameters and buffers, views where slices allow it. Empty where it has none.

        Where batch norms have no affine part here, a scale of ones and an offset of zeros stand in.
        """
        operation = self.space.catalogue.get(step.operation)
        if operation is None or operation.borrows is not None:
            return {}
        owner = step.id if step.owner is None else step.owner
        module = self._modules_of.get(owner)
        if module is None:
            return {}
        run = self._bind(step)
        tensors: dict[str, Tensor]
        if isinstance(run, Sliced):
            tensors = run.tensors()
        else:
            tensors = dict([*module.named_parameters(), *module.named_buffers()])
        if isinstance(module, _BatchNorm) and "weight" not in tensors:
            tensors["weight"] = torch.ones_like(tensors["running_mean"])
            tensors["bias"] = torch.zeros_like(tensors["running_mean"])
        return {name: tensor.detach() for name, tensor in tensors.items()}

    def half_squared_norm(self, genotype: Relaxed) -> Tensor:
        """½Σw² over the parameters that a genotype uses, at their active size, with gradients."""
        used: dict[int, list[Tensor]] = {}
        for run in self.plan(genotype).runs:
            if isinstance(run, Sliced):
                full, taken = run.full, run.tensors()
                tensors = [taken[name] for name, _ in full.named_parameters()]
            elif isinstance(run, nn.Module):
                full, tensors = run, list(run.parameters())
            else:
                continue
            # A weight that is used at several sizes counts once, at the largest.
            before = used.get(id(full))
            if before is None or sum(t.numel() for t in before) < sum(t.numel() for t in tensors):
                used[id(full)] = tensors
        total = torch.zeros((), device=next((p.device for p in self.parameters()), None))
        for tensors in used.values():
            for tensor in tensors:
                total = total + 0.5 * tensor.square().sum()
        return total

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """No weight wants a gradient inside the block: for passes that only move architecture parameters."""
        # Remembered: to walk over some thousand modules takes milliseconds, and a search freezes at each step.
        if self._learned is None:
            own = (p for module in self._all() for p in module._parameters.values())
            self._learned = [p for p in own if p is not None]
        wanted = [p for p in self._learned if p.requires_grad]
        for parameter in wanted:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)

    # --- batch norm ------------------------------------------------------------------------------

    def use_batch_norm(self, policy: Policy) -> None:
        """From now on batch norms use the statistics of the batch, or the running ones when evaluating."""
        self.batch_norm = policy
        self.train(self.training)

    def train(self, mode: bool = True) -> Supernet:
        # A search switches twice a step, and `nn.Module.train` takes milliseconds over some thousand modules.
        for module in self._all():
            if module is self or type(module).train is nn.Module.train:
                module.__dict__["training"] = mode
            else:
                module.train(mode)
        apply_policy(self._all(), self.batch_norm)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Supernet:
        self._learned = None  # on another device they may be others
        super()._apply(fn, recurse)
        return self

    def _all(self) -> list[nn.Module]:
        if self._every is None:
            self._every = list(self.modules())
        return self._every

    def __getstate__(self) -> dict[str, Any]:
        # Plans are bound to this object's modules: a copy makes its own.
        state = self.__dict__ | {"_plans": OrderedDict(), "_every": None, "_learned": None, "_compiler": None}
        state.pop("_cells", None)
        return state


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
