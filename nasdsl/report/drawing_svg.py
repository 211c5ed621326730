"""A picture as SVG, for papers and pages, and as an HTML page that is ready to be made a PNG."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from nasdsl.report.drawing import Key, Line, Panel, Picture
from nasdsl.report.drawing_fonts import FAMILY, text_width
from nasdsl.report.drawing_layout import (
    LINE,
    PAD_X,
    PAD_Y,
    SMALL,
    SMALL_LINE,
    STACK,
    TEXT,
    Arrow,
    Box,
    Page,
    Placed,
    lay_out,
    rows_of,
)

# Colours by what they are for: on white, and on a dark page.
_LIGHT = {
    "paper": "#ffffff", "ink": "#1f2933", "muted": "#6b7580", "faint": "#a9b2bb", "line": "#7b8794",
    "rule": "#d5dbe1", "fixed": "#f3f5f7", "edge": "#b8c1ca", "open": "#e9f0f8", "blue": "#2a5d91",
    "taken": "#fbe8da", "rust": "#ad4a12",
}  # fmt: skip
_DARK = {
    "paper": "#14181d", "ink": "#e4e8ec", "muted": "#98a3ae", "faint": "#5d6873", "line": "#8592a0",
    "rule": "#333c46", "fixed": "#1f252c", "edge": "#4a5561", "open": "#17293c", "blue": "#8dbbe8",
    "taken": "#3b2414", "rust": "#f0a46f",
}  # fmt: skip


def svg(picture: Picture) -> str:
    """The picture as one SVG text, which looks right on a light and on a dark page."""
    page = lay_out(picture)
    return "\n".join(_document(page)) + "\n"


def html(picture: Picture, scale: int = 2) -> str:
    """A page that holds the picture alone, of the picture's own size: a browser's screenshot of it is a PNG.

    A button saves the picture as PNG itself; it is not on the screenshot of a printer or of a headless browser.
    """
    page = lay_out(picture)
    width, height = round(page.width), round(page.height)
    name = picture.title
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{escape(name)}</title>
<style>
html, body {{ margin: 0; background: {_LIGHT["paper"]}; }}
svg {{ display: block; }}
button {{ position: fixed; right: 12px; bottom: 12px; font: 12px {FAMILY}; opacity: 0; }}
body:hover button {{ opacity: 1; }}
@media (prefers-color-scheme: dark) {{ html, body {{ background: {_DARK["paper"]}; }} }}
@media print {{ button {{ display: none; }} @page {{ size: {width}px {height}px; margin: 0; }} }}
</style>
</head>
<body style="width: {width}px; height: {height}px">
{svg(picture).rstrip()}
<button type="button">Save as PNG</button>
<script>
document.querySelector("button").addEventListener("click", () => {{
  const drawing = document.querySelector("svg");
  const image = new Image();
  image.onload = () => {{
    const canvas = document.createElement("canvas");
    canvas.width = {width * scale};
    canvas.height = {height * scale};
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.download = "{escape(name)}.png";
    link.href = canvas.toDataURL("image/png");
    link.click();
  }};
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(new XMLSerializer().serializeToString(drawing));
}});
</script>
</body>
</html>
"""


def _document(page: Page) -> Iterator[str]:
    width, height = round(page.width), round(page.height)
    picture = page.picture
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" class="nasdsl" xml:space="preserve">'
    )
    yield f"<title>{escape(picture.title)}</title>"
    yield f"<desc>{escape('; '.join(picture.notes))}</desc>"
    yield f"<style>{_style()}</style>"
    yield "<defs>"
    for name in ("line", "choice", "chosen", "left"):
        yield (
            f'<marker id="nasdsl-{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6.5" markerHeight="6.5" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path class="head {name}" d="M0.5 1L7.5 4L0.5 7Z"/></marker>'
        )
    yield "</defs>"
    yield f'<rect class="paper" width="{width}" height="{height}"/>'
    x = 20.0
    yield f'<text class="title" x="{x:g}" y="32">{escape(picture.title)}</text>'
    x += text_width(picture.title, 15, True) + 14
    for note in picture.notes:
        yield f'<text class="muted" x="{x:g}" y="32">{escape(note)}</text>'
        x += text_width(note, TEXT) + 16
    for part in page.parts:
        yield f'<g transform="translate({part.x:.1f} {part.y:.1f})">'
        yield from _part(part)
        yield "</g>"
    yield "</svg>"


