"""Settings that change when a training is resumed: each takes effect, or is refused by name."""

import copy
import re
from contextlib import nullcontext
from functools import partial
from unittest.mock import Mock

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper

from lightvit_dense import apis
from lightvit_dense.apis import training
from lightvit_dense.engine import options
from lightvit_dense.engine.config_changes import find_changes
from lightvit_dense.engine.hooks import resume_changes
from lightvit_dense.engine.hooks.resume_changes import _refusal
from lightvit_dense.errors import CheckpointError, UserError
from tests.helpers.resume import assert_same, run

COSINE = dict(type='lightvit_dense.WarmupCosineLR', warmup=1, convert_to_iter_based=True)
ITERATIONS = dict(by_epoch=False)
CHAIN = [
    dict(type='LinearLR', start_factor=0.1, end=3, **ITERATIONS),
    dict(type='CosineAnnealingLR', begin=3, **ITERATIONS),
]
MIXED = [
    dict(type='MultiStepLR', milestones=[1, 2], gamma=0.3),
    dict(type='LinearLR', start_factor=0.1, end=9, **ITERATIONS),
    dict(type='CosineAnnealingMomentum', eta_min=0.5, **ITERATIONS),
]
POLY = dict(type='PolyLR', eta_min=1e-4, power=0.9, **ITERATIONS)
GROUPS = {'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=2.0)}
REPLACE = dict(_delete_=True)
PLATEAU = dict(REPLACE, type='ReduceOnPlateauLR', monitor='loss')
SEEN = dict(save_best='seen', rule='greater')
LR, BETAS = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.betas'


def plan(toy_config, by_epoch: bool, schedule, **given):
    """Return a config of 3 epochs or 17 iterations, saved at every eighth iteration."""
    cfg = toy_config(by_epoch=by_epoch, length=3 if by_epoch else 17)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=8)
    cfg.param_scheduler = copy.deepcopy(schedule)
    return changed(cfg, given)


def changed(cfg, changes):
    cfg = cfg.copy()
    cfg.merge_from_dict(copy.deepcopy(changes))
    return cfg


@pytest.mark.parametrize(
    ('by_epoch', 'schedule', 'base', 'changes'),
    [
        (True, COSINE, {}, {'train_cfg.max_epochs': 5}),
        (True, COSINE, {}, {'train_cfg.max_epochs': 2, 'param_scheduler.warmup': 0}),
        (True, MIXED, {}, {'train_cfg.max_epochs': 4}),
        (True, MIXED, {}, {LR: 0.1, 'param_scheduler.0.gamma': 0.5}),
        (False, CHAIN, {}, {'train_cfg.max_iters': 29}),
        (False, CHAIN, {}, {'train_cfg.max_iters': 11, 'param_scheduler.1.begin': 2}),
        (False, POLY, {}, {'train_cfg.max_iters': 24, 'param_scheduler.eta_min': 1e-3}),
        (False, POLY, GROUPS, {LR: 0.5, 'optim_wrapper.paramwise_cfg.bias_lr_mult': 3.0}),
        (False, None, {}, {'optim_wrapper.optimizer.weight_decay': 0.3}),
        (False, None, {}, {BETAS: [0.8, 0.9], 'param_scheduler': POLY | REPLACE}),
        (False, POLY, {}, {'param_scheduler': None}),
        (True, COSINE, {}, {'train_dataloader.batch_size': 3}),  # epochs of 8 iterations, not 6
    ],
)
def test_schedules_are_those_of_the_new_settings_from_the_start(
    toy_config, tmp_path, by_epoch, schedule, base, changes
) -> None:
    cfg = plan(toy_config, by_epoch, schedule, **base)
    new = changed(cfg, changes)
    whole = run(new, tmp_path / 'whole')
    run(cfg, tmp_path / 'stopped', stop_at=9)
    resumed = run(new, tmp_path / 'stopped', resume=True)
    assert resumed['optimizer']['param_groups'] == whole['optimizer']['param_groups']
    assert resumed.get('param_schedulers') == whole.get('param_schedulers')
    for key in ('epoch', 'iter', 'seed'):
        assert resumed['meta'][key] == whole['meta'][key]
    log = max((tmp_path / 'stopped').glob('*/*.log')).read_text()
    for key in changes:
        assert re.sub(r'\.\d+', '', key).split('.')[-1] in log.partition('changed settings')[2]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'optim_wrapper.optimizer.type': 'Adam'}, r"optimizer\.type: 'AdamW' -> 'Adam'"),
        ({'optim_wrapper.optimizer.amsgrad': True}, 'has the state of another optimiser'),
        (GROUPS, 'the parameter groups differ'),
        ({'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=3)}, r'train_cfg\.by_epoch'),
        ({'train_cfg.max_iters': 7}, r'max_iters=7 ends before the checkpoint, 8'),
        ({'model.init_cfg': dict(type='Xavier', layer='Linear')}, r'init_cfg\.type: None -> '),
        ({'default_hooks.checkpoint': SEEN}, "'loss' -> 'seen'.* by the other"),
        ({'randomness.seed': None}, r'randomness\.seed: 3 -> None'),
        ({'param_scheduler': PLATEAU, LR: 0.5}, r'r\.lr.*depends on results cannot be recomputed'),
    ],
)
def test_what_cannot_change_is_refused_by_name(toy_config, tmp_path, changes, message) -> None:
    cfg = plan(toy_config, False, POLY)
    cfg.default_hooks.checkpoint.save_best = 'loss'
    run(cfg, tmp_path, stop_at=9)
    with pytest.raises(UserError, match=f'(?s)iter_8.pth cannot be resumed with these.*{message}'):
        run(changed(cfg, changes), tmp_path, resume=True)


