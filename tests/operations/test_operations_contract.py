"""The contract of every operation in the catalogue, on the examples that it gives of itself.

A new operation is tested by being there: nothing here names one.
"""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nasdsl.operations import catalogue, torch_code
from nasdsl.operations.example import Example, decide
from nasdsl.operations.execute import bind, build_module
from nasdsl.space.operation import Instance, Operation, ShapeError
from nasdsl.space.size import Size
from nasdsl.space.tensor import Shape
from tests.operations.written import write_call, write_module

CATALOGUE = catalogue(plugins=False)
OPERATIONS = [pytest.param(operation, id=name) for name, operation in CATALOGUE.items()]
CALLS = [
    pytest.param(operation, example, id=f"{name}-{i}")
    for name, operation in CATALOGUE.items()
    for i, example in enumerate(operation.examples)
]
SLICED = [
    pytest.param(operation, full, active, id=f"{name}-{i}")
    for name, operation in CATALOGUE.items()
    for i, (full, active) in enumerate(getattr(operation, "elastic_examples", ()))
]


def instance_of(operation: Operation, example: Example) -> Instance:
    return decide(operation, example.inputs, **example.settings)


def tensors(shapes: tuple[Shape, ...], batch: int, **free: int) -> list[Tensor]:
    """Random inputs. Whole numbers stay below 4, the smallest vocabulary among the examples."""
    made = []
    for shape in shapes:
        sizes = (batch, *(dim.at(free) if isinstance(dim, Size) else dim for dim in shape.dims))
        made.append(torch.randint(4, sizes) if shape.dtype == "int" else torch.randn(sizes))
    return made


class Use(nn.Module):
    """One operation as a module, as the supernet and the network run it; with a weight of its own where it borrows."""

    def __init__(self, operation: Operation, instance: Instance) -> None:
        super().__init__()
        call = operation.torch(instance)
        if call.kind == "module":
            self.run: Any = build_module(call)
        else:
            self.run = bind(call)
        self.borrowed: nn.Parameter | None = None
        if operation.borrows is not None:
            self.borrowed = nn.Parameter(
                torch.randn(instance.settings["vocab"], instance.settings["features"])
            )

    def forward(self, *inputs: Tensor) -> Tensor:
        if self.borrowed is not None:
            inputs = (*inputs, self.borrowed)
        result: Tensor = self.run(*inputs)
        return result


def multiply_adds(use: Use, inputs: list[Tensor]) -> float:
    # torch counts a multiply-add as two; it doesn't know the fused attention of the CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        use(*inputs)
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("operation", OPERATIONS)
def test_describes_itself(operation: Operation) -> None:
    assert operation.examples, "give it `examples`, or nothing else here tests it"
    assert operation.summary and operation.section and type(operation).__doc__
    assert not operation.summary.endswith(".")
    if operation.borrows is None and any(setting.elastic for setting in operation.settings):
        has_weights = any(
            operation.cost(instance_of(operation, example)).params for example in operation.examples
        )
        assert not has_weights or operation.elastic_examples, "elastic weights need `elastic_examples`"


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_shape_is_what_torch_makes(operation: Operation, example: Example) -> None:
    instance = instance_of(operation, example)
    use = Use(operation, instance)
    for batch in (2, 3):
        made = use(*tensors(instance.inputs, batch))
        assert tuple(made.shape) == (batch, *instance.output.dims)
        assert made.is_floating_point() == (instance.output.dtype == "float")


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_cost_is_what_torch_counts(operation: Operation, example: Example) -> None:
    instance = instance_of(operation, example)
    use = Use(operation, instance).eval()
    cost = operation.cost(instance)
    if operation.borrows is None:
        assert cost.params == sum(parameter.numel() for parameter in use.parameters())
    else:
        assert cost.params == 0
    assert cost.flops == multiply_adds(use, tensors(instance.inputs, 1))


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_gradients_flow(operation: Operation, example: Example) -> None:
    instance = instance_of(operation, example)
    use = Use(operation, instance)
    inputs = tensors(instance.inputs, 2)
    for x in inputs:
        if x.is_floating_point():
            x.requires_grad_()
    made = use(*inputs)
    if not made.requires_grad:
        # Whole numbers go through it, or nothing does.
        assert operation.name == "zero" or not any(x.is_floating_point() for x in inputs)
        return
    (made * torch.randn_like(made)).sum().backward()
    for leaf in [*use.parameters(), *(x for x in inputs if x.is_floating_point())]:
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_written_text_computes_the_same(operation: Operation, example: Example) -> None:
    instance = instance_of(operation, example)
    call = operation.torch(instance)
    inputs = tensors(instance.inputs, 2)
    use = Use(operation, instance).eval()
    names = {"torch": torch, "nn": nn, "F": F, **vars(torch_code)}
    if call.kind == "module":
        again = eval(write_module(call), names).eval()
        again.load_state_dict(use.run.state_dict())
        assert torch.equal(again(*inputs), use(*inputs))
        return
    named = {f"x{i}": x for i, x in enumerate(inputs)}
    if use.borrowed is not None:
        named["weight"] = use.borrowed
    assert torch.equal(eval(write_call(call, list(named)), names | named), use(*inputs))


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_passes_absence_on(operation: Operation, example: Example) -> None:
    """Where zeros go in, zeros come out, so a planner may skip it. (A bias is left out by rule 13.)"""
    instance = instance_of(operation, example)
    if not operation.passes_absence or instance.settings.get("bias"):
        return
    use = Use(operation, instance)
    zeros = [torch.zeros_like(x) for x in tensors(instance.inputs, 2)]
    assert not use(*zeros).any()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exports_with_a_free_batch(operation: Operation) -> None:
    for example in operation.examples:
        instance = instance_of(operation, example)
        check_export(operation, instance, {})


