"""Engine options and the linear learning rate rule."""

import pytest
import torch
from mmengine.config import Config

from lightvit_dense import apis
from lightvit_dense.engine import apply_engine_options, scale_learning_rate
from lightvit_dense.engine.options import best_amp_dtype
from lightvit_dense.errors import UserError


@pytest.mark.parametrize(
    ('engine', 'message'),
    [
        (dict(acumulate=2), "engine.acumulate is not an engine option.*Did you mean 'accumulate'"),
        (dict(amp='fp61'), "engine.amp names 'fp61'.* bf16, fp16.* Did you mean 'fp16'"),
        (dict(tf32='no'), "engine.tf32='no': expected True or False"),
        (dict(accumulate=0), 'engine.accumulate=0'),
        (dict(ema=0.5), 'engine.ema=0.5: expected None or a dict'),
        (dict(ema=dict(momentm=0.5)), "engine.ema names 'momentm'.* Did you mean 'momentum'"),
        (dict(ema=dict(momentum=0)), 'engine.ema.momentum=0: expected a number between'),
        (dict(gradient_compression='int8'), 'engine.gradient_compression names.* bf16, fp16'),
        (dict(gradient_compression='fp16'), "needs engine.amp='fp16'.*gradient_compression='bf16'"),
        (dict(compile='fast'), r"engine.compile='fast': .*True or a dict, dict\(mode='fast'"),
        (dict(compile=dict(mod='x')), r"engine.compile: torch.compile refuses \{'mod': 'x'.*'mod'"),
        (dict(compile=dict(mode='fast')), 'refuses.*Unrecognized mode=fast.*max-autotune'),
        (dict(compile=dict(backend='eagr')), "refuses.*Invalid backend: 'eagr'"),
        (dict(amp='bf16'), "engine.amp='bf16': .* engine.amp=None"),  # without a GPU
        (dict(activation_checkpointing=True), 'needs a backbone'),
        (dict(jpeg='gpu'), "engine.jpeg names 'gpu'.* host, device"),
        (dict(jpeg='device'), "engine.jpeg='device' needs engine.input='device'"),
    ],
)
def test_wrong_options_are_refused(toy_config, monkeypatch, engine, message) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = toy_config()
    cfg.engine = engine
    del cfg.model['backbone']
    with pytest.raises(UserError, match=message):
        apply_engine_options(cfg)


LOAD = dict(type='lightvit_dense.LoadImage', color='rgb')
CROP = dict(type='lightvit_dense.RandomResizedCrop', size=8)
PACK = dict(type='lightvit_dense.PackImage')
VIEWS = dict(type='lightvit_dense.MultiView', views=[dict(count=2, pipeline=[CROP])])


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        ('toyworld/maskrcnn_mae', 'mmdet.LoadAnnotations has no `draw`'),
        ('toyworld/upernet_mae', 'lightvit_dense.LoadSegmentationMap has no `draw`'),
        ('toyworld/ostrack_mae', 'tracking.PairDataset has no pipeline'),
        ('toyworld/mae_student', "backend='cv2' filters nothing.*set backend='torch'"),
        ([LOAD, CROP, dict(type='mmcv.CenterCrop', crop_size=8), PACK], 'mmcv.CenterCrop has no'),
        ([LOAD, VIEWS, CROP, PACK], 'RandomResizedCrop: put it into the views of MultiView'),
        ([LOAD, PACK], 'needs one lightvit_dense.RandomResizedCrop, at its beginning'),
        ([dict(type='lightvit_dense.LoadImage'), CROP, PACK], "LoadImage.*color='bgr'.*='rgb'"),
        ([LOAD, CROP, LOAD], 'LoadImage is no lightvit_dense.PackImage or PackViews'),
        ([LOAD, dict(CROP, sze=8), PACK], "unexpected keyword argument 'sze'"),
        ([LOAD, CROP, dict(type='mmcv.RandomFlip', prob=0.5), PACK], 'lightvit_dense.RandomFlip'),
    ],
)
def test_what_cannot_be_augmented_on_the_device_is_refused(config, message) -> None:
    cfg = apis.load_config(config if isinstance(config, str) else 'pretrain/mae_vit-tiny')
    if not isinstance(config, str):
        cfg.train_dataloader.dataset.pipeline = config
    cfg.engine = dict(input='device')
    with pytest.raises(UserError, match=f"engine.input='device': .*{message}.*engine.input='host'"):
        apply_engine_options(cfg)
    cfg.engine = dict(input='gpu')
    with pytest.raises(UserError, match=r"engine.input names 'gpu'.* host, device"):
        apply_engine_options(cfg)


def test_the_devices_input_takes_the_pipeline_and_the_batches() -> None:
    cfg = apis.load_config('pretrain/mae_vit-tiny', {'engine.input': 'device'})
    given = cfg.train_dataloader.dataset.pipeline
    for _ in range(2):
        apply_engine_options(cfg)
        (step,) = cfg.train_dataloader.dataset.pipeline
        assert step == dict(type='lightvit_dense.DeferredPipeline', transforms=given)
        assert cfg.train_dataloader.collate_fn == dict(type='lightvit_dense.collate_deferred')
    cfg.pop('train_dataloader')
    apply_engine_options(cfg, training=False)