def test_initial_weights_may_move() -> None:
    for path, allowed in (('b/vit.pth', True), ('a/other.pth', False), (None, True)):
        reason = _refusal('model.backbone.init_cfg.checkpoint', 'a/vit.pth', path)
        assert (not reason) == allowed


def test_averages_and_seed_may_change(toy_config, tmp_path) -> None:
    cfg = plan(toy_config, False, None)
    new = changed(cfg, {'randomness.seed': 4})
    cfg.engine = dict(ema=dict(momentum=0.3))
    saved = run(cfg, tmp_path)
    runner = apis.train(new, work_dir=tmp_path, resume=True)
    assert runner.seed == runner.train_dataloader.sampler.seed == 4
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, saved['ema_state_dict'][f'module.{name}'])  # the trained ones
        assert not torch.equal(value, saved['state_dict'][name])


def test_files_without_the_state_of_a_training_are_refused(toy_config, tmp_path) -> None:
    cfg = plan(toy_config, False, None)
    saved = run(cfg, tmp_path)
    torch.save(dict(state_dict=saved['state_dict']), tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='cannot be resumed, it has no epoch, iter, message'):
        apis.train(cfg, work_dir=tmp_path, resume=str(tmp_path / 'weights.pth'))


def test_a_complete_training_says_so_and_keeps_its_export(toy_config, tmp_path) -> None:
    cfg = toy_config(length=1)
    cfg.custom_hooks = [dict(type='lightvit_dense.ExportBackboneHook')]
    whole, export = run(cfg, tmp_path), tmp_path / 'backbone.safetensors'
    for content in (b'kept', None):
        export.unlink() if content is None else export.write_bytes(content)
        assert_same(whole, run(cfg, tmp_path, resume=True))
        log = max(tmp_path.glob('*/*.log')).read_text()
        assert 'was complete when it was resumed, 1 of 1 epochs: nothing is trained' in log
        assert (export.read_bytes() == content) == (content is not None)


def apply_as_before(cfg):
    """Leave the groups to mmengine's constructor, one for each parameter."""
    options.apply_engine_options(cfg)
    del cfg.optim_wrapper['constructor']


