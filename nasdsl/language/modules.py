"""Files and their imports: which names a file sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nasdsl import resources
from nasdsl.diagnostics import Findings, NasError, Note, Source, Span, did_you_mean, failure
from nasdsl.language import syntax
from nasdsl.language.parser import NESTING, parse
from nasdsl.language.values import Definition, Names, Poison, Value


@dataclass(eq=False)
class Module:
    """One file: its text, its tree, and what its names mean. ``imports`` are the names that its imports bring."""

    source: Source
    tree: syntax.File
    names: Names
    imported: list[Module] = field(default_factory=list)
    imports: dict[str, Span] = field(default_factory=dict)

    @property
    def spaces(self) -> list[syntax.Space]:
        return [item for item in self.tree.items if isinstance(item, syntax.Space)]

    def sources(self) -> dict[str, str]:
        """The texts of this file and of all that it imports, by path, this file first."""
        found = {self.source.path: self.source.text}
        for module in self.imported:
            found.update(module.sources())
        return found


def read_source(path: Path, shown: str | None = None, span: Span | None = None) -> Source:
    """Reads a file. Raises NasError (N601) with what is wrong about it."""
    shown = shown if shown is not None else str(path)
    try:
        return Source(shown, path.read_bytes().decode("utf-8-sig"), _remark(path, shown))
    except FileNotFoundError:
        raise failure("N601", f"there is no file `{shown}`", _nearby(path), span) from None
    except IsADirectoryError:
        raise failure("N601", f"`{shown}` is a folder; a `.nas` file is needed", None, span) from None
    except UnicodeDecodeError as error:
        raise failure(
            "N601", f"`{shown}` is not text in UTF-8 (byte {error.start})", "save it as UTF-8", span
        ) from None
    except OSError as error:
        raise failure("N601", f"`{shown}` can't be read: {error.strerror}", None, span) from None


def _remark(path: Path, shown: str) -> str:
    """That a file came with the package: one of an installation, or one that is asked for by its bare name. A person in
    a checkout who gives a path may well be about to change it."""
    place, shipped = path.resolve(), resources.spaces().resolve()
    if not place.is_relative_to(shipped) or not (resources.installed() or Path(shown).is_absolute()):
        return ""
    if place.parent != shipped:
        return "this file ships with nasdsl: write a definition of your own where it is to be different"
    return f"this file ships with nasdsl: `nasdsl narrow {place.stem} -o mine.nas` writes a copy to change"


def _nearby(path: Path) -> str | None:
    try:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    shipped = resources.spaces() / path.name
    if shipped.is_file():
        return f"a space of this name ships: `{path.stem}`, without a folder"
    return did_you_mean(path.name, [n for n in names if n.endswith(".nas")])


@dataclass(eq=False)
class Loader:
    """Reads a root file and what it imports, each file once. ``nesting`` bounds brackets in brackets."""

    findings: Findings
    nesting: int = NESTING
    _modules: dict[Path, Module] = field(default_factory=dict)
    _open: list[Path] = field(default_factory=list)
    _failed: set[Path] = field(default_factory=set)
    _root: Path | None = None

    def load(self, path: Path, source: Source | None = None) -> Module:
        """The module of a file (or of a text given as ``source``, whose imports are looked up beside ``path``)."""
        resolved = path.resolve()
        if self._root is None:
            self._root = resolved.parent
        if source is None:
            source = read_source(path)
        tree = parse(source, nesting=self.nesting)
        module = Module(source, tree, Names())
        self._modules[resolved] = module
        self._open.append(resolved)
        for statement in tree.imports:
            self._import(statement, resolved, module)
        self._open.pop()
        self._define(tree, module)
        return module

    def _define(self, tree: syntax.File, module: Module) -> None:
        seen = dict(module.imports)
        for item in tree.items:
            if item.name in seen:
                self._twice(item.name, item.name_span, seen[item.name], help="rename one of them")
                continue
            seen[item.name] = item.name_span
            if isinstance(item, syntax.Define):
                module.names[item.name] = Definition(item, module.names, module.source.path)

    def _import(self, statement: syntax.Import, importer: Path, module: Module) -> None:
        try:
            imported = self._imported(statement, importer)
        except NasError as error:
            for diagnostic in error.diagnostics:
                self.findings.add(diagnostic)
            for name in statement.names:
                self._import_as(name, Poison(), module)
            return
        module.imported.append(imported)
        available = {n: v for n, v in imported.names.own.items() if isinstance(v, (Definition, Poison))}
        for name in statement.names:
            value = available.get(name.name)
            if value is None:
                self.findings.error(
                    "N104",
                    f"`{statement.path}` has no `{name.name}`",
                    name.span,
                    help=did_you_mean(name.name, available)
                    or f"it defines {', '.join(f'`{n}`' for n in available) or 'nothing'}",
                )
                value = Poison()
            self._import_as(name, value, module)

    def _import_as(self, imported: syntax.Imported, value: Value, module: Module) -> None:
        name = imported.alias or imported.name
        if name in module.imports:
            self._twice(
                name, imported.span, module.imports[name], help="import one of them under another name: `as`"
            )
            return
        module.imports[name] = imported.span
        module.names[name] = value

    def _twice(self, name: str, span: Span, first: Span, help: str) -> None:
        self.findings.error(
            "N109", f"`{name}` is defined twice", span, notes=(Note(first, "first here"),), help=help
        )

    def _imported(self, statement: syntax.Import, importer: Path) -> Module:
        """The module that an import names: beside the importing file, else among those that ship."""
        span = statement.path_span
        if not statement.path.endswith(".nas"):
            raise failure(
                "N602", "only `.nas` files can be imported", f'write `from "{statement.path}.nas"`', span
            )
        assert self._root is not None
        shipped = resources.spaces().resolve()
        try:
            candidates = [(folder / statement.path).resolve() for folder in (importer.parent, shipped)]
            inside = [c for c in candidates if c.is_relative_to(self._root) or c.is_relative_to(shipped)]
            there = [c for c in inside if c in self._modules or c in self._open or c.is_file()]
        except (OSError, ValueError, RuntimeError):  # Too long a name, a null character, links in a circle.
            raise failure("N601", "this can't be the path of a file", None, span) from None
        if not inside or Path(statement.path).is_absolute():
            raise failure(
                "N602",
                "imports stay inside the folder of the space, or among the files that ship",
                "copy the file beside the space",
                span,
            )
        if not there:
            known = [p.relative_to(shipped).as_posix() for p in shipped.rglob("*.nas")]
            raise failure(
                "N601",
                f"there is no file `{statement.path}`, neither beside this one nor among those that ship",
                did_you_mean(statement.path, known),
                span,
            )
        path = there[0]
        if path in self._open:
            raise failure(
                "N603",
                f"`{statement.path}` imports this file, which imports it",
                "move what both of them need into a third file",
                span,
            )
        if path in self._failed:
            raise NasError  # What is wrong with it has been said.
        if path not in self._modules:
            self._failed.add(path)
            self.load(path, read_source(path, _shown(path), span))
            self._failed.remove(path)
        return self._modules[path]


def _shown(path: Path) -> str:
    """The path as people know it: relative where that is short."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def pick_space(module: Module, name: str | None = None) -> syntax.Space:
    """The space of that name, or the only one. Raises NasError (N607)."""
    spaces: Mapping[str, syntax.Space] = {space.name: space for space in module.spaces}
    path = module.source.path
    if not spaces:
        raise failure("N607", f"`{path}` has no `space`", "a space is written `space name { … return x }`")
    if name is None:
        if len(spaces) > 1:
            raise failure(
                "N607",
                f"`{path}` has several spaces: {', '.join(spaces)}",
                f"say which: `--space {next(iter(spaces))}`",
            )
        return next(iter(spaces.values()))
    if name not in spaces:
        raise failure("N607", f"`{path}` has no space `{name}`", did_you_mean(name, spaces))
    return spaces[name]
