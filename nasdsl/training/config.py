"""Configuration: pydantic models, read from TOML, overridden by ``-c training.lr=0.05``, written back as TOML.

Every field carries its explanation. There are no nulls (TOML has none): 0 switches a thing off.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nasdsl.diagnostics import NasError, did_you_mean, failure


class Config(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


C = TypeVar("C", bound=Config)


def override(config: C, assignments: Sequence[str]) -> C:
    """The configuration with entries such as ``training.lr=0.05`` put in, later ones winning.

    Raises NasError: N920 for a key that is not there, with the nearest one; N921 for a value that doesn't fit;
    N922 for something that is no assignment.
    """
    values = config.model_dump()
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not key:
            raise failure(
                "N922", f"`{assignment}` sets nothing", "write `key=value`, as in `training.lr=0.05`"
            )
        _put(config, values, key, _parse(text.strip()))
    return validated(type(config), values)


def read_toml(config: C, path: Path) -> C:
    """The configuration with the entries of a TOML file put in. Raises NasError N920, N921, N923 (not TOML)."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise failure("N923", f"can't read `{path}`: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise failure("N923", f"`{path}` is not TOML: {error}") from None
    values = config.model_dump()
    for key, value in _flat(entries):
        _put(config, values, key, value)
    return validated(type(config), values)


def validated(kind: type[C], values: Mapping[str, Any]) -> C:
    """A configuration from plain values. Raises NasError N920 or N921 with the key, its explanation and what is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise NasError(*(d for e in error.errors() for d in _explain(kind, e).diagnostics)) from None


def write_toml(config: Config, *, explained: bool = False) -> str:
    """The configuration as TOML; with ``explained``, each entry under what its field says of it."""
    lines: list[str] = []
    _write(config, "", lines, explained)
    return "\n".join(lines).strip() + "\n"


def _write(config: Config, prefix: str, lines: list[str], explained: bool) -> None:
    tables: list[tuple[str, Config]] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            tables.append((name, value))
            continue
        if explained and field.description:
            lines.append(f"# {field.description}")
        lines.append(f"{name} = {_toml(value)}")
    for name, table in tables:
        lines += ["", f"[{prefix}{name}]"]
        _write(table, f"{prefix}{name}.", lines, explained)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
            if value
            else "{}"
        )
    # Numbers, booleans, strings and lists of them are written as in JSON, but for what JSON writes as \u escapes.
    return json.dumps(value, ensure_ascii=False)


def keys(kind: type[Config], prefix: str = "") -> Iterator[str]:
    """Every key that can be set, as it is written after ``-c``."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if inner is not None and isinstance(inner, type) and issubclass(inner, Config):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _put(config: Config, values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    # Follow the models that are there, not the declared types: a strategy's options are its own class.
    model: Config | None = config
    target = values
    for part in path:
        inner = getattr(model, part, None) if model is not None and part in type(model).model_fields else None
        if not isinstance(inner, Config):
            raise _unknown(config, key)
        model, target = inner, target[part]
    if model is None or last not in type(model).model_fields or isinstance(getattr(model, last), Config):
        raise _unknown(config, key)
    target[last] = value


def _unknown(config: Config, key: str) -> NasError:
    known = list(_present(config, ""))
    help = did_you_mean(key, known)
    if help is None:
        # `lr` alone: perhaps only the table is missing.
        same = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
        help = f"did you mean `{same[0]}`?" if same else f"there are: {', '.join(known)}"
    return failure("N920", f"there is no `{key}` in the configuration", help)


def _present(config: Config, prefix: str) -> Iterator[str]:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _present(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entries.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _parse(text: str) -> Any:
    """A TOML value where it is one, else the text itself (``-c training.optimizer=sgd``)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(kind: type[Config], error: Any) -> NasError:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return failure("N920", f"there is no `{key}` in the configuration", did_you_mean(key, keys(kind)))
    field: Any = None
    model: Any = kind
    for part in error["loc"]:
        field = getattr(model, "model_fields", {}).get(part)
        model = getattr(field, "annotation", None)
    help = f"{key}: {field.description}" if field is not None and field.description else None
    message = error["msg"][0].lower() + error["msg"][1:]
    return failure("N921", f"`{key} = {json.dumps(error['input'], default=str)}`: {message}", help)
