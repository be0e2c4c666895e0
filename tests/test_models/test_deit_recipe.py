"""The supervised recipes, against the papers' tables."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from lightvit_dense.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs/imagenet'


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return cfg, model, build_optim_wrapper(model, cfg.optim_wrapper).param_groups


def transform(cfg, name):
    steps = cfg.train_dataloader.dataset.pipeline
    return next(step for step in steps if step.type == f'lightvit_dense.{name}')


@pytest.mark.parametrize('name', ['deit_vit-tiny_300e.py', 'deit_vit-tiny_improved_300e.py'])
def test_what_both_share(name):
    cfg, model, _ = load(name)
    assert sum(p.numel() for p in model.parameters()) == 5_717_416
    assert model.backbone.num_heads == 12
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.warmup) == (300, 5)
    assert transform(cfg, 'LoadRandomResizedCrop').interpolation == 'bicubic'
    assert transform(cfg, 'LoadRandomResizedCrop').scale == (0.08, 1.0)
    crop = cfg.val_dataloader.dataset.pipeline[1]
    assert (crop.size, crop.share) == (224, 224 / 256)
    for module in model.modules():  # timm's initialisation
        if isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not module.bias.any()


def test_the_original_recipe():
    cfg, model, groups = load('deit_vit-tiny_300e.py')
    assert {group['lr'] for group in groups} == {1e-3}
    assert cfg.param_scheduler.start_factor * 1e-3 == pytest.approx(1e-6)
    assert cfg.param_scheduler.eta_min_ratio * 1e-3 == pytest.approx(1e-5)
    data = cfg.model.data_preprocessor
    assert (data.mixup, data.cutmix, data.erasing) == (0.8, 1.0, 0.25)
    assert model.head.label_smoothing == 0.1
    assert cfg.model.backbone.drop_path_rate == 0.1
    assert transform(cfg, 'RandAugment').policy == 'rand-m9-mstd0.5-inc1'
    assert 1 - cfg.engine.ema.momentum == pytest.approx(0.99996)
    assert cfg.train_dataloader.sampler == dict(
        type='lightvit_dense.RepeatedAugmentSampler', repeats=3
    )
    assert model.head.pool == 'cls'
