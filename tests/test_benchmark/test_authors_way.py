"""The slow way that the benchmark times is the same computation: losses and gradients."""

import pytest
import torch

from lightvit_dense.analysis.authors_way import AuthorsWay
from lightvit_dense.models import MAE

VIT = dict(type='lightvit_dense.VisionTransformer', img_size=32, patch_size=8, pos_embed='sincos')


def small(distilled: bool, decoupled: bool) -> MAE:
    torch.manual_seed(0)
    teacher = VIT | dict(arch=dict(embed_dim=48, depth=2, num_heads=6))
    distiller = dict(
        type='lightvit_dense.AttentionDistiller',
        teacher=teacher,
        pairs=[(4, 2)] if decoupled else [(3, 2)],
        extra_layer=decoupled,
        loss_weight=0.5,
    )
    return MAE(
        VIT | dict(arch=dict(embed_dim=32, depth=3, num_heads=4)),
        decoder=dict(embed_dim=16, num_heads=2),
        reconstruct_after=2 if decoupled else None,
        distiller=distiller if distilled else None,
    ).double()


@pytest.mark.parametrize(('distilled', 'decoupled'), [(False, False), (True, False), (True, True)])
def test_both_ways_agree_in_values_and_gradients(distilled: bool, decoupled: bool) -> None:
    model = small(distilled, decoupled)
    image, noise = torch.randn(3, 3, 32, 32).double(), torch.rand(3, 16)
    ours = sum(model.loss(image, noise=noise).values())
    theirs = AuthorsWay(model)(image, noise)
    # The distillation loss is fp32 in the slow way.
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    parameters = [p for p in model.parameters() if p.requires_grad]
    expected = torch.autograd.grad(ours, parameters)
    found = torch.autograd.grad(theirs, parameters)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
