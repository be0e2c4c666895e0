"""Misspelt keys are caught, honest ones are not."""

import os

import pytest

from lightvit_dense import apis
from lightvit_dense.errors import UserError


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('optim_wraper = dict()', "'optim_wraper', which nothing reads.*'optim_wrapper'"),
        ("train_cfg['max_epoch'] = 3", 'train_cfg.max_epoch is not known.*max_epochs'),
        ("train_dataloader['batchsize'] = 3", "Did you mean 'batch_size'"),
        ("optim_wrapper['clip_grads'] = {}", "Did you mean 'clip_grad'"),
        ("randomness['sed'] = 3", "Did you mean 'seed'"),
        ('env_cfg = dict(cudnn_bench=True)', "Did you mean 'cudnn_benchmark'"),
        ('engine = dict(compil=True)', "Did you mean 'compile'"),
        ("painter = dict(type='x.FilmStripHook')", "painter is now called 'visualization_hook'"),
        ("model['x'] = dict(type='x.PretrainedBackbone', reserve=3)", "x.reserve .*'num_pretr.*'"),
        ("model['x'] = [dict(type='x.MaskRCNN', canvas=64)]", "model.x.0.canvas is .*'pad_shape'"),
    ],
)
def test_misspelt_and_old_keys_are_named(write, line, message) -> None:
    with pytest.raises(UserError, match=message):
        apis.load_config(write(extra=f'\n{line}\n'))


def test_helper_variables_are_welcome(write) -> None:
    names = 'train_pipeline test_pipeline vis_backends backend_args dataset_type data_root compile'
    names += ' image_size base_lr max_iters expected'
    extra = "\nmodel_wrapper_cfg = dict(type='X')\n"
    extra += '\n'.join(f'{name} = 64' for name in names.split())
    assert apis.load_config(write(extra=extra)).image_size == 64


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.val_interval': 2},
        {'load_from': 'x.pth'},
        {'randomness.deterministic': True},
        {'engine.amp': 'bf16'},
        {'model.backbone.with_cp': True},  # an argument that the config leaves at its default
        {'default_hooks.logger.ignore_last': False},
        {'default_hooks.timer.type': 'IterTimerHook'},
        {'param_scheduler.0.end': 3},
        {'visualizer.name': 'v'},
        {'env_cfg.mp_cfg.opencv_num_threads': 0},
        {'train_dataloader.dataset.length': 8},
    ],
)
def test_honest_options_pass(write, options) -> None:
    cfg = apis.load_config(write(), options)
    for key, value in options.items():
        node = cfg
        for part in key.split('.'):
            node = node[int(part)] if part.isdigit() else node[part]
        assert node == value


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('optim_wraper.optimizer.lr', "no 'optim_wraper' in the config.*'optim_wrapper'"),
        ('optim_wrapper.optimiser.lr', "no 'optimiser' in optim_wrapper. Did you mean 'optimizer'"),
        ('model.backbone.with_pc', "no 'with_pc' in model.backbone. Did you mean 'with_cp'"),
        ('model.backbone.layers', r"no 'layers' in model\.backbone\. There are drop, with_cp\."),
        ('default_hooks.loger.interval', "Did you mean 'logger'"),
        ('param_scheduler.5.end', "list of 1 items; '5' is none of them"),
        ('train_cfg.max_epochs.x', 'train_cfg.max_epochs is 3, which has nothing below it'),
        ('engine.amb', "Did you mean 'amp'"),
        ('default_hooks.checkpoint.intervall', "Did you mean 'interval'"),
        ('model.canvas', r"model\.canvas: 'canvas' is now called 'pad_shape'"),
        ('model.init_cfg.checkpoint', r'is None.*give model.init_cfg=dict\(type=\.\.\., ch'),
        ('model.backbone', r'model\.backbone: is a dict in the config, not 1; give model.*\.type'),
        ('engine', r'give engine=dict\(\.\.\.\), engine=None'),
    ],
)
def test_misspelt_and_old_options_are_named(write, key, message) -> None:
    extra = "\nengine = dict(amp=None)\nmodel['type'] = 'lightvit_dense.EncoderDecoder'\n"
    extra += "model['init_cfg'] = None\n"
    with pytest.raises(UserError, match=message):
        apis.load_config(write(extra=extra), {key: 1})


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'train_cfg.max_epochs': '3x'}, "max_epochs: '3x' is not a number; the config has 3"),
        ({'optim_wrapper.optimizer.lr': ''}, 'the value is empty, where the config has 0.01'),
        ({'model.backbone': dict(with_pc=True)}, "no 'with_pc' in model.backbone. Did you mean"),
        ({'model.backbone': None, 'model.backbone.drop': 0.1}, 'model.backbone=None is given too'),
    ],
)
def test_impossible_values_are_named(write, options, message) -> None:
    with pytest.raises(UserError, match=message):
        apis.load_config(write(), options)


