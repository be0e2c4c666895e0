"""The classifiers whose speed is compared: ours, and timm's rivals of the papers' tables.

All have random weights, which is enough for speed: see :func:`prepare` for the one thing that is
not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import UserError, did_you_mean

FUSED = 'batch norms folded into their layers, as published for deployment'


@dataclass(frozen=True)
class SpeedModel:
    """A classifier that can be timed.

    Attributes:
        title: How the table calls it.
        build: Makes it with random weights; images [B, 3, size, size] in, logits out.
        size: Side of its images in pixels.
        note: What a reader has to know.
    """

    title: str
    build: Callable[[], nn.Module]
    size: int = 224
    note: str = ''


def _ours(backbone: dict[str, Any]) -> nn.Module:
    from ..registry import MODELS

    return MODELS.build(
        dict(
            type='lightvit_dense.ImageClassifier',
            backbone=dict(final_norm=False) | backbone,
            head=dict(num_classes=1000, pool='mean', norm=True),
        )
    )


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def _vit(**options: Any) -> Callable[[], nn.Module]:
    return partial(_ours, dict(type='lightvit_dense.VisionTransformer', arch='tiny') | options)


SPEED_MODELS: dict[str, SpeedModel] = {
    'vit_tiny': SpeedModel('ViT-Tiny, 12 heads (ours)', _vit()),
    'vit_tiny_3h': SpeedModel(
        'ViT-Tiny, 3 heads (ours)', _vit(arch=dict(embed_dim=192, depth=12, num_heads=3))
    ),
    'vit_tiny_rpe': SpeedModel(
        'ViT-Tiny, 12 heads, relative position (ours)', _vit(rel_pos=dict(kind='bias'))
    ),
    'hiera_tiny': SpeedModel(
        'Hiera-Tiny (ours)', partial(_ours, dict(type='lightvit_dense.Hiera', arch='tiny'))
    ),
    'deit_tiny': SpeedModel('DeiT-Tiny, 3 heads (timm)', partial(_timm, 'deit_tiny_patch16_224')),
    'deit_tiny_distilled': SpeedModel(
        'DeiT-Tiny, 3 heads, distilled (timm)', partial(_timm, 'deit_tiny_distilled_patch16_224')
    ),
    'mobilenet_v2': SpeedModel('MobileNet-v2', partial(_timm, 'mobilenetv2_100')),
    'mobilenet_v3': SpeedModel('MobileNet-v3 large', partial(_timm, 'mobilenetv3_large_100')),
    'efficientnet_b0': SpeedModel('EfficientNet-B0', partial(_timm, 'efficientnet_b0')),
    'efficientnet_b1': SpeedModel(
        'EfficientNet-B1', partial(_timm, 'efficientnet_b1'), 240, 'images of 240 px'
    ),
    'levit_128': SpeedModel('LeViT-128', partial(_timm, 'levit_128'), note=FUSED),
    'levit_192': SpeedModel('LeViT-192', partial(_timm, 'levit_192'), note=FUSED),
    'xcit_t12_16': SpeedModel('XCiT-T12/16', partial(_timm, 'xcit_tiny_12_p16_224')),
    'pit_ti': SpeedModel('PiT-Ti, distilled', partial(_timm, 'pit_ti_distilled_224')),
    'cait_xxs24': SpeedModel('CaiT-XXS24', partial(_timm, 'cait_xxs24_224')),
    'mobilevit_s': SpeedModel(
        'MobileViT-S', partial(_timm, 'mobilevit_s'), 256, 'images of 256 px'
    ),
    'resnet18': SpeedModel('ResNet-18', partial(_timm, 'resnet18')),
    'resnet50': SpeedModel('ResNet-50', partial(_timm, 'resnet50')),
}
"""Models by the names of the command line."""


def _of_timm(name: str) -> SpeedModel:
    import timm

    if not timm.is_model(name):
        raise UserError(f'timm has no model {name!r}.{did_you_mean(name, timm.list_models())}')
    size = timm.get_pretrained_cfg(name).input_size[-1]
    return SpeedModel(name, partial(_timm, name), size)


def _of_config(path: str) -> SpeedModel:
    from .training_step import build_for_speed

    if not Path(path).is_file():
        raise UserError(f'{path}: no such config')
    model = build_for_speed(path)
    if not hasattr(model, 'head') or not hasattr(getattr(model, 'backbone', None), 'grid_size'):
        raise UserError(f'{path}: not the config of an image classifier with one of our backbones')
    rows, columns = (side * model.backbone.patch_size for side in model.backbone.grid_size)
    if rows != columns:
        raise UserError(f'{path}: images of {rows}x{columns} px; only square ones are timed')
    return SpeedModel(Path(path).stem, partial(build_for_speed, path), rows)


def speed_model(name: str) -> SpeedModel:
    """Look a model up.

    Args:
        name: Key of ``SPEED_MODELS``, ``timm:NAME`` for any model of timm, or the path of a
            classifier's config.

    Raises:
        UserError: If there is no such model; lists those there are.
    """
    if name.startswith('timm:'):
        return _of_timm(name.removeprefix('timm:'))
    if name.endswith('.py'):
        return _of_config(name)
    if name not in SPEED_MODELS:
        raise UserError(
            f'no model {name!r}.{did_you_mean(name, SPEED_MODELS)} There are '
            f'{", ".join(SPEED_MODELS)}, timm:NAME and the path of a config'
        )
    return SPEED_MODELS[name]


@torch.no_grad()
def settle_batch_norms(model: nn.Module, size: int, batch: int = 8) -> int:
    """Give batch norms the statistics of random images.

    With the statistics of an untrained network (mean 0, variance 1) activations shrink from layer
    to layer until they are denormal numbers, on which a CPU is many times slower than on a trained
    network's.

    Args:
        model: The model; left in evaluation mode.
        size: Side of its images in pixels.
        batch: Number of random images.

    Returns:
        The number of batch norms.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean of all batches, here of one
    if norms:
        generator = torch.Generator().manual_seed(0)
        model(torch.randn(batch, 3, size, size, generator=generator))
    model.eval()
    return len(norms)


def prepare(entry: SpeedModel) -> nn.Module:
    """Build a model the way it would be deployed: fp32 on the CPU, in evaluation mode, frozen.

    Batch norms get the statistics of random images, and what timm can fold for inference is
    folded (LeViT's batch norms).

    Args:
        entry: Which model.
    """
    from timm.utils import reparameterize_model

    torch.manual_seed(0)
    model = entry.build().eval()
    settle_batch_norms(model, entry.size)
    return reparameterize_model(model).eval().requires_grad_(False)
