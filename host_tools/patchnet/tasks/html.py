"""A page of HTML that needs nothing beside it: tables, and drawings, pictures and sounds inside of the file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.figure import Figure  # not pyplot: no window, no state
from PIL import Image

from ..data.sounds import Clip, to_wav

SIDE = 144  # of a picture on the page, pixels
WIDE = 640  # of one that is shown whole
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; margin: 0 auto; max-width: 1080px; padding: 1.5em; }
h1 { font-size: 1.5em; margin: 0 0 .2em; } h2 { font-size: 1.15em; margin: 2em 0 .5em; }
p, li { max-width: 46em; } .note { color: #57606a; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #d8dee4; font-weight: normal; }
th:first-child, td:first-child { text-align: left; } thead th { color: #57606a; vertical-align: bottom; }
.confusion td, .confusion th { border: 0; text-align: center; } .confusion th[scope=row] { text-align: right; }
.facts { display: flex; flex-wrap: wrap; gap: .4em 2.2em; margin: 1em 0; padding: 0; list-style: none; }
.facts b { display: block; font-size: 1.35em; } .facts span { color: #57606a; }
.gallery { display: flex; flex-wrap: wrap; gap: 12px; } figure { margin: 0; width: 156px; font-size: 12px; }
figure img { display: block; max-width: 100%; image-rendering: pixelated; } figcaption { overflow-wrap: anywhere; }
.wrong { color: #b42318; } .right { color: #1a7f37; } audio { width: 156px; height: 32px; }
img.drawing { max-width: 100%; } pre { background: #f6f8fa; padding: 1em; overflow-x: auto; font-size: 13px; }
@media print { body { max-width: none; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading and HTML, whose text is escaped already."""

    title: str
    body: str


def page(title: str, facts: Sequence[tuple[str, str]], sections: Iterable[Section]) -> str:
    """The whole page; `facts` are its few most wanted figures, (what, how much)."""
    shown = "".join(f"<li><b>{escape(value)}</b><span>{escape(what)}</span></li>" for what, value in facts)
    parts = "".join(f"<section><h2>{escape(s.title)}</h2>{s.body}</section>\n" for s in sections)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f'<h1>{escape(title)}</h1><ul class="facts">{shown}</ul>\n{parts}'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def text(value: str) -> str:
    """As it is, line by line."""
    return f"<pre>{escape(value)}</pre>"


def _inside(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def drawing(figure: Figure, what: str) -> str:
    """A figure as SVG; `what` is said where it cannot be seen."""
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return f'<img class="drawing" alt="{escape(what)}" src="{_inside("image/svg+xml", out.getvalue())}">'


def picture(pixels: np.ndarray, whole: bool = False) -> str:
    """uint8 (H, W) or (H, W, 3), at most SIDE pixels large (`whole`: all of it, as wide as half a page), smaller ones
    enlarged by whole numbers."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    largest = max(image.size)
    if largest > SIDE and not whole:
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    times = max(1, (WIDE if whole else SIDE) // max(image.size))
    out = io.BytesIO()
    image.save(out, "PNG")
    size = f'width="{image.width * times}" height="{image.height * times}"'
    return f'<img alt="" {size} src="{_inside("image/png", out.getvalue())}">'


def sound(clip: Clip) -> str:
    """Something to listen to."""
    return f'<audio controls preload="none" src="{_inside("audio/wav", to_wav(clip.pcm, clip.rate))}"></audio>'


def gallery(items: Iterable[tuple[str, str]]) -> str:
    """Things beside each other, each with what is written under it, both HTML."""
    figures = "".join(f"<figure>{shown}<figcaption>{under}</figcaption></figure>" for shown, under in items)
    return f'<div class="gallery">{figures}</div>'


def confusion(counts: np.ndarray, labels: Sequence[str]) -> str:
    """`counts[truth][answer]` as a table, each row shaded by its shares, with recall and precision in the margins."""
    share = counts / np.maximum(1, counts.sum(1, keepdims=True))
    hits, rows, columns = np.diag(counts), counts.sum(1), counts.sum(0)

    def percent(part: int, whole: int) -> str:
        return f"{part / whole:.1%}" if whole else "–"

    def cell(i: int, j: int) -> str:
        strong = share[i, j]
        colour = f"rgba({'31,119,180' if i == j else '180,35,24'},{0.85 * strong:.3f})"
        ink = "#fff" if strong > 0.6 else "inherit"
        return f'<td style="background:{colour};color:{ink}">{counts[i, j] or ""}</td>'

    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in labels)
    out = [f'<thead><tr><th>truth \\ answer</th>{names}<th scope="col">recall</th></tr></thead><tbody>']
    for i, name in enumerate(labels):
        cells = "".join(cell(i, j) for j in range(len(labels)))
        out.append(f'<tr><th scope="row">{escape(name)}</th>{cells}<td>{percent(hits[i], rows[i])}</td></tr>')
    below = "".join(f"<td>{percent(hits[j], columns[j])}</td>" for j in range(len(labels)))
    out.append(f'<tr><th scope="row">precision</th>{below}<td><b>{percent(hits.sum(), counts.sum())}</b></td></tr>')
    return f'<table class="confusion">{"".join(out)}</tbody></table>'
