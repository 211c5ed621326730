"""A CUDA device that isn't there: its tensors lie on the CPU and say that they don't.

What Python sees of torch's CUDA is stood in for, so that the code for a GPU runs as it is and gives numbers; kernels
are the CPU's. What a device would do differently is said:

- the host waits for it, or copies something that isn't pinned: counted (``Machine.waits``);
- tensors of both sides meet in one operation: an error, as there;
- a CUDA graph replays operations on the memory that they were recorded with, whatever the host has in mind by then.
  In it a wait, or memory of the host, is an error. Before each replay all that recordings of the same pool have made
  is overwritten, for any of it may be;
- some kernels take less than those of a CPU (``_check``).

Streams, time, memory and the rounding of other kernels it knows nothing of.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

CUDA = torch.device("cuda", 0)
META = torch.device("meta")
_ASK = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "equal",
    "bincount",
    "_unique2",
    "unique_dim",
}
"""Operations whose results, or sizes of results, the host has to know."""
_PRODUCTS = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}
_COPIES = {"copy_", "_to_copy", "_foreach_copy_"}


class Broken(RuntimeError):
    """What a CUDA device would not do."""


@dataclass
class Recorded:
    """A CUDA graph: operations with the tensors that they read and wrote."""

    pool: object
    tape: list[tuple[Any, Any, Any, list[Tensor]]] = field(default_factory=list)

    def replay(self) -> None:
        for func, args, kwargs, outs in self.tape:
            found = [t for t in tree_iter(func(*args, **kwargs)) if isinstance(t, Tensor)]
            for own, new in zip(outs, found, strict=True):
                if own.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    own.copy_(new)

    def scribble(self) -> None:
        """All that it made is lost."""
        for _, args, kwargs, outs in self.tape:
            given = {
                t.untyped_storage().data_ptr() for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)
            }
            for own in outs:
                if own.is_floating_point() and own.untyped_storage().data_ptr() not in given:
                    own.fill_(torch.nan)


@dataclass
class Machine:
    waits: Counter[str] = field(default_factory=Counter)
    """Why the host waited, with the line of the package that it waited in."""
    precision: torch.dtype | None = None
    """Of products and convolutions, where it isn't theirs."""
    operations: int = 0
    recording: Recorded | None = None
    recorded: list[Recorded] = field(default_factory=list)

    def wait(self, why: str) -> None:
        if self.recording is not None:
            raise Broken(f"operation not permitted when stream is capturing: {why}")
        self.waits[f"{why} at {_place()}"] += 1

    def replay(self, graph: Recorded) -> None:
        for other in self.recorded:
            if other.pool is graph.pool:
                other.scribble()
        graph.replay()


def _place() -> str:
    """The innermost line outside of torch and of this file."""
    for frame in reversed(traceback.extract_stack()):
        if "/torch/" not in frame.filename and frame.filename != __file__:
            return f"{frame.filename.rpartition('nasdsl/')[2]}:{frame.lineno}"
    return "?"


class OnDevice(Tensor):
    """A tensor of the pretended device. ``inner`` is the CPU's that holds it. C++, which knows no such device, takes it
    for one without data."""

    inner: Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        found: OnDevice = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=META,
        )
        found.inner = inner
        return found

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return f"OnDevice({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise Broken(f"{func}: the pretended device is gone")


def bare(x: Any) -> Any:
    """What a tensor of either side holds; anything else as it is."""
    return x.inner if isinstance(x, OnDevice) else x


# --- operations ---------------------------------------------------------------------------------------


class Operations(TorchDispatchMode):
    """Runs what has to do with the device."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.machine = machine
        self.without_data = 0
        """Above 0 where tensors without data are asked for as such."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.partition("::")[2]
        device = kwargs.get("device")
        tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
        ours = any(isinstance(t, OnDevice) for t in tensors)
        asked = device is not None and torch.device(device).type == "meta" and not self.without_data
        if not ours and not asked:
            return func(*args, **kwargs)
        machine, to_host = self.machine, ours and device is not None and torch.device(device).type == "cpu"
        machine.operations += 1
        if to_host:
            machine.wait("a copy to the host")
        elif name == "copy_" and not isinstance(args[0], OnDevice):
            machine.wait("a copy to the host")
            return func(*map(bare, args), **kwargs)
        else:
            _look(machine, name, tensors, args, kwargs)
        wrappers = {id(t.inner): t for t in tensors if isinstance(t, OnDevice)}
        if device is not None:
            kwargs["device"] = "cpu"
        bare_args, bare_kwargs = tree_map(bare, (args, kwargs))
        if name in _PRODUCTS:
            func = partial(_rounded, func, machine.precision)
        result = func(*bare_args, **bare_kwargs)
        if name == "_to_copy" and any(result is t for t in tree_iter(bare_args)):
            result = result.clone()
        if machine.recording is not None:
            outs = [t for t in tree_iter(result) if isinstance(t, Tensor)]
            machine.recording.tape.append((func, bare_args, bare_kwargs, outs))

        def wrapped(x: Any) -> Any:
            if not isinstance(x, Tensor):
                return x
            known = wrappers.get(id(x))
            return OnDevice(x) if known is None else known

        return result if to_host else tree_map(wrapped, result)


