"""Tracking configs hold the published values and start from files that we make."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

from lightvit_dense.registry import MODELS

ROOT = Path(__file__).parents[2]
LASOT = {
    # name: run of the initial weights, published AUC
    'scratch_tiny': (None, None),
    'deit_tiny': ('deit_vit-tiny_improved_300e', 64.1),
    'mae_tiny': ('mae_vit-tiny', None),
    'dmae_tiny': ('dmae_vit-tiny', 65.8),
    'd2mae_tiny': ('d2mae_vit-tiny', 66.1),
    'dmae_hiera-tiny': ('dmae_hiera-tiny', None),
    'dmae_tiny_got10k': ('dmae_vit-tiny', None),
}


def load(name: str) -> Config:
    return Config.fromfile(ROOT / f'configs/lasot/ostrack256_{name}.py')


def test_the_table_names_every_config() -> None:
    names = {path.stem for path in (ROOT / 'configs/lasot').glob('*.py')}
    assert names == {f'ostrack256_{name}' for name in LASOT}


@pytest.mark.parametrize('name', LASOT)
def test_initial_weights_and_expected_figures(name: str) -> None:
    run, value = LASOT[name]
    cfg = load(name)
    init = cfg.model.backbone.get('init_cfg')
    wanted = run and f'work_dirs/{run}/backbone.safetensors'
    assert (init and init.checkpoint) == wanted
    assert [v for _, v, _ in cfg.get('expected') or ()] == ([value] if value else [])


def test_the_recipe_of_the_papers() -> None:
    cfg = load('d2mae_tiny')
    data, model = cfg.train_dataloader, cfg.model
    assert [one.type for one in data.dataset.sets] == [
        'tracking.LaSOT',
        'tracking.GOT10k',
        'tracking.CocoSequences',
        'tracking.TrackingNet',
    ]
    assert data.dataset.sets[1].split == 'vottrain'
    # The authors' 50 px make an object invisible, which nobody asks of an image.
    assert data.dataset.sets[2].min_size == 0
    assert data.dataset.ratios == [1, 1, 1, 1]
    assert (data.dataset.samples_per_epoch, data.dataset.max_interval) == (60000, 200)
    assert data.batch_size * 4 == cfg.auto_scale_lr.base_batch_size == 128
    assert data.dataset.template == dict(size=128, factor=2.0, center_jitter=0.0, scale_jitter=0.0)
    assert data.dataset.search == dict(size=256, factor=4.0, center_jitter=3.0, scale_jitter=0.25)
    assert (data.dataset.joint, data.dataset.brightness) == (dict(gray=0.05, flip=0.5), 0.2)
    assert (model.template_factor, model.search_factor) == (2.0, 4.0)
    assert model.loss_weights == dict(score=1.0, giou=2.0, l1=5.0)
    assert model.backbone.elimination == dict(blocks=(3, 6, 9), keep=0.7)
    assert (model.backbone.template_tokens, model.backbone.drop_path_rate) == ('center', 0.1)
    hook = cfg.default_hooks.elimination
    assert (hook.type, hook.begin, hook.end) == ('tracking.EliminationScheduleHook', 20, 100)
    assert cfg.train_cfg.max_epochs == 300
    assert (cfg.param_scheduler.milestones, cfg.param_scheduler.gamma) == ([240], 0.1)
    assert cfg.val_dataloader.dataset.samples_per_epoch == 10000
    assert cfg.val_dataloader.dataset.sets[0].split == 'votval'


def test_the_protocol_of_got10k() -> None:
    cfg = load('dmae_tiny_got10k')
    assert [(s.type, s.split) for s in cfg.train_dataloader.dataset.sets] == [
        ('tracking.GOT10k', 'train_full')
    ]
    assert cfg.test_dataloader.dataset.sequences.type == 'tracking.GOT10k'
    assert (cfg.train_cfg.max_epochs, cfg.param_scheduler.milestones) == (100, [80])
    hook = cfg.default_hooks.elimination
    assert (hook.type, hook.begin, hook.end) == ('tracking.EliminationScheduleHook', 20, 50)


def test_learning_rates_and_sizes() -> None:
    cfg = load('scratch_tiny')
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).param_groups
    rates = {
        id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']
    }
    for name, parameter in model.named_parameters():
        rate = 4e-5 if name.startswith('backbone.') else 4e-4
        assert rates[id(parameter)] == (pytest.approx(rate), 1e-4), name
    assert sum(p.numel() for p in model.parameters()) == 8_040_645
    assert model.eval().backbone.candidates(256) == {3: 180, 6: 126, 9: 89}
