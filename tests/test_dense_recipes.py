"""Detection and segmentation configs hold the published recipes; all start from files we make."""

import pytest

from tests.helpers.shipped_configs import ROOT, read

OTHERS = {
    'scratch': None,
    'deit': 'deit_vit-tiny_improved_300e',
    'd2mae-ft-rpe': 'finetune_d2mae_vit-tiny-rpe_1000e',
    'deit-ft-rpe': 'checkpoints/deit_tiny_rpe_1000e.pth.tar',  # of the authors
}


def names_in(folder: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / 'configs' / folder).glob('*.py'))


@pytest.mark.parametrize('folder', ['coco', 'ade20k', 'lasot'])
def test_configs_start_from_what_they_are_called(folder: str) -> None:
    for name in names_in(folder):
        method, arch = name.split('_')[1:3]
        run = OTHERS.get(method, f'{method}_{arch if "-" in arch else f"vit-{arch}"}')
        init = read(f'{folder}/{name}').model.backbone.get('init_cfg')
        assert (init is None) == (run is None), name
        if run is None:
            continue
        assert init.type == 'lightvit_dense.PretrainedBackbone'
        own = f'work_dirs/{run}/backbone.safetensors'
        assert init.checkpoint.endswith(run if run.endswith('.tar') else own), name
        assert run.endswith('.tar') or [*ROOT.glob(f'configs/*/{run}.py')]


@pytest.mark.parametrize('name', names_in('coco'))
def test_detection(name: str) -> None:
    cfg = read(f'coco/{name}')
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


@pytest.mark.parametrize('name', names_in('ade20k'))
def test_segmentation(name: str) -> None:
    cfg = read(f'ade20k/{name}')
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