def _part(placed: Placed) -> Iterator[str]:
    part = placed.part
    if part.title:
        if placed.letter:
            yield f'<text class="letter" x="0" y="11">({placed.letter})</text>'
        x = 20.0 if placed.letter else 0.0
        yield f'<text class="heading" x="{x:g}" y="11">{escape(part.title)}</text>'
        if part.note:
            x += text_width(part.title, 12, True) + 10
            yield f'<text class="small muted" x="{x:.1f}" y="11">{escape(part.note)}</text>'
    if isinstance(part, Key):
        yield from _key(placed, part)
        return
    assert isinstance(part, Panel)
    # What an architecture took lies on top.
    for arrow in sorted(placed.arrows, key=lambda a: a.link.state == "chosen"):
        yield _arrow(arrow)
    for box in placed.boxes:
        yield from _box(box)
    sized = [box for box in placed.boxes if box.item.size]
    if sized:
        x = max(box.right + STACK * box.shadows for box in placed.boxes) + 8
        for arrow in placed.arrows:
            x = max(x, max(point[0] for point in arrow.points) + 8)
        shown: list[float] = []
        for box in sorted(sized, key=lambda box: -box.right):
            # Of boxes side by side the one on the right tells.
            if all(abs(box.middle - y) > 12 for y in shown):
                shown.append(box.middle)
                size = escape(box.item.size)
                yield f'<text class="small muted" x="{x:.1f}" y="{box.middle + 3.4:.1f}">{size}</text>'


def _key(placed: Placed, key: Key) -> Iterator[str]:
    y = 30.0
    yield f'<path class="rule" d="M0 {y - 10:g}H{placed.width:.1f}"/>'
    for row in key.rows:
        y += 5.5
        yield f'<text x="0" y="{y + 4:.1f}">{_runs(row.label)}</text>'
        yield f'<text class="note" x="{placed.columns:.1f}" y="{y + 4:.1f}">{_runs(row.text, "muted")}</text>'
        y += 10
    yield f'<path class="rule" d="M0 {y + 2:g}H{placed.width:.1f}"/>'


def _arrow(arrow: Arrow) -> str:
    (x, y), *rest = arrow.points
    way = [f"M{x:.1f} {y:.1f}"]
    for at in range(0, len(rest), 3):
        way.append("C" + " ".join(f"{px:.1f} {py:.1f}" for px, py in rest[at : at + 3]))
    link = arrow.link
    look = link.state or ("choice" if link.open else "line")
    dashed = " dashed" if link.open and link.state != "chosen" else ""
    return f'<path class="arrow {look}{dashed}" d="{"".join(way)}" marker-end="url(#nasdsl-{look})"/>'


