"""Where everything in a picture stands.

Boxes are as large as their text. A panel whose boxes follow each other is a column, with arrows that pass by others as
arcs at its sides; any other is laid out in layers (Sugiyama et al., 1981) by grandalf. Panels then fill rows from left
to right, beside the overview.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import networkx as nx

from nasdsl.report.drawing import Item, Key, Line, Link, Panel, Part, Picture, Row, Run
from nasdsl.report.drawing_fonts import text_width
from nasdsl.report.drawing_lines import ARROW, line_width, stages

WIDTH = 780.0
"""How wide a picture may be: at the width of a page (7 inches) its text is then 7 points high."""

TEXT, SMALL = 11.0, 9.5
LINE, SMALL_LINE = 14.0, 12.5
PAD_X, PAD_Y = 8.0, 5.0
GAP = 24.0
"""Between two boxes with an arrow between them."""
ASIDE = 14.0
"""Between two boxes side by side."""
LANE = 8.0
"""Between two arcs at the side of a column."""
MARGIN = 20.0
BETWEEN = 30.0
"""Between panels."""
TITLE = 30.0
STACK = 3.0


@dataclass(eq=False)
class Box:
    """An item with its place. ``lines`` are as they fit; ``columns`` is where the second column of its rows begins."""

    item: Item
    width: float
    height: float
    lines: list[Line]
    columns: float = 0.0
    x: float = 0.0
    y: float = 0.0

    @property
    def shadows(self) -> int:
        """How many boxes show behind this one: it stands for several."""
        return 2 if self.item.stacked else 1 if self.item.times else 0

    @property
    def top(self) -> float:
        return self.y - STACK * self.shadows

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(eq=False)
class Arrow:
    """A link with its way: a start, and for each piece of curve two control points and an end."""

    link: Link
    points: list[tuple[float, float]]


@dataclass(eq=False)
class Placed:
    """A part of a picture with its place on the page; boxes and arrows count from its corner."""

    part: Part
    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    columns: float = 0.0
    x: float = 0.0
    y: float = 0.0
    letter: str = ""

    @property
    def head(self) -> float:
        return TITLE if self.part.title else 0.0


@dataclass(eq=False)
class Page:
    """A picture with a place for everything."""

    picture: Picture
    width: float
    height: float
    parts: list[Placed]


def lay_out(picture: Picture) -> Page:
    """Finds a place for everything in a picture."""
    parts = [place_panel(part) if isinstance(part, Panel) else place_key(part) for part in (picture.overview, *picture.parts)]
    _pack(parts)
    for number, part in enumerate(parts):
        part.letter = chr(ord("a") + number) if len(parts) <= 26 else ""
    right = max(part.x + part.width for part in parts)
    height = max(part.y + part.height for part in parts)
    title = text_width(picture.title, 15, True) + sum(16 + text_width(note, TEXT) for note in picture.notes)
    return Page(picture, max(right, MARGIN + title) + MARGIN, height + MARGIN, parts)


def _pack(parts: Sequence[Placed]) -> None:
    """One part after the other goes as high up as it fits, and there as far left (a skyline)."""
    done: list[Placed] = []
    for part in parts:
        width = min(part.width, WIDTH - 2 * MARGIN)
        found: tuple[float, float] | None = None
        for x in sorted({MARGIN, *(p.x + p.width + BETWEEN for p in done)}):
            if x > MARGIN and x + width > WIDTH - MARGIN:
                continue
            under = [p.y + p.height + BETWEEN for p in done if p.x < x + width + ASIDE and x < p.x + p.width + ASIDE]
            y = max(under, default=MARGIN + 30.0)
            if found is None or y < found[0] - 1:
                found = (y, x)
        assert found is not None
        part.y, part.x = found
        done.append(part)


# --- sizes ----------------------------------------------------------------------------------------


def measure(item: Item) -> Box:
    """An item's box, its lines broken where they are too long."""
    most = 150.0 if item.kind == "fixed" else 190.0
    lines = [part for line in item.lines for part in broken(line, most)]
    if item.name and item.kind in ("choice", "use", "fixed") and lines:
        lines[0] = (Run(f"{item.name}  ", "bold"), *lines[0])
    if item.times and lines:
        lines[0] = (*lines[0], Run("  ×", "muted"), *item.times)
    width = max((line_width(line) for line in lines), default=0.0)
    label = max((line_width(row.label, SMALL + 0.5) for row in item.rows), default=0.0)
    text = max((line_width(row.text, SMALL) for row in item.rows if row.text), default=0.0)
    columns = label + (8 if text else 0)
    width = max(width, columns + text)
    height = LINE * len(lines) + SMALL_LINE * len(item.rows) + (4 if item.rows and lines else 0)
    if item.kind in ("tensor", "join"):
        width = max(width + 2 * PAD_X, 22.0)
        return Box(item, width, max(height + 6, 20.0), lines, columns)
    return Box(item, max(width + 2 * PAD_X, 30.0), height + 2 * PAD_Y, lines, columns)


