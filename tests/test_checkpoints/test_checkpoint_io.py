"""What is read of a file, by us and by mmengine, and that no file runs code."""

import argparse
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from lightvit_dense import apis
from lightvit_dense.checkpoints import CheckpointError, install, read_checkpoint
from lightvit_dense.checkpoints.containers import open_checkpoint
from lightvit_dense.errors import UserError
from tests.helpers.toy_engine import clear_globals, write_config

from .builders import equal

STATE = {'patch_embed.proj.weight': torch.rand(4, 3, 2, 2), 'norm.bias': torch.rand(4)}


@pytest.mark.parametrize('container', [None, 'state_dict', 'model', 'model_state', 'module'])
@pytest.mark.parametrize('legacy', [False, True])
def test_torch_files(tmp_path, container, legacy):
    content = {container: OrderedDict(STATE), 'epoch': 3} if container else STATE
    torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    assert equal(open_checkpoint(tmp_path / 'a.pth').state, STATE)


@pytest.mark.parametrize('name', ['a.safetensors', 'a.bin'])
def test_safetensors(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert equal(open_checkpoint(str(tmp_path / name)).state, STATE)


def test_research_leftovers_are_plain_data(tmp_path):
    extras = dict(
        args=argparse.Namespace(lr=0.1, output=Path('out')),
        best=np.float64(0.5),
        history=np.arange(3),
        names=np.array(['a', 'b']),
    )
    torch.save({'model': STATE, **extras}, tmp_path / 'a.pth')
    content = read_checkpoint(tmp_path / 'a.pth')
    assert (content['args'], content['best']) == (extras['args'], 0.5)
    assert content['history'].tolist() == [0, 1, 2]
    assert equal(open_checkpoint(tmp_path / 'a.pth').state, STATE)


def test_the_log_of_a_run_is_data_with_its_statistics(tmp_path):
    apis.train(write_config(tmp_path, length=1), work_dir=tmp_path)
    content = read_checkpoint(tmp_path / 'epoch_1.pth')
    history = content['message_hub']['log_scalars']['train/loss']
    assert len(history.data[0]) == 6
    assert history.mean(2) == pytest.approx(history.data[0][-2:].mean())
    clear_globals()


class Evil:
    """Makes a call when it is unpickled without care."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('read', [open_checkpoint, lambda p: load_checkpoint(nn.Linear(1, 1), p)])
def test_code_is_refused_and_not_run(tmp_path, legacy, read):
    trace, path = tmp_path / 'it_ran', tmp_path / 'evil.pth'
    content = {'state_dict': STATE, 'meta': Evil(os.system, (f'touch {trace}',))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r'evil\.pth: refused.*(posix|os|nt)\.system'):
        read(str(path))
    assert not trace.exists()
    with open(path, 'rb') as file:  # the file does run code when it is let
        torch.load(file, weights_only=False)
    assert trace.exists()


def test_getattr_reaches_log_statistics_only(tmp_path):
    torch.save({'model': STATE, 'x': Evil(getattr, (torch.Tensor, 'cpu'))}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match='refused'):
        read_checkpoint(tmp_path / 'a.pth')


EVIL = Evil(exec, ('raise SystemExit',))


@pytest.mark.parametrize(
    'data',
    [
        pickle.dumps(EVIL, protocol=2),
        pickle.dumps({'model': {'a': np.zeros(2)}, 'x': EVIL}),
        pickle.dumps({'model': {'a': np.array([EVIL], dtype=object)}}),
        b'\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.',
        # GLOBAL numpy.core.multiarray._reconstruct, then BUILD with attributes to set on it.
        b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00aK\x01sb.',
        pickle.dumps({'model': {'a': np.zeros(99)}})[:-30],
    ],
)
def test_pickles_give_data_and_nothing_else(tmp_path, data):
    (tmp_path / 'a.pkl').write_bytes(data)
    with pytest.raises(CheckpointError, match=r'a\.pkl: (refused|truncated)'):
        open_checkpoint(tmp_path / 'a.pkl')


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
    # Cut in the middle of a name, it asks for a function that is not there.
    reason = 'zero bytes' if keep == 0 else r'truncated|neither|refused.*_rebuild_ten\)'
    with pytest.raises(CheckpointError, match=rf'{re.escape(str(path))}: .*({reason})'):
        open_checkpoint(path)


def test_a_torchscript_archive_is_named_and_not_run(tmp_path):
    path = tmp_path / 'a.pt'
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(path)
    with pytest.raises(CheckpointError, match=r'a\.pt: is a TorchScript archive') as caught:
        open_checkpoint(path)
    # What the message says to do gives a file that loads.
    advice = re.search(r'`(.*)`', str(caught.value))[1].replace('weights.pth', str(tmp_path / 'w'))
    exec(advice)
    assert set(open_checkpoint(tmp_path / 'w').state) == {'weight', 'bias'}
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match='truncated or damaged'):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (None, r'a\.pth: does not exist'),
        (b'<html>404 not found</html>', 'neither a safetensors nor a PyTorch file'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'git lfs pull'),
        (b'PK\x03\x04 some other archive', 'truncated or damaged'),
        *((x, 'holds no state dict') for x in ([1], {'epoch': 1}, {'model': {}}, torch.zeros(2))),
    ],
)
def test_other_files_are_named(tmp_path, content, reason):
    if isinstance(content, bytes):
        (tmp_path / 'a.pth').write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=reason):
        open_checkpoint(tmp_path / 'a.pth')
    with pytest.raises(UserError, match='is a folder'):
        open_checkpoint(tmp_path)


def test_mmengine_reads_safetensors_by_the_loader_that_may_be_installed_again(tmp_path):
    install()
    install()
    state, model = nn.Linear(2, 1).state_dict(), nn.Linear(2, 1)
    save_file(state, tmp_path / 'a.safetensors')
    load_checkpoint(model, str(tmp_path / 'a.safetensors'), map_location='cpu', strict=True)
    assert equal(model, state)
    remote = CheckpointLoader._get_checkpoint_loader('https://host/file.pth')
    assert remote.__name__ == 'load_from_http'
