"""Hooks of momentum pre-trainers: what they refuse, what they do, and that resuming is exact."""

import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import HOOKS as ROOT_HOOKS
from safetensors.torch import load_file

from lightvit_dense import apis
from lightvit_dense.datasets.determinism import seeded
from lightvit_dense.engine import hooks
from lightvit_dense.registry import DATASETS
from tests.helpers.models import vit
from tests.helpers.resume import assert_same, run
from tests.helpers.toy_engine import ToyPoints

VIT = vit(embed_dim=16, num_heads=2, img_size=16)
VIEWS = dict(type='lightvit_dense.MultiViewPreprocessor', mean=[120.0] * 3, std=[60.0] * 3)
MOCO = dict(
    type='lightvit_dense.MoCoV3', backbone=VIT, hidden=8, out_channels=8, data_preprocessor=VIEWS
)
DINO = dict(
    type='lightvit_dense.DINO',
    backbone=VIT | dict(drop_path_rate=0.2),
    head=dict(out_channels=12, hidden=8, bottleneck=8),
    data_preprocessor=VIEWS,
)
UPDATE = dict(type='lightvit_dense.MomentumUpdateHook', base=0.9)


@DATASETS.register_module(force=True)
class ToyViews(ToyPoints):
    """Two noisy views [3, 16, 16] of each of 24 random images."""

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(int(index))
        image = torch.randint(0, 200, (3, 16, 16), generator=generator)
        with seeded(getattr(index, 'seed', int(index))):
            views = [(image + torch.randint(0, 50, image.shape)).byte() for _ in range(2)]
        return dict(inputs=views, data_samples=super().__getitem__(index)['data_samples'])


@pytest.fixture
def views_config(toy_config):
    """Make a config: the model, hooks besides, and how the toy engine is configured."""

    def make(model: dict, custom_hooks: list[dict], **options: object) -> Config:
        cfg = toy_config(**options)
        cfg.model = model
        cfg.train_dataloader.dataset = dict(type='lightvit_dense.ToyViews')
        cfg.train_dataloader.sampler.type = 'lightvit_dense.SeededSampler'
        cfg.custom_hooks = custom_hooks
        return cfg

    return make


def train_recording(cfg: Config, *names: str) -> tuple:
    """Train; return the runner and what tensors of the model were after every iteration."""
    seen: list[list] = [[] for _ in names]

    @ROOT_HOOKS.register_module(force=True)
    class RecordHook(Hook):
        priority = 'LOW'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            for name, values in zip(names, seen, strict=True):
                values.append(runner.model.state_dict()[name].clone())

    cfg.custom_hooks.append(dict(type='RecordHook'))
    return apis.train(cfg), *seen


def test_momentum_is_a_cosine_over_the_training() -> None:
    hook = hooks.MomentumUpdateHook(base=0.99, end=1.0)
    assert hook.momentum(0, 100) == pytest.approx(0.99)
    assert hook.momentum(50, 100) == pytest.approx(0.995)
    assert hook.momentum(100, 100) == pytest.approx(1.0)
    # The formula of MoCo-v3's adjust_moco_momentum.
    assert hook.momentum(30, 100) == pytest.approx(1 - 0.5 * (1 + math.cos(0.3 * math.pi)) * 0.01)


@pytest.mark.parametrize(('accumulate', 'moves'), [(1, range(12)), (5, [4, 9, 11])])
def test_copies_follow_once_a_step_of_the_optimiser(views_config, accumulate, moves) -> None:
    cfg = views_config(MOCO, [UPDATE], length=2)  # 12 iterations; the last one always steps
    cfg.engine = dict(accumulate=accumulate)
    pair = 'momentum_backbone.cls_token', 'backbone.cls_token'
    runner, copies, leaders = train_recording(cfg, *pair)
    for i in range(1, 12):
        if i in moves:
            m = 1 - (1 - 0.9) * (1 + math.cos(math.pi * i / 12)) / 2
            expected = m * copies[i - 1] + (1 - m) * leaders[i]
            torch.testing.assert_close(copies[i], expected)
            assert not torch.equal(copies[i], copies[i - 1])
            assert not torch.equal(leaders[i], leaders[i - 1])
        else:
            assert torch.equal(copies[i], copies[i - 1])
            assert torch.equal(leaders[i], leaders[i - 1])
    history, _ = runner.message_hub.get_scalar('train/target_momentum').data
    assert len(history) == len(list(moves))


