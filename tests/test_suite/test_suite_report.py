"""A suite's table, page and pictures: what was measured and what was not, worked out by hand."""

import csv
import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite import pictures
from lightvit_dense.suite.report import build_report, write_all, write_files
from lightvit_dense.suite.report_plots import draw_sweep, logged, thin
from lightvit_dense.suite.results import Run, Summary, read_results
from lightvit_dense.suite.spec import Picture
from lightvit_dense.suite.table import DASH, MINUS, Cell, Column, Table, make_table
from lightvit_dense.utils.logs import Series

from .suite_results import BOX, TOP1, add_logs, cell, make_results


@pytest.fixture
def table() -> Table:
    return make_table(make_results())


def test_states_of_what_is_not_there() -> None:
    results = make_results()
    results.runs = [run for run in results.runs if run.task != 'cls']
    assert make_table(results).cells['dmae', 'cls', TOP1].state == 'not planned'
    results.runs = [cell('mae', 'det', 0, 'not run')]
    line = f'| MAE | *measured* | *not run* | *not run* | {DASH} |'
    assert line in make_table(results).to_markdown().splitlines()


def test_the_best_is_one_of_several_as_printed() -> None:
    runs = [cell('scratch', 'cls', 0, top1=64.21), cell('dmae', 'cls', 0, top1=64.24)]
    equal = make_table(make_results(runs=runs))
    assert equal.cells['scratch', 'cls', TOP1].best
    assert equal.cells['dmae', 'cls', TOP1].best


def test_markdown_marks_everything(table: Table) -> None:
    lines = table.to_markdown().splitlines()
    assert lines[0] == (
        '| initialisation |  | detection, box AP | detection, mask AP | classification, top-1 |'
    )
    assert lines[2:8] == [
        '| from scratch | *measured* | 22.0 ± 2.0 (3) | 11.0 ± 1.0 (3) | *running* |',
        '| MAE | *measured* | 30.0 (1 of 3) | 14.0 (1 of 3) | *failed* |',
        f'|  | *paper* | {DASH} | {DASH} | 78.0 |',
        # The only figure of a column is not its best.
        '| D-MAE | *measured* | **33.0 ± 2.6 (3)** | **16.5 ± 1.3 (3)** | 64.2 (1) |',
        f'|  | *paper* | 42.3 | {DASH} | {DASH} |',
        f'|  | measured {MINUS} paper | {MINUS}9.3 | {DASH} | {DASH} |',
    ]


def test_csv_holds_the_figures_unrounded(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    records = table.records()
    assert len(rows) == len(records) == 9
    for row, record in zip(rows, records, strict=True):
        assert row['mean'] == ('' if record['mean'] is None else str(record['mean']))
        assert [float(v) for v in row['values'].split()] == record['values']
    by_place = {(r['init'], r['metric']): r for r in records}
    found = by_place['dmae', BOX]
    assert found['values'] == pytest.approx([31.0, 32.0, 36.0])
    assert found['std'] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found['difference'] == pytest.approx(33.0 - 42.3)
    assert (found['seeds'], found['source'], found['best']) == ([0, 1, 2], 'Paper A', True)
    partial = by_place['mae', BOX]
    assert [partial[key] for key in ('state', 'failed', 'planned')] == ['measured', 1, 3]


def test_differences_are_paired_by_seed(table: Table) -> None:
    box, mask, top1 = table.columns
    assert table.differences('dmae', 'scratch', box) == pytest.approx({0: 11.0, 1: 10.0, 2: 12.0})
    # Only seed 0 of MAE is there: 30 - 20, not 30 - 22.
    assert table.differences('mae', 'scratch', box) == pytest.approx({0: 10.0})
    assert table.differences('dmae', 'mae', mask) == pytest.approx({0: 1.5})
    assert table.differences('dmae', 'mae', top1) == {}
    assert [box.show(d, signed=True) for d in (-0.04, 3.14159)] == ['+0.0', '+3.1']


def test_a_wide_table_is_split(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Table, '_markdown', lambda self, *group: f'{group}')
    columns = [Column(f'det_{n}', 'ap', f'AP {n}') for n in range(13)]
    state = {False: Cell('not planned'), True: Cell('measured')}
    cells = {
        (i, c.task, 'ap'): state[i != 'mae' or c is columns[4]]
        for i in table.inits
        for c in columns
    }
    split = Table(table.inits, columns, cells).to_markdown().split('\n')
    assert len(split) == 2
    assert "'mae'" not in split[0]
    assert split[1].count('Column') == 1


def test_figures_whose_seeds_were_not_kept() -> None:
    runs = [cell('mae', 'cls', 0, top1=60.0)]
    known = dict(task='cls', metric=TOP1, seeds=3)
    summaries = [Summary(init='dmae', mean=70.0, std=1.5, **known)]
    summaries.append(Summary(init='mae', mean=9, **known))  # but its run counts first
    table = make_table(make_results(runs=runs, summaries=summaries, paper=[]))
    assert [line.split(' | ')[-1] for line in table.to_markdown().splitlines()[2:]] == [
        '*not run* |',
        '60.0 (1) |',
        '**70.0 ± 1.5 (3)** |',
    ]


def test_two_results_for_one_cell_are_an_error() -> None:
    results = make_results()
    results.runs.append(cell('dmae', 'det', 1, box=0.9, mask=0.1))
    with pytest.raises(UserError, match='two results for one cell: dmae on det, seed 1'):
        make_table(results)


def draw(runs: Any, root: Path, data: Path, color: int, fail: bool = False) -> list:
    """Stand for a function that a suite's ``pictures`` name."""
    if fail:
        raise FileNotFoundError(f'no results below {root.name}')
    return [(', '.join(runs), np.full((4, 4, 3), color, np.uint8))]


@pytest.fixture(scope='module')
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    root, results = tmp_path_factory.mktemp('suite'), make_results()
    add_logs(results, root)
    detections = dict(draw=f'{__name__}:draw', task='det')
    students = dict(draw=f'{__name__}:draw', models=['mae'])
    drawn = [
        Picture(name='a', title='Detections', options=dict(color=9), **detections),
        Picture(name='b', title='Broken', options=dict(color=9, fail=True), **detections),
        Picture(name='c', title='Students', options=dict(color=7), **students),
    ]
    write_files(results, make_table(results), root, root, drawn)
    path = root / 'report.html'
    assert path.stat().st_size < 200_000
    return path.read_text()


def section(page: str, title: str) -> str:
    found = re.search(rf'<section><h2>{re.escape(title)}</h2>(.*?)</section>', page, re.S)
    assert found, f'no section {title!r}'
    return found.group(1)


def test_page_fetches_nothing(page: str) -> None:
    assert 'http' not in page
    assert '<script' not in page
    assert '<link' not in page
    assert not re.search(r'url\((?!#)', page)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(('data:image/', '#')) for source in sources)


