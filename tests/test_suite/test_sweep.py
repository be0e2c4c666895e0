"""The sweep over reserved blocks: what it runs and what is made of its results."""

import json
from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite import sweep
from lightvit_dense.suite.sweep import Plan, Point, check_reserves, default_reserves, options_of

PLAN = Plan({'MAE': Path('/m.pth'), 'MoCo-v3': Path('/c.pth')}, [0, 6, 12], (0, 1))


def test_it_covers_every_combination_seed_by_seed():
    points = PLAN.points()
    assert len(points) == len({point.name for point in points}) == 2 * (1 + 2 * 3)
    assert [point.seed for point in points] == [0] * 7 + [1] * 7
    without = Plan(PLAN.checkpoints, [0], scratch=False).points()
    assert [point.checkpoint for point in without] == ['MAE', 'MoCo-v3']


def test_options_say_what_is_kept():
    assert options_of(Point('MAE', 6, 1), PLAN) == {
        'randomness.seed': 1,
        'model.backbone.init_cfg.checkpoint': '/m.pth',
        'model.backbone.init_cfg.num_pretrained_blocks': 6,
    }
    assert options_of(Point(sweep.SCRATCH, None, 0), PLAN)['model.backbone.init_cfg'] is None


def test_numbers_of_blocks_are_checked():
    check_reserves([0, 12], 12)
    for wrong in (-1, 13):
        with pytest.raises(UserError, match=rf'--k {wrong}: .*12 blocks.*0\.\.12'):
            check_reserves([0, wrong], 12)
    with pytest.raises(UserError, match='twice'):
        check_reserves([3, 3], 12)
    assert default_reserves(12) == [0, 2, 4, 6, 8, 10, 12]
    assert default_reserves(6) == [0, 1, 2, 3, 4, 5, 6]
    assert default_reserves(3) == [0, 1, 2, 3]


def make(point, tmp_path, digest='d'):
    config = {'train_cfg': {'max_epochs': 100}}
    return sweep.make_stage(point, tmp_path, ['run'], options_of(point, PLAN), config, digest)


def test_another_checkpoint_of_the_same_name_is_another_run(tmp_path):
    point = PLAN.points()[1]
    assert make(point, tmp_path).key != make(point, tmp_path, 'other').key
    stage = make(point, tmp_path)
    assert stage.outputs == [tmp_path / 'MAE_reserve-0_seed-0/epoch_100.pth']
    assert stage.epochs == 100


@pytest.fixture
def found(tmp_path):
    stages = [make(point, tmp_path) for point in PLAN.points()]
    for point, stage in zip(PLAN.points(), stages, strict=True):
        better = 0 if point.num_pretrained_blocks is None else 1 + point.num_pretrained_blocks
        top1 = 70.0 + better + (point.checkpoint == 'MAE') + 2 * point.seed
        (stage.work_dir / 'run/vis_data').mkdir(parents=True)
        line = json.dumps({'accuracy/top1': top1, 'step': 1})
        (stage.work_dir / 'run/vis_data/scalars.json').write_text(line)
    return sweep.results(PLAN, stages, 'accuracy/top1')


def test_results_by_line_and_number(found):
    assert [entry['num_pretrained_blocks'] for entry in found['lines']['MAE']] == [0, 6, 12]
    assert [entry['mean'] for entry in found['lines']['MAE']] == [73.0, 79.0, 85.0]
    assert [entry['mean'] for entry in found['lines']['MoCo-v3']] == [72.0, 78.0, 84.0]
    assert found['scratch']['values'] == [70.0, 72.0]
    text = sweep.markdown(found).splitlines()
    assert text[2] == '| none (from scratch) | 71.0 ± 1.4 | 71.0 ± 1.4 |'
    assert text[4] == '| 6 | 79.0 ± 1.4 | 78.0 ± 1.4 |'
    rows = sweep.csv_of_runs(found).splitlines()
    assert rows[1:3] == [',,0,70.0', ',,1,72.0']
    assert 'MoCo-v3,12,1,85.0' in rows
    assert len(rows) == 1 + 2 + 2 * 3 * 2


def test_the_figure_has_a_line_a_checkpoint_and_scratch_dashed(found):
    axes = sweep.draw(found).axes[0]
    drawn = [container[0] for container in axes.containers]
    assert [line.get_xdata().tolist() for line in drawn] == [[0, 6, 12]] * 2
    assert drawn[0].get_ydata().tolist() == [73.0, 79.0, 85.0]
    dashed = [line for line in axes.lines if line.get_linestyle() == '--']
    assert [line.get_ydata()[0] for line in dashed] == [71.0]
    assert axes.get_ylim()[0] < 71.0 - 1.5  # with its deviation, off the frame
    assert axes.get_ylabel() == 'top-1 in %'
