import os

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from safetensors.torch import save_file
from torch import nn

from lightvit_dense.checkpoints import CheckpointError, install, read_checkpoint

from .builders import Malicious, equal


class Numbers(torch.utils.data.Dataset):
    metainfo = {'classes': ('a', 'b'), 'palette': [(1, 2, 3)]}

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {'inputs': torch.full((2,), float(index))}


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.linear(self.norm(torch.stack(list(inputs)))).square().mean()}


def runner(work_dir, iters, **kwargs):
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Numbers(),
            sampler=dict(type='lightvit_dense.SeededInfiniteSampler'),
            batch_size=4,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
            dict(type='CosineAnnealingLR', by_epoch=False, T_max=4, begin=2, end=6),
        ],
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=3),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='EMAHook')],
        randomness=dict(seed=0),
        experiment_name=f'run_{os.path.basename(work_dir)}_{iters}_{len(kwargs)}',
        cfg=Config(dict(seed=0)),
        **kwargs,
    )


def test_a_real_run_resumes_and_equals_one_without_a_stop(tmp_path):
    whole = runner(tmp_path / 'whole', 6)
    whole.train()
    runner(tmp_path / 'part', 3).train()
    saved = tmp_path / 'part' / 'iter_3.pth'
    content = read_checkpoint(saved)
    history = content['message_hub']['log_scalars']['train/loss']
    assert len(history.data[0]) == 3
    assert history.mean(2) == pytest.approx(history.data[0][-2:].mean())
    later = runner(tmp_path / 'part', 6, load_from=str(saved), resume=True)
    later.train()
    assert later.iter == 6
    assert equal(whole.model, later.model)


def test_mmengine_refuses_code(tmp_path):
    trace, path = tmp_path / 'it_ran', tmp_path / 'evil.pth'
    torch.save({'state_dict': Model().state_dict(), 'meta': Malicious(trace)}, path)
    with pytest.raises(CheckpointError, match=r'evil\.pth: refused'):
        load_checkpoint(Model(), str(path))
    assert not trace.exists()


@pytest.mark.parametrize('damage', ['missing', 'truncated', 'foreign', 'empty'])
def test_mmengine_names_broken_files(tmp_path, damage):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': Model().state_dict()}, path)
    data = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        broken = {'truncated': data[:300], 'foreign': b'<html>', 'empty': b''}
        path.write_bytes(broken[damage])
    with pytest.raises(CheckpointError, match=r'a\.pth'):
        CheckpointLoader.load_checkpoint(str(path), 'cpu')


def test_mmengine_reads_safetensors(tmp_path):
    state = Model().state_dict()
    save_file(state, tmp_path / 'a.safetensors')
    model = Model()
    load_checkpoint(model, str(tmp_path / 'a.safetensors'), map_location='cpu', strict=True)
    assert torch.equal(model.linear.weight, state['linear.weight'])


def test_install_may_be_repeated():
    install()
    install()
    loader = CheckpointLoader._get_checkpoint_loader('some/file.pth')
    assert loader.__module__ == 'lightvit_dense.checkpoints.io'
    remote = CheckpointLoader._get_checkpoint_loader('https://host/file.pth')
    assert remote.__name__ == 'load_from_http'
