"""Published recipes, one TOML file each: the entries of a :class:`~nasdsl.training.recipe.Recipe` that the paper or its
code states, under a head that says where from, and what differs here.

Other files of this form are read with ``-c FILE``.
"""

from __future__ import annotations

from pathlib import Path

from nasdsl.diagnostics import did_you_mean, failure
from nasdsl.training.config import read_toml
from nasdsl.training.recipe import Recipe

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Of the recipes that ship."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def published(name: str) -> Recipe:
    """The recipe of that name. Raises NasError N1020 for an unknown one."""
    return read_toml(Recipe(), _path(name))


def summary(name: str) -> str:
    """What its first line says."""
    return _path(name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def _path(name: str) -> Path:
    if name not in names():
        help = did_you_mean(name, names()) or f"there are: {', '.join(names())}; a file is read with -c FILE"
        raise failure("N1020", f"unknown recipe `{name}`", help)
    return FOLDER / f"{name}.toml"