def broken(line: Line, most: float) -> list[Line]:
    """A pipeline on several lines, broken before an arrow where it would grow longer than ``most``."""
    found: list[Line] = []
    current: Line = ()
    for stage in stages(line):
        longer = (*current, Run(ARROW, "muted"), *stage) if current else stage
        if current and line_width(longer) > most:
            found.append(current)
            current = (Run("→ ", "muted"), *stage)
        else:
            current = longer
    return [*found, current]


def place_key(key: Key) -> Placed:
    """A list of candidates with what they do."""
    label = max(line_width(row.label) for row in key.rows)
    text = max((line_width(row.text, SMALL + 0.5) for row in key.rows), default=0.0)
    columns = label + 14
    width = max(columns + text, title_width(key.title, key.note))
    return Placed(key, width + 2, TITLE + len(key.rows) * 15.5 + 4, columns=columns)


def title_width(title: str, note: str) -> float:
    return 22 + text_width(title, 12, True) + (12 + text_width(note, SMALL) if note else 0)


# --- panels ---------------------------------------------------------------------------------------


def place_panel(panel: Panel) -> Placed:
    """The boxes and arrows of a panel."""
    boxes = {item.id: measure(item) for item in panel.items}
    graph = nx.DiGraph()
    graph.add_nodes_from(boxes)
    graph.add_edges_from((link.source, link.target) for link in panel.links)
    ranks = _ranks(graph)
    layers: dict[int, list[Box]] = {}
    for item in panel.items:
        layers.setdefault(ranks[item.id], []).append(boxes[item.id])
    double = sum(len(layer) > 1 for layer in layers.values())
    far = sum(ranks[link.target] - ranks[link.source] > 1 for link in panel.links)
    if all(len(layer) <= 2 for layer in layers.values()) and (double == 0 or (far > 3 and double <= 3)):
        arrows = _column(panel.links, boxes, ranks, layers)
    else:
        arrows = _layered(panel.links, boxes)
    return _framed(panel, list(boxes.values()), arrows)


def _ranks(graph: nx.DiGraph) -> dict[str, int]:
    """The layer of each item: the longest way to it, and as near to its readers as it may stand."""
    ranks: dict[str, int] = {}
    for layer, ids in enumerate(nx.topological_generations(graph)):
        for id in ids:
            ranks[id] = layer
    for id in reversed(list(nx.topological_sort(graph))):
        after = [ranks[reader] for reader in graph.successors(id)]
        if after and not graph.in_degree(id):
            ranks[id] = min(after) - 1
    return ranks


