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
from lightvit_dense.errors import UserError
from lightvit_dense.suite.papers import PUBLISHED, SOURCES, published_of


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
    ('name', 'gmacs', 'off'),
    [
        # torchvision's documentation of the same networks, whose digits all count
        ('resnet18', 1.814, 2e-3),
        ('resnet50', 4.089, 2e-3),
        ('mobilenet_v2', 0.301, 2e-3),
        ('mobilenet_v3', 0.217, 5e-3),
        ('efficientnet_b0', 0.386, 2e-3),
        # the papers of these networks, in rounded numbers
        ('levit_128', 0.406, 5e-3),
        ('mobilevit_s', 2.0, 0.03),
    ],
)
def test_arithmetic_of_convolutions_is_what_is_known(name: str, gmacs: float, off: float) -> None:
    assert sizes(name)['macs'] / 1e9 == pytest.approx(gmacs, rel=off)


def timm_names() -> dict[str, str]:
    """Return timm's names of the networks that are timm's."""
    args = {name: getattr(entry.build, 'args', [None])[0] for name, entry in SPEED_MODELS.items()}
    return {name: arch for name, arch in args.items() if isinstance(arch, str)}


def test_names_and_sizes_of_images_are_timms() -> None:
    assert len(timm_names()) == 14
    for name, arch in timm_names().items():
        assert timm.is_model(arch), arch
        assert timm.get_pretrained_cfg(arch).input_size[-1] == SPEED_MODELS[name].size, name


def test_parameters_round_to_the_millions_of_table_2() -> None:
    """But for ResNet-50's 25.6 M, which the paper cuts to 25."""
    names = timm_names()
    for row in PUBLISHED:
        if row.source == SOURCES['iclr'] and row.model in names:
            with torch.device('meta'):  # no weights are made
                model = timm.create_model(names[row.model])
            millions = sum(p.numel() for p in model.parameters()) / 1e6
            found = int(millions) if row.model == 'resnet50' else round(millions)
            assert found == row.params_m, row.label


def test_published_rows_belong_to_models() -> None:
    assert {row.model for row in PUBLISHED} == {'', *SPEED_MODELS} - {'vit_tiny_3h'}
    unknown = [row.label for row in PUBLISHED if not row.model]
    assert unknown == ['Swin-1G', 'LVT', 'EdgeViT-XS', 'Mobile-Former-294M']
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
