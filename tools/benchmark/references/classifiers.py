"""The classifiers whose speed is compared: ours, and timm's rivals of the papers' tables."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.optim.swa_utils import update_bn

from lightvit_dense.errors import UserError, did_you_mean
from lightvit_dense.registry import MODELS

from ..harness import build_random


class Classifier(NamedTuple):
    """A classifier that can be timed: ``build`` gives it random weights."""

    build: Callable[[], nn.Module]
    size: int = 224  # side of its images in pixels


def build_ours(type: str = 'VisionTransformer', **options: Any) -> nn.Module:
    """Build a classifier on one of our backbones of the tiny size."""
    backbone = dict(type=f'lightvit_dense.{type}', arch='tiny', final_norm=False) | options
    head = dict(num_classes=1000, pool='mean', norm=True)
    return MODELS.build(dict(type='lightvit_dense.ImageClassifier', backbone=backbone, head=head))


def from_timm(name: str, size: int = 224) -> Classifier:
    """Return a network of timm."""
    return Classifier(partial(timm.create_model, name), size)


_THREE = dict(embed_dim=192, depth=12, num_heads=3)
CLASSIFIERS = {
    'vit_tiny': Classifier(build_ours),
    'vit_tiny_3h': Classifier(partial(build_ours, arch=_THREE)),
    'vit_tiny_rpe': Classifier(partial(build_ours, rel_pos=dict(kind='bias'))),
    'hiera_tiny': Classifier(partial(build_ours, 'Hiera')),
    'deit_tiny': from_timm('deit_tiny_patch16_224'),
    'deit_tiny_distilled': from_timm('deit_tiny_distilled_patch16_224'),
    'mobilenet_v2': from_timm('mobilenetv2_100'),
    'mobilenet_v3': from_timm('mobilenetv3_large_100'),
    'efficientnet_b0': from_timm('efficientnet_b0'),
    'efficientnet_b1': from_timm('efficientnet_b1', 240),
    'levit_128': from_timm('levit_128'),
    'levit_192': from_timm('levit_192'),
    'xcit_t12_16': from_timm('xcit_tiny_12_p16_224'),
    'pit_ti': from_timm('pit_ti_distilled_224'),
    'cait_xxs24': from_timm('cait_xxs24_224'),
    'mobilevit_s': from_timm('mobilevit_s', 256),
    'resnet18': from_timm('resnet18'),
    'resnet50': from_timm('resnet50'),
}
"""Models by the names of the command line."""


def find_classifier(name: str) -> Classifier:
    """Look a classifier up: a key of ``CLASSIFIERS``, ``timm:NAME``, or the path of a config."""
    if name.startswith('timm:'):
        name = name.removeprefix('timm:')
        if not timm.is_model(name):
            raise UserError(f'timm has no model {name!r}.{did_you_mean(name, timm.list_models())}')
        return from_timm(name, timm.get_pretrained_cfg(name).input_size[-1])
    if name.endswith('.py'):
        model = build_random(name)
        if not hasattr(model, 'head') or not hasattr(getattr(model, 'backbone', None), 'grid_size'):
            raise UserError(f'{name}: not the config of a classifier with one of our backbones')
        size = model.backbone.patch_size * model.backbone.grid_size[0]
        return Classifier(partial(build_random, name), size)
    if name not in CLASSIFIERS:
        raise UserError(
            f'no model {name!r}.{did_you_mean(name, CLASSIFIERS)} There are '
            f'{", ".join(CLASSIFIERS)}, timm:NAME and the path of a config'
        )
    return CLASSIFIERS[name]


def prepare(entry: Classifier) -> nn.Module:
    """Build a classifier as it would be deployed: fp32 on the CPU, frozen, batch norms folded.

    Batch norms first get the statistics of random images. With those of an untrained network (mean
    0, variance 1) activations shrink from layer to layer until they are denormal numbers, on which
    a CPU is many times slower than on a trained network's.
    """
    torch.manual_seed(0)
    model = entry.build().eval()
    generator = torch.Generator().manual_seed(0)
    update_bn([torch.randn(8, 3, entry.size, entry.size, generator=generator)], model)
    return reparameterize_model(model).eval().requires_grad_(False)
