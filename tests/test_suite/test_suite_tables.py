"""A suite's tables: means and deviations worked out by hand, states, marks, and what reads them."""

import csv
import io
import json
import math

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.sentences import beside_papers, caveats, progress, verdict
from lightvit_dense.suite.tables import (
    TableColumn,
    as_csv,
    as_json,
    as_markdown,
    gains,
    is_whole,
    make_table,
    show_cell,
)

from .suite_results import BOX, MASK, make_results, run

TOP1 = 'accuracy/top1'
DASH, MINUS = '\N{EN DASH}', '\N{MINUS SIGN}'


@pytest.fixture
def table():
    return make_table(make_results())


def test_mean_deviation_and_difference(table):
    cell = table.cells['dmae', 'det', BOX]
    assert cell.spread.mean == pytest.approx(33.0)
    assert cell.spread.deviation == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert cell.difference == pytest.approx(33.0 - 42.3)
    assert cell.source == 'Paper A'
    assert cell.best
    assert is_whole(cell)
    assert dict(cell.values) == pytest.approx({0: 31.0, 1: 32.0, 2: 36.0})


def test_states(table):
    states = {key: cell.state for key, cell in table.cells.items()}
    assert states['scratch', 'cls', TOP1] == 'running'
    assert states['mae', 'cls', TOP1] == 'failed'
    partial = table.cells['mae', 'det', BOX]
    assert (partial.state, partial.failed, partial.planned) == ('measured', 1, 3)
    assert not is_whole(partial)
    results = make_results()
    results['cells'] = [cell for cell in results['cells'] if cell['task'] == 'det']
    assert make_table(results).cells['dmae', 'cls', TOP1].state == 'not planned'


def test_one_measured_cell_is_no_best(table):
    assert not table.cells['dmae', 'cls', TOP1].best
    assert not table.cells['mae', 'det', BOX].best


def test_equal_as_printed_is_equally_good():
    results = make_results()
    results['cells'] = [run('scratch', 'cls', 0, top1=64.21), run('dmae', 'cls', 0, top1=64.24)]
    table = make_table(results)
    assert table.cells['scratch', 'cls', TOP1].best
    assert table.cells['dmae', 'cls', TOP1].best
    assert 'D-MAE in 1, from scratch in 1, ties counted for each' in verdict(table)


def test_markdown_marks_everything(table):
    lines = as_markdown(table).splitlines()
    assert lines[0] == (
        '| initialisation |  | detection, box AP | detection, mask AP | classification, top-1 |'
    )
    assert lines[2:8] == [
        '| from scratch | *measured* | 22.0 ± 2.0 (3) | 11.0 ± 1.0 (3) | *running* |',
        '| MAE | *measured* | 30.0 (1 of 3) | 14.0 (1 of 3) | *failed* |',
        f'|  | *paper* | {DASH} | {DASH} | 78.0 |',
        '| D-MAE | *measured* | **33.0 ± 2.6 (3)** | **16.5 ± 1.3 (3)** | 64.2 (1) |',
        f'|  | *paper* | 42.3 | {DASH} | {DASH} |',
        f'|  | measured {MINUS} paper | {MINUS}9.3 | {DASH} | {DASH} |',
    ]


def test_not_run_and_not_planned_are_told_apart():
    results = make_results()
    results['cells'] = [run('mae', 'det', 0, 'not run')]
    lines = as_markdown(make_table(results)).splitlines()
    assert f'| MAE | *measured* | *not run* | *not run* | {DASH} |' in lines


def test_csv_and_json_hold_the_same_unrounded(table):
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    records = json.loads(as_json(table))
    assert len(rows) == len(records) == 9
    for row, record in zip(rows, records, strict=True):
        assert row['init'] == record['init']
        assert row['mean'] == ('' if record['mean'] is None else str(record['mean']))
        assert [float(v) for v in row['values'].split()] == record['values']
    (cell,) = [r for r in records if (r['init'], r['metric']) == ('dmae', BOX)]
    assert cell['deviation'] == pytest.approx(math.sqrt(7))
    assert (cell['seeds'], cell['paper'], cell['best']) == ([0, 1, 2], 42.3, True)


