"""Fine-tuning and transfer configs hold the published values and start from files that we make."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from timm.layers import DropPath
from torch.nn import BatchNorm2d

from lightvit_dense.checkpoints import save_backbone
from lightvit_dense.registry import MODELS
from tests.helpers.models import rates_and_decays
from tests.helpers.shipped_configs import ROOT, read

IMPROVED = (0.2, 0.0, 0.0, 0.0, 0.0, 'rand-m10-mstd0.5-inc1')
ORIGINAL = (0.8, 1.0, 0.25, 0.1, 0.1, 'rand-m9-mstd0.5-inc1')
VIT, RPE, SMALL, HIERA = 5_717_416, 5_717_416 + 105_408, 22_050_664, 6_694_966
B0, SWIN = 5_288_548, 7_299_634
ROWS = {
    # epochs, layer decay, regularisation, parameters without a distiller's: configs of that length
    (300, 0.85, IMPROVED, VIT): [
        'deit_vit-tiny_improved',
        *(f'finetune_{m}_vit-tiny' for m in ('mae', 'dmae', 'd2mae', 'simmim', 'dino')),
        *('finetune_in21k_vit-tiny', 'finetune_in21k-30e_vit-tiny'),
    ],
    (300, 0.75, IMPROVED, VIT): ['finetune_mocov3_vit-tiny'],
    (300, 0.75, IMPROVED, SMALL): [
        'deit_vit-small_improved',
        *(f'finetune_{m}_vit-small' for m in ('mae', 'dmae')),
    ],
    (300, 1.0, IMPROVED, B0): [f'finetune_{m}_efficientnet-b0' for m in ('scratch', 'seed')],
    (100, 0.85, IMPROVED, VIT): ['finetune_mae_vit-tiny'],
    (1000, 0.85, IMPROVED, VIT): [f'finetune_{m}_vit-tiny' for m in ('mae', 'd2mae')],
    (1000, 0.85, IMPROVED, RPE): [f'finetune_{m}_vit-tiny-rpe' for m in ('mae', 'd2mae')],
    (300, 0.85, IMPROVED, HIERA): [f'finetune_{m}_hiera-tiny' for m in ('mae', 'dmae')],
    (300, 0.85, IMPROVED, SWIN): [f'finetune_{m}_swin-tiny' for m in ('simmim', 'd2simmim')],
    (300, 0.85, ORIGINAL, VIT): [
        *(f'finetune_{m}_vit-tiny_original' for m in ('scratch', 'mae', 'dmae')),
        *(f'finetune_{m}_vit-tiny_hard-distillation' for m in ('scratch', 'mae')),
        'finetune_mae_vit-tiny_soft-distillation',
    ],
    (1000, 0.85, ORIGINAL, VIT): ['finetune_mae_vit-tiny_hard-distillation'],
}
FINETUNE = {f'{name}_{row[0]}e': row for row, names in ROWS.items() for name in names}
TRANSFER = {
    # name: classes, epochs, warm-up, lr
    'flowers': (102, 100, 20, 0.03),
    'pets': (37, 100, 20, 0.03),
    'aircraft': (100, 100, 20, 0.03),
    'cars': (196, 100, 20, 0.03),
    'cifar100': (100, 50, 10, 0.1),
    'inat18': (8142, 100, 20, 0.03),
}


def made_by_pretraining() -> set[str]:
    """Return the backbones that the pre-training configs leave behind."""
    configs = (ROOT / 'configs/pretrain').glob('*.py')
    return {f'work_dirs/{path.stem}/backbone.safetensors' for path in configs}


def transforms(cfg: Config) -> dict:
    return {s.type.rpartition('.')[2]: s for s in cfg.train_dataloader.dataset.pipeline}


def regularisation_of(cfg: Config) -> tuple:
    data, head, backbone = cfg.model.data_preprocessor, cfg.model.head, cfg.model.backbone
    mixing = (data.get(name, 0.0) for name in ('mixup', 'cutmix', 'erasing'))
    smoothing, drop_path = head.get('label_smoothing', 0.0), backbone.get('drop_path_rate', 0.0)
    return (*mixing, smoothing, drop_path, transforms(cfg)['RandAugment'].policy)


def test_every_config_is_in_the_table() -> None:
    found = {path.stem for path in (ROOT / 'configs/imagenet').glob('*.py')}
    found -= {'deit_vit-tiny_300e'}  # has a test of its own
    assert {n for n in found if n.startswith(('finetune_', 'deit_'))} == set(FINETUNE)


@pytest.mark.parametrize('name', FINETUNE)
def test_fine_tuning(name: str) -> None:
    cfg = read(f'imagenet/{name}')
    epochs, decay, regularisation, parameters = FINETUNE[name]
    found = cfg.train_cfg.max_epochs, cfg.optim_wrapper.paramwise_cfg.layer_decay_rate
    assert found == (epochs, decay)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='AdamW', lr=4e-3, weight_decay=0.05, betas=(0.9, 0.999))
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    schedule = cfg.param_scheduler
    assert (schedule.warmup, schedule.get('start_factor', 0.0)) == (5, 0.0)
    assert schedule.eta_min_ratio * optimizer.lr == pytest.approx(1e-6)
    assert regularisation_of(cfg) == regularisation
    assert_usual_crops(cfg)
    assert (cfg.model.head.get('pool', 'mean'), cfg.engine.ema) == ('mean', None)
    init = cfg.model.backbone.get('init_cfg')
    if 'scratch' in name or name.startswith('deit'):
        assert not init
        assert cfg.model.backbone.get('init') == (None if 'efficientnet' in name else 'timm')
    elif 'in21k' in name:  # files of others, of a network with DeiT's heads
        assert Path(init.checkpoint).parent.name == 'checkpoints'
        assert cfg.model.backbone.arch == dict(embed_dim=192, depth=12, num_heads=3)
    else:
        assert init.type == 'lightvit_dense.PretrainedBackbone'
        assert init.checkpoint in made_by_pretraining()
        method = name.split('_')[1]
        assert Path(init.checkpoint).parent.name.split('_')[0] == method
    assert (cfg.model.pop('distiller', None) is not None) == ('distillation' in name)
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == parameters


def assert_usual_crops(cfg: Config) -> None:
    crop = transforms(cfg)['LoadRandomResizedCrop']
    assert (crop.interpolation, crop.scale) == ('bicubic', (0.08, 1.0))
    crop = cfg.val_dataloader.dataset.pipeline[1]
    assert (crop.size, crop.ratio) == (224, 224 / 256)


def test_the_original_recipe_of_deit() -> None:
    cfg = read('imagenet/deit_vit-tiny_300e')
    model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) == VIT
    assert (model.backbone.num_heads, model.head.pool) == (12, 'cls')
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    repeated = dict(type='lightvit_dense.RepeatedAugmentSampler', repeats=3)
    assert cfg.train_dataloader.sampler == repeated
    assert {lr for lr, _ in rates_and_decays(model, cfg.optim_wrapper).values()} == {1e-3}
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    schedule = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, schedule.warmup) == (300, 5)
    assert (schedule.start_factor, schedule.eta_min_ratio) == pytest.approx((1e-3, 1e-2))
    assert regularisation_of(cfg) == ORIGINAL
    assert_usual_crops(cfg)
    assert 1 - cfg.engine.ema.momentum == pytest.approx(0.99996)


def test_decoupled_pre_training_has_the_authors_layers() -> None:
    model = read('pretrain/d2mae_vit-tiny').model
    distiller = model.distiller
    assert (model.reconstruct_after, model.mask_ratio) == (8, 0.75)
    assert ([*map(tuple, distiller.pairs)], distiller.extra_layer) == ([(13, 12)], True)
    assert distiller.get('loss_weight', 1.0) == 1.0


@pytest.mark.parametrize(('method', 'loaded'), [('mae', False), ('d2mae', True)])
def test_biases_beside_relative_positions(tmp_path: Path, method: str, loaded: bool) -> None:
    """BEiT's ``q_bias`` and ``v_bias`` are not called like the checkpoint's ``qkv.bias``."""
    cfg = read(f'imagenet/finetune_{method}_vit-tiny-rpe_1000e')
    arch = dict(embed_dim=8, depth=2, num_heads=2)
    source = MODELS.build(dict(type='lightvit_dense.VisionTransformer', arch=arch, img_size=32))
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    save_backbone(source, tmp_path / 'backbone.safetensors', {})
    cfg.model.backbone.update(arch=arch, img_size=32)
    cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'backbone.safetensors')
    model = MODELS.build(cfg.model)
    model.init_weights()
    for ours, theirs in zip(model.backbone.blocks, source.blocks, strict=True):
        assert torch.equal(ours.attn.qkv.weight, theirs.attn.qkv.weight)
        bias = theirs.attn.qkv.bias
        assert torch.equal(ours.attn.qkv.bias, bias if loaded else torch.zeros_like(bias))
        assert not ours.attn.relative_position_bias_table.any()


@pytest.mark.parametrize('name', TRANSFER)
def test_transfer(name: str) -> None:
    cfg = read(f'transfer/{name}_vit-tiny')
    classes, epochs, warmup, lr = TRANSFER[name]
    schedule = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, schedule.warmup) == (epochs, warmup)
    assert not schedule.get('start_factor')
    assert schedule.eta_min_ratio * lr == pytest.approx(1e-6)
    sgd = dict(type='SGD', lr=lr, momentum=0.9, nesterov=True, weight_decay=0.0)
    assert cfg.optim_wrapper.optimizer == sgd
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.75
    assert cfg.train_dataloader.batch_size * 4 == cfg.auto_scale_lr.base_batch_size == 512
    assert list(transforms(cfg)) == ['LoadRandomResizedCrop', 'RandomFlipFlag', 'PackImage']
    sets = [cfg[f'{part}_dataloader'].dataset for part in ('train', 'val', 'test')]
    assert [data.split for data in sets] == ['train', 'test', 'test']
    assert len({data.type for data in sets}) == 1
    assert cfg.model.init_cfg.checkpoint in made_by_pretraining()
    assert MODELS.build(cfg.model).head.num_classes == classes


@pytest.mark.parametrize('whole', [True, False])
def test_transfer_takes_all_of_a_classifier_but_its_linear_layer(
    tmp_path: Path, whole: bool
) -> None:
    """The authors leave out what has 'head' in its name, and load the rest that fits."""
    cfg = read('transfer/pets_vit-tiny')
    cfg.model.backbone.update(arch=dict(embed_dim=8, depth=2, num_heads=2), img_size=32)
    source = MODELS.build({**cfg.model, 'head': dict(num_classes=1000), 'data_preprocessor': None})
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    theirs = {f'module.model.{n}': v for n, v in source.backbone.state_dict().items()}
    if whole:
        head = source.head.state_dict()
        theirs |= {f'module.model.{n.replace("fc.", "head.")}': v for n, v in head.items()}
    torch.save({'model': theirs}, tmp_path / 'deit_tiny_300e.pth.tar')
    cfg.model.init_cfg.checkpoint = str(tmp_path / 'deit_tiny_300e.pth.tar')
    model = MODELS.build(cfg.model)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    wanted = {n.replace('module.model.', ''): v for n, v in theirs.items() if 'head' not in n}
    for name, value in model.state_dict().items():
        short = name.removeprefix('backbone.').removeprefix('head.')
        if name.startswith(('backbone.', 'head.')):
            assert torch.equal(value, wanted.get(short, fresh[name])), name
    assert ('fc_norm.weight' in wanted) == whole
    assert not model.head.fc.weight.equal(source.head.fc.weight[:37])


@pytest.mark.parametrize('method', ['mae', 'mocov3'])
@pytest.mark.parametrize('part', ['1percent', '10percent', 'long-tail', 'in21k'])
def test_other_amounts_of_data_are_trained_on_for_as_long(method: str, part: str) -> None:
    whole = read(f'pretrain/{method}_vit-tiny')
    cfg = read(f'pretrain/data_scale/{method}_vit-tiny_{part}')
    steps = 1_281_167 // whole.auto_scale_lr.base_batch_size  # of an epoch; the rest is dropped
    assert cfg.train_cfg.max_iters == whole.train_cfg.max_epochs * steps
    assert cfg.param_scheduler.warmup == whole.param_scheduler.warmup * steps
    assert not cfg.param_scheduler.by_epoch
    assert cfg.model == whole.model
    dataset, usual = cfg.train_dataloader.dataset, whole.train_dataloader.dataset
    if part == 'in21k':
        assert dataset.data_root.endswith('/imagenet21k/')
        assert [d.pipeline[0].pop('max_bad') for d in (dataset, usual)] == [1000, 10]
        assert not dataset.with_labels
    else:
        assert dataset.ann_file
    assert dataset.pipeline == usual.pipeline


def test_seed_has_the_values_of_its_paper_and_code() -> None:
    cfg = read('pretrain/seed_efficientnet-b0')
    model, data = cfg.model, cfg.train_dataloader
    assert (model.student_temperature, model.teacher_temperature) == (0.2, 0.01)
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)
    assert data.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 256
    cosine = dict(type='mmengine.CosineAnnealingLR', by_epoch=True)
    assert cfg.param_scheduler == dict(cosine, T_max=cfg.train_cfg.max_epochs)
    steps = transforms(cfg)
    assert steps['LoadRandomResizedCrop'].scale == (0.2, 1.0)
    jitter = steps['ColorJitter']
    assert (jitter.brightness, jitter.contrast, jitter.saturation) == (0.4, 0.4, 0.4)
    assert (jitter.hue, jitter.prob, steps['RandomGrayscale'].prob) == (0.1, 0.8, 0.2)
    assert (steps['GaussianBlur'].sigma, steps['GaussianBlur'].prob) == ((0.1, 2.0), 0.5)
    built = MODELS.build(model)
    assert built.queue.shape == (65536, 128)
    for mlp, width in ((built.guide.teacher.head, 2048), (built.projector, 1280)):
        shapes = [tuple(p.shape) for p in mlp.parameters() if p.ndim == 2]
        assert shapes == [(width, width), (128, width)]
    norms = [m for m in built.backbone.modules() if isinstance(m, BatchNorm2d)]
    assert {(norm.eps, round(norm.momentum, 3)) for norm in norms} == {(1e-3, 0.01)}
    rates = [m.drop_prob for m in built.backbone.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.2 * block / 16 for block in range(1, 16)])  # drop connect
