"""Small backbones in double precision whose attention is neither uniform nor symmetric."""

from typing import Any

import torch
from torch import Tensor, nn

from lightvit_dense.models.backbones import Hiera, VisionTransformer
from lightvit_dense.representation import AttentionAgreement, AttentionStats


def _spread(model: nn.Module) -> Any:
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


def make_vit(seed: int = 0, heads: int = 3, depth: int = 2, **options: Any) -> Any:
    """Return a ViT of 4x4 patches of 16 px."""
    torch.manual_seed(seed)
    arch = dict(embed_dim=24, depth=depth, num_heads=heads)
    return _spread(VisionTransformer(**(dict(arch=arch, img_size=64, patch_size=16) | options)))


def make_hiera(seed: int = 0, stages: tuple[int, ...] = (1, 1, 2), **options: Any) -> Any:
    """Return a Hiera for images of 64 px, whose tokens have 4 px at first."""
    torch.manual_seed(seed)
    arch = dict(embed_dim=8, stages=stages, num_heads=1, mask_unit=8, patch_stride=4)
    return _spread(Hiera(**(dict(arch=arch, img_size=64) | options)))


def images(count: int = 3, size: int = 64) -> Tensor:
    """Return normalised images, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, size, size, generator=generator).double()


def attention_stats(backbone: Any, batches: Any, *options: Any) -> list:
    """Measure batches of images."""
    stats = AttentionStats(backbone, *options)
    for batch in batches:
        stats.update(batch)
    return stats.result()


def attention_agreement(student: Any, teacher: Any, batches: Any, pairs: Any = None) -> list:
    """Compare on pairs of batches, as the student and as the teacher wants them."""
    agreement = None
    for ours, theirs in batches:
        sizes = ours.shape[-2:], theirs.shape[-2:]
        agreement = agreement or AttentionAgreement(student, teacher, pairs, sizes)
        agreement.update(ours, theirs)
    return agreement.result()
