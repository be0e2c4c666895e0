"""Building blocks of a self-contained HTML page: nothing is fetched, everything is in the file."""

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lightvit_dense.visualization import data_uri

_STYLE = """
:root{color-scheme:light dark;--bg:#fbfbfd;--card:#fff;
--ink:#1c2128;--soft:#667080;--line:#e4e7ec;
--accent:#2563eb;--good:#15803d;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--bg:#0f1318;--card:#171c23;--ink:#e6e9ee;--soft:#98a2b1;
--line:#2a313b;--accent:#7aa7ff;--good:#4ade80;--bad:#f87171}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.55 system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 20px 80px}
h1{font-size:1.7rem;margin:0 0 .2em;letter-spacing:-.02em}
h2{font-size:1.1rem;margin:0 0 .8em}
p{margin:.4em 0}
.soft{color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:20px 22px;margin-top:18px}
.lead{font-size:1.1rem;border-left:4px solid var(--accent);padding-left:14px;margin:14px 0 0}
.lead.good{border-color:var(--good)}.lead.bad{border-color:var(--bad)}
.warn{background:#f59e0b22;border:1px solid #f59e0b;border-radius:8px;padding:8px 12px;
margin:12px 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 10px;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}
td.text,th.text{text-align:left;overflow-wrap:anywhere}
th{font-weight:600;color:var(--soft);font-size:.85rem}
td.text:first-child{overflow-wrap:break-word}
td.best{font-weight:700;color:var(--good)}
td small{display:block;font-weight:400;color:var(--soft);white-space:nowrap}
td .mark{color:var(--soft);font-style:italic;font-weight:400;white-space:nowrap}
td .mark.good{color:var(--good)}td .mark.bad{color:var(--bad)}
details{margin-top:12px}summary{cursor:pointer;color:var(--accent)}
details table{font-size:.82rem}details td,details th{white-space:nowrap}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(380px,1fr));gap:14px}
.plots svg{width:100%;height:auto}
figure{margin:12px 0 0}figcaption{color:var(--soft);font-size:.88rem;margin-top:6px}
img{max-width:100%;height:auto;border-radius:6px;display:block}
pre{background:var(--bg);border:1px solid var(--line);border-radius:8px;
padding:12px;overflow-x:auto;font:12.5px/1.5 ui-monospace,monospace;margin:.6em 0}
"""


def text(content: str, kind: str = '') -> str:
    """Return a paragraph.

    Args:
        content: Plain text.
        kind: Class of the page's style: soft, lead, lead good, lead bad or warn.
    """
    return f'<p class="{kind}">{html.escape(content)}</p>'


def code(content: str) -> str:
    """Return a block of preformatted text."""
    return f'<pre>{html.escape(content)}</pre>'


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    best: Mapping[int, int] | None = None,
    textual: bool = False,
) -> str:
    """Return a table.

    Args:
        header: Column titles.
        rows: Cells; floats are shown with three digits, None as a dash.
        best: Column -> row of the cell to stress.
        textual: All columns hold text and are aligned left.
    """
    kind = ' class="text"' if textual else ''
    parts = ['<div class="scroll"><table><tr>']
    parts += [f'<th{kind}>{html.escape(title)}</th>' for title in header]
    parts.append('</tr>')
    for i, row in enumerate(rows):
        parts.append('<tr>')
        for j, cell in enumerate(row):
            stress = ' class="best"' if best and best.get(j) == i else kind
            parts.append(f'<td{stress}>{html.escape(format_cell(cell))}</td>')
        parts.append('</tr>')
    return ''.join([*parts, '</table></div>'])


def format_cell(value: object) -> str:
    """Return a table cell's text: three digits for floats, a dash for None."""
    if value is None:
        return '\N{EN DASH}'
    return f'{value:.3f}' if isinstance(value, float) else str(value)


def figure(image: np.ndarray, caption: str, quality: int | None = 88) -> str:
    """Return an embedded picture.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        caption: Text below it.
        quality: JPEG quality; None for PNG.
    """
    words = html.escape(caption, quote=True)
    source = data_uri(image, quality)
    return f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def details(summary: str, *blocks: str) -> str:
    """Return blocks that are folded away below a line of text."""
    return f'<details><summary>{html.escape(summary)}</summary>{"".join(blocks)}</details>'


def plots(svgs: Sequence[str]) -> str:
    """Lay out SVG elements side by side where the page is wide enough."""
    return '<div class="plots">' + ''.join(f'<div>{svg}</div>' for svg in svgs) + '</div>'


class Report:
    """A page put together section by section.

    Args:
        title: Heading and window title.
        subtitle: One line below the heading.
    """

    def __init__(self, title: str, subtitle: str = '') -> None:
        self.title = title
        self.subtitle = subtitle
        self._head: list[str] = []
        self._sections: list[str] = []

    def lead(self, *blocks: str) -> None:
        """Put blocks directly below the heading."""
        self._head += blocks

    def section(self, title: str, *blocks: str) -> None:
        """Add a section made of the given blocks; one without any block is left out."""
        if any(blocks):
            heading = f'<h2>{html.escape(title)}</h2>'
            self._sections.append(f'<section>{heading}{"".join(blocks)}</section>')

    def html(self) -> str:
        """Return the page."""
        title = html.escape(self.title)
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f'<title>{title}</title><style>{_STYLE}</style></head><body><main>'
            f'<h1>{title}</h1><p class="soft">{html.escape(self.subtitle)}</p>'
            f'{"".join(self._head)}{"".join(self._sections)}</main></body></html>'
        )

    def write(self, path: str | Path) -> Path:
        """Write the page atomically and return its path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + '.tmp')
        draft.write_text(self.html(), encoding='utf-8')
        os.replace(draft, path)
        return path