def check_export(operation: Operation, instance: Instance, free: dict[str, int]) -> None:
    """Exports at batch 2 and the given free sizes, and runs at others."""
    use = Use(operation, instance).eval()
    batch = torch.export.Dim("batch")
    # torch treats sizes of 1 as another program, so strides need room: 4 becomes 2.
    named = {name: torch.export.Dim(name, min=4) for name in free}
    dynamic = []
    for shape in instance.inputs:
        axes = {0: batch}
        for axis, dim in enumerate(shape.dims):
            if isinstance(dim, Size):
                axes[axis + 1] = named[str(dim)]
        dynamic.append(axes)
    program = torch.export.export(
        use, tuple(tensors(instance.inputs, 2, **free)), dynamic_shapes=(tuple(dynamic),)
    )
    inputs = tensors(instance.inputs, 5, **{name: size * 3 for name, size in free.items()})
    torch.testing.assert_close(program.module()(*inputs), use(*inputs))


def freed(instance: Instance, operation: Operation) -> list[Instance]:
    """The same call with one size freed, wherever its shape rule permits that."""
    found = []
    sizes = {dim for shape in instance.inputs for dim in shape.dims}
    rank = max((len(shape.dims) for shape in instance.inputs), default=0)
    for axis in range(rank):
        for size in sizes:
            free = Size.free("T")
            inputs = tuple(
                Shape(
                    tuple(free if i == axis and dim == size else dim for i, dim in enumerate(shape.dims)),
                    shape.dtype,
                )
                for shape in instance.inputs
            )
            if inputs == instance.inputs:
                continue
            settings = dict(instance.settings)
            for setting in operation.settings:
                if setting.kind == "dims":
                    settings[setting.name] = [free if dim == size else dim for dim in settings[setting.name]]
            try:
                found.append(decide(operation, inputs, **settings))
            except ShapeError:
                continue
    return found


@pytest.mark.parametrize(("operation", "example"), CALLS)
def test_free_sizes_are_formulas(operation: Operation, example: Example) -> None:
    for instance in freed(instance_of(operation, example), operation):
        use = Use(operation, instance).eval()
        for size in (6, 7, 12):
            made = use(*tensors(instance.inputs, 2, T=size))
            formula = [dim.at({"T": size}) if isinstance(dim, Size) else dim for dim in instance.output.dims]
            assert list(made.shape[1:]) == formula
            cost = operation.cost(instance)
            flops = cost.flops.at({"T": size}) if isinstance(cost.flops, Size) else cost.flops
            assert flops == multiply_adds(use, tensors(instance.inputs, 1, T=size))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_exports_with_a_free_size(operation: Operation) -> None:
    if operation.name in ("maxpool", "avgpool") and torch.__version__ < (2, 13):
        pytest.skip(
            "older torch keeps no length free under a pool with a stride: tests/exporting/test_export_files.py"
        )
    for example in operation.examples:
        for instance in freed(instance_of(operation, example), operation):
            check_export(operation, instance, {"T": 6})


