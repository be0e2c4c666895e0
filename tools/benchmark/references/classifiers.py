"""The classifiers whose speed is compared: ours, and timm's rivals of the papers' tables."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.optim.swa_utils import update_bn

from lightvit_dense.errors import UserError, did_you_mean

from ..steps import build_model


class Classifier(NamedTuple):
    """A classifier that can be timed: ``build`` gives it random weights."""

    title: str
    build: Callable[[], nn.Module]
    size: int = 224  # side of its images in pixels
    note: str = ''


def build_ours(type: str = 'VisionTransformer', **options: Any) -> nn.Module:
    """Build a classifier on one of our backbones of the tiny size."""
    from lightvit_dense.registry import MODELS

    backbone = dict(type=f'lightvit_dense.{type}', arch='tiny', final_norm=False) | options
    head = dict(num_classes=1000, pool='mean', norm=True)
    return MODELS.build(dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=head))


_FOLDED = 'batch norms folded into their layers, as published for deployment'
_OURS: dict[str, tuple[str, dict[str, Any]]] = {
    'vit_tiny': ('ViT-Tiny, 12 heads (ours)', {}),
    'vit_tiny_3h': (
        'ViT-Tiny, 3 heads (ours)',
        dict(arch=dict(embed_dim=192, depth=12, num_heads=3)),
    ),
    'vit_tiny_rpe': (
        'ViT-Tiny, 12 heads, relative position (ours)',
        dict(rel_pos=dict(kind='bias')),
    ),
    'hiera_tiny': ('Hiera-Tiny (ours)', dict(type='Hiera')),
}
_TIMM: dict[str, tuple[Any, ...]] = {
    'deit_tiny': ('DeiT-Tiny, 3 heads (timm)', 'deit_tiny_patch16_224'),
    'deit_tiny_distilled': (
        'DeiT-Tiny, 3 heads, distilled (timm)',
        'deit_tiny_distilled_patch16_224',
    ),
    'mobilenet_v2': ('MobileNet-v2', 'mobilenetv2_100'),
    'mobilenet_v3': ('MobileNet-v3 large', 'mobilenetv3_large_100'),
    'efficientnet_b0': ('EfficientNet-B0', 'efficientnet_b0'),
    'efficientnet_b1': ('EfficientNet-B1', 'efficientnet_b1', 240, 'images of 240 px'),
    'levit_128': ('LeViT-128', 'levit_128', 224, _FOLDED),
    'levit_192': ('LeViT-192', 'levit_192', 224, _FOLDED),
    'xcit_t12_16': ('XCiT-T12/16', 'xcit_tiny_12_p16_224'),
    'pit_ti': ('PiT-Ti, distilled', 'pit_ti_distilled_224'),
    'cait_xxs24': ('CaiT-XXS24', 'cait_xxs24_224'),
    'mobilevit_s': ('MobileViT-S', 'mobilevit_s', 256, 'images of 256 px'),
    'resnet18': ('ResNet-18', 'resnet18'),
    'resnet50': ('ResNet-50', 'resnet50'),
}
CLASSIFIERS = {
    **{n: Classifier(title, partial(build_ours, **more)) for n, (title, more) in _OURS.items()},
    **{
        name: Classifier(title, partial(timm.create_model, arch), *more)
        for name, (title, arch, *more) in _TIMM.items()
    },
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
    """Look a classifier up: a key of ``CLASSIFIERS``, ``timm:NAME``, or the path of a config."""
    if name.startswith('timm:'):
        name = name.removeprefix('timm:')
        if not timm.is_model(name):
            raise UserError(f'timm has no model {name!r}.{did_you_mean(name, timm.list_models())}')
        size = timm.get_pretrained_cfg(name).input_size[-1]
        return Classifier(name, partial(timm.create_model, name), size)
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
    torch.manual_seed(0)
    model = entry.build().eval()
    settle_batch_norms(model, entry.size)
    return reparameterize_model(model).eval().requires_grad_(False)
