"""A suite's page: self-contained, small, and it tells what was measured and what was not."""

import json
import re
from types import SimpleNamespace

import pytest

from lightvit_dense.suite.plots import draw_column, logged, thin
from lightvit_dense.suite.report import build_report, write_all, write_report
from lightvit_dense.suite.report_sections import about, picture
from lightvit_dense.suite.spec import Metric
from lightvit_dense.suite.tables import make_table
from lightvit_dense.utils.logs import Series
from lightvit_dense.visualization.curves import to_svg

from .suite_results import BOX, COMMAND, add_logs, make_results


@pytest.fixture(scope='module')
def page(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp('suite')
    results = make_results()
    add_logs(results, root)
    path = write_report(results, root, root)
    assert path.stat().st_size < 500_000
    return path.read_text()


def section(page: str, title: str) -> str:
    found = re.search(rf'<section><h2>{re.escape(title)}</h2>(.*?)</section>', page, re.S)
    assert found, f'no section {title!r}'
    return found.group(1)


def test_page_fetches_nothing(page):
    assert 'http' not in page
    assert '<script' not in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(('data:image/', '#')) for source in sources)


def test_page_escapes(page):
    assert 'A &lt;small&gt; suite' in page
    assert 'A <small> suite' not in page
    assert 'RuntimeError: &lt;out of&gt; luck' in page


def test_table_shows_ours_and_theirs(page):
    table = section(page, 'Results')
    assert (
        '<td class="best">33.0 ± 2.6 (3)<small>paper 42.3 (\N{MINUS SIGN}9.3)</small></td>' in table
    )
    assert '<td>30.0 (1 of 3) <span class="mark bad">1 failed</span></td>' in table
    assert '<span class="mark bad">failed</span><small>paper 78.0</small>' in table
    assert '<span class="mark">running</span>' in table


def test_failures_come_with_their_last_lines(page):
    failed = section(page, 'What failed')
    assert failed.count('<pre>') == 3
    assert 'det, mae, seed 1' in failed
    assert 'error: no images' in failed
    assert 'Failed: det, mae, seed 1; cls, mae, seed 0; Spectrum.' in page


def test_findings_pictures_and_curves_are_there(page):
    finding = section(page, 'Do the papers&#x27; findings appear?')
    assert '<span class="mark good">appears</span>' in finding
    assert 'It is better by 3.0.' in finding
    inside = section(page, 'Inside the networks')
    assert inside.count('data:image/jpeg') == 1  # noise is too large as PNG
    assert 'Without pictures: Spectrum (failed).' in inside
    training = section(page, 'Training')
    # Reconstruction, sum of losses of two tasks, and box AP; no sum where there are parts.
    assert training.count('<svg') == 4
    assert 'validation box AP' in training
    assert 'Pre-training: sum of losses' not in training


def test_every_run_has_config_hash_and_command(page):
    run = section(page, 'How it was run')
    results = make_results()
    for cell in results['cells']:
        assert f'>{cell["title"]}</td>' in run
        assert cell['config_hash'][:12] in run
    assert run.count('a=&quot;&lt;1&gt;&quot;') == len(results['cells']) + 2
    assert COMMAND.startswith('python tools/train.py')
    assert 'python tools/run_benchmark.py configs/suites/try.py' in run
    assert 'ab' * 32 in run
    assert '>1.50</td>' in run  # GiB


def test_gains_and_environment(page):
    assert '+11.0 ± 1.0 (3)' in section(page, 'What the initialisation gains')
    assert '2.11' in section(page, 'Environment')


def test_an_empty_suite_has_a_page():
    results = make_results()
    results |= dict(cells=[], pretrains=[], paper=[], environment={})
    page = build_report(results).html()
    assert 'nothing can be compared' in page
    assert 'What failed' not in page
    assert 'Figure by figure' not in page


def test_a_smoke_run_is_marked():
    results = make_results() | {'cells': [], 'paper': []}
    assert 'the numbers mean nothing' in build_report(results | {'smoke': True}).html()
    assert 'the numbers mean nothing' not in build_report(results).html()


def test_a_broken_picture_is_said(tmp_path):
    (tmp_path / 'cka.png').write_bytes(b'half')
    assert 'is missing or no picture' in picture(tmp_path / 'cka.png', 'Likeness')


def test_docstring_becomes_a_table():
    blocks = ''.join(about('First line.\n\nMore\ntext.\n\nWhat      This,\n          and that.\n'))
    assert '<p class="">First line.</p>' in blocks
    assert '<p class="">More text.</p>' in blocks
    assert '<td class="text">What</td><td class="text">This, and that.</td>' in blocks
    assert about('Only this.') == ['<p class="">Only this.</p>']


def test_dots_are_the_seeds():
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
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        'from scratch',
        'MAE',
        'D-MAE',
    ]
    assert 'currentColor' in to_svg(axes.figure)


def test_thinning_keeps_the_mean_and_the_end():
    curve = Series('loss', tuple(range(1, 1001)), tuple(float(v) for v in range(1, 1001)))
    thinned = thin(curve, 100)
    assert len(thinned.steps) == 100
    assert thinned.steps[-1] == 1000
    assert thinned.values[0] == pytest.approx(5.5)
    assert sum(thinned.values) / 100 == pytest.approx(500.5)
    assert thin(thinned, 100) is thinned


def test_an_unreadable_log_is_an_empty_curve(tmp_path):
    folder = tmp_path / '20260101_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('no json\n{"loss": 1, "step": 1}')
    assert logged(tmp_path, 'loss', 'name').steps == ()
    assert logged(tmp_path / 'nowhere', 'loss', 'name').steps == ()


def test_all_files_are_written(tmp_path):
    """The papers' figures and the findings are added to what the runs left behind."""
    results = make_results()
    del results['paper']
    metrics = [Metric(BOX, 'box AP', 100.0)]
    suite = SimpleNamespace(
        inits=dict.fromkeys(('scratch', 'mae', 'dmae')),
        tasks={'det': SimpleNamespace(metrics=metrics)},
        paper=dict(tables=['transfer'], tasks={'det': 'coco'}),
        findings=[dict(type='at_least', title='A', init='dmae', base='scratch', tasks=['det'])],
    )
    plan = SimpleNamespace(suite=suite, work_dir=tmp_path / 'out', root=tmp_path)
    markdown = write_all(plan, results)
    names = sorted(path.name for path in plan.work_dir.iterdir())
    assert names == ['report.html', 'results.json', 'table.csv', 'table.json', 'table.md']
    assert (plan.work_dir / 'table.md').read_text() == markdown
    assert '| from scratch | *measured* | 22.0 ± 2.0 (3) |' in markdown
    written = json.loads((plan.work_dir / 'results.json').read_text())
    assert [(p['init'], p['value']) for p in written['paper']] == [
        ('scratch', 32.7),
        ('mae', 39.9),
        ('dmae', 42.3),
    ]
    # 11, 10 and 12 better, seed by seed: 11 ± 2.5.
    (finding,) = written['findings']
    assert finding['verdict'] == 'appears'
    assert finding['title'] in (plan.work_dir / 'report.html').read_text()