def _rounded(product: Callable[..., Any], precision: torch.dtype | None, *args: Any, **kwargs: Any) -> Any:
    """A product or convolution where autocast is on, or was in the forward pass."""
    dtypes = {t.dtype for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
    few = dtypes & {torch.bfloat16, torch.float16} if precision is None else {precision}
    if few and dtypes != few:
        (dtype,) = few
        args, kwargs = tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) else x, (args, kwargs))
    return product(*args, **kwargs)


def _look(machine: Machine, name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> None:
    """Whether a device would do it, and whether the host would wait for it."""
    hosts = [t for t in tensors if not isinstance(t, OnDevice)]
    if name in _ASK:
        machine.wait(name)
    if name in ("index", "index_put_", "index_put", "_index_put_impl_"):
        indices = [t for t in args[1] if t is not None]
        if any(t.dtype in (torch.bool, torch.uint8) for t in indices):
            machine.wait(f"{name} by a mask")
        if any(not isinstance(t, OnDevice) for t in indices):
            machine.wait(f"{name} by numbers of the host")
        hosts = [t for t in hosts if all(t is not i for i in indices)]
    if name in _COPIES and hosts:
        if machine.recording is not None:
            raise Broken(f"{name}: memory of the host is not to be recorded")
        if not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])):
            machine.wait("a copy from the host")
        hosts = []
    if name.endswith("_like"):
        hosts = []  # of which shape and type are read
    for t in hosts:
        if t.dim():
            raise Broken(f"{name}: expected all tensors to be on the same device, found cuda:0 and cpu")
        if machine.recording is not None:
            raise Broken(f"{name}: a number of the host would be recorded as it is")
    _check(name, args)


def _check(name: str, args: Any) -> None:
    """What kernels of a device ask for, and those of a CPU don't."""
    if name == "native_batch_norm_backward" and args[2] is None and any(args[9][1:]):
        raise Broken(f"{name}: no gradient of a scale that isn't there")
    if name == "_fused_sgd_":
        for lists in zip(args[0], args[1], args[2], strict=True):
            if len({_order(t) for t in lists}) > 1:
                raise Broken(f"{name}: parameters, gradients and momenta must lie alike in memory")


def _order(t: Tensor) -> tuple[int, ...]:
    """The strides of axes that are longer than 1."""
    return tuple(s for s, n in zip(t.stride(), t.shape, strict=True) if n != 1)


# --- what Python calls --------------------------------------------------------------------------------


class Calls(TorchFunctionMode):
    """Sends what is for a CUDA device to the pretended one."""

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self.operations = operations

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        special = _SPECIAL.get(func)
        if special is not None:
            return special(self.operations.machine, func, args, kwargs)
        if func is torch.device:
            return func(*args, **kwargs)
        args = tuple(_renamed(x) for x in args)
        device = kwargs.get("device")
        if device is None or func is torch._C._nn._parse_to:
            return func(*args, **kwargs)
        kwargs["device"] = _renamed(torch.device(device))
        if torch.device(device).type == "cuda" and func in (torch.tensor, torch.as_tensor):
            self.operations.machine.wait(f"{func.__name__} of numbers of the host")
            return func(*args, **kwargs | {"device": "cpu"}).to(META, non_blocking=True)
        real = torch.device(device).type == "meta"
        self.operations.without_data += real
        try:
            return func(*args, **kwargs)
        finally:
            self.operations.without_data -= real


def _renamed(x: Any) -> Any:
    """A CUDA device as C++ is told of it."""
    is_cuda = (isinstance(x, torch.device) and x.type == "cuda") or (
        isinstance(x, str) and x.startswith("cuda")
    )
    return META if is_cuda else x


def _pin(machine: Machine, func: Any, args: Any, kwargs: Any) -> Tensor:
    if isinstance(args[0], OnDevice):
        raise Broken("only dense CPU tensors can be pinned")
    if machine.recording is not None:
        raise Broken("memory is not to be pinned while recording")
    found: Tensor = args[0].clone()
    return found


