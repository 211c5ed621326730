"""Configuration: pydantic models, read from TOML, overridden by ``-c training.lr=0.05``, written back as TOML.

Every field carries its explanation. There are no nulls (TOML has none): 0 switches a thing off.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from nasdsl.diagnostics import Diagnostic, NasError, Span, did_you_mean, failure
from nasdsl.training.entries import Entry, read_entries


class Config(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def elsewhere(self, key: str) -> str | None:
        """A help line for a key that isn't there, where others like this one have it."""
        return None


C = TypeVar("C", bound=Config)


def override(config: C, assignments: Sequence[str]) -> C:
    """The configuration with entries such as ``training.lr=0.05`` put in, later ones winning.

    Raises NasError: N920 for a key that is not there, with the nearest one; N921 for a value that doesn't fit;
    N922 for something that is no assignment.
    """
    return put(config, [assignment(text) for text in assignments])


def assignment(text: str) -> Entry:
    """``training.lr=0.05``; the value is read as TOML where it is that. Raises NasError N922."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise failure("N922", f"`{text}` sets nothing", "write `key=value`, as in `training.lr=0.05`")
    return Entry(key.strip(), _parse(value.strip()))


def put(config: C, entries: Iterable[Entry]) -> C:
    """The configuration with entries put in, later ones winning. Raises NasError N920 and N921, each at its entry's place,
    for all that is wrong."""
    values = config.model_dump()
    places: dict[str, Span | None] = {}
    unknown: list[Diagnostic] = []
    for entry in entries:
        try:
            places[_put(config, values, entry)] = entry.span
        except NasError as error:
            unknown += error.diagnostics
    try:
        found = validated(type(config), values, places)
    except NasError as error:
        raise NasError(*unknown, *error.diagnostics) from None
    if unknown:
        raise NasError(*unknown)
    return found


def check_entries(config: Config, *groups: Iterable[Entry]) -> None:
    """Raises NasError N920 and N921 for all that is wrong in any of several groups of entries, which are put in one after
    the other later on."""
    faults: list[Diagnostic] = []
    for entries in groups:
        try:
            put(config, entries)
        except NasError as error:
            faults += error.diagnostics
    if faults:
        raise NasError(*faults)


def read_toml(config: C, path: Path) -> C:
    """The configuration with the entries of a TOML file put in. Raises NasError N920, N921, N923 (not TOML)."""
    return put(config, read_entries(path))


def validated(kind: type[C], values: Mapping[str, Any], places: Mapping[str, Span | None] | None = None) -> C:
    """A configuration from plain values. Raises NasError N920 or N921 with the key, its explanation and what is wrong;
    ``places`` says where keys were set."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = (_explain(kind, e, places or {}) for e in error.errors())
        raise NasError(*(d for e in found for d in e.diagnostics)) from None


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
            taken = _takes(field)
            lines.append(f"# {field.description}{f' [{taken}]' if taken else ''}")
        lines.append(f"{name} = {_toml(value)}")
    for name, table in tables:
        lines += ["", f"[{prefix}{name}]"]
        _write(table, f"{prefix}{name}.", lines, explained)


def _takes(field: FieldInfo) -> str:
    """The values that a field takes, in words: ``at least 0, below 1``, ``sgd, adam``."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {getattr(limit, name)}"
        for limit in field.metadata
        for name, word in words.items()
        if hasattr(limit, name)
    ]
    return ", ".join(bounds)


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


def _put(config: Config, values: dict[str, Any], entry: Entry) -> str:
    """Puts a value in its place, and gives the key of the field that it belongs to."""
    *path, last = entry.key.split(".")
    # Follow the models that are there, not the declared types: a strategy's options are its own class.
    model: Config = config
    target = values
    for depth, part in enumerate(path):
        inner = getattr(model, part, None) if part in type(model).model_fields else None
        if isinstance(inner, dict):  # a field that is a table of anything: `parameters.width = 8`
            target[part] = {**target[part], ".".join([*path[depth + 1 :], last]): entry.value}
            return ".".join(path[: depth + 1])
        if not isinstance(inner, Config):
            raise _unknown(config, entry)
        model, target = inner, target[part]
    inner = getattr(model, last) if last in type(model).model_fields else None
    if isinstance(inner, Config) and entry.value == {}:
        return entry.key  # an empty table sets nothing
    if inner is None or isinstance(inner, Config):
        raise _unknown(config, entry)
    target[last] = entry.value
    return entry.key


def _unknown(config: Config, entry: Entry) -> NasError:
    key = entry.key
    known = [name for name, _ in _explained(config, "")]
    help = config.elsewhere(key) or _described(config, key) or did_you_mean(key, known)
    if help is None:
        # `lr` alone: perhaps only the table is missing.
        same = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
        help = f"did you mean `{same[0]}`?" if same else f"there are: {', '.join(known)}"
    return failure("N920", f"there is no `{key}` in the configuration", help, entry.span)


def _described(config: Config, key: str) -> str | None:
    """A help line where a field is explained by the very words of the key: ``learning_rate`` is ``lr``."""
    table, _, last = key.rpartition(".")
    words = last.replace("_", " ").lower()
    named = [name for name, text in _explained(config, "") if " " in words and text.lower().startswith(words)]
    near = next((name for name in named if name.rpartition(".")[0] == table), next(iter(named), None))
    return f"did you mean `{near}`?" if near else None


def _explained(config: Config, prefix: str) -> Iterator[tuple[str, str]]:
    """Every key that there is, with what its field says of it."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _explained(value, f"{prefix}{name}.")
        else:
            yield prefix + name, field.description or ""


def _parse(text: str) -> Any:
    """A TOML value where it is one, else the text itself (``-c training.optimizer=sgd``)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(kind: type[Config], error: Any, places: Mapping[str, Span | None]) -> NasError:
    key = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        help = did_you_mean(key, keys(kind))
        return failure("N920", f"there is no `{key}` in the configuration", help, places.get(key))
    field: Any = None
    model: Any = kind
    owner = ""
    for part in error["loc"]:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            field, model = fields[part], getattr(fields[part], "annotation", None)
            owner = f"{owner}.{part}" if owner else str(part)
    help = f"{owner}: {field.description}" if field is not None and field.description else None
    message = error["msg"][0].lower() + error["msg"][1:]
    given = json.dumps(error["input"], default=str)
    return failure("N921", f"`{key} = {given}`: {message}", help, places.get(owner))
