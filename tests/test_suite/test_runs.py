"""Results of runs: the last value, mean and deviation, and tables."""

import csv
import io
import json

import numpy as np
import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.runs import Spread, last_metric, paired
from lightvit_dense.utils.tables import to_csv, to_markdown


def test_the_last_value_of_a_resumed_run_counts(tmp_path):
    for stamp, values in (
        ('20260101_000000', [(10, 50.0), (20, 60.0)]),
        ('20260102_000000', [(30, 70.5)]),
    ):
        folder = tmp_path / stamp / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps({'accuracy/top1': value, 'step': step}) for step, value in values]
        lines.append(json.dumps({'loss': 0.1, 'step': 99}))
        (folder / 'scalars.json').write_text('\n'.join(lines))
    assert last_metric(tmp_path) == 70.5
    with pytest.raises(UserError, match=r'logged no accuracy/top5.*val_interval'):
        last_metric(tmp_path, 'accuracy/top5')


def test_mean_and_deviation_are_those_of_a_sample():
    values = (71.2, 74.9, 70.3)
    spread = Spread(values)
    assert spread.mean == pytest.approx(np.mean(values))
    assert spread.deviation == pytest.approx(np.std(values, ddof=1))
    assert str(spread) == '72.1 ± 2.4'
    assert (Spread((5.0,)).deviation, str(Spread((5.0,)))) == (None, '5.0')


def test_differences_are_taken_pair_by_pair():
    # Seeds differ much, the gain is the same: that is what pairing shows.
    gain = paired([50.0, 70.0, 90.0], [49.0, 69.0, 89.0])
    assert (gain.mean, gain.deviation) == (1.0, 0.0)
    with pytest.raises(ValueError, match='shorter'):
        paired([1.0, 2.0], [1.0])


def test_tables():
    header, rows = ['set', 'a, b', 'c'], [['x', 1.5, None], ['y', 'u "v"', 2]]
    assert to_markdown(header, rows).splitlines() == [
        '| set | a, b | c |',
        '| --- | ---: | ---: |',
        '| x | 1.5 | \N{EN DASH} |',
        '| y | u "v" | 2 |',
    ]
    back = list(csv.reader(io.StringIO(to_csv(header, rows))))
    assert back == [header, ['x', '1.5', ''], ['y', 'u "v"', '2']]
