"""A suite's results as one page that needs nothing else, and all its result files."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvit_dense.utils import html as report
from lightvit_dense.utils.io import atomic_write

from . import report_sections as parts
from .findings import judge_findings
from .papers import paper_cells
from .sentences import beside_papers, caveats, progress, verdict
from .tables import FAILED, SuiteTable, as_csv, as_json, as_markdown, make_table

if TYPE_CHECKING:
    from .plan import SuitePlan


def build_report(
    results: Mapping[str, Any], root: str | Path = '.', table: SuiteTable | None = None
) -> report.Report:
    """Put the page together.

    Args:
        results: What ``results.json`` of a suite holds.
        root: Folder that the folders of runs and analyses are relative to.
        table: The results' table, made here by default.

    Raises:
        UserError: If there are two results for one cell.
    """
    root, suite = Path(root), results['suite']
    table = table or make_table(results)
    environment = results.get('environment') or {}
    where = environment.get('gpu') or environment.get('cpu') or 'an unknown machine'
    hours = sum(run.get('seconds') or 0 for run in _runs(results)) / 3600
    subtitle = (
        f'{progress(results)}; {hours:.1f} hours of runs; page of {_day(results)}, on {where}'
    )
    page = report.Report(suite['title'], subtitle)
    _add_lead(page, results, table)
    page.section('What this is', *parts.about(suite.get('text') or ''))
    page.section('Results', parts.main_table(table))
    page.section('Figure by figure', parts.column_plots(table))
    page.section('What the initialisation gains', parts.gains_table(table))
    page.section(
        "Do the papers' findings appear?", *parts.findings_blocks(results.get('findings', ()))
    )
    page.section('Inside the networks', *parts.analyses_blocks(results, root))
    page.section('Training', *parts.curves_blocks(results, table, root))
    page.section('What failed', *parts.failures(results))
    page.section('How it was run', *_origin(results), *parts.runs_blocks(results))
    page.section('Environment', parts.environment_table(results))
    return page


def _add_lead(page: report.Report, results: Mapping[str, Any], table: SuiteTable) -> None:
    if results.get('smoke'):
        words = 'Smoke run: everything works, after a few iterations; the numbers mean nothing.'
        page.lead(report.text(words, 'warn'))
    failed = [parts.name_of(run) for run in _runs(results) if run['state'] == FAILED]
    if failed:
        more = f' and {len(failed) - 3} more' if len(failed) > 3 else ''
        words = f'Failed: {"; ".join(failed[:3])}{more}. The last lines of the errors are below.'
        page.lead(report.text(words, 'warn'))
    page.lead(report.text(verdict(table), 'lead'))
    gap = beside_papers(table)
    if gap:
        page.lead(report.text(gap, 'lead'))
    page.lead(*[report.text(words, 'soft') for words in caveats(results, table)])


def _origin(results: Mapping[str, Any]) -> list[str]:
    suite, seeds = results['suite'], ', '.join(map(str, results['seeds']))
    rows = [
        ['suite file', suite['file']],
        ['SHA-256 of it', suite['sha256']],
        ['seeds', seeds],
        ['started', results.get('started')],
        ['page written', results.get('finished')],
    ]
    sources = sorted({cell['source'] for cell in results.get('paper', ())})
    rows += [["papers' figures", source] for source in sources]
    command = f'python tools/run_benchmark.py {suite["file"]}'
    return [
        report.text('One command runs what is missing, and writes this page:'),
        report.code(command),
        report.table(('what', 'value'), [row for row in rows if row[1]], textual=True),
    ]


def _runs(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for kind in ('pretrains', 'cells', 'analyses') for run in results.get(kind, ())]


def _day(results: Mapping[str, Any]) -> str:
    return (results.get('finished') or time.strftime('%Y-%m-%d'))[:10]


def write_report(results: Mapping[str, Any], folder: str | Path, root: str | Path = '.') -> Path:
    """Write ``report.html``.

    Args:
        results: What ``results.json`` of a suite holds.
        folder: Where to write.
        root: Folder that the folders of runs and analyses are relative to.

    Returns:
        Its path.
    """
    return build_report(results, root).write(Path(folder) / 'report.html')


def write_tables(table: SuiteTable, folder: str | Path) -> str:
    """Write ``table.md``, ``table.csv`` and ``table.json``; return the Markdown."""
    folder, markdown = Path(folder), as_markdown(table)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ('table.md', markdown),
        ('table.csv', as_csv(table)),
        ('table.json', as_json(table)),
    ):
        atomic_write(folder / name, text.encode())
    return markdown


def write_all(plan: 'SuitePlan', results: dict[str, Any]) -> str:
    """Write ``results.json``, the tables and the page of a suite.

    The papers' figures and the findings are added to the results.

    Args:
        plan: The suite's plan.
        results: From :func:`~.results.collect`.

    Returns:
        The table as Markdown.
    """
    folder, suite = Path(plan.work_dir), plan.suite
    tasks = {name: [m.key for m in task.metrics] for name, task in suite.tasks.items()}
    results['paper'] = paper_cells(suite.paper, suite.inits, tasks)
    results['finished'] = time.strftime('%Y-%m-%dT%H:%M:%S%z')
    results['findings'] = judge_findings(suite.findings, results, plan.root)
    table = make_table(results)
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(results, indent=1, ensure_ascii=False)
    atomic_write(folder / 'results.json', content.encode())
    markdown = write_tables(table, folder)
    build_report(results, plan.root, table).write(folder / 'report.html')
    return markdown
