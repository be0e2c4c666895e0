from functools import cache

import pytest
import timm
import torch
from torch import nn

from lightvit_dense.analysis.classification_models import (
    SPEED_MODELS,
    SpeedModel,
    prepare,
    settle_batch_norms,
    speed_model,
)
from lightvit_dense.analysis.inference_speed import size_cell
from lightvit_dense.analysis.published_results import PUBLISHED, published_of
from lightvit_dense.errors import UserError


@cache
def sizes(name: str) -> dict:
    entry = SPEED_MODELS[name]
    return size_cell(entry.build().eval(), entry.size)


def vit_tiny_macs(tokens: int = 197, width: int = 192, depth: int = 12) -> int:
    embedding = 196 * 16 * 16 * 3 * width
    projections = tokens * width * (3 * width + width)
    attention = 2 * tokens * tokens * width  # QK^T and AV, over all heads
    mlp = 2 * tokens * width * 4 * width
    return embedding + depth * (projections + attention + mlp) + width * 1000


def test_arithmetic_of_vit_tiny_is_the_closed_formula() -> None:
    for name, parameters in (('vit_tiny', 5_717_416), ('vit_tiny_3h', 5_717_416)):
        assert sizes(name) == {
            'parameters': parameters,
            'macs': vit_tiny_macs(),
            'flops': 2 * vit_tiny_macs(),
        }
    # Twelve tables of (27 * 27 + 3) x 12; they add, and additions of their own do not count.
    relative = sizes('vit_tiny_rpe')
    assert relative['parameters'] == 5_717_416 + 105_408
    assert relative['macs'] == vit_tiny_macs()


def test_our_three_heads_are_as_large_as_timms_deit() -> None:
    assert sizes('vit_tiny_3h') == sizes('deit_tiny')


@pytest.mark.parametrize(
    ('name', 'gmacs'), [('resnet18', 1.814), ('resnet50', 4.089), ('mobilenet_v2', 0.301)]
)
def test_arithmetic_of_convolutions_is_what_is_known(name: str, gmacs: float) -> None:
    # torchvision's documentation of the same networks.
    assert sizes(name)['macs'] / 1e9 == pytest.approx(gmacs, rel=2e-3)


def test_sizes_of_images_are_timms() -> None:
    for name, entry in SPEED_MODELS.items():
        arch = getattr(entry.build, 'args', [None])[0]
        if isinstance(arch, str):
            assert timm.get_pretrained_cfg(arch).input_size[-1] == entry.size, name


def test_published_rows_belong_to_models() -> None:
    assert {row.model for row in PUBLISHED} == set(SPEED_MODELS) - {'vit_tiny_3h'}
    first = published_of('vit_tiny')[0]
    assert (first.top1, first.images_per_s, first.real, first.v2) == (78.0, 4020, 84.3, 66.2)
    assert published_of('vit_tiny_3h') == ()


def test_settled_batch_norms_keep_activations_large() -> None:
    def deep() -> nn.Module:
        torch.manual_seed(0)
        layers = [
            nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3)) for _ in range(40)
        ]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 2))

    model, images = deep().eval(), torch.randn(4, 3, 2, 2)
    assert model[:40](images).std() < 1e-3  # what an untrained network does
    assert settle_batch_norms(model, 2) == 40
    assert not any(module.training for module in model.modules())
    assert 0.3 < model[:40](images).std() < 3
    prepared = prepare(SpeedModel('deep', deep, 2))
    torch.testing.assert_close(prepared(images), model(images))
    assert not any(p.requires_grad for p in prepared.parameters())


def test_levit_is_folded_and_computes_the_same() -> None:
    entry = SpeedModel('small', lambda: timm.create_model('levit_128s', img_size=64), 64)
    torch.manual_seed(0)
    plain = entry.build().eval()
    settle_batch_norms(plain, 64)
    folded, images = prepare(entry), torch.randn(2, 3, 64, 64)
    norms = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms == []
    torch.testing.assert_close(folded(images), plain(images), rtol=1e-4, atol=1e-4)


def test_models_by_other_names() -> None:
    assert speed_model('timm:test_vit').size == 160
    entry = speed_model('configs/imagenet/deit_vit-tiny_300e.py')
    assert (entry.title, entry.size) == ('deit_vit-tiny_300e', 224)
    for name, message in (
        ('vit_tinny', "no model 'vit_tinny'. Did you mean 'vit_tiny'.* There are vit_tiny, "),
        ('timm:resnet19', "timm has no model 'resnet19'. Did you mean 'resnet"),
        ('absent.py', 'absent.py: no such config'),
        ('configs/pretrain/mae_vit-tiny.py', 'not the config of an image classifier'),
    ):
        with pytest.raises(UserError, match=message):
            speed_model(name)
