"""Tables of the documents, written from ``papers.yml``, ``results/*.json`` and the configs.

A page marks where a table goes by ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; what stands
between is replaced. Names are the keys of :func:`blocks`.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightvit_dense.errors import UserError, require_known
from lightvit_dense.utils.tables import to_markdown

from .papers import FIGURES, INITS, PUBLISHED, TABLES, published, published_for
from .report import render
from .results import NOT_RUN, NamedInit, Results, read_results
from .spec import read_suite
from .table import DASH, Table, make_table

HEADLINE = ('scratch', 'deit', 'mae', 'dmae', 'd2mae')
"""Rows of the README's table."""
_PART = re.compile(r'(<!-- ([\w./-]+):begin -->\n)(.*?)(<!-- \2:end -->)', re.S)


def fill(text: str, tables: Mapping[str, str], where: str = 'the page') -> str:
    """Return a page with its tables written anew; a UserError names a mark that is wrong."""
    for name in re.findall(r'<!-- ([\w./-]+):(?:begin|end) -->', text):
        require_known(name, tables, f'{where}: a mark')
        if (text.count(f'<!-- {name}:begin -->'), text.count(f'<!-- {name}:end -->')) != (1, 1):
            raise UserError(f'{where}: the mark {name} must begin and end once')
    return _PART.sub(lambda part: f'{part[1]}{tables[part[2]].strip()}\n{part[4]}', text)


def blocks(root: Path) -> dict[str, str]:
    """Return all tables of the repository ``root`` by name.

    These are ``paper.NAME`` for each of the papers' tables, ``paper.lightweight``; ``zoo.FOLDER``
    for the configs of a folder, ``zoo.transfer`` by initialisation; for each ``results/NAME.json``
    ``results.NAME``, and ``report.NAME`` with the findings of a suite; ``results``, the README's.
    """
    found = {f'paper.{name}': paper_table(name) for name in TABLES}
    found['paper.lightweight'] = lightweight_table()
    suites: dict[str, tuple[Results, Table]] = {}
    parts: dict[str, str] = {}
    for path in sorted((root / 'results').glob('*.json')):
        content = json.loads(path.read_text(encoding='utf-8'))
        parts |= content.get('parts', {})
        for config, figure in content.get('configs', {}).items():
            parts[config] = f'{figure} (*{content["label"]}*)'
        if 'rows' in content:
            found[f'results.{path.stem}'] = plain_table(content)
        elif 'inits' in content:
            results = with_new_arms(read_results(path), root)
            table = make_table(results)
            suites[path.stem] = results, table
            found[f'results.{path.stem}'] = table.to_markdown()
            found[f'report.{path.stem}'] = render('report.md', results=results, table=table)
    folders = {path.parent for path in (root / 'configs').rglob('*.py')}
    for folder in folders:
        name = folder.relative_to(root / 'configs').as_posix()
        if not name.startswith(('_base_', 'suites', '.')):
            found[f'zoo.{name}'] = zoo_table(root, sorted(folder.glob('*.py')), parts)
    found['zoo.transfer'] = transfer_table()
    found['results'] = headline_table(*suites['demo'])
    return found


def with_new_arms(results: Results, root: Path) -> Results:
    """Add what the suite file has gained since its results: *not run*."""
    suite = read_suite(root / results.file, root)
    known = {init.name: init for init in results.inits}
    inits = [known.pop(n, NamedInit(name=n, title=i.title)) for n, i in suite.inits.items()]
    judged = {finding['title'] for finding in results.findings}
    new = dict(verdict=NOT_RUN, reason='not among these runs', comparisons=[])
    added = [{'source': '', **f, **new} for f in suite.findings if f['title'] not in judged]
    changes = dict(inits=[*inits, *known.values()], findings=[*results.findings, *added])
    return results.model_copy(update=changes)


def _cells(cells: Sequence[float | None]) -> list[str]:
    return [DASH if value is None else f'{value:.1f}' for value in cells]


def paper_table(name: str) -> str:
    """Return a table of a paper; a dash where nothing is printed."""
    table = TABLES[name]
    header = ['*paper*', *(heading for *_, heading in table.columns)]
    return to_markdown(header, [[INITS[i], *_cells(row)] for i, row in table.rows.items()])


def lightweight_table() -> str:
    """Return accuracy, size and speed of lightweight classifiers."""
    header = ['*paper*', 'params M', 'images/s', 'top-1', 'ReaL', 'V2', 'source']
    rows = []
    for row in PUBLISHED:
        figures = _cells([row.top1, row.real, row.v2])
        source = 'submission' if 'ICLR' in row.source else 'code'
        rows.append([row.label, f'{row.params_m:g}', row.images_per_s or DASH, *figures, source])
    return to_markdown(header, rows)


