"""A suite's page: self-contained, small, and it tells what was measured and what was not."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.report import build_report, render, write_all, write_files
from lightvit_dense.suite.report_plots import draw_column, draw_sweep, logged, thin
from lightvit_dense.suite.results import read_results
from lightvit_dense.suite.spec import Picture
from lightvit_dense.suite.table import MINUS, make_table
from lightvit_dense.utils.logs import Series
from lightvit_dense.visualization.curves import to_svg

from .suite_results import BOX, add_logs, cell, make_results


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
    ('title', 'fragments'),
    [
        (
            'Results',
            [
                f'<td class="best">33.0 ± 2.6 (3)<small>paper 42.3 ({MINUS}9.3)</small></td>',
                '<td>30.0 (1 of 3) <span class="mark bad">1 failed</span></td>',
                '<span class="mark bad">failed</span><small>paper 78.0</small>',
                '<span class="mark">running</span>',
            ],
        ),
        ('Differences to “from scratch”, seed by seed', ['+11.0 ± 1.0 (3)']),
        ('What failed', ['det, mae, seed 1', 'error: no images']),
        (
            "Do the papers' findings appear?",
            ['<span class="mark good">appears</span>', '<td>[+1, +5]</td><td>better</td>'],
        ),
        ('Inside the networks', ['Spectrum: failed']),
        ('Training', ['validation box AP']),
    ],
)
def test_sections_tell_what_there_is(page: str, title: str, fragments: list[str]) -> None:
    text = section(page, title)
    for fragment in fragments:
        assert fragment in text


def test_page_escapes_and_counts(page: str) -> None:
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


def test_a_broken_picture_of_an_analysis_is_said(tmp_path: Path) -> None:
    add_logs(results := make_results(), tmp_path)
    (tmp_path / 'work/analysis_cka/cka.png').write_bytes(b'half')
    page = build_report(results, make_table(results), tmp_path)
    assert 'work/analysis_cka/cka.png: is missing, or no image' in page


def test_markdown_tells_the_same() -> None:
    finding = dict(type='at_least', title='A|B', source='', verdict='not run', reason='no seed')
    notes = ['Each pre-training ran once.']
    results = make_results(findings=[finding | dict(comparisons=[])], notes=notes)
    text = render('report.md', results=results, table=make_table(results))
    assert '| D-MAE | *measured* | **33.0 ± 2.6 (3)** |' in text
    assert '*measured*, 2026-01-02, on a CPU' in text
    assert '| A\\|B | **not run** | no seed |' in text
    assert '\n\nEach pre-training ran once.\n\n' in text


def test_dots_are_the_seeds() -> None:
    table = make_table(make_results())
    axes = draw_column(table, table.columns[0]).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == 'o']
    assert [list(line.get_xdata()) for line in dots] == [
        pytest.approx([20.0, 22.0, 24.0]),
        pytest.approx([30.0]),
        pytest.approx([31.0, 32.0, 36.0]),
    ]
    (diamond,) = [line for line in axes.lines if line.get_marker() == 'D']
    assert (list(diamond.get_xdata()), list(diamond.get_ydata())) == ([42.3], [2])
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ['from scratch', 'MAE', 'D-MAE']
    assert 'currentColor' in to_svg(axes.figure)


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


def test_thinning_keeps_the_mean_and_the_end() -> None:
    curve = Series('loss', tuple(range(1, 1001)), tuple(float(v) for v in range(1, 1001)))
    thinned = thin(curve, 100)
    assert (len(thinned.steps), thinned.steps[-1]) == (100, 1000)
    assert thinned.values[0] == pytest.approx(5.5)
    assert sum(thinned.values) / 100 == pytest.approx(500.5)
    assert thin(thinned, 100) is thinned


def test_an_unreadable_log_is_an_empty_curve(tmp_path: Path) -> None:
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
