"""tools/train.py and tools/test.py as their users call them."""

import pickle
import shutil

import pytest
import torch

import lightvit_dense  # noqa: F401
from tests.helpers.tools import call_tool
from tests.helpers.toy_engine import write_config

NO_BATCH = '24 images on 1 process(es) are 24 for each, and the batch size is 25. Set train_data'


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Path of a checkpoint of the toy model, after an epoch whose rate was scaled."""
    folder = tmp_path_factory.mktemp("it's {a} [folder], \\ and ö")
    extra = '\nauto_scale_lr = dict(base_batch_size=8)\n'
    config = write_config(folder, length=1, extra=extra)
    out = call_tool('train.py', config, '--work-dir', folder / 'w', '--auto-scale-lr')
    assert 'Learning rate 0.01 x 0.5 = 0.005' in out
    assert 'Epoch(train) [1][6/6]' in out
    return folder / 'w' / 'epoch_1.pth'


def test_resume(trained):
    config, work_dir = trained.parents[1] / 'toy.py', trained.parent
    more = ('--work-dir', work_dir, '--cfg-options', 'train_cfg.max_epochs=2')
    out = call_tool('train.py', config, '--resume', *more)
    assert f'continuing from {trained}' in out
    assert 'Epoch(train) [1]' not in out
    out = call_tool('train.py', config, '--resume', trained, *more)
    assert 'resumed epoch: 1, iter: 6' in out


def test_a_second_training_does_not_overwrite_the_first(trained, tmp_path):
    config, before = trained.parents[1] / 'toy.py', sorted(trained.parent.rglob('*'))
    for more in ([], ['--preflight'], ['--resume', shutil.copy(trained, tmp_path / 'epoch_1.pth')]):
        err = call_tool('train.py', config, '--work-dir', trained.parent, *more, status=2)
        assert 'holds another training (epoch_' in err
        assert 'with --resume, choose another folder with --work-dir, or remove it' in err
    assert sorted(trained.parent.rglob('*')) == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['train_cfg.max_epochs=0'], 'train_cfg.max_epochs=0 trains nothing'),
        (['train_cfg.val_interval=0'], 'train_cfg.val_interval=0: set at least 1'),
        (['train_dataloader.drop_last=True', 'train_dataloader.batch_size=25'], NO_BATCH),
        (['train_dataloader.dataset.length=0'], '0 images on 1 process(es) are 0 for each'),
    ],
)
def test_a_training_without_an_iteration_is_refused(tmp_path, options, message):
    hook = "\ncustom_hooks = [dict(type='lightvit_dense.ExportBackboneHook')]\n"
    hook += "param_scheduler = dict(type='WarmupCosineLR', convert_to_iter_based=True)\n"
    words = (write_config(tmp_path, extra=hook), '--work-dir', tmp_path / 'w')
    err = call_tool('train.py', *words, '--cfg-options', *options, status=2)
    assert message in err
    assert 'Traceback' not in err
    assert not list(tmp_path.rglob('*.safetensors'))


@pytest.mark.parametrize(('value', 'status'), [(8, 0), (7, 1)])
def test_predictions_are_dumped_and_verified(trained, tmp_path, value, status):
    config = write_config(tmp_path, extra=f"\nexpected = [('seen', {value}, 0.5)]\n")
    words = ['--work-dir', tmp_path / 'w', '--out', tmp_path / 'p.pkl', '--verify']
    out = call_tool('test.py', config, trained, *words, status=status)
    assert 'seen: 8.0000' in out
    assert ('FAILED' in out) == bool(status)
    assert len(pickle.loads((tmp_path / 'p.pkl').read_bytes())) == 8


GONE = ['--cfg-options', 'load_from=gone.pth']


@pytest.mark.parametrize(
    ('tool', 'words', 'message'),
    [
        ('train', ['--cfg-options', 'optim_wraper.type=X'], "Did you mean 'optim_wrapper'"),
        ('train', ['--cfg-options', 'lr'], "argument --cfg-options: 'lr' is not KEY=VALUE"),
        ('train', GONE, 'gone.pth  (load_from)'),
        ('train', ['--resume', 'gone.pth'], 'gone.pth  (--resume)'),
        ('train', ['--resume', 'torn.pth'], 'torn.pth'),
        ('train', ['--auto-scale-lr'], 'base_batch_size'),
        ('train', ['--amp'], 'error: --amp: automatic mixed precision needs a CUDA GPU'),
        ('train', ['--launcher', 'pytorch'], '--launcher pytorch'),
        ('train', ['--preflight', *GONE], 'gone.pth  (load_from)'),
        ('test', ['--verify'], 'has no `expected`'),
        ('test', ['--out', 'x.json'], 'ends in .pkl'),
        ('test', ['--show-dir', 'x'], "this model's results have"),
        ('test', ['--show-dir', 'x', '--show-max', '0'], '--show-max 0: must be at least 1'),
        ('test', ['--show-max', '3'], 'limits the pictures of --show-dir'),
        ('test', ['--cfg-options', 'test_dataloader.batchsize=1'], "Did you mean 'batch_size'"),
        ('test gone.pth', ['--cfg-options', 'load_from=x'], 'gone.pth  (load_from)'),
    ],
)
def test_mistakes_get_one_plain_message(trained, tmp_path, monkeypatch, tool, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / 'torn.pth').write_bytes(trained.read_bytes()[:200])
    tool, *checkpoint = tool.split()
    first = [write_config(tmp_path), *(checkpoint or [trained] * (tool == 'test'))]
    err = call_tool(f'{tool}.py', *first, '--work-dir', tmp_path / 'w', *words, status=2)
    assert message in err
    assert 'Traceback' not in err
    assert tool == 'test' or message == 'torn.pth' or not (tmp_path / 'w').exists()
