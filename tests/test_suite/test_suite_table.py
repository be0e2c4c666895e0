"""A suite's table: means and deviations worked out by hand, states, marks, and what reads it."""

import csv
import io
import math

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.results import Summary
from lightvit_dense.suite.table import Column, Table, make_table

from .suite_results import BOX, MASK, TOP1, cell, make_results

DASH, MINUS = '\N{EN DASH}', '\N{MINUS SIGN}'


@pytest.fixture
def table() -> Table:
    return make_table(make_results())


def test_mean_deviation_and_difference(table: Table) -> None:
    found = table.cells['dmae', 'det', BOX]
    assert found.mean == pytest.approx(33.0)
    assert found.std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert found.difference == pytest.approx(33.0 - 42.3)
    assert (found.source, found.best, found.seeds) == ('Paper A', True, 3)
    assert dict(found.values) == pytest.approx({0: 31.0, 1: 32.0, 2: 36.0})


def test_states(table: Table) -> None:
    assert table.cells['scratch', 'cls', TOP1].state == 'running'
    assert table.cells['mae', 'cls', TOP1].state == 'failed'
    partial = table.cells['mae', 'det', BOX]
    assert (partial.state, partial.failed, partial.planned, partial.std) == ('measured', 1, 3, None)
    results = make_results()
    results.runs = [run for run in results.runs if run.task != 'cls']
    assert make_table(results).cells['dmae', 'cls', TOP1].state == 'not planned'
    results.runs = [cell('mae', 'det', 0, 'not run')]
    line = f'| MAE | *measured* | *not run* | *not run* | {DASH} |'
    assert line in make_table(results).to_markdown().splitlines()


def test_the_best_is_one_of_several_as_printed(table: Table) -> None:
    assert not table.cells['dmae', 'cls', TOP1].best  # the only one
    assert not table.cells['mae', 'det', BOX].best
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
    (found,) = [r for r in records if (r['init'], r['metric']) == ('dmae', BOX)]
    assert found['std'] == pytest.approx(math.sqrt(7))
    assert (found['seeds'], found['paper'], found['best']) == ([0, 1, 2], 42.3, True)


def test_differences_are_paired_by_seed(table: Table) -> None:
    box, mask, top1 = table.columns
    assert table.differences('dmae', 'scratch', box) == pytest.approx({0: 11.0, 1: 10.0, 2: 12.0})
    # Only seed 0 of MAE is there: 30 - 20, not 30 - 22.
    assert table.differences('mae', 'scratch', box) == pytest.approx({0: 10.0})
    assert table.differences('dmae', 'mae', mask) == pytest.approx({0: 1.5})
    assert table.differences('dmae', 'mae', top1) == {}
    assert mask.metric == MASK


def test_figures_whose_seeds_were_not_kept() -> None:
    runs = [cell('mae', 'cls', 0, top1=60.0)]
    known = dict(task='cls', metric=TOP1, seeds=3)
    summaries = [
        Summary(init='dmae', mean=70.0, std=1.5, **known),
        Summary(init='mae', mean=9, **known),
    ]
    table = make_table(make_results(runs=runs, summaries=summaries))
    found = table.cells['dmae', 'cls', TOP1]
    assert (found.best, found.state) == (True, 'measured')
    assert found.show(table.columns[2]) == '70.0 ± 1.5 (3)'
    assert table.cells['mae', 'cls', TOP1].mean == 60.0  # runs count first


def test_two_results_for_one_cell_are_an_error() -> None:
    results = make_results()
    results.runs.append(cell('dmae', 'det', 1, box=0.9, mask=0.1))
    with pytest.raises(UserError, match='two results for one cell: dmae on det, seed 1'):
        make_table(results)


def test_figures_are_shown_with_a_true_minus() -> None:
    column = Column('t', 'm', 'title')
    assert (column.show(3.14159), column.show(3.14159, True)) == ('3.1', '+3.1')
    assert (column.show(-3.14159), column.show(-0.04, True)) == (f'{MINUS}3.1', '+0.0')
    assert column.show_mean([1.0, 2.0, 3.0], signed=True) == '+2.0 ± 1.0 (3)'
    assert column.show_mean([1.0]) == '1.0 (1)'
