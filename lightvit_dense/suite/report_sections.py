"""The parts of a suite's page."""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from lightvit_dense.utils import html as report
from lightvit_dense.visualization.curves import to_svg

from .plots import draw_column, is_drawable, pretraining_curves, task_curves
from .tables import (
    FAILED,
    MEASURED,
    UNPLANNED,
    SuiteTable,
    TableCell,
    TableColumn,
    gains,
    show_cell,
)

PICTURE_WIDTH = 1000
"""Wider pictures are made smaller, in pixels."""
PNG_BYTES = 150_000
"""Larger pictures are embedded as JPEG."""
TONES = {'appears': 'good', 'does not appear': 'bad'}


def main_table(table: SuiteTable) -> str:
    """Return the table of initialisations times figures, ours above the papers'."""
    head = ''.join(f'<th>{html.escape(column.title)}</th>' for column in table.columns)
    rows = []
    for init, title in table.inits.items():
        cells = ''.join(_cell(table.cell(init, column), column) for column in table.columns)
        rows.append(f'<tr><td>{html.escape(title)}</td>{cells}</tr>')
    body = f'<table><tr><th>initialisation</th>{head}</tr>{"".join(rows)}</table>'
    legend = 'Mean ± sample deviation (number of seeds), the best of a column in green.'
    if any(cell.paper is not None for cell in table.cells.values()):
        legend += " Below: the papers' figure, and ours minus it."
    return f'<div class="scroll">{body}</div>{report.text(legend, "soft")}'


def _cell(cell: TableCell, column: TableColumn) -> str:
    shown = html.escape(show_cell(cell, column))
    if cell.spread is None and cell.state != UNPLANNED:
        tone = ' bad' if cell.state == FAILED else ''
        shown = f'<span class="mark{tone}">{shown}</span>'
    elif cell.failed:
        shown += f' <span class="mark bad">{cell.failed} failed</span>'
    if cell.paper is not None:
        words = f'paper {column.show(cell.paper)}'
        if cell.difference is not None:
            words += f' ({column.show(cell.difference, signed=True)})'
        shown += f'<small>{words}</small>'
    kind = ' class="best"' if cell.best else ''
    return f'<td{kind}>{shown}</td>'


def gains_table(table: SuiteTable) -> str:
    """Return differences to the first initialisation, paired by seed; empty if there are none."""
    base = next(iter(table.inits))
    found = {(init, column.title): (column, s) for init, column, s in gains(table, base)}
    if not found:
        return ''
    columns = [c for c in table.columns if any(title == c.title for _, title in found)]
    rows: list[list[object]] = []
    for init, title in table.inits.items():
        if init == base:
            continue
        row: list[object] = [title]
        for column in columns:
            _, spread = found.get((init, column.title), (None, None))
            row.append(None if spread is None else _signed(spread, column))
        rows.append(row)
    words = (
        f'Differences to “{table.inits[base]}”, seed by seed: mean ± sample deviation (number of '
        'pairs).'
    )
    header = ['initialisation', *[column.title for column in columns]]
    return report.text(words, 'soft') + report.table(header, rows)


def _signed(spread: Any, column: TableColumn) -> str:
    text = column.show(spread.mean, signed=True)
    if spread.deviation is not None:
        text += f' ± {column.show(spread.deviation)}'
    return f'{text} ({len(spread.values)})'


def column_plots(table: SuiteTable) -> str:
    """Return a plot a figure that anything is known of."""
    svgs = [to_svg(draw_column(table, c)) for c in table.columns if is_drawable(table, c)]
    words = "A dot is a seed, the bar mean and sample deviation, a diamond the papers' figure."
    return report.plots(svgs) + report.text(words, 'soft') if svgs else ''