def _tolist(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(args[0], OnDevice):
        machine.wait("tolist")
    return bare(args[0]).tolist()


def _numpy(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(args[0], OnDevice):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")
    return func(*args, **kwargs)


def _to_host(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].to("cpu")


def _to_device(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    return args[0].to(META)


def _of_inner(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    return func(bare(args[0]), *args[1:], **kwargs)


def _new_tensor(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    if isinstance(args[0], OnDevice):
        machine.wait("new_tensor of numbers of the host")
        return OnDevice(func(bare(args[0]), *args[1:], **kwargs))
    return func(*args, **kwargs)


def _set_data(machine: Machine, func: Any, args: Any, kwargs: Any) -> None:
    own, other = args
    func(own, other)
    if isinstance(other, OnDevice):
        own.inner = other.inner


def _one_hot(machine: Machine, func: Any, args: Any, kwargs: Any) -> Any:
    # A GPU doesn't ask for the largest number where it is told how many classes there are.
    found = func(*map(bare, args), **kwargs)
    return OnDevice(found) if isinstance(args[0], OnDevice) else found


_SPECIAL: dict[Any, Callable[..., Any]] = {
    Tensor.cpu: _to_host,
    Tensor.cuda: _to_device,
    Tensor.data.__set__: _set_data,  # type: ignore[attr-defined]
    Tensor.data_ptr: _of_inner,
    Tensor.new_tensor: _new_tensor,
    Tensor.numpy: _numpy,
    Tensor.pin_memory: _pin,
    Tensor.tolist: _tolist,
    Tensor.untyped_storage: _of_inner,
    torch.nn.functional.one_hot: _one_hot,
}

_grouped = torch._C._group_tensors_by_device_and_dtype


def _groups(lists: Any, *more: Any) -> Any:
    """By what tensors say of themselves."""
    return {
        (CUDA if device.type == "meta" else device, dtype): group
        for (device, dtype), group in _grouped(lists, *more).items()
    }


# --- torch.cuda ---------------------------------------------------------------------------------------


class Stream:
    cuda_stream = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def wait_stream(self, other: object) -> None:
        pass


def _graphs(machine: Machine) -> dict[str, Any]:
    class Graph:
        recorded: Recorded

        def pool(self) -> object:
            return self.recorded.pool

        def replay(self) -> None:
            machine.replay(self.recorded)

    @contextmanager
    def graph(made: Graph, pool: Any = None, stream: Any = None) -> Iterator[None]:
        made.recorded = machine.recording = Recorded(object() if pool is None else pool)
        try:
            yield
        finally:
            machine.recording = None
            machine.recorded.append(made.recorded)
        made.recorded.scribble()  # it was recorded, and not run

    return {"CUDAGraph": Graph, "graph": graph}


@contextmanager
def pretended_gpu() -> Iterator[Machine]:
    """The machine has a CUDA device inside the block."""
    machine = Machine()
    operations = Operations(machine)

    @contextmanager
    def autocast(device: str, dtype: torch.dtype, **given: Any) -> Iterator[None]:
        before, machine.precision = machine.precision, dtype
        try:
            yield
        finally:
            machine.precision = before

    stand_ins: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *a: "a pretended GPU",
        "is_bf16_supported": lambda *a, **k: True,
        "is_current_stream_capturing": lambda: machine.recording is not None,
        "mem_get_info": lambda *a: (2**33, 2**33),
        "max_memory_allocated": lambda *a: 0,
        "memory_allocated": lambda *a: 0,
        "reset_peak_memory_stats": lambda *a: None,
        "empty_cache": lambda: None,
        "synchronize": lambda *a: None,
        "current_stream": lambda *a: Stream(),
        "get_rng_state": lambda *a: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *a: None,
        "manual_seed_all": lambda seed: None,
        "device": lambda *a: nullcontext(),
        "stream": lambda *a: nullcontext(),
        "Stream": Stream,
        "graph_pool_handle": object,
        **_graphs(machine),
    }
    patches = [patch.object(torch.cuda, name, value) for name, value in stand_ins.items()]
    patches += [
        patch.object(torch, "autocast", autocast),
        # Backward passes call functions of ours, for which the mode has to be on.
        patch.object(torch.autograd, "has_torch_function", lambda *a: False),
        patch.object(torch._tensor, "has_torch_function_unary", lambda *a: False),
        patch.object(torch._C, "_group_tensors_by_device_and_dtype", _groups),
    ]
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        for one in patches:
            stack.enter_context(one)
        stack.enter_context(operations)
        stack.enter_context(Calls(operations))
        yield machine
