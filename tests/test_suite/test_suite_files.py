"""The suite files of the real benchmarks: read, checked, with the papers' figures beside them."""

from pathlib import Path

import pytest

from lightvit_dense.apis import load_config
from lightvit_dense.suite.papers import TABLES, paper_cells
from lightvit_dense.suite.plan import SuitePlan
from lightvit_dense.suite.spec import Suite, read_suite

ROOT = Path(__file__).parents[2]


def load(name: str) -> Suite:
    return read_suite(ROOT / f'configs/suites/{name}.py', ROOT)


def published_beside(suite: Suite) -> dict[tuple[str, str, str], float]:
    tasks = {name: [m.key for m in task.metrics] for name, task in suite.tasks.items()}
    cells = paper_cells(suite.paper, suite.inits, tasks)
    return {(c['init'], c['task'], c['metric']): c['value'] for c in cells}


def test_first_paper_has_its_whole_table_and_a_run_for_each_figure():
    suite = load('paper1_table5')
    beside = published_beside(suite)
    planned = {(init.name, task.name) for init, task, _ in suite.cells()}
    for cell in TABLES['transfer'].cells():
        assert beside[cell.init, cell.task, cell.metric] == cell.value
        assert (cell.init, cell.task) in planned
    # ImageNet beside the 56 figures, labels of ImageNet-21k too; DeiT is trained there, has none.
    assert len(beside) == 56 + 6 + 2
    assert len(planned) == 7 * 8 - 1 + 2
    assert beside['steiner_30e', 'imagenet', 'accuracy/top1'] == 76.9
    assert {key[:2] for key in beside} == planned


def test_second_paper_has_a_run_for_every_figure_that_can_be_run():
    suite = load('paper2')
    beside = published_beside(suite)
    planned = {(init.name, task.name) for init, task, _ in suite.cells()}
    assert {key[:2] for key in beside} <= planned
    for table in ('ade20k_code', 'lasot_code'):
        for cell in TABLES[table].cells():
            assert beside[cell.init, cell.task, cell.metric] == cell.value
    assert beside['d2mae_rpe_1000e', 'imagenet', 'accuracy/top1'] == 79.4
    assert beside['hiera_dmae', 'imagenet', 'accuracy/top1'] == 78.9
    # The code's documentation comes before the first paper, which has 37.4.
    assert beside['dmae', 'coco', 'coco/segm_mAP'] == 37.3
    assert beside['deit', 'coco', 'coco/segm_mAP'] == 35.5


def test_relative_positions_start_from_the_fine_tuned_network_on_scenes_only():
    init = load('paper2').inits['d2mae_rpe_1000e']
    assert init.pretrain_of('scenes') == 'd2mae_rpe'
    assert init.pretrain_of('default') == 'd2mae'


@pytest.fixture(scope='module')
def plan(tmp_path_factory) -> SuitePlan:
    def read(config, options):
        return load_config(ROOT / config, options).to_dict()

    parts = (['scratch', 'dmae', 'deit'], ['flowers', 'coco'])
    suite = read_suite(ROOT / 'configs/suites/paper1_table5.py', ROOT, *parts)
    return SuitePlan(suite, tmp_path_factory.mktemp('suite'), ROOT, ROOT, read)


def test_from_scratch_starts_from_nothing(plan):
    shared = 'flowers_scratch_seed-0'
    for name in (shared, f'{shared}_test'):
        assert 'model.init_cfg=None' in plan.stages[name].command
    assert plan.configs[shared]['model']['init_cfg'] is None
    own = 'coco_scratch_seed-0'  # has a config of its own, which says what it starts from
    assert not any('init_cfg' in word for word in plan.stages[own].command)
    assert plan.configs[own]['model']['backbone']['init_cfg'] is None


def test_others_start_from_the_pretraining_of_the_suite(plan):
    files = {'dmae': 'backbone.safetensors', 'deit': 'epoch_300.pth'}  # the classifier's norm, too
    for init, file in files.items():
        for task in ('flowers', 'coco'):
            model = plan.configs[f'{task}_{init}_seed-0']['model']
            part = model if task == 'flowers' else model['backbone']
            path = Path(part['init_cfg']['checkpoint'])
            assert path == plan.work_dir / f'pretrain_{init}' / file
            assert plan.stages[f'{task}_{init}_seed-0'].after == [f'pretrain_{init}']


@pytest.mark.parametrize('name', ['paper1_table5', 'paper2'])
def test_the_supervised_network_is_that_of_the_improved_recipe(name):
    (pretrain,) = [p for p in load(name).pretrains.values() if p.name == 'deit']
    assert pretrain.config == 'configs/imagenet/deit_vit-tiny_improved_300e.py'
