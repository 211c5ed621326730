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


def installed() -> bool:
    """Whether they are files of an installed package, which nobody should change; else those of a checkout."""
    return spaces().parent == Path(__file__).resolve().parent