def _box(box: Box) -> Iterator[str]:
    item = box.item
    state = " left" if item.state == "left" else ""
    look = {"tensor": "tensor", "join": "tensor", "fixed": "fixed", "use": "use", "choice": "choice"}[
        item.kind
    ]
    radius = box.height / 2 if item.kind in ("tensor", "join") else 3
    yield f'<g class="item{state}">'
    if item.hint:
        yield f"<title>{escape(item.hint)}</title>"
    for step in range(box.shadows, -1, -1):
        offset = step * STACK
        yield (
            f'<rect class="{look}" x="{box.left + offset:.1f}" y="{box.y - offset:.1f}" '
            f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{radius:g}"/>'
        )
    y = box.y + PAD_Y
    if item.kind in ("tensor", "join"):
        y = box.middle - LINE * len(box.lines) / 2
    for line in box.lines:
        yield f'<text class="mid" x="{box.x:.1f}" y="{y + 10.6:.1f}">{_runs(line)}</text>'
        y += LINE
    for y, row in rows_of(box):
        left = box.left + PAD_X
        if row.state == "chosen" and item.kind == "choice" and not item.stacked:
            yield (
                f'<rect class="taken" x="{box.left + 3:.1f}" y="{y:.1f}" '
                f'width="{box.width - 6:.1f}" height="{SMALL_LINE:g}" rx="2"/>'
            )
        look = {"chosen": "chosen", "left": "faint", "": ""}[row.state]
        yield f'<text class="row" x="{left:.1f}" y="{y + 9.4:.1f}">{_runs(row.label, look)}</text>'
        if row.text:
            over = "faint" if row.state == "left" else "muted"
            yield f'<text class="small" x="{left + box.columns:.1f}" y="{y + 9.4:.1f}">{_runs(row.text, over)}</text>'
    yield "</g>"


def _runs(line: Line, base: str = "") -> str:
    found = []
    for run in line:
        style = base if run.style == "plain" else run.style
        if base == "faint":
            style = "faint"
        text = escape(run.text)
        found.append(f'<tspan class="{style}">{text}</tspan>' if style else text)
    return "".join(found)


def _style() -> str:
    """The rules, each for what is inside the picture alone: it may stand in a page."""
    rules = {
        "text": f"font-family:{FAMILY};font-size:{TEXT:g}px;white-space:pre",
        ".small": f"font-size:{SMALL:g}px",
        ".row": f"font-size:{SMALL + 0.5:g}px",
        ".note": f"font-size:{SMALL + 0.5:g}px",
        ".title": "font-size:15px;font-weight:bold",
        ".heading": "font-size:12px;font-weight:bold",
        ".letter": "font-size:12px",
        ".mid": "text-anchor:middle",
        ".bold": "font-weight:bold",
        "tspan.chosen": "font-weight:bold",
        ".arrow": "fill:none;stroke-width:1.1",
        ".arrow.chosen": "stroke-width:1.8",
        ".dashed": "stroke-dasharray:3.5 2.5",
        "rect": "stroke-width:1",
        "rect.paper": "stroke:none",
        "rect.taken": "stroke:none",
        ".rule": "stroke-width:1;fill:none",
        ".item.left": "opacity:.45",
    }
    return (
        f"{_css(rules)}{_css(_colours(_LIGHT))}@media (prefers-color-scheme:dark){{{_css(_colours(_DARK))}}}"
    )


def _colours(c: dict[str, str]) -> dict[str, str]:
    return {
        "text": f"fill:{c['ink']}",
        ".muted": f"fill:{c['muted']}",
        ".faint": f"fill:{c['faint']}",
        "tspan.choice": f"fill:{c['blue']}",
        "tspan.chosen": f"fill:{c['rust']}",
        "rect.paper": f"fill:{c['paper']}",
        "rect.tensor": f"fill:{c['paper']};stroke:{c['line']}",
        "rect.fixed": f"fill:{c['fixed']};stroke:{c['edge']}",
        "rect.use": f"fill:{c['paper']};stroke:{c['blue']}",
        "rect.choice": f"fill:{c['open']};stroke:{c['blue']}",
        "rect.taken": f"fill:{c['taken']}",
        ".rule": f"stroke:{c['rule']}",
        ".arrow": f"stroke:{c['line']}",
        ".arrow.choice": f"stroke:{c['blue']}",
        ".arrow.chosen": f"stroke:{c['rust']}",
        ".arrow.left": f"stroke:{c['rule']}",
        ".head": f"fill:{c['line']}",
        ".head.choice": f"fill:{c['blue']}",
        ".head.chosen": f"fill:{c['rust']}",
        ".head.left": f"fill:{c['rule']}",
    }


def _css(rules: dict[str, str]) -> str:
    return "".join(f".nasdsl {selector}{{{rule}}}" for selector, rule in rules.items())
