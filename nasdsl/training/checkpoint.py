"""Checkpoints: one safetensors file each, with the rest of the state as JSON in its header. No pickled code.

A file is written whole or not at all, says its version, and carries a digest of what it holds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor, nn

from nasdsl.diagnostics import failure

FORMAT = 3


def write_json(path: Path, value: Any) -> None:
    """As :func:`write_durably`, for people to read too."""
    write_durably(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """What :func:`write_json` wrote. Raises NasError N938 where it can't be read any more."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise failure(
            "N938", f"`{path}` is damaged: {error}", "put back what was there, or remove it"
        ) from None


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file so that a reader, or a restart after a power cut, sees all of it or the one before.

    Raises NasError N936 where it can't be written (a full disk).
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise failure(
            "N936", f"can't write `{path}`: {error.strerror}", "what was there before is still whole"
        ) from None


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """One file with tensors and JSON-able state."""
    kept = {name: t.detach().to("cpu").contiguous() for name, t in tensors.items()}
    text = json.dumps(state)
    header = {"nasdsl_checkpoint": str(FORMAT), "state": text, "digest": _digest(kept, text)}
    write_durably(path, save(kept, header))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What :func:`write_checkpoint` wrote. Raises NasError N935 where the file is damaged or of another version."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise failure("N935", f"checkpoint `{path}` can't be read: {error}") from None
    version = header.get("nasdsl_checkpoint")
    if version != str(FORMAT):
        raise failure(
            "N935",
            f"`{path}` is no checkpoint of version {FORMAT} (it says {version})",
            "remove it: then the same command begins anew",
        )
    if header.get("digest") != _digest(tensors, header.get("state", "")):
        raise failure("N935", f"checkpoint `{path}` is damaged: its digest doesn't agree with what it holds")
    return tensors, json.loads(header["state"])


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        tensor = tensors[name]
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def misfit(module: nn.Module, tensors: Mapping[str, Tensor]) -> str | None:
    """The first name under which a module and what was kept of one have not the same: one has it alone, or its shapes
    differ. None where the module can take it up."""
    own = module.state_dict()
    apart = [*(name for name in own if name not in tensors), *(name for name in tensors if name not in own)]
    apart += [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    return apart[0] if apart else None


def restore_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Puts back the weights that ``where`` holds. Raises NasError N939 where they are those of another network."""
    strange = misfit(module, tensors)
    if strange is not None:
        raise failure(
            "N939",
            f"{where} holds the weights of another network: `{strange}` doesn't fit",
            "remove it, or put back the one that was there",
        )
    module.load_state_dict(dict(tensors))


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that start with ``prefix.``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that :func:`prefixed` put there, by their own names."""
    start = prefix + "."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that an optimiser remembers, as tensors named ``<parameter number>.<what>``."""
    found: dict[str, Tensor] = {}
    for number, entry in optimizer.state_dict()["state"].items():
        for what, value in entry.items():
            if value is not None:
                found[f"{number}.{what}"] = value if isinstance(value, Tensor) else torch.tensor(value)
    return found


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what :func:`optimizer_tensors` gave. Groups and learning rates come from the configuration."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        parameter = parameters[int(number)]
        # Fused kernels walk through memory: a buffer has to lie there like its parameter.
        alike = tensor.shape == parameter.shape
        kept = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if alike else tensor.clone()
        state.setdefault(int(number), {})[what] = kept
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
