"""The switch ``optimise.static``: single paths run on one static graph, which a CUDA device records and launches whole.

    minibatch, one-hot genotype ──copied in──► [ forward, loss, backward ] ──► loss, metric, gradients in fixed buffers

Everything else stays as it is. The host knows the genotype, so it knows which weights a pass has used: these have a
buffer as their gradient, the others none, as the optimiser wants it. In an architecture pass the loss and its gradient
for the gates come out, and the strategy's own graph goes on from there. On a CPU the same code runs unrecorded.

A pass with several candidates of a choice at once, a mixture, gates that multiply, a teacher or a penalty runs as ever.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from nasdsl.diagnostics import failure
from nasdsl.searching.optimise import OptimiseSettings
from nasdsl.searching.settings import SearchSettings
from nasdsl.searching.strategy import Path, WeightSharing
from nasdsl.space.choice import Genotype
from nasdsl.space.space import Space
from nasdsl.supernet import Supernet
from nasdsl.supernet.batchnorm import Policy
from nasdsl.supernet.graphs import Captured, Pool
from nasdsl.supernet.static import StaticSupernet, obstacle, one_hot, positions_taken
from nasdsl.supernet.superposition import is_superposed
from nasdsl.training.device import autocast, sent
from nasdsl.training.objectives import Objective
from nasdsl.training.outputs import answer, detached, training_loss
from nasdsl.training.split import Split, Targets

SHAPES = 3
"""So many sizes of minibatches are recorded for each kind of pass; what has others runs unrecorded."""
KNOWN = 2**14
"""The weights of so many genotypes are remembered."""


class StaticPasses:
    """Runs the single-path passes of a search's steps."""

    def __init__(
        self, supernet: Supernet, objective: Objective, settings: SearchSettings, device: torch.device
    ) -> None:
        self.supernet = supernet
        self.static = StaticSupernet(supernet)
        self.objective = objective
        self.recipe = settings.search
        self.precision = settings.precision
        self.device = device
        self.most = max(len(choice.labels) for choice in supernet.space.choices)
        self.parameters = list(supernet.parameters())
        self.gradients = [torch.zeros_like(p) for p in self.parameters]
        places = {id(p): place for place, p in enumerate(self.parameters)}
        self._places = {
            id(module): [places[id(p)] for p in module.parameters()] for module in supernet.stored()
        }
        self._used: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._recorded: dict[tuple[Hashable, Hashable], Captured] = {}
        self._pool: Pool | None = None

    # --- weight passes ---------------------------------------------------------------------------

    def take(self, paths: Sequence[Path]) -> bool:
        """Whether the paths of a weight step can be run here, all of them."""
        return bool(self.parameters) and all(
            is_single(self.supernet.space, path) and not path.gates for path in paths
        )

    def weight_pass(self, path: Path, batch: Split, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the gradient of a path's loss, times a scalar, to those of the weights that it uses; gives the loss [] and
        the metric of each example."""
        self._keep_gradients()
        loss, scores = self._launch("weights", self._weights, path, batch, factor)
        used = self.used(path)
        fresh = [place for place in used if self.parameters[place].grad is None]
        more = [place for place in used if self.parameters[place].grad is not None]
        if more:
            summed = [g for place in more if (g := self.parameters[place].grad) is not None]
            torch._foreach_add_(summed, [self.gradients[place] for place in more])
        for place in fresh:
            self.parameters[place].grad = self.gradients[place]
        return loss, scores

    def _keep_gradients(self) -> None:
        """What an earlier pass of the step has left in the buffers is moved out of them."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if parameter.grad is gradient:
                parameter.grad = gradient.clone()

    def used(self, path: Path) -> tuple[int, ...]:
        """The positions among the parameters of those that a path uses."""
        text = Genotype(path.genotype).text
        found = self._used.get(text)
        if found is None:
            modules = self.supernet.active(path.genotype)
            found = tuple(sorted({place for module in modules for place in self._places[id(module)]}))
            self._used[text] = found
            if len(self._used) > KNOWN:
                self._used.popitem(last=False)
        else:
            self._used.move_to_end(text)
        return found

    def _weights(
        self, taken: Tensor, factor: Tensor, inputs: Sequence[Tensor], targets: Targets
    ) -> list[Tensor]:
        with autocast(self.device, self.precision, cache=False):
            outputs = self.static(*inputs, taken=taken)
            loss = training_loss(self.objective, outputs, targets, self.recipe)
        found = torch.autograd.grad(loss * factor, self.parameters, allow_unused=True)
        pairs = [(own, g) for own, g in zip(self.gradients, found, strict=True) if g is not None]
        torch._foreach_copy_([own for own, _ in pairs], [g for _, g in pairs])
        scores = self.objective.metric(answer(self.objective, detached(outputs)), targets)
        return [loss.detach(), scores]

    # --- architecture passes ---------------------------------------------------------------------

    def takes(self, path: Path) -> bool:
        """Whether the path of an architecture step, with weights that want no gradient, can be run here."""
        return (
            bool(path.gates) and path.gating in self.static.gatings and is_single(self.supernet.space, path)
        )

    def architecture_loss(self, path: Path, batch: Split, smoothing: float) -> Tensor:
        """The loss [] of a path, with gradients for its gates."""

        def launch() -> tuple[Tensor, Tensor]:
            kind = ("architecture", path.gating, smoothing)
            loss, gradient = self._launch(kind, self._architecture(path.gating, smoothing), path, batch)
            # Copies: other passes may be launched before the strategy asks for the gradient.
            return loss.clone(), gradient.clone()

        numbers = {choice.name: number for number, choice in enumerate(self.supernet.space.choices)}
        rows = [numbers[name] for name in path.gates]
        result: Tensor = _Launched.apply(launch, rows, *path.gates.values())
        return result

    def _architecture(self, gating: str, smoothing: float) -> Callable[..., list[Tensor]]:
        def run(taken: Tensor, inputs: Sequence[Tensor], targets: Targets) -> list[Tensor]:
            wanted = taken.detach().requires_grad_()
            with torch.enable_grad(), autocast(self.device, self.precision, cache=False):
                outputs = self.static(*inputs, taken=wanted, gating=gating)
                loss = self.objective.loss(answer(self.objective, outputs), targets, smoothing)
            gradient = None
            if loss.requires_grad:
                (gradient,) = torch.autograd.grad(loss, [wanted], allow_unused=True)
            return [loss.detach(), torch.zeros_like(taken) if gradient is None else gradient]

        return run

    # --- launching -------------------------------------------------------------------------------

    def _launch(
        self, kind: Hashable, function: Callable[..., list[Tensor]], path: Path, batch: Split, *more: Tensor
    ) -> Sequence[Tensor]:
        """What ``function(taken, *more, inputs, targets)`` gives, recorded where that pays."""
        positions = positions_taken(self.supernet.space, path.genotype)
        taken = one_hot(positions, self.most, self.supernet.dtype)
        inputs, first = batch.inputs, 1 + len(more)
        targets = (batch.targets,) if isinstance(batch.targets, Tensor) else batch.targets
        last = first + len(inputs)

        def flat(*tensors: Tensor) -> list[Tensor]:
            wanted = tensors[last:] if len(targets) > 1 else tensors[last]
            return function(*tensors[:first], tensors[first:last], wanted)

        tensors = [sent(taken, self.device), *more, *inputs, *targets]
        if self.device.type != "cuda":
            return flat(*tensors)
        key = (kind, tuple((x.shape, x.stride(), x.dtype) for x in tensors))
        found = self._recorded.get(key)
        if found is None:
            if sum(other == kind for other, _ in self._recorded) == SHAPES:
                return flat(*tensors)
            found = self._recorded[key] = self._record(flat, tensors)
        return found(*tensors)

    def _record(self, function: Callable[..., list[Tensor]], examples: Sequence[Tensor]) -> Captured:
        if self._pool is None:
            self._pool = Pool(self.device)
        try:
            return Captured(function, examples, self._pool)
        except RuntimeError as error:
            full = _exhausted(error)
            if full is not None:
                raise full from None
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise failure(
                "N969",
                f"a pass can't be recorded as a CUDA graph: {said}",
                "`-c optimise.static=off` runs the calls one by one",
            ) from None


def _exhausted(error: BaseException) -> torch.OutOfMemoryError | None:
    """Memory that ran out, also where recording broke off because of it and has an error of its own."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, torch.OutOfMemoryError):
            return seen
        seen = seen.__context__
    return None


class _Launched(torch.autograd.Function):
    """The loss of a launch; backward, the gradient that came with it, copied to where the gates are."""

    @staticmethod
    def forward(
        ctx: Any, launch: Callable[[], tuple[Tensor, Tensor]], rows: Sequence[int], *gates: Tensor
    ) -> Tensor:
        loss, ctx.gradient = launch()
        ctx.rows, ctx.sizes = rows, [len(gate) for gate in gates]
        ctx.like = gates[0].detach()
        return loss

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Any, ...]:
        found = (ctx.gradient * deltas[0]).to(ctx.like)
        return None, None, *(found[row, :size] for row, size in zip(ctx.rows, ctx.sizes, strict=True))


# --- whether it can be had ----------------------------------------------------------------------------


def is_single(space: Space, path: Path) -> bool:
    """Whether a path runs one candidate of each choice, and nothing besides."""
    return (
        path.mixture is None
        and path.share == 1
        and path.teacher is None
        and not path.l2
        and not is_superposed(space, path.genotype)
    )


def why_not(
    space: Space,
    settings: SearchSettings,
    strategy: WeightSharing,
    batch_norm: Policy,
    device: torch.device,
) -> str | None:
    """Why a search doesn't run on the static graph, None where it does.

    The strategy is asked for paths, which moves it on: it is one made for this alone. Raises NasError N968 where it was
    asked for and can't be had.
    """
    wanted: OptimiseSettings = settings.optimise
    why = _hindrance(space, wanted, strategy, batch_norm, settings.search.epochs)
    if why is not None and wanted.static == "on":
        raise failure(
            "N968",
            f"`optimise.static=on` can't be had: {why}",
            "leave it out, or say `auto`: then a search that can't have it runs as ever",
        )
    if why is None and wanted.static == "auto" and device.type != "cuda":
        return "it pays on a CUDA device"
    return why


def _hindrance(
    space: Space, wanted: OptimiseSettings, strategy: WeightSharing, batch_norm: Policy, epochs: int
) -> str | None:
    for name in ("recompute", "compile"):
        if getattr(wanted, name):
            return f"`optimise.{name}` is for passes whose calls run one by one"
    found = obstacle(space, strategy.affine, batch_norm)
    if found is not None:
        return f"a static graph can't run {found}"
    strategy.start_epoch(0, epochs)
    if not all(is_single(space, path) and not path.gates for path in strategy.paths()):
        return "the strategy trains several candidates of a choice at once, or with a penalty or a teacher"
    return None