def plain_table(content: Mapping[str, Any]) -> str:
    """Return a table of measurements, the papers' figures of the same networks beside them."""
    header, rows = content['header'], [list(row) for row in content['rows']]
    if content.get('paper') == 'lightweight':
        header = [*header, *(f'{name} *paper*' for name in ('images/s', 'top-1', 'ReaL', 'V2'))]
        printed = {row.label: row for row in PUBLISHED}
        for row in rows:
            cell = printed[row[0]]
            row += [cell.images_per_s or DASH, *_cells([cell.top1, cell.real, cell.v2])]
    return to_markdown(header, rows)


def zoo_table(root: Path, paths: Sequence[Path], ours: Mapping[str, str]) -> str:
    """Return configs with what they are, the papers' figures and ours."""
    rows = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or '').split('\n')
        told = published_for(name)
        if not isinstance(told, str):
            figures = [(FIGURES[f'{c.task} {c.metric}'][0], c.value) for c in told]
            told = ', '.join(f'{title} {value:.1f}'.strip() for title, value in figures) or DASH
        link = f'[{path.name}](../{name})'
        rows.append([link, summary[0].rstrip('.'), told, ours.get(name, f'*{NOT_RUN}*')])
    lines = to_markdown(['config', 'what', '*paper*', 'ours'], rows)
    return lines.replace('---:', '---')


def transfer_table() -> str:
    """Return the papers' transfer by set and initialisation, each set with its config."""
    table = TABLES['transfer']
    header = ['*paper*; ours *not run*', *(INITS[init] for init in table.rows)]
    rows = []
    for place, (task, _, title) in enumerate(table.columns):
        if task != 'coco':
            config = f'[{title}](../configs/transfer/{task}_vit-tiny.py)'
            rows.append([config, *_cells([row[place] for row in table.rows.values()])])
    return to_markdown(header, rows)


def headline_table(results: Results, table: Table) -> str:
    """Return the README's table: the papers' figures, and ours on the toy world."""
    tasks = {
        'ImageNet-1k top-1': [('imagenet', 'accuracy/top1')],
        'COCO box / mask AP': [('coco', 'coco/bbox_mAP'), ('coco', 'coco/segm_mAP')],
        'ADE20K mIoU': [('ade20k', 'mIoU')],
        'LaSOT AUC': [('lasot', 'success')],
    }
    leading = {column.task: column for column in reversed(table.columns)}
    columns = [leading[task.name] for task in results.tasks]
    header = ['ViT-Tiny from', *(f'{title} (*paper*)' for title in tasks)]
    header += [f'toy world: {column.title} (*measured*)' for column in columns]
    rows = []
    for init in HEADLINE:
        row = [INITS[init].removesuffix('-Tiny')]
        for figures in tasks.values():
            printed = [published(init, *figure)[:1] for figure in figures]
            row.append(' / '.join(f'{c.value:.1f}' for cells in printed for c in cells) or DASH)
        for column in columns:
            shown = table.cell(init, column).show(column) if init in table.inits else DASH
            row.append(f'*{NOT_RUN}*' if shown == DASH else shown)
        rows.append(row)
    return to_markdown(header, rows)


def metafile(text: str) -> str:
    """Return a metafile with the papers' figures written anew; pre-trainings have none."""
    comments, content = text[: text.index('Collections:')], yaml.safe_load(text)
    for model in content['Models']:
        model.pop('Results', None)
        told = published_for(model['Config'])
        if isinstance(told, str) or not told or '/pretrain/' in model['Config']:
            continue
        model['Results'] = []
        for cell in told:
            _, task, dataset, metric = FIGURES[f'{cell.task} {cell.metric}']
            entry = {'Task': task, 'Dataset': dataset, 'Metrics': {metric: cell.value}}
            model['Results'].append(entry | {'Source': 'paper'})
    style: dict[str, Any] = dict(sort_keys=False, allow_unicode=True, default_flow_style=None)
    return comments + yaml.safe_dump(content, width=1000, **style)


def write_documents(root: Path, check: bool = False) -> list[str]:
    """Write all documents and metafiles anew, or only look; return the names of what changes."""
    tables, changed = blocks(root), []
    pages = [root / 'README.md', *sorted((root / 'docs').glob('*.md'))]
    for path in [*pages, *sorted((root / 'configs').glob('*/metafile.yml'))]:
        text, name = path.read_text(encoding='utf-8'), path.relative_to(root).as_posix()
        new = metafile(text) if path.suffix == '.yml' else fill(text, tables, name)
        if new != text:
            changed.append(name)
            if not check:
                path.write_text(new, encoding='utf-8')
    return changed