@pytest.mark.parametrize(
    ('title', 'fragment'),
    [
        ('Results', f'33.0 ± 2.6 (3)<small>paper 42.3 ({MINUS}9.3)</small></td>'),
        ('Results', '<td>30.0 (1 of 3) <span class="mark bad">1 failed</span></td>'),
        ('Results', '<span class="mark bad">failed</span><small>paper 78.0</small>'),
        ('Results', '<span class="mark">running</span>'),
        ('Differences to “from scratch”, seed by seed', '+11.0 ± 1.0 (3)'),
        ('What failed', 'det, mae, seed 1'),
        ('What failed', 'error: no images'),
        ("Do the papers' findings appear?", '<span class="mark good">appears</span>'),
        ("Do the papers' findings appear?", '<td>[+1, +5]</td><td>better</td>'),
        ('Inside the networks', 'Spectrum: failed'),
        ('Training', 'validation box AP'),
    ],
)
def test_sections_tell_what_there_is(page: str, title: str, fragment: str) -> None:
    assert fragment in section(page, title)


def test_page_escapes_and_counts(page: str) -> None:
    assert section(page, 'Results').count('<td class="best">') == 2
    for text in ('A <small> suite', 'RuntimeError: <out of> luck', 'box <AP>', 'a="<1>"'):
        assert text not in page
    assert 'A &lt;small&gt; suite' in page
    assert 'RuntimeError: &lt;out of&gt; luck' in page
    assert 'Failed: det, mae, seed 1; cls, mae, seed 0; Spectrum.' in page
    assert '8 of 12 cells measured, 2 failed, 1 not run, 1 running' in page
    assert section(page, 'Results').count('<svg') == 3
    assert section(page, 'What failed').count('<pre>') == 3
    assert section(page, 'Inside the networks').count('data:image/png') == 1
    # Reconstruction, sum of losses of two tasks, and box AP; no sum where there are parts.
    assert section(page, 'Training').count('<svg') == 4
    assert 'Pre-training: sum of losses' not in page


def test_pictures_of_a_suite_are_drawn_from_the_first_seed(page: str) -> None:
    drawn = section(page, 'Detections')
    assert 'alt="from scratch, D-MAE, MAE"' in drawn or 'alt="from scratch, MAE, D-MAE"' in drawn
    assert 'data:image/jpeg' in drawn
    assert 'Broken: no results below' in section(page, 'Broken')
    assert 'alt="MAE"' in section(page, 'Students')


def test_every_run_has_config_hash_and_command(page: str) -> None:
    run = section(page, 'How it was run')
    results = make_results()
    for entry in results.cells:
        assert f'<td>{entry.title}</td>' in run
        assert str(entry.config_hash)[:12] in run
    assert run.count('a=&#34;&lt;1&gt;&#34;') == len(results.cells) + 2
    assert 'python tools/run_benchmark.py configs/suites/try.py' in run
    assert 'ab' * 32 in run
    assert '<td>1.50</td>' in run  # GiB
    assert '<td>torch</td><td>2.11</td>' in run


def test_an_empty_suite_has_a_page_and_a_smoke_run_is_marked() -> None:
    results = make_results(runs=[], paper=[], environment={})
    page = build_report(results, make_table(results), Path())
    assert 'What failed' not in page
    assert '<svg' not in page
    assert 'the numbers mean nothing' not in page
    results.smoke = True
    assert 'the numbers mean nothing' in build_report(results, make_table(results), Path())


