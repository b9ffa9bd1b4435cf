"""Write an HTML document of texts, tables and figures: one file that asks for nothing from outside."""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from mlpax import plots
from mlpax.errors import escaped
from mlpax.space import written

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Html", "Section", "bullets", "code", "figure", "page", "paragraph", "section", "shown",
           "subtitle", "table", "tiles"]  # fmt: skip

LARGE = 150_000  # bytes of an SVG; instead of a larger one, a PNG is taken if it is smaller
TALL = 8  # inches; a lower figure takes half a page in print
SHORT = 14  # rows of a table that no page break divides
LONG = 24  # characters of a cell; a longer one gets a wide column
INCH = 96  # pixels of CSS
WIDE = 512  # pixels; a wider figure is scrolled on a screen that is narrower
# A browser runs no script and loads nothing, whatever stands in the page.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class Html(str):
    """Text that is HTML already. Any other text is escaped where it enters a document."""


class Section(NamedTuple):
    """A part of a page, to which the table of contents leads."""

    id: str
    title: str
    body: Html


def shown(value: object) -> str:
    """Return a value for a reader: four digits of a number, or all digits before the point."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else written(value)


def _text(value: object) -> Html:
    """Return a text as HTML that shows it literally, with characters that are not seen as escapes."""
    return value if isinstance(value, Html) else Html(html.escape(escaped(str(value))))


def _all(parts: Iterable[object]) -> Html:
    return Html("".join(map(_text, parts)))


def paragraph(*parts: object, kind: str = "") -> Html:
    """Return a paragraph. `kind` is a class of the style sheet."""
    of_kind = f' class="{kind}"' if kind else ""
    return Html(f"<p{of_kind}>{_all(parts)}</p>\n")


def subtitle(title: str) -> Html:
    """Return a heading within a section."""
    return Html(f"<h3>{_text(title)}</h3>\n")


def bullets(items: Iterable[object]) -> Html:
    """Return a list."""
    lines = _all(Html(f"<li>{_text(item)}</li>\n") for item in items)
    return Html(f"<ul>\n{lines}</ul>\n")


def code(line: str) -> Html:
    """Return a line for the command line."""
    return Html(f"<pre><code>{_text(line)}</code></pre>\n")


def tiles(figures: Iterable[tuple[str, object]]) -> Html:
    """Return names and values, to be seen at a glance."""
    each = (
        Html(f"<div><dt>{_text(name)}</dt><dd>{_text(shown(value))}</dd></div>\n") for name, value in figures
    )
    return Html(f'<dl class="tiles">\n{_all(each)}</dl>\n')


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table. The first cell of a row names the row. An empty `head` leaves out the head.

    A table that is wider than the screen is scrolled within itself; the keyboard reaches it.
    """
    heads = _all(Html(f'<th scope="col">{_text(name)}</th>') for name in head)
    top = f"<thead><tr>{heads}</tr></thead>\n" if head else ""
    lines = [_row(row) for row in rows]
    body, short = _all(lines), " short" if len(lines) <= SHORT else ""
    return Html(
        f'<div class="table scroll{short}" tabindex="0" role="group" aria-label="{_text(caption)}">\n'
        f"<table>\n<caption><span>{_text(caption)}</span></caption>\n{top}<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _row(row: Sequence[object]) -> Html:
    first, *others = row
    cells = _all(Html(f"<td{_kind(cell)}>{_text(_cell(cell))}</td>") for cell in others)
    return Html(f'<tr><th scope="row">{_text(_cell(first))}</th>{cells}</tr>\n')


def _kind(cell: object) -> str:
    """Return the class of a cell, for the style sheet."""
    if isinstance(cell, str):
        return ' class="long"' if len(cell) > LONG else ""
    return ' class="number"' if isinstance(cell, (int, float)) else ""


def _cell(cell: object) -> str:
    return cell if isinstance(cell, str) else shown(cell)


def figure(name: str, drawing: "Figure", label: str, caption: str = "") -> Html:
    """Return a figure with a caption.

    Parameters
    ----------
    name : str
        A word that no other figure of the page has. Names within the drawing begin with it.
    drawing : matplotlib.figure.Figure
    label : str
        What the figure shows, for readers who do not see it.
    caption : str, optional
    """
    svg = plots.drawn(drawing, "svg")
    picture = _inline(svg.decode(), name, label)
    if len(svg) > LARGE and len(png := plots.drawn(drawing, "png")) * 4 / 3 < len(svg):
        width, height = (round(INCH * side) for side in drawing.get_size_inches())
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        picture = f'<img src="{source}" alt="{_text(label)}" width="{width}" height="{height}">'
    if drawing.get_figwidth() * INCH > WIDE:
        picture = (
            f'<div class="wide scroll" tabindex="0" role="group" aria-label="Figure">\n{picture}\n</div>'
        )
    tall = ' class="tall"' if drawing.get_figheight() > TALL else ""
    below = f"<figcaption>{_text(caption)}</figcaption>\n" if caption else ""
    return Html(f'<figure id="{name}"{tall}>\n{picture}\n{below}</figure>\n')


def _inline(svg: str, name: str, label: str) -> str:
    """Return matplotlib's SVG file as an element of a page, where each id must be unique."""
    start = svg.index("<svg")
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", svg[start:], flags=re.DOTALL)
    # All text is escaped, so that < and > stand only around tags.
    own = rf"\1{name}-"
    svg = re.sub(r"<[^<>]+>", lambda tag: re.sub(r"(\bid=\"|url\(#|href=\"#)", own, tag.group()), svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_text(label)}"', 1).strip()


def section(id: str, title: str, *parts: Html | None) -> Section:
    """Return a section of what there is of its parts."""
    return Section(id, title, _all(part for part in parts if part is not None))


def page(title: str, lead: Iterable[Html], sections: Sequence[Section], foot: str) -> str:
    """Return the text of an HTML file."""
    contents = _all(Html(f'<li><a href="#{s.id}">{_text(s.title)}</a></li>\n') for s in sections)
    body = _all(
        Html(f'<section id="{s.id}">\n<h2>{_text(s.title)}</h2>\n{s.body}</section>\n') for s in sections
    )
    style = resources.files("mlpax.serve").joinpath("report.css").read_text()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_text(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{_text(title)}</h1>
{_all(lead)}</header>
<nav aria-label="Contents">
<ol>
{contents}</ol>
</nav>
<main>
{body}</main>
<footer>
{paragraph(foot)}</footer>
</body>
</html>
"""