def test_dicts_are_merged_and_items_of_lists_replaced(write) -> None:
    loader = dict(num_workers=2, persistent_workers=True, prefetch_factor=4)
    extra = f"""
engine = dict(ema=None)
train_dataloader.update({loader})
optim_wrapper['optimizer']['betas'] = (0.9, 0.99)
path, paths = '~/x', [dict(a='~/y'), ('~', '~z')]
"""
    cfg = apis.load_config(
        write(extra=extra),
        {
            'engine.ema': dict(momentum=0.5),
            'model.backbone': dict(drop=0.1),
            'optim_wrapper.optimizer.betas.0': 0.8,
            'param_scheduler.0': dict(type='ConstantLR', _delete_=True),
            'custom_hooks': [dict(type='A')],
            'train_dataloader.num_workers': 0,
            'model.init_cfg': dict(type='B', a=1),
            'model.init_cfg.a': 2,
        },
    )
    assert cfg.engine.ema == dict(momentum=0.5)
    assert (cfg.model.backbone.drop, cfg.optim_wrapper.optimizer.betas) == (0.1, (0.8, 0.99))
    assert cfg.model.backbone.type == 'lightvit_dense.ToyBackbone'
    assert cfg.param_scheduler == [dict(type='ConstantLR')]
    assert cfg.custom_hooks[0].type == 'A'
    assert cfg.model.init_cfg == dict(type='B', a=2)
    assert not {'persistent_workers', 'prefetch_factor'} & set(cfg.train_dataloader)
    home = os.path.expanduser('~')
    assert (cfg.path, cfg.paths) == (f'{home}/x', [dict(a=f'{home}/y'), ('~', '~z')])


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ("model['backbone']['with_pc'] = True", "ToyBackbone has no argument 'with_pc'.*'with_cp'"),
        ("model['backbone']['type'] = 'x.ToyBakbone'", "ToyBakbone' names nothing"),
        ("optim_wrapper['optimizer']['momentun'] = 1", "AdamW has no argument 'momentun'"),
        ("custom_hooks = [dict(type='ResourceHook', intervall=2)]", "'intervall'.*'interval'"),
        (
            "model['backbone']['drop'] = 2.0",
            r'config key model\.backbone: ToyBackbone: dropout .* \(ValueError in dropout.py, line',
        ),
        ("model['backbone']['drop'] = 'much'", r'key model\.backbone: ToyBackbone: .*\(TypeError'),
        ("model['backbone'] = 'vit'", r'config key model\.backbone: .*TypeError'),
        ("model['backbone'].pop('type')", r"config key model: has no 'type'"),
        ("custom_hooks = [dict(type='MomentumUpdateHook', base=2)]", r'key custom_hooks\.0: Mom'),
        ("train_dataloader['dataset']['length'] = -1", r'key train_dataloader\.dataset: ToyPo'),
        ("train_dataloader['batch_size'] = 0", r'key train_dataloader: batch_size should be'),
        ("train_cfg['max_epochs'] = 'x'", r'key train_cfg: invalid literal for int'),
        ("model['backbone']['layers'] = 3", r"has no argument 'layers'\. It has drop, with_cp\."),
        ("del train_cfg['by_epoch']", r"key train_cfg: Iter.* no argument 'max_epochs'"),
        ("optim_wrapper['optimizer']['lr'] = -1", r'key optim_wrapper\.optimizer: AdamW: Inval'),
        ("param_scheduler[0]['end'] = 0", r'key param_scheduler\.0: LinearLR: end should be'),
    ],
)
def test_misspelt_arguments_are_explained(write, tmp_path, line, message) -> None:
    with pytest.raises(UserError, match=message):
        apis.train(write(extra=f'\n{line}\n'), work_dir=tmp_path / 'w')


def test_errors_inside_training_keep_their_class(write, tmp_path, monkeypatch) -> None:
    from tests.helpers.toy_engine import ToyRegressor

    def broken(self, *args, **kwargs):
        raise TypeError("forward() got an unexpected keyword argument 'x'")

    monkeypatch.setattr(ToyRegressor, 'forward', broken)
    with pytest.raises(TypeError, match='forward'):
        apis.train(write(), work_dir=tmp_path / 'w')
