"""Options that several commands share, and how ``name=value`` is read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated

import typer

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.space.size import Rational, whole

if TYPE_CHECKING:
    from nasdsl.language.builder import Limits

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A .nas file, or the bare name of a space that ships.", show_default=False
    ),
]

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=NUMBER",
        help="Set a parameter of the space. Repeatable.",
        show_default=False,
    ),
]

SpaceOption = Annotated[
    str | None,
    typer.Option(
        "--space", metavar="NAME", help="Which space, where a file has several.", show_default=False
    ),
]

LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="WHAT=NUMBER",
        help="Move a bound on how large a space may grow: nodes, uses, nesting or length. Repeatable.",
        show_default=False,
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="What is trained on: digits; or with --data what that is: image, words, bytes, table, arrays.",
        show_default=False,
    ),
]

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Data of your own: class folders of images, .npz, IDX, CIFAR, text, csv, parquet, or module:function.",
        show_default=False,
    ),
]

TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", metavar="COLUMN", help="The column of a table that is predicted.", show_default=False
    ),
]

BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="As many epochs as fit: 90s, 10m, 1h30m. Counted once, when it begins, and kept.",
        show_default=False,
    ),
]

EpochsOption = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Passes over the training part.", show_default=False)
]

SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of every use of chance.")]

DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where it runs.")]


class Precision(StrEnum):
    """The precisions that a network can run in."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="Of matrix products; weights stay float32.")
]

ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="Threads of a computation on the CPU; torch's choice.", show_default=False
    ),
]

ConfigOption = Annotated[
    list[str] | None,
    typer.Option(
        "-c",
        "--config",
        metavar="KEY=VALUE|FILE",
        help="Set an entry of the configuration, such as search.lr=0.05, or those of a TOML file. Repeatable.",
        show_default=False,
    ),
]

RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="A published recipe for training a network: darts_cifar10, nasbench201, …",
        show_default=False,
    ),
]

PresetOption = Annotated[
    str, typer.Option("--preset", metavar="NAME", help="The published settings, or those of a short demo.")
]

StrategyOption = Annotated[
    str,
    typer.Option(
        "--strategy", metavar="NAME", help="Who decides what is trained and what wins: gdas, random, …"
    ),
]

_NUMBER = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40})|/([1-9][0-9]{0,39}))?([KMG]?)")
_DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_TIME = re.compile(rf"(?:{_DURATION}h)?(?:{_DURATION}m)?(?:{_DURATION}s)?")
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parameters(
    settings: Iterable[str] | None, *, option: str = "--set", example: str = "--set width=32"
) -> dict[str, Rational]:
    """What ``--set`` said, as numbers of the language.

    >>> parameters(["width=32", "ratio=3.5", "limit=5M"])
    {'width': 32, 'ratio': Fraction(7, 2), 'limit': 5000000}
    """
    found: dict[str, Rational] = {}
    for name, text in _pairs(option, settings, example=example):
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise failure(
                "N984",
                f"{option} {name}={_short(text)}: `{_short(text)}` is not a number",
                help="numbers are written as in the language: 16, 0.1, 1/3, 5M",
            )
        sign, digits, decimals, divisor, letter = match.groups()
        value = Fraction(int(digits + (decimals or "")), 10 ** len(decimals or ""))
        value = value / int(divisor or 1) * _SCALE[letter]
        found[name] = whole(-value if sign else value)
    return found


def seconds(text: str) -> float:
    """What ``--budget`` said.

    >>> seconds("1h30m"), seconds("90s"), seconds("0.5m")
    (5400.0, 90.0, 30.0)
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise failure(
            "N984", f"--budget {_short(text)}: expected a time", help="for example: 90s, 10m, 1h30m"
        )
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    total = 3600 * hours + 60 * minutes + rest
    if total <= 0:
        raise failure("N984", f"--budget {_short(text)}: nothing is done in no time")
    return total


def use_threads(number: int | None) -> None:
    """Small networks are faster on one thread, and results differ between one thread and two."""
    if number is not None:
        import torch

        torch.set_num_threads(number)


def limits(settings: Iterable[str] | None) -> Limits:
    """What ``--limit`` said.

    >>> limits(["nodes=2M"]).nodes
    2000000
    """
    from nasdsl.language.builder import Limits

    known = [field.name for field in dataclasses.fields(Limits)]
    found: dict[str, int] = {}
    for name, value in parameters(settings, option="--limit", example="--limit nodes=5M").items():
        if name not in known:
            help = did_you_mean(name, known) or f"there are: {', '.join(known)}"
            raise failure("N985", f"there is no bound `{_short(name)}`", help=help)
        if not isinstance(value, int) or value < 1:
            raise failure("N984", f"--limit {name}={value}: a bound is a whole number from 1 up")
        found[name] = value
    return Limits(**found)


def _pairs(option: str, settings: Iterable[str] | None, *, example: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or not value:
            raise failure(
                "N984", f"{option} {_short(setting)}: expected NAME=VALUE", help=f"for example: {example}"
            )
        if name in found:
            raise failure(
                "N984", f"{option} says `{_short(name)}` twice: {_short(found[name])} and {_short(value)}"
            )
        found[name] = value
    return list(found.items())


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
