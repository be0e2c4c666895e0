"""The classifiers whose speed is compared: ours, and timm's rivals of the papers' tables."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from lightvit_dense.errors import UserError, did_you_mean

from ..steps import build_model

FUSED = 'batch norms folded into their layers, as published for deployment'


@dataclass(frozen=True)
class Classifier:
    """A classifier that can be timed: ``build`` gives it random weights."""

    title: str
    build: Callable[[], nn.Module]
    size: int = 224  # side of its images in pixels
    note: str = ''


def _ours(type: str = 'VisionTransformer', **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        from lightvit_dense.registry import MODELS

        backbone = dict(type=f'lightvit_dense.{type}', arch='tiny', final_norm=False) | options
        head = dict(num_classes=1000, pool='mean', norm=True)
        return MODELS.build(
            dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=head)
        )

    return build


def _timm(name: str) -> Callable[[], nn.Module]:
    import timm

    return partial(timm.create_model, name)


_THREE_HEADS = dict(embed_dim=192, depth=12, num_heads=3)
CLASSIFIERS: dict[str, Classifier] = {
    'vit_tiny': Classifier('ViT-Tiny, 12 heads (ours)', _ours()),
    'vit_tiny_3h': Classifier('ViT-Tiny, 3 heads (ours)', _ours(arch=_THREE_HEADS)),
    'vit_tiny_rpe': Classifier(
        'ViT-Tiny, 12 heads, relative position (ours)', _ours(rel_pos=dict(kind='bias'))
    ),
    'hiera_tiny': Classifier('Hiera-Tiny (ours)', _ours('Hiera')),
    'deit_tiny': Classifier('DeiT-Tiny, 3 heads (timm)', _timm('deit_tiny_patch16_224')),
    'deit_tiny_distilled': Classifier(
        'DeiT-Tiny, 3 heads, distilled (timm)', _timm('deit_tiny_distilled_patch16_224')
    ),
    'mobilenet_v2': Classifier('MobileNet-v2', _timm('mobilenetv2_100')),
    'mobilenet_v3': Classifier('MobileNet-v3 large', _timm('mobilenetv3_large_100')),
    'efficientnet_b0': Classifier('EfficientNet-B0', _timm('efficientnet_b0')),
    'efficientnet_b1': Classifier(
        'EfficientNet-B1', _timm('efficientnet_b1'), 240, 'images of 240 px'
    ),
    'levit_128': Classifier('LeViT-128', _timm('levit_128'), note=FUSED),
    'levit_192': Classifier('LeViT-192', _timm('levit_192'), note=FUSED),
    'xcit_t12_16': Classifier('XCiT-T12/16', _timm('xcit_tiny_12_p16_224')),
    'pit_ti': Classifier('PiT-Ti, distilled', _timm('pit_ti_distilled_224')),
    'cait_xxs24': Classifier('CaiT-XXS24', _timm('cait_xxs24_224')),
    'mobilevit_s': Classifier('MobileViT-S', _timm('mobilevit_s'), 256, 'images of 256 px'),
    'resnet18': Classifier('ResNet-18', _timm('resnet18')),
    'resnet50': Classifier('ResNet-50', _timm('resnet50')),
}
"""Models by the names of the command line."""


def _of_config(path: str) -> Classifier:
    if not Path(path).is_file():
        raise UserError(f'{path}: no such config')
    model = build_model(path)
    if not hasattr(model, 'head') or not hasattr(getattr(model, 'backbone', None), 'grid_size'):
        raise UserError(f'{path}: not the config of an image classifier with one of our backbones')
    rows, columns = (side * model.backbone.patch_size for side in model.backbone.grid_size)
    if rows != columns:
        raise UserError(f'{path}: images of {rows}x{columns} px; only square ones are timed')
    return Classifier(Path(path).stem, partial(build_model, path), rows)


def find_classifier(name: str) -> Classifier:
    """Look a classifier up: a key of ``CLASSIFIERS``, ``timm:NAME``, or the path of a config.

    Raises:
        UserError: If there is no such model; lists those there are.
    """
    import timm

    if name.startswith('timm:'):
        name = name.removeprefix('timm:')
        if not timm.is_model(name):
            raise UserError(f'timm has no model {name!r}.{did_you_mean(name, timm.list_models())}')
        return Classifier(name, _timm(name), timm.get_pretrained_cfg(name).input_size[-1])
    if name.endswith('.py'):
        return _of_config(name)
    if name not in CLASSIFIERS:
        raise UserError(
            f'no model {name!r}.{did_you_mean(name, CLASSIFIERS)} There are '
            f'{", ".join(CLASSIFIERS)}, timm:NAME and the path of a config'
        )
    return CLASSIFIERS[name]


def settle_batch_norms(model: nn.Module, size: int) -> None:
    """Give batch norms the statistics of random images.

    With the statistics of an untrained network (mean 0, variance 1) activations shrink from layer
    to layer until they are denormal numbers, on which a CPU is many times slower than on a trained
    network's.
    """
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))
    update_bn([images], model)


def prepare(entry: Classifier) -> nn.Module:
    """Build a classifier as it would be deployed: fp32 on the CPU, frozen, batch norms folded."""
    from timm.utils import reparameterize_model

    torch.manual_seed(0)
    model = entry.build().eval()
    settle_batch_norms(model, entry.size)
    return reparameterize_model(model).eval().requires_grad_(False)
