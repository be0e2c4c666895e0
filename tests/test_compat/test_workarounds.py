"""The allocator's settings, numbers on their way, the text of configs, mmsegmentation's name."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmcv.transforms import Resize
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import HistoryBuffer, MessageHub

from lightvit_dense.compat import (
    config_environment,
    config_text,
    message_hub,
    mmcv_resize,
    mmseg_configs,
)

FAULTS = """
import resource
from lightvit_dense.compat.allocator import keep_freed_memory
import numpy as np
assert {keep} is False or keep_freed_memory()
np.ones(2_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the settings are glibc ones')
@pytest.mark.parametrize(('keep', 'least', 'most'), [(True, 0, 20), (False, 100, 1e9)])
def test_a_large_block_is_faulted_in_once(keep, least, most):
    # numpy's arrays of 16 MB are 3906 pages each, or 8 huge ones.
    code = FAULTS.format(keep=keep)
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert least <= int(out.stdout) < most


def test_numbers_are_read_one_call_late_or_when_somebody_looks():
    message_hub.install()
    hub = MessageHub('numbers')
    for i in range(3):
        loss = torch.tensor(float(i), requires_grad=True)
        hub.update_scalar('train/loss', loss)
        hub.update_scalar('train/lr', 0.5)
        loss.data.fill_(9.0)  # the memory is used again
        assert message_hub.late_scalars(hub)['train/loss'].data[0].tolist() == [*range(i)]
        assert len(hub.get_scalar('train/lr').data[0]) == i + 1
        assert len(hub.__dict__['_log_scalars']['train/loss'].data[0]) == i  # nobody has looked
    saved = hub.state_dict()['log_scalars']
    assert list(saved) == ['train/loss', 'train/lr']
    assert saved['train/loss'].data[0].tolist() == [0, 1, 2]
    for value in (torch.tensor([7]), torch.tensor(1.0), 2.5):
        hub.update_scalar('train/loss', value)
    assert hub.log_scalars['train/loss'].data[0].tolist() == [0, 1, 2, 7, 1, 2.5]


def test_histories_are_those_of_mmengine():
    ours, theirs = (HistoryBuffer([7], [1], max_length=190) for _ in range(2))
    for i, value in enumerate([1, 2.5, *range(200)]):
        message_hub._append(ours, value, 1 + i % 2)
        message_hub._APPEND(theirs, value, 1 + i % 2)
    for mine, other in zip(ours.data, theirs.data, strict=True):
        assert (mine.tolist(), mine.dtype) == (other.tolist(), other.dtype)


_original = config_text._FORMAT


@pytest.fixture
def no_texts(monkeypatch):
    monkeypatch.setattr(config_text, '_TEXTS', type(config_text._TEXTS)())
    config_text.install()


def test_an_unchanged_config_is_formatted_once(no_texts, monkeypatch):
    calls = []
    monkeypatch.setattr(config_text, '_FORMAT', lambda cfg: calls.append(1) or _original(cfg))
    cfg = Config(dict(model=dict(type='A', sizes=[1, (2, 3)]), name='x'))
    first = cfg.pretty_text
    assert first == _original(cfg)
    assert Config(cfg.to_dict()).pretty_text is first
    assert len(calls) == 1
    cfg.model.sizes[1] = (2, 4)
    assert first != cfg.pretty_text == _original(cfg)
    assert len(calls) == 2


def test_few_texts_are_kept(no_texts):
    texts = [Config(dict(number=i)).pretty_text for i in range(20)]
    assert texts == [f'number={i}\n' for i in range(20)]  # no formatting in tests
    assert len(config_text._TEXTS) == config_text._LIMIT
    assert Config(dict(number=0)).pretty_text == 'number=0\n'


@pytest.mark.parametrize(
    ('given', 'path'),
    [
        ('/plain', '/plain'),
        ('~/data', '/home/ada/data'),
        ('/it\'s "the" data', '/it\'s "the" data'),
        ('C:\\new\\1', 'C:\\new\\1'),
        ('/{x}}/{{y', '/{x}}/{{y'),
        ('/数据/é', '/数据/é'),
        ('', 'data'),
        (None, 'data'),
    ],
)
def test_any_path_may_stand_in_the_environment(tmp_path, monkeypatch, given, path):
    config_environment.install()
    monkeypatch.setenv('HOME', '/home/ada')
    monkeypatch.delenv('SOME_DATA', raising=False)
    if given is not None:
        monkeypatch.setenv('SOME_DATA', given)
    lines = (
        "root = '{{$SOME_DATA:data}}/x'",
        'other = "{{ $SOME_DATA:data }}"',
        "n = {{'$NO_N:8'}}",
    )
    (tmp_path / 'config.py').write_text('\n'.join(lines))
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert (cfg.root, cfg.other, cfg.n) == (f'{path}/x', path, 8)
    cfg.dump(tmp_path / 'dumped.py')
    assert Config.fromfile(tmp_path / 'dumped.py').other == path
    (tmp_path / 'config.py').write_text("root = '{{$NO_DATA:}}'")
    with pytest.raises(KeyError, match='variable NO_DATA is not set'):
        Config.fromfile(tmp_path / 'config.py')


@pytest.mark.parametrize(('size', 'kept'), [((400, 1), (64, 1)), ((1, 1000), (1, 64))])
def test_a_narrow_picture_keeps_a_pixel(size, kept):
    mmcv_resize.install()
    picture = np.zeros((*size[::-1], 3), np.uint8)
    for options in (dict(scale=(64, 64), keep_ratio=True), dict(scale_factor=64 / max(size))):
        made = Resize(**options)(dict(img=picture, gt_seg_map=picture[..., 0]))
        assert made['img'].shape[1::-1] == made['gt_seg_map'].shape[::-1] == kept


def test_a_shipped_configuration_of_mmseg_is_inherited(tmp_path, monkeypatch):
    (tmp_path / 'child.py').write_text("_base_ = 'mmseg::_base_/models/upernet_r50.py'\n")
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'mmsegmentation')
    mmseg_configs.install()
    assert Config.fromfile(tmp_path / 'child.py').model.decode_head.type == 'UPerHead'


def test_a_distribution_of_the_expected_name_is_left_alone(monkeypatch):
    monkeypatch.setitem(MODULE2PACKAGE, 'mmseg', 'torch')
    mmseg_configs.install()
    assert MODULE2PACKAGE['mmseg'] == 'torch'
