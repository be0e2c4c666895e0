"""Suite files, checked with every mistake named, and their runs: order, devices, failures."""

from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.collect import collect
from lightvit_dense.suite.executors import device_slots
from lightvit_dense.suite.plan import by_place, final_checkpoint
from lightvit_dense.suite.runner import run_suite
from lightvit_dense.suite.spec import read_suite
from tests.helpers.tiny_suite import (
    SUITE,
    InlineExecutor,
    read_config,
    take_trace,
    tiny_plan,
    write_tiny_suite,
)

GOOD = """'''What it is.'''
name = 'tiny'
seeds = [0, 1]
_note = 'of the file itself'
pretrains = dict(
    teacher=dict(config='a.py'),
    mae=dict(config='a.py', title='MAE'),
    dmae=dict(config='a.py', needs={'model.teacher': 'teacher'}),
)
inits = dict(
    scratch=dict(),
    mae=dict(pretrain='mae'),
    dmae=dict(pretrain=dict(default='dmae', digits='mae')),
    deit=dict(checkpoint='deit.pth', tasks=['det']),
)
tasks = dict(
    det=dict(configs=dict(scratch='b.py', default='a.py'), metrics=[dict(key='AP', title='AP')]),
    cls=dict(configs=dict(default='a.py'), metrics=[dict(key='top1', title='top-1')],
             domain='digits', seeds=[5]),
)
analyses = dict(look=dict(tool='cka', models=['mae', 'teacher'], images='x'))
"""


@pytest.fixture
def write(tmp_path):
    for name in ('a.py', 'b.py', 'deit.pth'):
        (tmp_path / name).write_text('')

    def write(old: str = '', new: str = '') -> Path:
        assert old in GOOD
        path = tmp_path / 'suite.py'
        path.write_text(GOOD.replace(old, new, 1))
        return path

    return write


def test_a_file_becomes_cells_seed_by_seed(write, tmp_path):
    suite = read_suite(write(), tmp_path)
    cells = [(init.name, task.name, seed) for init, task, seed in suite.cells()]
    det = [(init, 'det', seed) for seed in (0, 1) for init in ('scratch', 'mae', 'dmae', 'deit')]
    assert cells == [*det, *((init, 'cls', 5) for init in ('scratch', 'mae', 'dmae'))]
    assert suite.text == 'What it is.'
    assert suite.inits['scratch'].config_of(suite.tasks['det']) == 'b.py'
    assert suite.inits['mae'].config_of(suite.tasks['det']) == 'a.py'
    assert suite.inits['dmae'].pretrain_of('digits') == 'mae'
    assert suite.inits['dmae'].pretrain_of('default') == 'dmae'
    assert suite.inits['scratch'].title == 'scratch'


