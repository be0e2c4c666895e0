"""Curves and times of a run, which may have been killed and resumed."""

import json

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.utils import logs


def write(folder, start, records):
    path = folder / start / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))
    return path


def train(step, time, waiting=0.0, **more):
    return dict(lr=0.1, time=time, data_time=waiting, step=step, **more)


@pytest.fixture
def run(tmp_path):
    """A run of 50 iterations that was killed after 30 and resumed from 20."""
    validation = {'coco/bbox_mAP': 0.2, 'time': 99.0, 'data_time': 9.0, 'step': 50}
    again = [train(30, 8.0, loss=5.0), train(40, 3.0, 1.0, loss=4.0), train(50, 3.0), validation]
    write(tmp_path, '1', [train(10, 9.0), train(20, 2.0, 0.5), train(30, 4.0, loss=7.0)])
    write(tmp_path, '2', again)
    return tmp_path


def test_times_without_the_first_interval_of_a_start(run):
    time = logs.training_time(run)
    assert (time.iterations, time.starts) == (50, 2)
    assert time.mean == pytest.approx((2 + 4 + 3 + 3) / 4)
    assert time.std == pytest.approx((2 / 3) ** 0.5)
    assert (time.fastest, time.slowest) == ((2.0, 20), (4.0, 30))
    assert time.data_ratio == pytest.approx(1.5 / 12)
    assert time.hours == pytest.approx(50 * 3 / 3600)


def test_times_with_it(run, tmp_path):
    time = logs.training_time(run, include_outliers=True)
    assert time.mean == pytest.approx((9 + 2 + 4 + 8 + 3 + 3) / 6)
    assert time.slowest == (9.0, 10)
    path = write(tmp_path, 'short', [train(10, 1.0)])
    with pytest.raises(UserError, match='--include-outliers'):
        logs.training_time(path)
    assert logs.training_time(path, include_outliers=True).mean == 1.0


def test_curves(run):
    loss, ap, time = logs.collect_curves(run, ['loss', 'bbox_mAP', 'time'])
    assert (loss.steps, loss.values) == ((30, 40), (5.0, 4.0))  # what was done again counts
    assert (ap.name, ap.steps, ap.values) == ('coco/bbox_mAP', (50,), (0.2,))
    assert 99.0 not in time.values


def test_nan_words_and_a_cut_last_line_are_left_out(tmp_path):
    path = tmp_path / 'scalars.json'
    lines = ['{"loss": NaN, "step": 1}', '{"loss": "x", "step": 2}', '{"loss": 1, "step": 3}']
    path.write_text('\n'.join([*lines, '{"loss": 2, "st']))
    records = logs.read_scalars(path)
    assert len(records) == 3
    assert logs.series(records, 'loss').steps == (3,)


def test_keys():
    records = [{'coco/bbox_mAP': 1, 'loss': 1, 'a/top1': 1, 'b/top1': 2}]
    assert logs.keys_matching(records, 'mAP|top') == ['a/top1', 'b/top1', 'coco/bbox_mAP']
    assert logs.keys_matching([{'layer_10': 1, 'layer_9': 1}], 'layer') == ['layer_9', 'layer_10']
    for key in ('coco/bbox_mAP', 'bbox_mAP', 'mAP'):
        assert logs.find_keys(records, key, 'x') == ['coco/bbox_mAP']
    with pytest.raises(UserError, match='may be a/top1 or b/top1'):
        logs.find_keys(records, 'top1', 'x')
    with pytest.raises(UserError, match=r"x: has no scalar 'bbox_map'\. Did you mean 'bbox_mAP'"):
        logs.find_keys(records, 'bbox_map', 'x')
    with pytest.raises(UserError, match=r"'loss\[' is neither a scalar nor a regular"):
        logs.find_keys(records, 'loss[', 'x')


def test_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r'no vis_data/scalars\.json'):
        logs.collect_curves(tmp_path, ['loss'])
    path = tmp_path / 'x.log'
    path.write_text('11/21 - mmengine - INFO - hello\nworld\n')
    with pytest.raises(UserError, match=r'x\.log, line 1: not a JSON record'):
        logs.training_time(path)