def test_a_sweep_is_a_line_over_its_values() -> None:
    inits = [{'name': 'scratch', 'title': 'from scratch'}]
    inits += [
        {'name': f'mae_{k}', 'title': f'MAE, {k}', 'series': 'mae', 'value': k} for k in (0, 3)
    ]
    runs = [cell('scratch', 'cls', 0, top1=50.0)]
    runs += [cell(f'mae_{k}', 'cls', s, top1=60.0 + k + s) for k in (0, 3) for s in (0, 2)]
    results = make_results(inits=inits, runs=runs, paper=[], sweep='blocks kept')
    table = make_table(results)
    assert draw_sweep(results, table, table.columns[0]) is None
    axes = draw_sweep(results, table, table.columns[2]).axes[0]
    (line,) = [line for line in axes.lines if line.get_marker() == 'o']
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 3], [61.0, 64.0])
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == '--']
    assert list(dashed.get_ydata()) == [50.0, 50.0]
    assert axes.get_xlabel() == 'blocks kept'


def test_curves_are_thinned_and_those_of_unreadable_logs_empty(tmp_path: Path) -> None:
    curve = Series('loss', tuple(range(1, 1001)), tuple(float(v) for v in range(1, 1001)))
    thinned = thin(curve, 100)
    assert (len(thinned.steps), thinned.steps[-1]) == (100, 1000)
    assert thinned.values[0] == pytest.approx(5.5)
    assert sum(thinned.values) / 100 == pytest.approx(500.5)
    assert thin(thinned, 100) is thinned
    folder = tmp_path / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('no json\n{"loss": 1, "step": 1}')
    assert logged(tmp_path, 'loss', 'name').steps == ()
    assert logged(tmp_path / 'nowhere', 'loss', 'name').steps == ()


def test_all_files_are_written_and_read_again(tmp_path: Path) -> None:
    """The papers' figures and the findings are added to what the runs left behind."""
    results = make_results(paper=[])
    suite = SimpleNamespace(
        inits=dict.fromkeys(('scratch', 'mae', 'dmae')),
        tasks={'det': SimpleNamespace(metrics=[SimpleNamespace(key=BOX)])},
        paper=dict(tables=['transfer'], tasks={'det': 'coco'}),
        findings=[dict(type='at_least', title='A', init='dmae', base='scratch', tasks=['det'])],
        pictures={},
    )
    plan: Any = SimpleNamespace(suite=suite, work_dir=tmp_path / 'out', root=tmp_path)
    markdown = write_all(plan, results)
    names = sorted(path.name for path in plan.work_dir.iterdir())
    assert names == ['report.html', 'results.json', 'table.csv', 'table.md']
    assert (plan.work_dir / 'table.md').read_text() == markdown
    assert '| from scratch | *measured* | 22.0 ± 2.0 (3) |' in markdown
    written = read_results(plan.work_dir / 'results.json')
    assert written == results
    assert written.cells[0].metrics[BOX] == 0.2
    figures = [(p['init'], p['value']) for p in written.paper]
    assert figures == [('scratch', 32.7), ('mae', 39.9), ('dmae', 42.3)]
    # 11, 10 and 12 better, seed by seed: 11 ± 2.5.
    (finding,) = written.findings
    assert finding['verdict'] == 'appears'
    assert finding['title'] in (plan.work_dir / 'report.html').read_text()


@pytest.mark.parametrize(
    ('content', 'words'), [(None, 'run the suite'), ('{"name": ', 'half-written'), ('[]', 'no res')]
)
def test_results_that_cannot_be_read_are_errors(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / 'results.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        read_results(path)


def test_curves_take_mean_and_deviation_over_seeds() -> None:
    figures = {'scratch': ('few', [0.1, 0.3]), 'mae': ('few', [0.4]), 'dmae': ('many', [0.9])}
    runs = {
        f'{init}{seed}': Run(
            kind='cell', name=init, title='', init=init, task=task, metrics={'ap': figure}
        )
        for init, (task, values) in figures.items()
        for seed, figure in enumerate(values)
    }
    points = [(64, 'scratch', 'few'), (256, 'scratch', 'many'), (64, 'mae', 'few')]
    assert pictures.over_seeds(runs, points, 'ap', 100.0) == [
        (64, pytest.approx(20.0), pytest.approx(14.1421, abs=1e-3)),
        (64, pytest.approx(40.0), 0.0),
    ]
    panel = dict(title='AP', metric='ap', scale=100.0, lines={'scratch': points})
    empty = panel | dict(lines={'mae': [(64, 'mae', 'many')]})
    assert not pictures.curves(runs, Path(), Path(), [empty], 'labels')
    ((_, drawn),) = pictures.curves(runs, Path(), Path(), [panel, empty, panel], 'labels')
    assert drawn.shape == (352, 880, 3)
    assert drawn.dtype == np.uint8
    assert drawn.std() > 0
