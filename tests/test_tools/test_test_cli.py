"""tools/test.py as its users call it."""

import pickle
from functools import partial
from pathlib import Path

import pytest

import lightvit_dense  # noqa: F401
from lightvit_dense import apis
from tests.helpers.toy_engine import clear_globals, write_config


@pytest.fixture
def call(call_toy):
    """Run the tool in this process; returns its exit status, output and errors."""
    return partial(call_toy, 'test.py')


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """Path of a checkpoint of the toy model."""
    folder = tmp_path_factory.mktemp('trained')
    apis.train(write_config(folder, length=1), work_dir=folder / 'w')
    clear_globals()
    return folder / 'w' / 'epoch_1.pth'


def test_predictions_are_dumped(call, trained, tmp_path) -> None:
    config, out = write_config(tmp_path), tmp_path / 'predictions.pkl'
    status, log, _ = call(config, trained, '--work-dir', tmp_path / 'w', '--out', out)
    assert status == 0
    assert 'seen: 8.0000' in log
    assert len(pickle.loads(out.read_bytes())) == 8


@pytest.mark.parametrize(('value', 'status'), [(8, 0), (7, 1)])
def test_verify(call, trained, tmp_path, value, status) -> None:
    config = write_config(tmp_path, extra=f"\nexpected = [('seen', {value}, 0.5)]\n")
    found, out, _ = call(config, trained, '--work-dir', tmp_path / 'w', '--verify')
    assert found == status
    assert ('FAILED' in out) == bool(status)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('--verify',), 'has no `expected`'),
        (('--out', 'x.json'), 'ends in .pkl'),
        (('--show-dir', 'x'), "this model's results have"),
        (('--show-dir', 'x', '--show-max', '0'), '--show-max 0: must be at least 1'),
        (('--show-max', '3'), 'limits the pictures of --show-dir'),
        (('--cfg-options', 'load_from=x'), 'gone.pth  (load_from)'),
        (('--cfg-options', 'test_dataloader.batchsize=1'), "Did you mean 'batch_size'"),
    ],
)
def test_mistakes_get_one_plain_message(call, trained, tmp_path, arguments, message) -> None:
    config = write_config(tmp_path)
    checkpoint = 'gone.pth' if 'gone.pth' in message else trained
    status, _, err = call(config, checkpoint, '--work-dir', tmp_path / 'w', *arguments)
    assert status == 2
    assert message in err
    assert 'Traceback' not in err
