"""A suite file is checked before anything runs; every mistake is named with its place."""

from pathlib import Path

import pytest

from lightvit_dense.errors import UserError
from lightvit_dense.suite.spec import read_suite

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

    def write(old: str = '', new: str = '', more: str = '') -> Path:
        assert old in GOOD
        path = tmp_path / 'suite.py'
        path.write_text(GOOD.replace(old, new, 1) + more)
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
    suite = read_suite(write(), tmp_path, inits=['scratch', 'dmae'], tasks=['det'], seeds=[7])
    assert [(i.name, t.name, s) for i, t, s in suite.cells()] == [
        ('scratch', 'det', 7),
        ('dmae', 'det', 7),
    ]
    assert set(suite.pretrains) == {'teacher', 'dmae'}  # 'mae' is for another domain
    assert not suite.analyses  # it looks into an initialisation that is left out
    alone = read_suite(write(), tmp_path, inits=['scratch'])
    assert not alone.pretrains


def test_a_missing_checkpoint_can_be_left_out(write, tmp_path):
    path = write('deit.pth', 'gone.pth')
    with pytest.raises(UserError, match=r'inits\.deit.*gone\.pth does not exist.*--inits'):
        read_suite(path, tmp_path)
    assert 'deit' not in read_suite(path, tmp_path, inits=['scratch', 'mae']).inits


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
        (
            "metrics=[dict(key='AP', title='AP')]",
            "metrics=[dict(name='AP')]",
            'metrics.0 (lacks|has no)',
        ),
        ("configs=dict(default='a.py'), ", '', r"tasks\.cls lacks 'configs'"),
        ('seeds = [0, 1]', 'sedes = [0, 1]', "no 'sedes'.*mean 'seeds'"),
        ('seeds = [0, 1]', 'seeds = [', 'cannot be read: SyntaxError'),
    ],
)
def test_a_mistake_is_named(write, tmp_path, old, new, message):
    with pytest.raises(UserError, match=message):
        read_suite(write(old, new), tmp_path)


def test_one_result_a_cell(write, tmp_path):
    entry = "dict(init='mae', task='det', seed=0, metrics=dict(AP=0.5))"
    assert len(read_suite(write(more=f'measured = [{entry}]'), tmp_path).measured) == 1
    for entries, message in (
        (f'{entry}, {entry}', 'two results for one cell: measured has mae on det, seed 0'),
        (entry.replace('seed=0', 'seed=9'), "'9', which is unknown; there are 0, 1"),
        (entry.replace('metrics=dict(AP=0.5)', ''), "lacks 'metrics'"),
    ):
        with pytest.raises(UserError, match=message):
            read_suite(write(more=f'measured = [{entries}]'), tmp_path)


def test_a_missing_file_names_the_others(write, tmp_path):
    write()
    with pytest.raises(UserError, match=r'gone\.py does not exist; .* has a\.py, b\.py, suite\.py'):
        read_suite(tmp_path / 'gone.py', tmp_path)