def _column(
    links: Sequence[Link], boxes: dict[str, Box], ranks: dict[str, int], layers: dict[int, list[Box]]
) -> list[Arrow]:
    """Layers under each other, one or two boxes each; arrows past a layer go around it at the side."""
    y = 0.0
    for rank in sorted(layers):
        layer = layers[rank]
        width = sum(box.width for box in layer) + ASIDE * (len(layer) - 1)
        x = -width / 2
        tall = max(box.height for box in layer)
        for box in layer:
            box.x, box.y = x + box.width / 2, y + (tall - box.height) / 2
            x += box.width + ASIDE
        y += tall + GAP
    near = [link for link in links if ranks[link.target] - ranks[link.source] == 1]
    far = [link for link in links if ranks[link.target] - ranks[link.source] > 1]
    arrows = [_straight(link, boxes) for link in near]
    sides: dict[str, list[Link]] = {"left": [], "right": []}
    for link in far:
        place = _side(boxes[link.target], layers[ranks[link.target]]) or _side(boxes[link.source], layers[ranks[link.source]])
        sides[place or ("left" if link.open else "right")].append(link)
    for side, found in sides.items():
        arrows += _arcs(found, boxes, ranks, layers, side == "right")
    return arrows


def _side(box: Box, layer: Sequence[Box]) -> str:
    """On which side of its layer a box stands; empty for one that stands alone."""
    if len(layer) == 1:
        return ""
    return "left" if box is layer[0] else "right"


def _straight(link: Link, boxes: dict[str, Box]) -> Arrow:
    a, b = boxes[link.source], boxes[link.target]
    start, end = (a.x, a.bottom), (b.x, b.top)
    reach = (end[1] - start[1]) / 2
    return Arrow(link, [start, (start[0], start[1] + reach), (end[0], end[1] - reach), end])


def _arcs(
    links: Sequence[Link], boxes: dict[str, Box], ranks: dict[str, int], layers: dict[int, list[Box]], right: bool
) -> list[Arrow]:
    """Arcs at one side of a column, the longer ones further out; each leaves and arrives at a height of its own."""
    if not links:
        return []
    sign = 1 if right else -1
    spans = sorted(links, key=lambda link: (ranks[link.target] - ranks[link.source], ranks[link.source]))
    taken: list[list[tuple[int, int]]] = []
    lane: dict[int, int] = {}
    for link in spans:
        low, high = ranks[link.source], ranks[link.target]
        level = 0
        while any(a < high and low < b for a, b in (taken[level] if level < len(taken) else ())):
            level += 1
        if level == len(taken):
            taken.append([])
        taken[level].append((low, high))
        lane[id(link)] = level

    past = {rank for link in links for rank in range(ranks[link.source], ranks[link.target] + 1)}
    edge = max(sign * box.right + STACK * box.shadows if right else sign * box.left for r in past for box in layers[r])

    arrows = []
    leaving, arriving = _slots(links, ranks)
    for link in links:
        a, b = boxes[link.source], boxes[link.target]
        out = sign * (edge + 8 + LANE * (lane[id(link)] + 1))
        start = (a.right + STACK * a.shadows if right else a.left, a.middle + leaving[id(link)] * _reach(a, links))
        end = (b.right + STACK * b.shadows if right else b.left, b.middle + arriving[id(link)] * _reach(b, links))
        bend = min(14.0, abs(end[1] - start[1]) / 3)
        arrows.append(
            Arrow(
                link,
                [
                    start,
                    (out, start[1]), (out, start[1]), (out, start[1] + bend),
                    (out, start[1] + bend), (out, end[1] - bend), (out, end[1] - bend),
                    (out, end[1]), (out, end[1]), end,
                ],
            )
        )  # fmt: skip
    return arrows


def _reach(box: Box, links: Sequence[Link]) -> float:
    """How much of a box's side its arcs take."""
    ends = sum((link.source == box.item.id) + (link.target == box.item.id) for link in links)
    return min(box.height - 10, 8.0 * (ends - 1))


def _slots(links: Sequence[Link], ranks: dict[str, int]) -> tuple[dict[int, float], dict[int, float]]:
    """Where at the side of its box each arc begins and ends, in steps from the middle, so that nested arcs don't cross."""
    at: dict[str, list[tuple[Link, bool]]] = {}
    for link in sorted(links, key=lambda link: ranks[link.target] - ranks[link.source]):
        # From the top: those that arrive, the shortest first; then those that leave, the longest first.
        at.setdefault(link.target, []).append((link, False))
    for link in sorted(links, key=lambda link: ranks[link.source] - ranks[link.target]):
        at.setdefault(link.source, []).append((link, True))
    leaving: dict[int, float] = {}
    arriving: dict[int, float] = {}
    for ends in at.values():
        for position, (link, leaves) in enumerate(ends):
            (leaving if leaves else arriving)[id(link)] = position - (len(ends) - 1) / 2
    for ends in at.values():
        for link, leaves in ends:
            scale = 1 / max(1, len(ends) - 1)
            side = leaving if leaves else arriving
            side[id(link)] *= scale
    return leaving, arriving