def test_a_part_needs_only_its_own_pretrainings(write, tmp_path):
    path = write('deit.pth', 'gone.pth')
    suite = read_suite(path, tmp_path, inits=['scratch', 'dmae'], tasks=['det'], seeds=[7])
    assert [(i.name, t.name, s) for i, t, s in suite.cells()] == [
        ('scratch', 'det', 7),
        ('dmae', 'det', 7),
    ]
    assert set(suite.pretrains) == {'teacher', 'dmae'}  # 'mae' is for another domain
    assert not suite.analyses  # it looks into an initialisation that is left out
    assert not read_suite(path, tmp_path, inits=['scratch']).pretrains


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ("tasks=['det']", "tasks=['dte']", r"inits\.deit\.tasks names 'dte'.*mean 'det'"),
        ("pretrain='mae'", "pretrain='mea'", r"inits\.mae\.pretrain names 'mea'.*mean 'mae'"),
        ("config='a.py')", "config='aa.py')", r'pretrains\.teacher\.config: .*aa\.py does not ex'),
        ("scratch='b.py'", "scratch='c.py'", r'tasks\.det\.configs\.scratch: .*c\.py does not'),
        ("scratch='b.py'", "nobody='b.py'", r"tasks\.det\.configs names 'nobody'"),
        ("'model.teacher': 'teacher'", "'model.teacher': 'dmae'", 'must come before it'),
        ("tool='cka'", "tool='ckb'", r"analyses\.look\.tool names 'ckb'.*mean 'cka'"),
        ("models=['mae'", "models=['scratch'", "'scratch', which no pre-training"),
        ("checkpoint='deit.pth'", "checkpoint='deit.pth', pretrain='mae'", 'one of them'),
        ("dict(default='dmae', digits='mae')", "dict(other='mae')", 'nothing for the domain'),
        ('seeds=[5]', 'seeds=[5, 5]', 'seed is named twice.*two results for one cell'),
        ("title='MAE'", "titles='MAE'", r"pretrains\.mae has no 'titles'.*mean 'title'"),
        ("metrics=[dict(key='AP', title='AP')]", 'metrics=[]', 'reports no metrics'),
        ("dict(key='AP', title='AP')", "dict(name='AP')", 'metrics.0 (lacks|has no)'),
        ("configs=dict(default='a.py'), ", '', r"tasks\.cls lacks 'configs'"),
        ('seeds = [0, 1]', 'sedes = [0, 1]', "no 'sedes'.*mean 'seeds'"),
        ('inits = dict(', 'init = dict(', "no 'init'.*mean 'inits'"),
        ('seeds = [0, 1]', 'seeds = [', 'cannot be read: SyntaxError'),
        ('deit.pth', 'gone.pth', r'inits\.deit.*gone\.pth does not exist.*--inits'),
    ],
)
def test_a_mistake_is_named(write, tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        read_suite(write(old, new), tmp_path)


@pytest.fixture
def root(tmp_path):
    write_tiny_suite(tmp_path)
    return tmp_path


@pytest.fixture
def plan(root):
    return lambda *args, **options: tiny_plan(root, *args, **options)


def run(plan, on_progress=lambda line: None):
    finished = []
    finish, executor = lambda: finished.append(True), lambda env: InlineExecutor(plan.root)
    return run_suite(plan, finish, executor, on_progress=on_progress, poll=0.0), finished


def states(plan):
    return {f'{c.init} {c.seed}': c.state for c in collect(plan, {}).cells}


def test_what_is_needed_comes_first_and_values_arrive(plan, root):
    stages = {stage.name: stage for stage in plan().in_order()}
    names = list(stages)
    assert names[:2] == ['pretrain_teacher', 'pretrain_dmae']
    for stage in stages.values():
        assert all(names.index(need) < names.index(stage.name) for need in stage.after)
    teacher = root / 'work/pretrain_teacher/backbone.safetensors'
    assert f'model.teacher={teacher}' in stages['pretrain_dmae'].command
    assert 'x=3' in stages['pretrain_dmae'].command
    words = stages['det_dmae_seed-1'].command
    student = root / 'work/pretrain_dmae/backbone.safetensors'
    assert f'model.backbone.init_cfg.checkpoint={student}' in words
    assert 'randomness.seed=1' in words
    assert 'model.backbone.init_cfg.checkpoint=old.pth' in stages['det_old_seed-0'].command
    assert not any('init_cfg' in word for word in stages['det_scratch_seed-0'].command)
    assert str(root / 'work/det_old_seed-0/iter_9.pth') in stages['det_old_seed-0_test'].command
    assert final_checkpoint({'train_cfg': {'max_epochs': 9}}) == 'epoch_9.pth'


def test_everything_runs_once(plan, root):
    status, finished = run(plan())
    assert (status, finished) == (0, [True])
    assert len(take_trace(root)) == 2 + 2 * 3 * 2
    found = collect(plan(), {'cpu': 'one'})
    assert {c.state for c in found.cells} == {'measured'}
    assert found.cells[0].metrics == {'AP': 0.25}
    assert found.environment == {'cpu': 'one'}
    assert found.tasks[0].metrics[0].scale == 100.0
    assert run(plan())[0] == 0
    assert take_trace(root) == []


def test_a_change_reaches_what_follows_from_it_and_no_more(plan, root):
    run(plan())
    take_trace(root)
    (root / 'old.pth').write_text('other weights')
    assert states(plan()) == {
        **{f'{init} {seed}': 'measured' for init in ('scratch', 'dmae') for seed in (0, 1)},
        **{f'old {seed}': 'not run' for seed in (0, 1)},
    }

    def changed(path, options):
        return read_config(path, options) | {'teacher': not {'x', 'randomness.seed'} & set(options)}

    run(plan(changed))
    ran = {name for name, *_ in take_trace(root)}
    assert {'pretrain_teacher', 'pretrain_dmae', 'det_dmae_seed-0', 'det_old_seed-0'} <= ran


def test_a_failure_leaves_the_others_and_says_why(plan, root, capsys):
    (root / 'fail/det_old_seed-0').touch()
    (root / 'fail/pretrain_teacher').touch()
    status, finished = run(plan())
    assert (status, finished) == (1, [True])
    assert 'the dog ate it' in capsys.readouterr().err
    found = {(c.init, c.seed): c for c in collect(plan(), {}).cells}
    assert found['old', 0].state == 'failed'
    assert found['old', 0].error == 'the dog ate it'
    assert found['dmae', 0].state == 'not run'
    assert found['scratch', 1].state == found['old', 1].state == 'measured'
    for path in (root / 'fail').iterdir():
        path.unlink()
    take_trace(root)
    assert run(plan())[0] == 0
    assert len(take_trace(root)) == 2 + 2 + 4  # the pre-trainings, one old cell, two of D-MAE
    assert set(states(plan()).values()) == {'measured'}


@pytest.mark.parametrize('text', ['{"metrics": {"AP"', '[]', '{"metrics": 3}', ''])
def test_a_half_written_result_is_measured_again(plan, root, text):
    run(plan(inits=['scratch']))
    take_trace(root)
    (root / 'work/det_scratch_seed-1_test/metrics.json').write_text(text)
    run(plan(inits=['scratch']))
    assert [name for name, *_ in take_trace(root)] == ['det_scratch_seed-1_test']
    assert set(states(plan(inits=['scratch'])).values()) == {'measured'}


def test_a_metric_that_the_task_does_not_report_is_named(plan, root):
    (root / 'suite.py').write_text(SUITE.replace("key='AP'", "key='mAP'"))
    run(plan(inits=['scratch']))
    cell = collect(plan(inits=['scratch']), {}).cells[0]
    assert cell.state == 'failed'
    assert 'the run reports no mAP; it reports AP' in cell.error


def test_gpus_are_shared_out(plan):
    for gpus, size, groups in (('0123', 2, ['0,1', '2,3']), ('01', 0, ['0,1']), ('', 1, [])):
        slots = device_slots(list(gpus), size)
        assert [slot['CUDA_VISIBLE_DEVICES'] for slot in slots] == groups
    for gpus, size, message in (('00', 1, 'twice'), ('012', 2, 'evenly'), ('', 2, 'no GPUs')):
        with pytest.raises(UserError, match=message):
            device_slots(list(gpus), size)
    text = ' '.join(plan(gpus=2).stages['det_scratch_seed-0'].command[1:])
    assert text.startswith(
        '-m torch.distributed.run --standalone --nproc_per_node 2 tools/train.py '
        '--launcher pytorch c.py'
    )


def test_a_sweep_repeats_what_loads_weights(plan, root):
    sweep = "sweep = dict(key='model.backbone.init_cfg.num', values=[0, 6], title='blocks')\n"
    (root / 'suite.py').write_text(SUITE + sweep)
    laid = plan(seeds=[0], inits=['scratch', 'dmae'])
    assert [cell.init.name for cell in laid.cells] == ['scratch', 'dmae_0', 'dmae_6']
    assert [cell.init.value for cell in laid.cells] == [None, 0, 6]
    stage = laid.stages['det_dmae_6_seed-0']
    assert stage.title == 'det, dmae, blocks 6, seed 0'
    assert 'model.backbone.init_cfg.num=6' in stage.command
    assert 'model.backbone.init_cfg.num=6' in laid.stages['det_dmae_6_seed-0_test'].command
    assert not any('num=' in word for word in laid.stages['det_scratch_seed-0'].command)
    assert len({cell.train for cell in plan().cells}) == 2 * (1 + 2 * 2)
    with pytest.raises(UserError, match='must be different values'):
        plan(options={'sweep.values': [3, 3]})


def test_data_is_made_first_and_only_what_is_needed(plan, root):
    (root / 'make.py').write_text('')
    prepare = """
prepare = dict(
    world=dict(tool='make.py', options=dict(out='{data}/w', layouts=['a', 'b'], lmdb=True),
               args=['it'], outputs=['w/x'], version='lightvit_dense.suite.plan:SMOKE_ITERATIONS'),
    other=dict(tool='make.py'),
)
pretrains['teacher']['data'] = ['world']
tasks['det']['data'] = []
"""
    (root / 'suite.py').write_text(SUITE + prepare)
    laid = plan()
    stage = laid.stages['prepare_world']
    data = root / 'data/w'
    options = ['--out', str(data), '--layouts', 'a', 'b', '--lmdb']
    assert stage.command[1:] == ['make.py', 'it', *options]
    assert stage.outputs == [data / 'x']
    assert laid.stages['pretrain_teacher'].after == ['prepare_world']
    assert laid.stages['pretrain_dmae'].after[:2] == ['prepare_world', 'prepare_other']
    assert laid.stages['det_scratch_seed-0'].after == []
    assert not [name for name in plan(inits=['scratch']).stages if name.startswith('prepare')]
    options = {'pretrains.teacher.data': ['wrold']}
    with pytest.raises(UserError, match=r"teacher\.data names 'wrold'.*mean 'world'"):
        plan(options=options)


def test_an_analysis_takes_the_pretraining_of_its_domain(plan, root):
    domains = """
inits['dmae']['pretrain'] = dict(default='dmae', scenes='teacher')
analyses = {
    name: dict(tool='cka', models=['dmae', 'teacher'], images='x', domain=name)
    for name in ('default', 'scenes')
}
"""
    (root / 'suite.py').write_text(SUITE + domains)
    laid = plan()
    assert laid.stages['analysis_default'].after == ['pretrain_dmae', 'pretrain_teacher']
    assert laid.stages['analysis_scenes'].after == ['pretrain_teacher', 'pretrain_teacher']
    only = "inits['dmae']['pretrain'] = dict(scenes='teacher')\ninits['dmae']['tasks'] = []\n"
    (root / 'suite.py').write_text(SUITE + domains + only)
    with pytest.raises(UserError, match="no pre-training of the suite makes for the domain 'defau"):
        plan()


def test_overrides_of_the_file_reach_one_entry_or_all(plan, root):
    options = {
        'inits.mine.checkpoint': 'old.pth',
        'tasks.*.options.a.b': 1,
        'pretrains.dmae.options.x': 4,
        'tasks.det.test_options.out': '{folder}/r',
    }
    laid = plan(options=options)
    assert 'a.b=1' in laid.stages['det_mine_seed-0'].command
    assert 'x=4' in laid.stages['pretrain_dmae'].command
    test = laid.stages['det_mine_seed-0_test']
    assert f'out={test.work_dir}/r' in test.command
    assert not any(word.startswith('out=') for word in laid.stages['det_mine_seed-0'].command)
    for key, message in (
        ('seeds.x', "'seeds' is .*which has no keys"),
        ('tasks.dte.title', "tasks.dte lacks 'configs'.*mean 'det'"),
        ('inits.old.chekpoint', "has no 'chekpoint'.*mean 'checkpoint'"),
    ):
        with pytest.raises(UserError, match=message):
            plan(options={key: 'y'})


def test_entries_of_lists_are_named_by_type():
    config = {'hooks': [{'type': 'a.One'}, {'type': 'Two', 'x': {'y': 1}}], 'z': 1}
    given = {'hooks.Two.x.y': 2, 'hooks.0.k': 3, 'z': 4, 'new.key': 5}
    assert by_place(given, config) == {'hooks.1.x.y': 2, 'hooks.0.k': 3, 'z': 4, 'new.key': 5}
    with pytest.raises(UserError, match=r'Tow must be the type of one of One, Two\..*mean .Two'):
        by_place({'hooks.Tow.x': 1}, config)
