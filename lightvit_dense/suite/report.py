"""A suite's results as one page that fetches nothing, and all its result files."""

import json
import pkgutil
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lightvit_dense.compat.config_environment import read_variable
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_write
from lightvit_dense.visualization import data_uri, read_image
from lightvit_dense.visualization.curves import to_svg

from .findings import judge_findings
from .papers import paper_cells
from .report_plots import draw_column, draw_sweep, training_curves
from .results import FAILED, MEASURED, Results, Run
from .table import DASH, Table, make_table

if TYPE_CHECKING:
    from .plan import SuitePlan

MINUS = ('-', '\N{MINUS SIGN}')


@cache
def _environment() -> Environment:
    """Return the templates with their filters; HTML is escaped, Markdown is not."""
    environment = Environment(
        loader=PackageLoader('lightvit_dense.suite'),
        autoescape=lambda name: name is not None and name.endswith('.html'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        'figures': lambda row: ', '.join(f'{v:.4g}' for v in row.get('values', ())).replace(*MINUS),
        'centre': lambda row: _signed(row.get('mean', row.get('difference'))),
        'interval': _interval,
        'cell': lambda text: str(text).replace('|', '\\|'),
        'over': lambda value, unit, digits: f'{value / unit:.{digits}f}' if value else '',
    }
    return environment


def _signed(value: float | None) -> str:
    return '' if value is None else f'{value:+.3g}'.replace(*MINUS)


def _interval(row: Mapping[str, Any]) -> str:
    ends = row.get('interval')
    return f'[{_signed(ends[0])}, {_signed(ends[1])}]' if ends else ''


def render(template: str, **values: Any) -> str:
    """Return a template of ``suite/templates`` filled with values."""
    return _environment().get_template(template).render(values)


def build_report(results: Results, table: Table, root: Path, pictures: Sequence[Any] = ()) -> str:
    """Return the page of a suite, whose folders are relative to ``root``."""
    states = [run.state for run in results.cells]
    counts = [f'{states.count(s)} {s}' for s in dict.fromkeys(states) if s != MEASURED]
    environment = dict(results.environment)
    machine = environment.get('gpu') or environment.get('cpu') or 'an unknown machine'
    facts = {
        'suite file': results.file,
        'SHA-256 of it': results.sha256,
        'seeds': ', '.join(map(str, results.seeds)),
        'page written': results.finished,
        "papers' figures": '; '.join(sorted({cell['source'] for cell in results.paper})),
        **environment.pop('versions', {}),
        **environment,
    }
    drawn = [draw_column(table, column) for column in table.columns]
    if any(init.series for init in results.inits):
        drawn = [draw_sweep(results, table, column) for column in table.columns]
    base, *others = table.inits
    differences = []
    for init in others:
        pairs = [(c, table.differences(init, base, c).values()) for c in table.columns]
        if any(values for _, values in pairs):
            cells = [c.show_mean(values, True) if values else DASH for c, values in pairs]
            differences.append((table.inits[init], cells))
    return render(
        'report.html',
        results=results,
        table=table,
        progress=', '.join([f'{states.count(MEASURED)} of {len(states)} cells measured', *counts]),
        hours=f'{sum(run.seconds or 0 for run in results.runs) / 3600:.1f}',
        machine=machine,
        failed=[run for run in results.runs if run.state == FAILED],
        errors=[run for run in results.runs if run.state == FAILED or run.error],
        pretrained=any(run.kind == 'pretrain' for run in results.runs),
        plots=[to_svg(figure) for figure in drawn if figure is not None],
        base=table.inits[base],
        differences=differences,
        pictures=[
            ('Inside the networks', _analysis_pictures(results, root)),
            *[(picture.title, _draw(picture, results, root)) for picture in pictures],
        ],
        curves=[to_svg(figure) for figure in training_curves(results, table, root)],
        facts=[(name, value) for name, value in facts.items() if value not in (None, '')],
    )


def _analysis_pictures(results: Results, root: Path) -> list[tuple[str, str]]:
    """Return address and caption of each picture; no address where there is none."""
    found = []
    for run in results.runs:
        if run.kind == 'analysis' and run.state != MEASURED:
            found.append(('', f'{run.title}: {run.state}'))
        for name in run.files if run.kind == 'analysis' else ():
            if name.endswith('.png'):
                try:
                    image = read_image(root / run.folder / name)
                    found.append((data_uri(image, None), f'{run.title} ({name})'))
                except UserError as error:
                    found.append(('', f'{run.title}: {error}'))
    return found


def _draw(picture: Any, results: Results, root: Path) -> list[tuple[str, str]]:
    """Draw what a suite's ``pictures`` name; say what is missing."""
    runs: dict[str, Run] = {}
    for run in sorted(results.runs, key=lambda run: run.seed or 0):
        if run.state != MEASURED or run.kind not in ('pretrain', 'cell'):
            continue
        if run.kind == 'pretrain':
            if run.name in picture.models:
                runs.setdefault(run.title, run)
        elif picture.task:
            if run.task == picture.task:
                runs.setdefault(results.title_of(run.init), run)
        elif not picture.models:
            runs[run.name] = run
    if not runs:
        return [('', f'{picture.title}: nothing is measured that could be shown')]
    data = Path(read_variable('LIGHTVIT_DATA') or root / 'data')
    draw = pkgutil.resolve_name(picture.draw)
    try:
        images = draw(runs, root, data, **picture.options)
    except (OSError, ValueError, UserError) as error:
        return [('', f'{picture.title}: {error}')]
    return [(data_uri(image), caption) for caption, image in images]


def write_files(
    results: Results, table: Table, folder: Path, root: Path, pictures: Iterable[Any] = ()
) -> str:
    """Write ``results.json``, ``table.{md,csv}``, ``report.html``; return the Markdown."""
    markdown = table.to_markdown()
    for name, text in (
        ('results.json', json.dumps(results.model_dump(), indent=1, ensure_ascii=False)),
        ('table.md', markdown),
        ('table.csv', table.to_csv()),
        ('report.html', build_report(results, table, root, list(pictures))),
    ):
        atomic_write(folder / name, text.encode())
    return markdown


def write_all(plan: 'SuitePlan', results: Results) -> str:
    """Add papers' figures and findings to a suite's results, write all files, return the table."""
    suite = plan.suite
    tasks = {name: [m.key for m in task.metrics] for name, task in suite.tasks.items()}
    results.paper = paper_cells(suite.paper, suite.inits, tasks)
    results.finished = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    table = make_table(results)
    results.findings = judge_findings(suite.findings, results, table, plan.root)
    return write_files(results, table, plan.work_dir, plan.root, suite.pictures.values())