def findings_blocks(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the findings with verdict, sentence and numbers."""
    if not findings:
        return []
    rows = []
    for finding in findings:
        tone = TONES.get(finding['verdict'], '')
        verdict = f'<span class="mark {tone}">{html.escape(finding["verdict"])}</span>'
        source = html.escape(str(finding.get('source') or ''))
        rows.append(
            f'<tr><td>{html.escape(finding["title"])}<small>{source}</small></td>'
            f'<td class="text">{verdict}</td>'
            f'<td class="text">{html.escape(finding["sentence"])}</td></tr>'
        )
    head = (
        '<tr><th>finding of the papers</th><th class="text">here</th><th class="text">why</th></tr>'
    )
    return [f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>']


def analyses_blocks(results: Mapping[str, Any], root: Path) -> list[str]:
    """Return the pictures of the analyses, and what became of those without any."""
    blocks: list[str] = []
    missing: list[str] = []
    for analysis in results.get('analyses', ()):
        title = analysis.get('title') or analysis['name']
        if analysis['state'] != MEASURED:
            missing.append(f'{title} ({analysis["state"]})')
            continue
        for name in analysis.get('files', ()):
            if name.endswith('.png'):
                blocks.append(picture(root / analysis['folder'] / name, f'{title} ({name})'))
    if missing:
        blocks.append(report.text(f'Without pictures: {"; ".join(missing)}.', 'soft'))
    return blocks


def picture(path: Path, caption: str) -> str:
    """Return an embedded picture, or a line that says it is missing."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return report.text(f'{caption}: {path} is missing or no picture', 'warn')
    if image.shape[1] > PICTURE_WIDTH:
        height = round(image.shape[0] * PICTURE_WIDTH / image.shape[1])
        image = cv2.resize(image, (PICTURE_WIDTH, height), interpolation=cv2.INTER_AREA)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    page = report.figure(image, caption, quality=None)
    return page if len(page) * 3 / 4 <= PNG_BYTES else report.figure(image, caption, quality=85)


def curves_blocks(results: Mapping[str, Any], table: SuiteTable, root: Path) -> list[str]:
    """Return the curves of pre-trainings and trainings that are logged."""
    figures = [*pretraining_curves(results, root), *task_curves(results, table, root)]
    if not figures:
        return []
    words = 'One seed an initialisation; points are means of neighbours.'
    return [report.plots([to_svg(figure) for figure in figures]), report.text(words, 'soft')]


def failures(results: Mapping[str, Any]) -> list[str]:
    """Return what failed, each with the last lines of its error."""
    blocks: list[str] = []
    for kind in ('pretrains', 'cells', 'analyses'):
        for run in results.get(kind, ()):
            if run['state'] == FAILED or run.get('error'):
                blocks.append(report.text(f'{name_of(run)}: {run["state"]}'))
                blocks.append(report.code(run.get('error') or 'nothing was logged'))
    return blocks


def name_of(run: Mapping[str, Any]) -> str:
    """Return how a run is called: its title, or what it is a cell of."""
    if run.get('title'):
        return str(run['title'])
    if 'init' in run:
        return f'{run["task"]}, {run["init"]}, seed {run["seed"]}'
    return str(run['name'])


def runs_blocks(results: Mapping[str, Any]) -> list[str]:
    """Return every run with its config, the config's hash, time, memory and command."""
    runs = [run for kind in ('pretrains', 'cells', 'analyses') for run in results.get(kind, ())]
    rows = [
        [
            name_of(run),
            run['state'],
            run.get('config') or run.get('source'),
            (run.get('config_hash') or '')[:12] or None,
            _rounded(run.get('seconds'), 60, 1),
            _rounded(run.get('peak_memory_mb'), 1024, 2),
        ]
        for run in runs
    ]
    header = ('run', 'state', 'config', 'hash', 'minutes', 'peak memory, GiB')
    commands = [
        line
        for run in runs
        for line in (f'# {name_of(run)}', run.get('command'), run.get('test_command'), '')
        if line is not None and run.get('command')
    ]
    return [
        report.details(
            f'{len(rows)} runs: state, config and the hash of the config with its overrides',
            report.table(header, rows, textual=True),
        ),
        report.details('The command of each', report.code('\n'.join(commands).strip())),
    ]


def _rounded(value: float | None, unit: float, digits: int) -> str | None:
    return f'{value / unit:.{digits}f}' if value else None


def environment_table(results: Mapping[str, Any]) -> str:
    """Return what the figures were measured on."""
    facts = dict(results.get('environment') or {})
    versions = facts.pop('versions', {})
    rows = [[name, value] for name, value in [*facts.items(), *versions.items()]]
    return report.table(('what', 'value'), rows, textual=True) if rows else ''


_ENTRY = re.compile(r'^([A-Z][\w-]*)  +(\S.*)$')


def about(content: str) -> list[str]:
    """Return a suite file's docstring: its text, and its ``What``, ``Source``, ... as a table."""
    plain: list[str] = []
    rows: list[list[str]] = []
    for line in content.splitlines():
        entry = _ENTRY.match(line)
        if entry:
            rows.append([entry[1], entry[2]])
        elif rows and line.startswith(' '):
            rows[-1][1] += f' {line.strip()}'
        else:
            plain.append(line.strip())
    paragraphs = re.split(r'\n\s*\n', '\n'.join(plain).strip())
    blocks = [report.text(' '.join(p.split())) for p in paragraphs if p]
    return [*blocks, report.table(('', ''), rows, textual=True)] if rows else blocks
