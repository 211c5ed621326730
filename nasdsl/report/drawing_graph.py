"""A picture as DOT, for Graphviz, and as Mermaid, for pages that draw it themselves."""

from __future__ import annotations

from collections.abc import Iterator

from nasdsl.report.drawing import Item, Key, Link, Picture, Row, plain

_DOT_SHAPES = {"tensor": "oval", "join": "oval", "fixed": "box", "use": "box", "choice": "box"}


def dot(picture: Picture) -> str:
    """The picture in the language of Graphviz: a cluster for each panel."""
    return "\n".join(_dot(picture)) + "\n"


def mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flow chart: a subgraph for each panel."""
    return "\n".join(_mermaid(picture)) + "\n"


def _dot(picture: Picture) -> Iterator[str]:
    yield f"digraph {_quoted(picture.title)} {{"
    yield f"  label={_quoted(_heading(picture.title, ', '.join(picture.notes)))};"
    yield '  labelloc=t; fontname="Helvetica"; fontsize=12; compound=true;'
    yield '  node [fontname="Helvetica", fontsize=10, color="#7b8794", fontcolor="#1f2933", height=0.3];'
    yield '  edge [color="#7b8794", arrowsize=0.6];'
    for number, panel in enumerate(picture.panels()):
        yield f"  subgraph cluster_{number} {{"
        yield f'    label={_quoted(_heading(panel.title, panel.note))}; color="#d5dbe1";'
        for item in panel.items:
            yield f"    {_dot_item(number, item)};"
        for link in panel.links:
            yield f"    p{number}_{link.source} -> p{number}_{link.target}{_dot_link(link)};"
        yield "  }"
    for number, key in enumerate(part for part in picture.parts if isinstance(part, Key)):
        text = "".join(f"{_row(row)}\\l" for row in key.rows)
        label = f"{_escaped(_heading(key.title, key.note))}\\l\\l{text}"
        yield f'  key_{number} [shape=note, color="#d5dbe1", label="{label}"];'
    yield "}"


def _dot_item(panel: int, item: Item) -> str:
    looks = [f"shape={_DOT_SHAPES[item.kind]}"]
    styles = []
    if item.kind in ("tensor", "join"):
        styles.append("rounded")
    if item.kind == "fixed":
        styles.append("filled")
        looks.append('fillcolor="#f3f5f7"')
    if item.kind in ("use", "choice"):
        looks.append('color="#2a5d91"')
    if item.kind == "choice":
        styles.append("filled")
        looks.append('fillcolor="#e9f0f8"')
    if item.state == "left":
        styles.append("dotted")
    if item.stacked or item.times:
        looks.append("peripheries=2")
    if styles:
        looks.append(f'style="{",".join(styles)}"')
    rows = "".join(f"{_row(row)}\\l" for row in item.rows)
    head = "\\n".join(_escaped(line) for line in _lines(item))
    label = f"{head}\\n{rows}" if rows else head
    return f'p{panel}_{item.id} [{", ".join(looks)}, label="{label}"]'


def _dot_link(link: Link) -> str:
    looks = []
    if link.open and link.state != "chosen":
        looks.append("style=dashed")
    if link.state == "chosen":
        looks.append('color="#ad4a12", penwidth=2')
    elif link.state == "left":
        looks.append('color="#d5dbe1"')
    elif link.open:
        looks.append('color="#2a5d91"')
    return f" [{', '.join(looks)}]" if looks else ""


def _mermaid(picture: Picture) -> Iterator[str]:
    yield "---"
    yield f"title: {_quoted(_heading(picture.title, ', '.join(picture.notes)))}"
    yield "---"
    yield "flowchart TB"
    links: list[str] = []
    styles: list[str] = []
    count = 0
    for number, panel in enumerate(picture.panels()):
        yield f'  subgraph panel{number}["{_entities(_heading(panel.title, panel.note))}"]'
        for item in panel.items:
            text = "<br/>".join(
                _entities(line) for line in (*_lines(item), *(_row(row, False) for row in item.rows))
            )
            brackets = ('(["', '"])') if item.kind in ("tensor", "join") else ('["', '"]')
            yield f"    p{number}_{item.id}{brackets[0]}{text}{brackets[1]}:::{item.state or item.kind}"
        for link in panel.links:
            arrow = (
                "-.->" if link.open and link.state != "chosen" else "==>" if link.state == "chosen" else "-->"
            )
            links.append(f"  p{number}_{link.source} {arrow} p{number}_{link.target}")
            colour = {"chosen": "#ad4a12", "left": "#d5dbe1"}.get(link.state, "#2a5d91" if link.open else "")
            if colour:
                styles.append(f"  linkStyle {count} stroke:{colour}")
            count += 1
        yield "  end"
    for number, key in enumerate(part for part in picture.parts if isinstance(part, Key)):
        text = "<br/>".join(_entities(_row(row, False)) for row in key.rows)
        yield f'  key{number}["{_entities(_heading(key.title, key.note))}<br/>{text}"]:::key'
    yield from links
    yield from styles
    yield "  classDef fixed fill:#f3f5f7,stroke:#b8c1ca,color:#1f2933"
    yield "  classDef use fill:#ffffff,stroke:#2a5d91,color:#1f2933"
    yield "  classDef choice fill:#e9f0f8,stroke:#2a5d91,color:#1f2933"
    yield "  classDef tensor fill:#ffffff,stroke:#7b8794,color:#1f2933"
    yield "  classDef join fill:#ffffff,stroke:#7b8794,color:#1f2933"
    yield "  classDef left fill:#ffffff,stroke:#d5dbe1,color:#a9b2bb"
    yield "  classDef key fill:#ffffff,stroke:#d5dbe1,color:#1f2933,text-align:left"


def _lines(item: Item) -> list[str]:
    lines = [plain(line) for line in item.lines]
    if item.times and lines:
        lines[0] += f" ×{plain(item.times)}"
    if item.name and item.kind in ("choice", "use", "fixed") and lines:
        lines[0] = f"{item.name}: {lines[0]}"
    return lines


def _row(row: Row, escape: bool = True) -> str:
    text = f"{plain(row.label)}: {plain(row.text)}" if row.text else plain(row.label)
    if row.state == "chosen":
        text = f"▸ {text}"
    return _escaped(text) if escape else text


def _heading(title: str, note: str) -> str:
    return f"{title} ({note})" if note else title


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _entities(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
