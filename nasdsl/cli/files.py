"""Files that a command is given and writes: found by name, and written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nasdsl import resources
from nasdsl.diagnostics import closest, failure


def find_space(name: str) -> Path:
    """The ``.nas`` file that a command was given: a path, or the bare name of a space that ships.

    >>> find_space("quickstart").name
    'quickstart.nas'
    """
    path = Path(name)
    try:
        if path.is_file():
            return path
        if path.is_dir():
            raise _is_folder(path)
    except OSError as fault:  # a name longer than the system takes
        raise failure("N982", f"can't read `{_short(name)}`: {fault.strerror}") from None
    except ValueError:  # a NUL character
        raise failure("N980", f"no file `{_short(name)}`") from None
    shipped = resources.space_named(path)
    if shipped is not None:
        return shipped
    if path.exists():  # a pipe, a device
        return path
    raise failure("N980", f"no file `{_short(name)}`", help=_nearest(path))


def check_run(name: str) -> None:
    """Raises NasError N980 where a name reads like the folder of a run, and there is no such folder."""
    path = Path(name)
    if path.suffix or path.parent == Path() or path.exists():
        return
    if not path.parent.is_dir():
        raise failure("N980", f"no run `{_short(name)}`", help=f"there is no folder `{path.parent}`")
    near = closest(path.name, (p.name for p in path.parent.iterdir() if (p / "config.toml").is_file()))
    help = (
        f"did you mean `{path.parent / near}`?"
        if near
        else f"`nasdsl runs {path.parent}` lists those that there are"
    )
    raise failure("N980", f"no run `{_short(name)}`", help=help)


def shipped_spaces() -> dict[str, Path]:
    """The spaces that come with nasdsl, by name."""
    return {path.stem: path for path in sorted(resources.spaces().glob("*.nas"))}


def shown(path: Path) -> str:
    """A path as a person in this folder would write it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def write_whole(path: Path, text: str, *, not_over: Path | None = None) -> None:
    """Writes a file in one go: a reader sees the old content or the new, never a part.

    ``not_over`` is a file that must survive, the command's own input.
    """
    check_place(path)
    if not_over is not None and path.exists() and not_over.exists() and path.samefile(not_over):
        raise failure(
            "N986", f"`{path}` is the space itself: this would write over it", help="name another file"
        )
    if path.exists() and not path.is_file():  # /dev/stdout, a pipe
        path.write_text(text, encoding="utf-8")
        return
    temporary = None
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path.resolve() if path.is_symlink() else path)
        temporary = None
    except OSError as fault:
        raise failure("N986", f"can't write `{path}`: {(fault.strerror or 'error').lower()}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raises NasError N986 where no file can be at the path; for a command to ask before long work."""
    if path.is_dir():
        raise failure(
            "N986", f"can't write `{path}`: it is a folder", help=f"name a file in it: -o {path}/NAME"
        )
    if not path.parent.is_dir():
        raise failure(
            "N986",
            f"can't write `{path}`: there is no folder `{path.parent}`",
            help=f"mkdir -p {path.parent}",
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _is_folder(path: Path) -> Exception:
    inside = sorted(path.glob("*.nas"))
    help = f"name a file in it, such as {inside[0]}" if inside else "name a .nas file"
    return failure("N981", f"`{path}` is a folder", help=help)


def _nearest(path: Path) -> str:
    try:
        beside = {p.name: str(p) for p in path.parent.iterdir() if p.suffix == ".nas"}
    except OSError:
        beside = {}
    options = beside | {name: name for name in shipped_spaces()}
    match = closest(path.name, options) or closest(path.stem, options)
    if match:
        return f"did you mean `{options[match]}`?"
    if not path.parent.is_dir():
        return f"there is no folder `{path.parent}`"
    return "spaces that ship are named without a path: " + ", ".join(shipped_spaces())


def _short(name: str) -> str:
    name = name.replace("\0", "\\0")
    return name if len(name) <= 80 else f"{name[:77]}..."