def sliced_state(
    operation: Operation, full: Instance, active: Instance, state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What ``active`` takes of the weights stored for ``full``."""
    indices = operation.slices(full, active)
    taken = {}
    for name, weight in state.items():
        for axis, index in enumerate(indices.get(name, ())):
            chosen = torch.arange(weight.shape[axis])[index if isinstance(index, slice) else list(index)]
            weight = weight.index_select(axis, chosen)
        taken[name] = weight
    return taken


@pytest.mark.parametrize(("operation", "full", "active"), SLICED)
def test_slices_fit_the_smaller_module(operation: Operation, full: Example, active: Example) -> None:
    large, small = instance_of(operation, full), instance_of(operation, active)
    if operation.borrows is not None:
        weight = torch.randn(large.settings["vocab"], large.settings["features"])
        taken = sliced_state(operation, large, small, {operation.borrows: weight})[operation.borrows]
        assert tuple(taken.shape) == (small.settings["vocab"], small.settings["features"])
        return
    stored = build_module(operation.torch(large)).state_dict()
    assert operation.slices(large, small).keys() <= stored.keys()
    module = build_module(operation.torch(small))
    module.load_state_dict(sliced_state(operation, large, small, stored))
    made = module(*tensors(small.inputs, 2))
    assert tuple(made.shape[1:]) == small.output.dims


@pytest.mark.parametrize(("operation", "full", "active"), SLICED)
def test_slices_of_the_largest_are_everything(operation: Operation, full: Example, active: Example) -> None:
    large = instance_of(operation, full)
    if operation.borrows is not None:
        return
    stored = build_module(operation.torch(large)).state_dict()
    for name, weight in sliced_state(operation, large, large, stored).items():
        assert torch.equal(weight, stored[name])
    for indices in operation.slices(large, large).values():
        # Whole axes are slices, which cost nothing.
        assert all(isinstance(index, slice) for index in indices)


def test_nothing_is_left_out_of_the_sample() -> None:
    # The one place that counts on a number: an empty catalogue would pass everything above.
    assert len(CATALOGUE) >= 38
    assert math.prod(len(operation.examples) for operation in CATALOGUE.values()) > 0


class All(nn.Module):
    """Every operation's first example side by side."""

    def __init__(self, uses: list[Use], counts: list[int]) -> None:
        super().__init__()
        self.uses = nn.ModuleList(uses)
        self.counts = counts

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = []
        for use, count in zip(self.uses, self.counts, strict=True):
            outputs.append(use(*inputs[:count]))
            inputs = inputs[count:]
        return tuple(outputs)


def test_onnx_agrees_at_another_batch_size() -> None:
    ort = pytest.importorskip("onnxruntime")
    chosen = [instance_of(operation, operation.examples[0]) for operation in CATALOGUE.values()]
    uses = [Use(operation, i).eval() for operation, i in zip(CATALOGUE.values(), chosen, strict=True)]
    everything = All(uses, [len(instance.inputs) for instance in chosen])
    shapes = tuple(shape for instance in chosen for shape in instance.inputs)
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        everything, tuple(tensors(shapes, 2)), dynamic_shapes=(tuple({0: batch} for _ in shapes),)
    )
    file = io.BytesIO()
    exported = torch.onnx.export(program, dynamo=True, verbose=False)
    assert exported is not None
    exported.save(file)
    session = ort.InferenceSession(file.getvalue())
    inputs = tensors(shapes, 5)
    given = session.get_inputs()
    assert [list(one.shape[1:]) for one in given] == [list(shape.dims) for shape in shapes]
    found = session.run(None, {one.name: x.numpy() for one, x in zip(given, inputs, strict=True)})
    for operation, expected, actual in zip(CATALOGUE.values(), everything(*inputs), found, strict=True):
        torch.testing.assert_close(
            torch.from_numpy(actual),
            expected.detach(),
            rtol=1e-4,
            atol=1e-5,
            msg=lambda m, o=operation: f"{o.name}: {m}",
        )