def test_groups_that_become_one_leave_no_base_rate(toy_config, tmp_path, monkeypatch) -> None:
    """It would be logged as it was, since a schedule of another length has no value for it."""
    one = {'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=1.0)}
    cfg = plan(toy_config, False, CHAIN, **one)
    with monkeypatch.context() as patch:
        patch.setattr(training, 'apply_engine_options', apply_as_before)
        assert 'base_param_settings' in run(cfg, tmp_path, stop_at=9)['optimizer']
    resumed = run(changed(cfg, {'train_cfg.max_iters': 16}), tmp_path, resume=True)
    assert 'base_param_settings' not in resumed['optimizer']
    assert 'train/base_lr' not in resumed['message_hub']['log_scalars']


def test_a_checkpoint_of_one_parameter_groups_is_resumed_bit_for_bit(
    toy_config, tmp_path, monkeypatch
) -> None:
    """It is what mmengine's constructor wrote; the schedules have a value for each group."""
    cfg = plan(toy_config, False, CHAIN, **GROUPS)
    cfg.optim_wrapper.clip_grad = dict(max_norm=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(training, 'apply_engine_options', apply_as_before)
        old = run(cfg, tmp_path / 'old')
        saved = run(cfg, tmp_path / 'stopped', stop_at=9)
    whole = run(cfg, tmp_path / 'whole')
    resumed = run(cfg, tmp_path / 'stopped', resume=True)
    counts = [len(c['optimizer']['param_groups']) for c in (old, saved, whole, resumed)]
    assert counts == [4, 4, 2, 2]
    assert_same(whole, resumed)
    for name, value in old['state_dict'].items():
        assert torch.equal(value, resumed['state_dict'][name]), name
    log = max((tmp_path / 'stopped').glob('*/*.log')).read_text()
    assert 'schedule recomputed' not in log
    for key in ('train/lr', 'train/base_lr', 'train/loss', 'train/grad_norm'):
        histories = [c['message_hub']['log_scalars'][key].data[0].tolist() for c in (old, resumed)]
        assert histories[0] == histories[1]
        assert len(histories[0]) == 17


@pytest.mark.parametrize(('before', 'now'), [('bf16', 'fp16'), ('fp16', 'bf16'), ('fp16', None)])
def test_another_mixed_precision_starts_its_own_loss_scale(
    toy_config, tmp_path, monkeypatch, before, now
) -> None:
    """As on a GPU, but for what needs one; the config of the checkpoint cannot be read."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    monkeypatch.setattr('mmengine.runner.amp.autocast', lambda **kwargs: nullcontext())
    monkeypatch.setattr(options, '_require_gpu_for_amp', lambda name: None)
    monkeypatch.setattr(resume_changes, 'find_changes', Mock(side_effect=ValueError))
    scales = []
    for resume, name in ((False, before), (True, now)):
        cfg = plan(toy_config, False, None, engine=dict(amp=name))
        saved = run(cfg, tmp_path, stop_at=None if resume else 9, resume=resume)
        scales.append((saved['optimizer'].get('loss_scaler') or {}).get('_growth_tracker'))
    assert scales == [8 if before == 'fp16' else None, 9 if now == 'fp16' else None]


def test_changes_have_keys() -> None:
    before = (
        "model = dict(a=(1, 2), b=dict(c=1))\nhooks = 1\ncustom_hooks = [dict(type='x.A', n=1)]"
    )
    now = (
        'model = dict(a=[1, 2], b=dict(c=2))\n'
        "custom_hooks = [dict(type='B'), dict(type='x.A', n=2)]"
    )
    assert find_changes(before, now) == {
        'model.b.c': (1, 2),
        'custom_hooks': (['A'], ['B', 'A']),
        'custom_hooks.A.n': (1, 2),
        'custom_hooks.B.type': (None, 'B'),
    }
    with pytest.raises(ValueError, match='is no literal'):
        find_changes('model = open(1)', '')
