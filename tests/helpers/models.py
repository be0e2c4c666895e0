"""Small models, and what tests of several of them need."""

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

VIT = 'lightvit_dense.VisionTransformer'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NORMALISER = dict(
    type='mmengine.ImgDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, bgr_to_rgb=False
)


def vit(embed_dim: int = 32, depth: int = 2, num_heads: int = 4, **options: Any) -> dict:
    """Return the config of a ViT of 4 x 4 patches."""
    arch = dict(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
    return dict(type=VIT, arch=arch, img_size=32, patch_size=8, pos_embed='sincos') | options


def distiller(teacher: dict, *pairs: tuple[int, int], **options: Any) -> dict:
    """Return the config of an attention distiller."""
    pairs_of = dict(pairs=list(pairs)) if pairs else {}
    return dict(type='lightvit_dense.AttentionDistiller', teacher=teacher) | pairs_of | options


def labelled(labels: Iterable[int]) -> list[BaseDataElement]:
    """Return a sample for each label."""
    samples = []
    for label in labels:
        samples.append(BaseDataElement())
        samples[-1].gt_label = label
    return samples


def randomise(model: nn.Module, std: float = 0.1) -> nn.Module:
    """Give every parameter another value: zeros and ones would hide a swap."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * std)
    return model.eval()


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor | None]:
    """Return the gradient of each parameter that is trained, ``None`` where there is none."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
    return {name: grad for (name, _), grad in zip(named, found, strict=True)}
