"""Detection and segmentation configs hold published values and start from files we make."""

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from lightvit_dense.registry import MODELS
from tests.helpers.shipped_configs import ROOT, read

COCO = {
    # name: run of the initial weights, published box AP and mask AP
    'maskrcnn_scratch_tiny': (None, 32.7, 28.9),
    'maskrcnn_deit_tiny': ('deit_vit-tiny_improved_300e', 40.4, 35.5),
    'maskrcnn_mae_tiny': ('mae_vit-tiny', 39.9, 35.4),
    'maskrcnn_dmae_tiny': ('dmae_vit-tiny', 42.3, 37.4),
    'maskrcnn_d2mae_tiny': ('d2mae_vit-tiny', 42.5, 37.5),
    'maskrcnn_mocov3_tiny': ('mocov3_vit-tiny', 39.7, 35.1),
    'maskrcnn_dino_tiny': ('dino_vit-tiny', 41.4, 36.7),
    'maskrcnn_simmim_tiny': ('simmim_vit-tiny', 39.3, 34.8),
    'maskrcnn-li2021_dmae_tiny': ('dmae_vit-tiny', 42.7, 38.2),
    'maskrcnn_mae_hiera-tiny': ('mae_hiera-tiny', None, None),
    'maskrcnn_dmae_hiera-tiny': ('dmae_hiera-tiny', None, None),
    'maskrcnn_simmim_swin-tiny': ('simmim_swin-tiny', None, None),
    'maskrcnn_d2simmim_swin-tiny': ('d2simmim_swin-tiny', None, None),
    'maskrcnn_mae_tiny_12e': ('mae_vit-tiny', None, None),
    'maskrcnn_dmae_tiny_12e': ('dmae_vit-tiny', None, None),
}
FINE_TUNED = 'finetune_d2mae_vit-tiny-rpe_1000e'
ADE20K = {
    # name without the head: run of the initial weights, published mIoU of Semantic FPN
    'scratch_tiny': (None, None),
    'deit_tiny': ('deit_vit-tiny_improved_300e', 38.0),
    'mae_tiny': ('mae_vit-tiny', None),
    'dmae_tiny': ('dmae_vit-tiny', None),
    'd2mae_tiny': ('d2mae_vit-tiny', 39.0),
    'mocov3_tiny': ('mocov3_vit-tiny', None),
    'dino_tiny': ('dino_vit-tiny', None),
    'simmim_tiny': ('simmim_vit-tiny', None),
    'dmae_hiera-tiny': ('dmae_hiera-tiny', None),
    'd2mae-ft-rpe_tiny': (FINE_TUNED, 42.8),
    'dmae_tiny_40k': ('dmae_vit-tiny', None),
}
ALONE = {
    'semfpn_deit-ft-rpe_tiny': ('checkpoints/deit_tiny_rpe_1000e.pth.tar', 41.5),
    'upernet_mae_hiera-tiny': ('mae_hiera-tiny', None),
}
SEGMENTATION = {
    f'{head}_{name}': (run, value if head == 'semfpn' else None)
    for head in ('upernet', 'semfpn')
    for name, (run, value) in ADE20K.items()
} | ALONE


def published(cfg: Config) -> dict[str, float]:
    return {name: value for name, value, _ in cfg.get('expected') or ()}


def assert_starts_from(cfg: Config, run: str | None) -> None:
    init = cfg.model.backbone.get('init_cfg')
    assert (init is None) == (run is None)
    if run is not None:
        assert init.type == 'lightvit_dense.PretrainedBackbone'
        own = f'work_dirs/{run}/backbone.safetensors'
        assert init.checkpoint.endswith(run if run.endswith('.tar') else own)
        assert run.endswith('.tar') or [*ROOT.glob(f'configs/*/{run}.py')]


@pytest.mark.parametrize(('folder', 'table'), [('coco', COCO), ('ade20k', SEGMENTATION)])
def test_every_config_is_in_the_table(folder: str, table: dict) -> None:
    assert {path.stem for path in (ROOT / 'configs' / folder).glob('*.py')} == set(table)