def test_gains_are_paired_by_seed(table):
    found = {(init, column.metric): spread for init, column, spread in gains(table, 'scratch')}
    assert found['dmae', BOX].values == pytest.approx((11.0, 10.0, 12.0))
    assert found['dmae', BOX].deviation == pytest.approx(1.0)
    # Only seed 0 of MAE is there: 30 - 20, not 30 - 22.
    assert found['mae', BOX].values == pytest.approx((10.0,))
    assert set(found) == {('dmae', BOX), ('dmae', MASK), ('mae', BOX), ('mae', MASK)}


def test_two_results_for_one_cell_are_an_error():
    results = make_results()
    results['cells'].append(run('dmae', 'det', 1, box=0.9, mask=0.1))
    with pytest.raises(UserError, match='two results for one cell: dmae on det, seed 1'):
        make_table(results)


@pytest.mark.parametrize(
    ('value', 'signed', 'shown'),
    [
        (3.14159, False, '3.1'),
        (3.14159, True, '+3.1'),
        (-3.14159, False, '\N{MINUS SIGN}3.1'),
        (-0.04, True, '+0.0'),
    ],
)
def test_figures_are_shown_with_a_true_minus(value, signed, shown):
    assert TableColumn('t', 'm', 'title').show(value, signed) == shown


def test_verdict_counts_clear_leads(table):
    # Box: 33.0 against 30.0, more than 2.6. Mask: 16.5 against 14.0, more than 1.3.
    assert verdict(table) == (
        'Best in the 2 figures of at least two initialisations: D-MAE in 2. The lead exceeds the '
        'deviation between seeds in 2.'
    )
    results = make_results()
    for cell in results['cells']:
        if cell['init'] == 'mae' and cell['state'] == 'measured':
            cell['metrics'] = {BOX: 0.31, MASK: 0.14}
    # Now 33.0 against 31.0, less than 2.6.
    assert verdict(make_table(results)).endswith('in 1.')


def test_nothing_measured_is_said():
    results = make_results()
    results['cells'] = [
        run('mae', 'det', 0, 'not run'),
        run('scratch', 'det', 0, box=0.1, mask=0.1),
    ]
    assert 'nothing can be compared' in verdict(make_table(results))


def test_progress_counts_states():
    assert progress(make_results()) == '8 of 12 cells measured, 1 running, 2 failed, 1 not run'


def test_gap_to_the_papers(table):
    assert beside_papers(table) == (
        'Measured minus paper: \N{MINUS SIGN}9.3 (D-MAE, detection, box AP).'
    )
    results = make_results()
    results['paper'].append(
        {'init': 'scratch', 'task': 'det', 'metric': BOX, 'value': 20.0, 'source': 'A'}
    )
    assert beside_papers(make_table(results)) == (
        'Measured minus paper over 2 figures: \N{MINUS SIGN}3.6 in the mean, \N{MINUS SIGN}9.3 at '
        'most (D-MAE, detection, box AP).'
    )
    results['paper'] = []
    assert beside_papers(make_table(results)) is None


def test_caveats_name_few_seeds(table):
    words = ' '.join(caveats(make_results(), table))
    assert 'from one seed' in words
    # A normal sample of three: 1 / sqrt(2 * 2).
    assert 'samples of 3 seeds, and are themselves uncertain by up to about 50%' in words
    assert 'Each pre-training ran once' in words


def test_states_are_shown_as_words(table):
    column = table.columns[2]
    assert show_cell(table.cell('mae', column), column) == 'failed'
    assert show_cell(table.cell('dmae', column), column) == '64.2 (1)'