@pytest.mark.parametrize('model', [MOCO, DINO], ids=['mocov3', 'dino'])
def test_resume_equals_not_stopping(views_config, tmp_path, model) -> None:
    besides = [
        UPDATE,
        dict(type='lightvit_dense.FreezeLastLayerHook', until=2),
        dict(type='lightvit_dense.TeacherTemperatureHook', start_value=0.04, end_value=0.2, end=3),
    ]
    cfg = views_config(model, besides if model is DINO else besides[:1], length=3)
    whole = run(cfg, tmp_path / 'whole')
    run(cfg, tmp_path / 'stopped', stop_at=10)
    assert_same(whole, run(cfg, tmp_path / 'stopped', resume=True))
    assert any(name.startswith('momentum_backbone') for name in whole['state_dict'])
    assert ('criterion.center' in whole['state_dict']) == (model is DINO)


def test_last_layer_waits(views_config) -> None:
    cfg = views_config(
        DINO, [UPDATE, dict(type='lightvit_dense.FreezeLastLayerHook', until=1)], length=2
    )
    cfg.optim_wrapper.optimizer.weight_decay = 0.5
    cfg.optim_wrapper.clip_grad = dict(max_norm=3.0)
    names = 'head.last_layer.weight_v', 'head.mlp.0.weight'
    runner, last, first = train_recording(cfg, *names)
    assert all(torch.equal(value, last[0]) for value in last[:6])
    changed = [not torch.equal(last[i], last[i - 1]) for i in range(6, 12)]
    assert changed == [True] * 6
    assert all(not torch.equal(first[i], first[i - 1]) for i in range(1, 12))
    parameter = runner.model.head.last_layer.weight_v
    assert runner.optim_wrapper.optimizer.state[parameter]['step'] == 6
    assert not runner.optim_wrapper.optimizer._optimizer_step_pre_hooks


def test_temperature_of_the_teacher(views_config) -> None:
    hook = dict(
        type='lightvit_dense.TeacherTemperatureHook', start_value=0.04, end_value=0.1, end=2
    )
    cfg = views_config(DINO, [UPDATE, hook], length=3)
    runner = apis.train(cfg)
    history, _ = runner.message_hub.get_scalar('train/teacher_temperature').data
    by_epoch = [0.04, 0.07, 0.1]
    assert list(history) == pytest.approx([value for value in by_epoch for _ in range(6)])
    assert runner.model.criterion.teacher_temperature == pytest.approx(0.1)


def test_weight_decay_rises_but_not_from_zero(views_config) -> None:
    """mmengine's scheduler, with a ratio instead of an end value, keeps exempt groups at 0."""
    cfg = views_config(DINO, [UPDATE], length=2)
    cfg.optim_wrapper.optimizer.weight_decay = 0.04
    cfg.optim_wrapper.paramwise_cfg = dict(
        bias_decay_mult=0.0, norm_decay_mult=0.0, flat_decay_mult=0.0
    )
    epochs = dict(begin=0, end=2, by_epoch=True, convert_to_iter_based=True)
    kind = dict(type='CosineAnnealingParamScheduler', param_name='weight_decay')
    cfg.param_scheduler.append(kind | epochs | dict(eta_min_ratio=10.0))
    seen = []

    @ROOT_HOOKS.register_module(force=True)
    class DecayHook(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            groups = runner.optim_wrapper.optimizer.param_groups
            seen.append({round(group['weight_decay'], 9) for group in groups})

    cfg.custom_hooks.append(dict(type='DecayHook'))
    apis.train(cfg)
    for i, values in enumerate(seen):
        wave = (1 + math.cos(math.pi * i / 12)) / 2
        assert sorted(values) == pytest.approx([0.0, 0.4 - 0.36 * wave], abs=1e-6)


def test_the_teacher_is_exported(views_config) -> None:
    export = dict(type='lightvit_dense.ExportBackboneHook', module='momentum_backbone')
    cfg = views_config(DINO, [UPDATE, export], length=1)
    runner = apis.train(cfg)
    exported = load_file(Path(cfg.work_dir) / 'backbone.safetensors')
    state = runner.model.momentum_backbone.state_dict()
    assert exported.keys() == state.keys() == runner.model.backbone.state_dict().keys()
    assert all(torch.equal(exported[name], value) for name, value in state.items())
    assert not torch.equal(exported['cls_token'], runner.model.backbone.cls_token)
    meta = json.loads((Path(cfg.work_dir) / 'backbone.json').read_text())['meta']
    assert meta['module'] == 'momentum_backbone'