@pytest.mark.parametrize('name', COCO)
def test_detection(name: str) -> None:
    run, box, mask = COCO[name]
    cfg = read(f'coco/{name}')
    assert_starts_from(cfg, run)
    values = {} if box is None else {'coco/bbox_mAP': box / 100, 'coco/segm_mAP': mask / 100}
    assert published(cfg) == pytest.approx(values)
    short, wide = name.endswith('12e'), 'li2021' in name
    side = 1024 if wide else 640
    assert cfg.model.pad_shape == side
    steps = cfg.train_dataloader.dataset.pipeline + cfg.val_dataloader.dataset.pipeline
    assert [step.scale for step in steps if 'scale' in step] == [(side, side)] * 2
    assert [tuple(s.ratio_range) for s in steps if 'ratio_range' in s] == [(0.1, 2.0)]
    assert cfg.test_dataloader.dataset == cfg.val_dataloader.dataset
    assert cfg.train_cfg.max_iters == 118000 * (12 if short else 100) // (16 if short else 64)
    optimizer = cfg.optim_wrapper.optimizer
    rates = (8e-5, 0.1) if wide else (5e-5, 0.05) if short else (1e-4, 0.05)
    assert (optimizer.lr, optimizer.weight_decay) == rates
    assert cfg.model.roi_head.bbox_head.num_classes == 80


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation(name: str) -> None:
    run, value = SEGMENTATION[name]
    cfg = read(f'ade20k/{name}')
    assert_starts_from(cfg, run)
    assert published(cfg) == ({} if value is None else {'mIoU': value})
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    assert tuple(backbone.out_indices) == ((0, 1, 2, 3) if 'hiera' in name else (3, 5, 7, 11))
    assert backbone.drop_path_rate == 0.1
    upernet = name.startswith('upernet')
    if 'hiera' not in name:
        # Semantic FPN runs mmsegmentation's MAE backbone, whatever the initial weights.
        sizes = backbone.img_size, backbone.get('rel_pos'), backbone.get('layer_scale')
        bias = dict(kind='bias')
        plain = (512, bias, None) if 'rpe' in name else (224, None, None)
        assert sizes == (plain if upernet else (512, bias, 1.0))
        assert cfg.optim_wrapper.paramwise_cfg.get('no_decay') == (None if upernet else ())
    assert (head.type, head.num_classes) == ('mmseg.UPerHead' if upernet else 'mmseg.FPNHead', 150)
    assert ('auxiliary_head' in cfg.model) is upernet
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(512, 512), stride=(341, 341))
    length, gpus = (40000, 1) if name.endswith('40k') else (160000, 8)
    warmup, poly = cfg.param_scheduler
    assert (warmup.end, warmup.start_factor) == (1500, 1e-6)
    assert (poly.begin, poly.end, poly.power, poly.eta_min) == (1500, length, 1.0, 0.0)
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size * gpus) == (length, 16)
    optim = cfg.optim_wrapper
    assert (optim.optimizer.lr, optim.paramwise_cfg.layer_decay_rate) == (1e-4, 0.8)


VIT = 5_717_416 - 193_000 - 384  # ViT-Tiny without its classifier and final norm
# With the tables of 32 x 32 patches, relative and absolute, and two LayerScales a block.
MMSEG = VIT + 571_968 + (32 * 32 - 14 * 14) * 192 + 12 * 2 * 192
SIZES = {
    # backbone, neck, everything
    'coco/maskrcnn_dmae_tiny': (5_540_672, 2_664_880, 27_652_320),
    'coco/maskrcnn_simmim_tiny': (5_897_808, 2_664_880, 28_009_456),
    'coco/maskrcnn_dmae_hiera-tiny': (6_325_230, 2_540_032, 28_312_030),
    'coco/maskrcnn_d2simmim_swin-tiny': (6_915_306, 2_547_712, 28_909_786),
    'coco/maskrcnn-li2021_dmae_tiny': (5_546_816, 3_003_328, 27_996_912),
    'ade20k/upernet_dmae_tiny': (VIT, 443_328, 10_721_708),
    'ade20k/semfpn_dmae_tiny': (MMSEG, 101_712, 7_045_990),
    'ade20k/upernet_dmae_hiera-tiny': (6_325_230, 0, 11_451_674),
    'ade20k/semfpn_dmae_hiera-tiny': (6_325_230, 0, 7_583_620),
}


@pytest.mark.parametrize('name', SIZES)
def test_sizes(name: str) -> None:
    cfg = read(name)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    model = MODELS.build(cfg.model)
    parts = {key: sum(p.numel() for p in part.parameters()) for key, part in model.named_children()}
    assert (parts['backbone'], parts.get('neck', 0), sum(parts.values())) == SIZES[name]
