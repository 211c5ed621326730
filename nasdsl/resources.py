"""Where the grammar and the spaces that ship are: inside the package (a wheel) or beside it (a checkout)."""

from pathlib import Path


def _locate(folder: str) -> Path:
    package = Path(__file__).resolve().parent
    return next((p / folder for p in (package, package.parent) if (p / folder).is_dir()), package / folder)


def grammars() -> Path:
    """The folder of ``nas.lark``."""
    return _locate("grammars")


def spaces() -> Path:
    """The folder of the spaces that ship, with their ``lib/``."""
    return _locate("spaces")


def space_named(name: str | Path) -> Path | None:
    """The space that ships under a bare name, with ``.nas`` or without.

    >>> space_named("darts") == space_named("darts.nas") == spaces() / "darts.nas", space_named("lib/cifar.nas")
    (True, None)
    """
    path = Path(name)
    if path.parent != Path() or path.suffix not in ("", ".nas"):
        return None
    shipped = spaces() / f"{path.stem}.nas"
    return shipped if shipped.is_file() else None


def installed() -> bool:
    """Whether they are files of an installed package, which nobody should change; else those of a checkout."""
    return spaces().parent == Path(__file__).resolve().parent