def _layered(links: Sequence[Link], boxes: dict[str, Box]) -> list[Arrow]:
    """Layers with as few crossings as the library finds."""
    from grandalf.graphs import Edge, Graph, Vertex
    from grandalf.layouts import SugiyamaLayout

    class View:
        def __init__(self, w: float, h: float) -> None:
            self.w, self.h, self.xy = w, h, (0.0, 0.0)

    vertices = {name: Vertex(name) for name in boxes}
    for name, vertex in vertices.items():
        vertex.view = View(boxes[name].width, boxes[name].height)
    edges = {id(link): Edge(vertices[link.source], vertices[link.target]) for link in links}
    graph = Graph(list(vertices.values()), list(edges.values()))
    left = 0.0
    arrows: list[Arrow] = []
    for component in graph.C:
        layout = SugiyamaLayout(component)
        layout.xspace, layout.yspace, layout.dw, layout.dh = ASIDE, GAP, 8, 8
        layout.init_all(optimize=True)
        layout.draw(20)
        members = [v for v in component.sV]
        low = min(v.view.xy[0] - v.view.w / 2 for v in members)
        for vertex in members:
            box = boxes[vertex.data]
            box.x = vertex.view.xy[0] - low + left
            box.y = vertex.view.xy[1] - box.height / 2
        for link in links:
            edge = edges[id(link)]
            if edge not in component.sE:
                continue
            through = []
            for vertex in layout.ctrls.get(edge, {}).values():
                if vertex not in component.sV:
                    through.append((vertex.view.xy[0] - low + left, vertex.view.xy[1]))
            arrows.append(_through(link, boxes, through))
        left = max(boxes[v.data].right for v in members) + BETWEEN
    return arrows


def _through(link: Link, boxes: dict[str, Box], points: Sequence[tuple[float, float]]) -> Arrow:
    a, b = boxes[link.source], boxes[link.target]
    way = [(a.x, a.bottom), *sorted(points, key=lambda p: p[1]), (b.x, b.top)]
    found = [way[0]]
    for (x0, y0), (x1, y1) in zip(way, way[1:], strict=False):
        reach = (y1 - y0) / 2
        found += [(x0, y0 + reach), (x1, y1 - reach), (x1, y1)]
    return Arrow(link, found)


def _framed(panel: Panel, boxes: list[Box], arrows: list[Arrow]) -> Placed:
    """Moves what was placed to the panel's corner, under its title."""
    lows = [box.left for box in boxes] + [x for arrow in arrows for x, _ in arrow.points]
    highs = [box.right + STACK * box.shadows for box in boxes]
    highs += [x for arrow in arrows for x, _ in arrow.points]
    sized = [box for box in boxes if box.item.size]
    if sized:
        highs.append(max(highs) + 8 + max(text_width(box.item.size, SMALL) for box in sized))
    low, high = min(lows), max(highs)
    top = min(box.top for box in boxes)
    head = TITLE if panel.title else 0.0
    for box in boxes:
        box.x -= low
        box.y += head - top
    for arrow in arrows:
        arrow.points = [(x - low, y + head - top) for x, y in arrow.points]
    width = max(high - low, title_width(panel.title, panel.note) if panel.title else 0.0)
    return Placed(panel, width, max(box.bottom for box in boxes), boxes, arrows)


def rows_of(box: Box) -> Iterable[tuple[float, Row]]:
    """The rows of a box, each with the height at which it begins."""
    y = box.y + PAD_Y + LINE * len(box.lines) + (4 if box.lines else 0)
    for row in box.item.rows:
        yield y, row
        y += SMALL_LINE
