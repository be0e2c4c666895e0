import argparse
import os
import pickle
import re
import signal
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lightvit_dense.checkpoints import CheckpointError, load_state_dict, read_checkpoint
from lightvit_dense.errors import UserError
from lightvit_dense.utils.io import atomic_path, atomic_write

from .builders import Malicious, equal

STATE = {'patch_embed.proj.weight': torch.rand(4, 3, 2, 2), 'norm.bias': torch.rand(4)}


@pytest.mark.parametrize('container', [None, 'state_dict', 'model', 'model_state', 'module'])
@pytest.mark.parametrize('legacy', [False, True])
def test_torch_files(tmp_path, container, legacy):
    content = {container: OrderedDict(STATE), 'epoch': 3} if container else STATE
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    assert equal(load_state_dict(tmp_path / 'a.pth'), STATE)


@pytest.mark.parametrize('name', ['a.safetensors', 'a.bin'])
def test_safetensors(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert equal(load_state_dict(str(tmp_path / name)), STATE)


def test_research_leftovers_are_plain_data(tmp_path):
    extras = dict(
        args=argparse.Namespace(lr=0.1, output=Path('out')),
        best=np.float64(0.5),
        history=np.arange(3),
        names=np.array(['a', 'b']),
        scaler={'scale': 65536.0},
    )
    torch.save({'model': STATE, **extras}, tmp_path / 'a.pth')
    content = read_checkpoint(tmp_path / 'a.pth')
    assert content['args'] == extras['args']
    assert content['best'] == 0.5
    assert content['history'].tolist() == [0, 1, 2]
    assert equal(load_state_dict(tmp_path / 'a.pth'), STATE)


@pytest.mark.parametrize('legacy', [False, True])
def test_code_is_refused_and_not_run(tmp_path, legacy):
    trace, path = tmp_path / 'it_ran', tmp_path / 'evil.pth'
    content = {'state_dict': STATE, 'meta': Malicious(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r'evil\.pth: refused.*(posix|os|nt)\.system'):
        load_state_dict(path)
    assert not trace.exists()
    with open(path, 'rb') as file:  # the file does run code when it is let
        torch.load(file, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize('protocol', [2, 4])
def test_plain_pickles_are_refused(tmp_path, protocol):
    trace = tmp_path / 'it_ran'
    (tmp_path / 'evil.pkl').write_bytes(pickle.dumps(Malicious(trace), protocol))
    with pytest.raises(CheckpointError, match=r'evil\.pkl'):
        load_state_dict(tmp_path / 'evil.pkl')
    assert not trace.exists()


def test_getattr_reaches_log_statistics_only(tmp_path):
    class Attribute:
        def __reduce__(self):
            return getattr, (torch.Tensor, 'cpu')

    torch.save({'model': STATE, 'x': Attribute()}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='refused'):
        read_checkpoint(tmp_path / 'a.pth')


def test_missing_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r'none\.pth: does not exist'):
        load_state_dict(tmp_path / 'none.pth')
    with pytest.raises(UserError, match='is a folder'):
        load_state_dict(tmp_path)


@pytest.mark.parametrize('name', ['a.pth', 'a.safetensors', 'legacy.pth'])
@pytest.mark.parametrize('keep', [0, 5, 200, 0.5, 0.99])
def test_truncated(tmp_path, name, keep):
    path = tmp_path / name
    if name == 'a.safetensors':
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=name == 'a.pth')
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    reason = 'zero bytes' if keep == 0 else 'truncated|neither'
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_state_dict(path)
    assert str(path) in str(caught.value)


def test_a_torchscript_archive_is_named_and_not_run(tmp_path):
    path = tmp_path / 'a.pt'
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(CheckpointError, match=r'a\.pt: is a TorchScript archive') as caught:
        load_state_dict(path)
    # What the message says to do gives a file that loads.
    advice = re.search(r'`(.*)`', str(caught.value))[1].replace('weights.pth', str(tmp_path / 'w'))
    exec(advice)
    assert set(load_state_dict(tmp_path / 'w')) == {'weight', 'bias'}
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match='truncated or damaged'):
        load_state_dict(path)


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (b'<html>404 not found</html>', 'neither a safetensors nor a PyTorch file'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'git lfs pull'),
        (b'PK\x03\x04 some other archive', 'truncated or damaged'),
    ],
)
def test_foreign_files(tmp_path, data, reason):
    (tmp_path / 'a.pth').write_bytes(data)
    with pytest.raises(CheckpointError, match=reason):
        load_state_dict(tmp_path / 'a.pth')


@pytest.mark.parametrize('content', [[1, 2], {'epoch': 1}, {'state_dict': {}}, torch.zeros(2)])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='holds no state dict'):
        load_state_dict(tmp_path / 'a.pth')


def test_atomic_write(tmp_path):
    path = tmp_path / 'new' / 'file.bin'
    atomic_write(path, b'one')
    assert path.read_bytes() == b'one'
    plain = tmp_path / 'plain'
    plain.write_bytes(b'')
    assert path.stat().st_mode == plain.stat().st_mode

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_bytes(b'half')
            raise RuntimeError('the disk is full')

    with pytest.raises(RuntimeError, match='disk is full'):
        fail()
    assert path.read_bytes() == b'one'
    assert [p.name for p in path.parent.iterdir()] == ['file.bin']


def test_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file.bin'
    atomic_write(path, b'whole')
    child = os.fork()
    if not child:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b'half')
            os.kill(os.getpid(), signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert path.read_bytes() == b'whole'