def test_options_reach_the_runner(toy_config) -> None:
    cfg = toy_config(length=1)
    cfg.engine = dict(
        accumulate=2,
        ema=dict(momentum=0.5),
        activation_checkpointing=True,
        compile=dict(backend='eager'),
        gradient_compression='bf16',
    )
    runner = apis.train(cfg)
    assert runner.optim_wrapper._accumulative_counts == 2
    assert runner.optim_wrapper.optimizer.defaults['fused'] is True
    assert runner.model.backbone.with_cp is True
    assert runner.model.backbone._compiled_call_impl is not None
    saved = torch.load(runner.work_dir + '/epoch_1.pth', weights_only=False)['state_dict']
    assert set(saved) == {f'{p}.{n}' for p in ('backbone.fc', 'head') for n in ('weight', 'bias')}
    hooks = {type(hook).__name__: hook for hook in runner.hooks}
    assert hooks['EMAHook'].ema_cfg['momentum'] == 0.5
    assert hooks['GradientCompressionHook'].dtype == 'bf16'
    assert type(hooks['CheckpointHook']).__module__.startswith('lightvit_dense')
    assert {'ResumePositionHook', 'IterationSeedHook'} <= hooks.keys()


def test_arguments_of_compile_are_given_alone(toy_config, monkeypatch) -> None:
    for before in (None, False, True):
        cfg = toy_config(extra=f'engine = dict(compile={before})')
        cfg = apply_engine_options(apis.load_config(cfg, {'engine.compile.mode': 'max-autotune'}))
        assert cfg.custom_hooks[0] == dict(type='lightvit_dense.CompileHook', mode='max-autotune')
    monkeypatch.setattr('lightvit_dense.engine.hooks.compile.cpp_compiler', lambda: None)
    with pytest.raises(UserError, match=r'needs a C\+\+ compiler here: install g\+\+'):
        apis.train(cfg)
    with pytest.raises(UserError, match=r'whole training steps, .*: set engine.compile'):
        apply_engine_options(toy_config(extra='compile = True'))


def test_applying_twice_changes_nothing_and_the_callers_config_is_left_alone(toy_config) -> None:
    cfg = toy_config(length=1)
    cfg.engine = dict(ema=dict(momentum=0.5))
    before = cfg.copy().pretty_text
    apis.train(cfg)
    assert cfg.pretty_text == before
    once = apply_engine_options(cfg).pretty_text
    assert apply_engine_options(cfg).pretty_text == once


@pytest.mark.parametrize('optimizer', [dict(type='LBFGS'), dict(type='AdamW', foreach=True)])
def test_fused_stays_out_of_the_way(toy_config, optimizer) -> None:
    cfg = toy_config()
    cfg.optim_wrapper.optimizer = optimizer
    assert 'fused' not in apply_engine_options(cfg).optim_wrapper.optimizer


@pytest.mark.parametrize(('has_bf16', 'name'), [(True, 'bf16'), (False, 'fp16')])
def test_amp_chooses_the_best_type(toy_config, monkeypatch, has_bf16, name) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda **kwargs: has_bf16)
    assert best_amp_dtype() == name
    cfg = toy_config()
    cfg.engine = dict(amp=name, tf32=has_bf16)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', not has_bf16)
    wrapper = apply_engine_options(cfg).optim_wrapper
    assert torch.backends.cudnn.allow_tf32 is has_bf16
    assert torch.get_float32_matmul_precision() == ('high' if has_bf16 else 'highest')
    assert 'lightvit_dense.PrefetchHook' in [hook.type for hook in cfg.custom_hooks]
    assert wrapper.type == 'AmpOptimWrapper'
    assert wrapper.dtype == dict(bf16='bfloat16', fp16='float16')[name]
    assert wrapper.loss_scale == (dict(enabled=False) if has_bf16 else 'dynamic')


def scaling_config(**extra: object) -> Config:
    base = dict(
        train_dataloader=dict(batch_size=8),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        auto_scale_lr=dict(base_batch_size=64, enable=True),
    )
    return Config({**base, **extra})


def test_linear_rule_counts_processes_and_accumulation(capsys) -> None:
    cfg = scaling_config()
    cfg.optim_wrapper.accumulative_counts = 4
    assert scale_learning_rate(cfg, world_size=4) == 2.0
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(2e-3)
    assert cfg.auto_scale_lr.enable is False
    assert '0.001 x 2 = 0.002: 128 images a step' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (dict(auto_scale_lr=None), 'base_batch_size'),
        (dict(train_dataloader=dict()), 'train_dataloader.batch_size'),
    ],
)
def test_linear_rule_needs_both_batch_sizes(extra, message) -> None:
    with pytest.raises(UserError, match=message):
        scale_learning_rate(scaling_config(**extra), world_size=1)


def test_auto_scale_lr_is_applied_once(toy_config) -> None:
    cfg = toy_config(length=1)
    cfg.param_scheduler = None
    cfg.auto_scale_lr = dict(base_batch_size=2, enable=True)
    runner = apis.train(cfg, auto_scale_lr=True)
    assert runner.optim_wrapper.get_lr()['lr'] == [pytest.approx(2e-2)]
