"""What holds for every method of pre-training, with and without distillation."""

from typing import Any

import pytest
import torch
from torch import Tensor

from lightvit_dense.models.pretraining import Pretrainer
from lightvit_dense.registry import MODELS
from tests.helpers.models import NORMALISER, distiller, hiera, swin, vit

DECODER = dict(embed_dim=16, num_heads=2)
METHODS: dict[str, tuple[dict, dict, list[tuple[int, int]]]] = {
    # The backbone, options of the method, and the sizes of a batch's views.
    'MAE': (vit(), dict(decoder=DECODER), [(32, 32)]),
    'HieraMAE': (hiera(img_size=(64, 96), q_pool=2), dict(decoder=DECODER), [(64, 96)]),
    'SimMIM': (vit(), dict(mask_unit=16), [(32, 32)]),
    'SwinSimMIM': (swin(mask_token=True), dict(mask_unit=16), [(64, 64)]),
    'MoCoV3': (vit(), dict(hidden=24, out_channels=16), [(32, 32)] * 2),
    'DINO': (
        vit(drop_path_rate=0.1),
        dict(head=dict(out_channels=20, hidden=24, bottleneck=12)),
        [(32, 32)] * 2 + [(16, 16)] * 2,
    ),
}
HIDDEN = {'MAE': 0.75, 'HieraMAE': 0.5, 'SimMIM': 0.75, 'SwinSimMIM': 0.625}
"""The part of an image that each method hides."""


def build(name: str, distilled: bool = False, **options: Any) -> Pretrainer:
    """Build a method; its teacher, if any, has the student's shape."""
    torch.manual_seed(0)
    backbone, own, _ = METHODS[name]
    if distilled:
        last = MODELS.build(backbone).num_layers
        options['distiller'] = distiller(backbone, (last, last))
    return MODELS.build(dict(type=f'lightvit_dense.{name}', backbone=backbone, **own, **options))


def batch(name: str) -> Any:
    views = [torch.randn(3, 3, *size).clamp(-1.9, 1.9) for size in METHODS[name][2]]
    return views if len(views) > 1 else views[0]


@pytest.mark.parametrize('distilled', [False, True])
@pytest.mark.parametrize('name', METHODS)
def test_all_that_is_trained_gets_a_gradient_and_nothing_else(name: str, distilled: bool) -> None:
    model = build(name, distilled)
    loss, _ = model.parse_losses(model(batch(name), mode='loss'))
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
        assert not (parameter.requires_grad and parameter_name.startswith('momentum_'))
    assert not any('teacher' in key for key in model.state_dict())
    if distilled:
        assert model.distiller.head_maps[0].weight.grad.any()
        assert all(p.grad is None for p in model.distiller.teacher.parameters())


@pytest.mark.parametrize('name', METHODS)
def test_losses_are_fp32_under_autocast(name: str) -> None:
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = build(name, distilled=True)(batch(name), mode='loss')
    assert 'loss_distill' in losses
    assert {value.dtype for value in losses.values()} == {torch.float32}


@pytest.mark.parametrize('name', METHODS)
def test_agreement_of_a_network_with_itself_is_one(name: str) -> None:
    model = build(name, distilled=True).eval()
    layers = [f'layer_{i + 1}' for i in range(model.backbone.num_layers)]
    assert min(model.attention_agreement(batch(name)).values()) < 0.99
    model.distiller.teacher.load_state_dict(model.backbone.state_dict())
    agreement = model.attention_agreement(batch(name))
    assert agreement == pytest.approx(dict.fromkeys(layers, 1), abs=1e-4)
    with pytest.raises(ValueError, match='needs a distiller'):
        build(name).attention_agreement(batch(name))


@pytest.mark.parametrize('name', HIDDEN)
def test_pictures_hide_and_show(name: str) -> None:
    model, image = build(name, data_preprocessor=NORMALISER), batch(name)
    pictures: dict[str, Tensor] = model(image, mode='predict')
    torch.testing.assert_close(pictures['original'], image * 60 + 120)
    grey = (pictures['masked'] == 120).all(1)
    assert grey.float().mean() == HIDDEN[name]
    assert torch.equal(grey, grey[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2))
    shown = ~grey[:, None].expand_as(image)
    torch.testing.assert_close(pictures['reconstruction'][shown], pictures['original'][shown])
    assert (pictures['reconstruction'] != pictures['original'])[~shown].float().mean() > 0.9


@pytest.mark.parametrize('name', HIDDEN)
def test_images_of_another_size_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match='the model is built for'):
        build(name).loss(torch.randn(1, 3, 40, 40))


@pytest.mark.parametrize('name', ['MAE', 'MoCoV3', 'DINO'])
def test_a_class_token_is_needed(name: str) -> None:
    with pytest.raises(ValueError, match=f'{name} needs a backbone with cls_token=True'):
        MODELS.build(dict(type=f'lightvit_dense.{name}', backbone=vit(cls_token=False)))


@pytest.mark.parametrize('name', HIDDEN)
def test_what_is_hidden_cannot_be_seen(name: str) -> None:
    """Hidden pixels change the target only, visible ones the prediction."""
    options = {} if 'SimMIM' in name else dict(norm_pix_loss=False)
    model, image = build(name, data_preprocessor=NORMALISER, **options).eval(), batch(name)
    noise = torch.rand(3, {'HieraMAE': 6, 'SimMIM': 4}.get(name, 16))
    first, other = model.reconstruct(image, noise), torch.randn_like(image)
    hidden = (first['masked'] == 120).all(1, keepdim=True).expand_as(image)
    for replaced, same in ((hidden, True), (~hidden, False)):
        again = model.reconstruct(torch.where(replaced, other, image), noise)['reconstruction']
        assert torch.equal(again[hidden], first['reconstruction'][hidden]) == same


@pytest.mark.parametrize('name', ['MoCoV3', 'DINO'])
def test_distillation_is_the_mean_over_the_global_views(name: str) -> None:
    model, views = build(name, distilled=True).eval(), batch(name)
    apart = [model.distill(view, model.encode(view))['loss_distill'] for view in views[:2]]
    found = model(views, mode='loss')['loss_distill']
    torch.testing.assert_close(found, (apart[0] + apart[1]) / 2)
