"""Where everything in a picture stands.

Boxes are as large as their text. A panel whose boxes follow each other is a column, with arrows that pass by others as
arcs at its sides; any other stands in layers, whose places are solved by SciPy. Panels then go as high up on the page
as they fit, or into columns where that is a good deal lower. The same picture has the same places every time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

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
LANE = 7.0
"""Between two arcs at the side of a column."""
MARGIN = 20.0
BETWEEN = 30.0
"""Between panels."""
TITLE = 30.0
MOST_STACKED, STACKED = 6, 0.92
"""Of so many parts at most all ways to put them into columns are tried, and one is taken that leaves so much of the
height or less."""
STACK = 3.0
SWEEPS, STARTS, PLACED = 16, 24, 6
"""How often an order is improved, from how many beginnings, and how many of the best are compared."""


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
    parts = [
        place_panel(part) if isinstance(part, Panel) else place_key(part)
        for part in (picture.overview, *picture.parts)
    ]
    place_parts(parts)
    for number, part in enumerate(parts):
        part.letter = chr(ord("a") + number) if len(parts) <= 26 else ""
    right = max(part.x + part.width for part in parts)
    height = max(part.y + part.height for part in parts)
    title = text_width(picture.title, 15, True) + sum(16 + text_width(note, TEXT) for note in picture.notes)
    return Page(picture, max(right, MARGIN + title) + MARGIN, height + MARGIN, parts)


def place_parts(parts: Sequence[Placed]) -> None:
    """Finds a place on the page for each part."""
    _pack(parts)
    _stack(parts)


def _pack(parts: Sequence[Placed]) -> None:
    """One part after the other goes as high up as it fits, and there as far left (a skyline)."""
    done: list[Placed] = []
    for part in parts:
        width = min(part.width, WIDTH - 2 * MARGIN)
        found: tuple[float, float] | None = None
        for x in sorted({MARGIN, *(p.x + p.width + BETWEEN for p in done)}):
            if x > MARGIN and x + width > WIDTH - MARGIN:
                continue
            under = [
                p.y + p.height + BETWEEN
                for p in done
                if p.x < x + width + ASIDE and x < p.x + p.width + ASIDE
            ]
            y = max(under, default=MARGIN + 30.0)
            if found is None or y < found[0] - 1:
                found = (y, x)
        assert found is not None
        part.y, part.x = found
        done.append(part)


def _stack(parts: Sequence[Placed]) -> None:
    """Puts parts into columns instead, each under the one before it, where that makes the page a good deal lower: a
    tall part then has others beside it that are too wide for the gap that the skyline left."""
    if not 1 < len(parts) <= MOST_STACKED:
        return
    top = MARGIN + 30.0
    lowest = STACKED * max(part.y + part.height for part in parts)
    best: tuple[float, float, tuple[int, ...]] | None = None
    for columns in product(range(len(parts)), repeat=len(parts)):
        if any(column > max((0, *(c + 1 for c in columns[:i]))) for i, column in enumerate(columns)):
            continue  # the same columns in another order
        groups = _groups(parts, columns)
        width = sum(max(p.width for p in group) for group in groups) + BETWEEN * (len(groups) - 1)
        height = top + max(sum(p.height + BETWEEN for p in group) - BETWEEN for group in groups)
        if width <= WIDTH - 2 * MARGIN and height <= lowest and (best is None or (height, width) < best[:2]):
            best = (height, width, columns)
    if best is None:
        return
    x = MARGIN
    for group in _groups(parts, best[2]):
        y = top
        for part in group:
            part.x, part.y = x, y
            y += part.height + BETWEEN
        x += max(part.width for part in group) + BETWEEN


def _groups(parts: Sequence[Placed], columns: Sequence[int]) -> list[list[Placed]]:
    groups: list[list[Placed]] = [[] for _ in range(max(columns) + 1)]
    for part, column in zip(parts, columns, strict=True):
        groups[column].append(part)
    return groups


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
    return _framed(panel, list(boxes.values()), _arranged(panel.links, boxes, ranks, layers))


def _arranged(
    links: Sequence[Link], boxes: dict[str, Box], ranks: dict[str, int], layers: dict[int, list[Box]]
) -> list[Arrow]:
    """A column where that is clear, layers where not, or a column under layers."""
    double = sum(len(layer) > 1 for layer in layers.values())
    far = [link for link in links if ranks[link.target] - ranks[link.source] > 1]
    if all(len(layer) <= 2 for layer in layers.values()) and (double == 0 or (len(far) > 3 and double <= 3)):
        return _column(links, boxes, ranks, layers)
    # From where on the boxes follow each other, and nothing above leads past the first of them.
    first = max((rank + 1 for rank in layers if len(layers[rank]) > 1), default=0)
    while any(ranks[link.source] < first < ranks[link.target] for link in links) and first in layers:
        first += 1
    below = {name for name, rank in ranks.items() if rank >= first}
    inner = [link for link in links if link.source in below]
    if first not in layers or len(far) <= 3 or len(below) < 5:
        return _layered(links, boxes)
    # The first box of the column is the last of the layers.
    head = layers[first][0]
    upper = {name: box for name, box in boxes.items() if name not in below or box is head}
    arrows = _layered([link for link in links if link.target in upper], upper)
    x, y = head.x, head.y
    arrows += _column(
        inner,
        {n: b for n, b in boxes.items() if n in below},
        ranks,
        {r: layers[r] for r in layers if r >= first},
    )
    for box in boxes.values():
        if box.item.id in below:
            box.x, box.y = box.x + x, box.y + y
    for arrow in arrows:
        if arrow.link in inner:
            arrow.points = [(px + x, py + y) for px, py in arrow.points]
    return arrows


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
        place = _side(boxes[link.target], layers[ranks[link.target]]) or _side(
            boxes[link.source], layers[ranks[link.source]]
        )
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
    links: Sequence[Link],
    boxes: dict[str, Box],
    ranks: dict[str, int],
    layers: dict[int, list[Box]],
    right: bool,
) -> list[Arrow]:
    """Arrows around layers, at one side of a column.

    Those that a choice decides about share a way with others from the same box, the rest with others into the same
    box; ways that overlap lie in lanes of their own, the longer ones further out.
    """
    if not links:
        return []
    sign = 1 if right else -1
    ways: dict[tuple[str, bool], list[Link]] = {}
    for link in links:
        ways.setdefault((link.source if link.open else link.target, link.open), []).append(link)
    extent = {
        way: (min(ranks[link.source] for link in group), max(ranks[link.target] for link in group))
        for way, group in ways.items()
    }
    taken: list[list[tuple[int, int]]] = []
    lane: dict[tuple[str, bool], int] = {}
    for way in sorted(ways, key=lambda way: (extent[way][1] - extent[way][0], -extent[way][0])):
        low, high = extent[way]
        level = 0
        while any(a < high and low < b for a, b in (taken[level] if level < len(taken) else ())):
            level += 1
        if level == len(taken):
            taken.append([])
        taken[level].append((low, high))
        lane[way] = level
    past = {rank for link in links for rank in range(ranks[link.source], ranks[link.target] + 1)}
    edge = max(
        sign * (box.right + STACK * box.shadows if right else box.left) for r in past for box in layers[r]
    )
    heights = _slots(ways, boxes, ranks)
    arrows = []
    for way, group in ways.items():
        out = sign * (edge + 8 + LANE * (lane[way] + 1))
        for link in group:
            a, b = boxes[link.source], boxes[link.target]
            start = (a.right + STACK * a.shadows if right else a.left, heights[link.source, way])
            end = (b.right + STACK * b.shadows if right else b.left, heights[link.target, way])
            bend = min(10.0, abs(end[1] - start[1]) / 3)
            near, far = out - sign * bend, out - sign * bend
            arrows.append(
                Arrow(
                    link,
                    [
                        start,
                        start, (near, start[1]), (near, start[1]),
                        (out, start[1]), (out, start[1]), (out, start[1] + bend),
                        (out, start[1] + bend), (out, end[1] - bend), (out, end[1] - bend),
                        (out, end[1]), (out, end[1]), (far, end[1]),
                        (far, end[1]), end, end,
                    ],
                )
            )  # fmt: skip
    return arrows


def _slots(
    ways: dict[tuple[str, bool], list[Link]], boxes: dict[str, Box], ranks: dict[str, int]
) -> dict[tuple[str, tuple[str, bool]], float]:
    """The height at which each way touches the side of each of its boxes."""
    ends: dict[str, dict[tuple[str, bool], tuple[bool, int]]] = {}
    for way, group in ways.items():
        for link in group:
            span = ranks[link.target] - ranks[link.source]
            for name, leaves in ((link.target, False), (link.source, True)):
                known = ends.setdefault(name, {}).get(way)
                length = max(span, abs(known[1])) if known else span
                # From the top: what arrives, the shortest way first; then what leaves, the longest first.
                ends[name][way] = (leaves, -length if leaves else length)
    found: dict[tuple[str, tuple[str, bool]], float] = {}
    for name, at in ends.items():
        box = boxes[name]
        step = min(8.0, (box.height - 10) / max(1, len(at) - 1))
        for position, way in enumerate(sorted(at, key=lambda way: at[way])):
            found[name, way] = box.middle + (position - (len(at) - 1) / 2) * step
    return found


def _layered(links: Sequence[Link], boxes: dict[str, Box]) -> list[Arrow]:
    """Layers as in Sugiyama et al. (1981): a rank for each box, an order in each rank with few crossings, then places.

    An arrow past a rank has a place of its own in it. Places are the bounded least squares of the arrows' slants.
    """
    graph = nx.DiGraph()
    graph.add_nodes_from(boxes)
    graph.add_edges_from((link.source, link.target) for link in links)
    ranks = _late_ranks(graph)
    layers: list[list[str]] = [[] for _ in range(max(ranks.values()) + 1)]
    for name in boxes:
        layers[ranks[name]].append(name)
    chains: dict[tuple[str, str], list[str]] = {}
    for source, target in graph.edges:
        between = [f"{source} {target} {rank}" for rank in range(ranks[source] + 1, ranks[target])]
        chains[source, target] = [source, *between, target]
        for name, rank in zip(between, range(ranks[source] + 1, ranks[target]), strict=True):
            layers[rank].append(name)
    edges = [edge for chain in chains.values() for edge in pairwise(chain)]
    widths = {name: boxes[name].width if name in boxes else 4.0 for layer in layers for name in layer}
    layers, places = _ordered(layers, edges, widths)
    heights: dict[str, float] = {}
    y = 0.0
    for layer in layers:
        tall = max((boxes[name].height for name in layer if name in boxes), default=0.0)
        for name in layer:
            heights[name] = y + tall / 2
            if name in boxes:
                boxes[name].x, boxes[name].y = places[name], y + (tall - boxes[name].height) / 2
        y += tall + GAP
    tops = {rank: min(boxes[n].y for n in layer if n in boxes) for rank, layer in enumerate(layers)}
    bottoms = {rank: max(boxes[n].bottom for n in layer if n in boxes) for rank, layer in enumerate(layers)}
    arrows = []
    for link in links:
        chain = chains[link.source, link.target]
        through: list[tuple[float, float]] = []
        for rank, name in enumerate(chain[1:-1], ranks[link.source] + 1):
            # Straight down beside the boxes of the layer.
            through += [(places[name], tops[rank]), (places[name], bottoms[rank])]
        arrows.append(_through(link, boxes, through))
    return arrows


def _late_ranks(graph: nx.DiGraph) -> dict[str, int]:
    """Every box as near to its readers as may be: its rank is the longest way from it to an end, counted from the top."""
    depth: dict[str, int] = {}
    for name in reversed(list(nx.topological_sort(graph))):
        depth[name] = max((depth[reader] + 1 for reader in graph.successors(name)), default=0)
    most = max(depth.values())
    return {name: most - value for name, value in depth.items()}


def _ordered(
    layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]], widths: dict[str, float]
) -> tuple[list[list[str]], dict[str, float]]:
    """Of several beginnings, always the same, the order with the fewest crossings, and of those the most upright."""
    found: dict[tuple[tuple[str, ...], ...], int] = {}
    for seed in range(STARTS):
        start = [list(layer) for layer in layers]
        if seed == 1:
            start = [layer[::-1] for layer in start]
        elif seed:
            generator = random.Random(seed)
            for layer in start:
                generator.shuffle(layer)
        ordered, crossings = _uncrossed(start, edges)
        found.setdefault(tuple(map(tuple, ordered)), crossings)
    fewest = min(found.values())
    options = [[list(layer) for layer in order] for order, n in found.items() if n == fewest][:PLACED]
    placed = [(order, *_places(order, edges, widths)) for order in options]
    order, places, _ = min(placed, key=lambda option: round(option[2], 3))
    return order, places


def _uncrossed(
    layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], int]:
    """An order in each layer with few crossings: barycentres up and down, and exchanges of neighbours."""
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for source, target in edges:
        after.setdefault(source, []).append(target)
        before.setdefault(target, []).append(source)
    current = [list(layer) for layer in layers]
    best, fewest = [list(layer) for layer in current], _crossings(current, after)
    for turn in range(SWEEPS):
        down = turn % 2 == 0
        beside = before if down else after
        rows = range(1, len(current)) if down else range(len(current) - 2, -1, -1)
        for row in rows:
            fixed = {name: place for place, name in enumerate(current[row - 1 if down else row + 1])}
            old = {name: place for place, name in enumerate(current[row])}
            centre = {
                name: sum(fixed[n] for n in beside[name]) / len(beside[name]) if name in beside else old[name]
                for name in current[row]
            }
            current[row].sort(key=lambda name: (centre[name], old[name]))
        _exchange(current, before, after)
        crossings = _crossings(current, after)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
    return best, fewest


def _exchange(layers: list[list[str]], before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """Neighbours change places as long as that takes crossings away."""
    for row, layer in enumerate(layers):
        above = {name: place for place, name in enumerate(layers[row - 1])} if row else {}
        below = {name: place for place, name in enumerate(layers[row + 1])} if row + 1 < len(layers) else {}
        changed = True
        while changed:
            changed = False
            for at in range(len(layer) - 1):
                a, b = layer[at], layer[at + 1]
                gain = 0
                for beside, places in ((before, above), (after, below)):
                    for x in beside.get(a, ()):
                        for y in beside.get(b, ()):
                            gain += (places[x] > places[y]) - (places[x] < places[y])
                if gain > 0:
                    layer[at], layer[at + 1] = b, a
                    changed = True


def _crossings(layers: Sequence[Sequence[str]], after: dict[str, list[str]]) -> int:
    total = 0
    for row in range(len(layers) - 1):
        below = {name: place for place, name in enumerate(layers[row + 1])}
        ends = [
            below[target]
            for name in layers[row]
            for target in sorted(after.get(name, ()), key=below.__getitem__)
        ]
        total += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return total


def _places(
    layers: Sequence[Sequence[str]], edges: Sequence[tuple[str, str]], widths: dict[str, float]
) -> tuple[dict[str, float], float]:
    """The middle of each box: arrows as upright as boxes without overlap allow, long ones above all; and what is left.

    In each layer the first place is free and the others are gaps of at least nothing, so that it is a least-squares
    problem with bounds, which SciPy solves.
    """
    import numpy as np
    from scipy.optimize import lsq_linear

    column: dict[str, int] = {}
    offset: dict[str, float] = {}
    row_of: dict[str, list[int]] = {}
    low: list[float] = []
    for layer in layers:
        columns: list[int] = []
        x = 0.0
        for at, name in enumerate(layer):
            if at:
                x += (widths[layer[at - 1]] + widths[name]) / 2 + ASIDE
            column[name] = len(low)
            low.append(-np.inf if at == 0 else 0.0)
            columns = [*columns, column[name]]
            row_of[name], offset[name] = columns, x
    rows, wanted = [], []
    for source, target in edges:
        # An arrow's inner pieces are kept straight.
        weight = (1.0, 2.0, 20.0)[(" " in source) + (" " in target)]
        row = np.zeros(len(low))
        row[row_of[target]] += weight
        row[row_of[source]] -= weight
        rows.append(row)
        wanted.append(weight * (offset[source] - offset[target]))
    for name in column:
        # Boxes without arrows and the picture as a whole stay in the middle.
        row = np.zeros(len(low))
        row[row_of[name]] += 0.02
        rows.append(row)
        wanted.append(-0.02 * offset[name])
    solved = lsq_linear(np.array(rows), np.array(wanted), (low, np.inf), method="bvls")
    places = {name: round(float(offset[name] + sum(solved.x[c] for c in row_of[name])), 1) for name in column}
    return places, float(solved.cost)


def _through(link: Link, boxes: dict[str, Box], points: Sequence[tuple[float, float]]) -> Arrow:
    a, b = boxes[link.source], boxes[link.target]
    way = [(a.x, a.bottom), *points, (b.x, b.top)]
    found = [way[0]]
    for (x0, y0), (x1, y1) in pairwise(way):
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
