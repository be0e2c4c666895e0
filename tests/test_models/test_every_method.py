"""What holds for every method of pre-training, with and without distillation."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor

from lightvit_dense.engine.hooks.compile import parts_to_compile
from lightvit_dense.models.pretraining import Pretrainer
from lightvit_dense.models.pretraining.contrast import info_nce
from lightvit_dense.models.pretraining.self_distillation import DINOLoss
from lightvit_dense.models.pretraining.simmim import masked_l1
from lightvit_dense.registry import MODELS
from tests.helpers.models import NORMALISER, distiller, hiera, reached, swin, vit

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


def build(
    name: str, pair: tuple[int, int] | None = None, backbone: dict | None = None, **options: Any
) -> Pretrainer:
    """Build a method; its teacher, if there is a pair of layers, has the student's shape."""
    torch.manual_seed(0)
    usual, own, _ = METHODS[name]
    backbone = usual | (backbone or {})
    if pair:
        options['distiller'] = distiller(backbone, pair, extra_layer='reconstruct_after' in options)
    return MODELS.build(dict(type=f'lightvit_dense.{name}', backbone=backbone) | own | options)


def distilled(name: str) -> Pretrainer:
    last = MODELS.build(METHODS[name][0]).num_layers
    return build(name, (last, last))


def batch(name: str, sizes: Sequence[tuple[int, int]] = ()) -> Any:
    views = [torch.randn(3, 3, *size).clamp(-1.9, 1.9) for size in sizes or METHODS[name][2]]
    return views[0] if name in HIDDEN else views


@pytest.mark.parametrize('make', [build, distilled])
@pytest.mark.parametrize('name', METHODS)
def test_all_that_is_trained_gets_a_gradient_and_nothing_else(name: str, make: Any) -> None:
    model = make(name)
    loss, _ = model.parse_losses(model(batch(name), mode='loss'))
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name
        assert not (parameter.requires_grad and parameter_name.startswith('momentum_'))
    assert not any('teacher' in key for key in model.state_dict())
    if make is distilled:
        assert model.distiller.head_maps[0].weight.grad.any()
        assert all(p.grad is None for p in model.distiller.teacher.parameters())


SWIN_DECODER, BARE = dict(embed_dim=24, num_heads=3, window_size=4), dict(final_norm=False)
DECOUPLED = {
    # options, the pair of layers, what lies behind the decoder's layer, what beside the matched one
    'MAE': (
        dict(reconstruct_after=1), (3, 2),
        ['backbone.blocks.1.'], ['backbone.norm.', 'decoder.'],
    ),
    'HieraMAE': (
        dict(reconstruct_after=5), (9, 8),
        [f'backbone.blocks.{i}.' for i in (5, 6, 7)], ['backbone.norm.', 'decoder.', 'fusion.'],
    ),
    'SwinSimMIM': (  # its first stage hands on merged patches
        dict(reconstruct_after=1, backbone=BARE, decoder=SWIN_DECODER), (6, 5),
        ['backbone.layers.1.blocks.', 'backbone.layers.2.'], ['decoder.', 'head.'],
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', DECOUPLED)
def test_decoupled_losses_reach_what_they_should(name: str) -> None:
    options, pair, behind, beside = DECOUPLED[name]
    model = build(name, pair, **options)
    losses = model.loss(batch(name))
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any(name.startswith('distiller.query_key_block.') for name in names)
    reconstructing = {n for n in names if not n.startswith((*behind, 'distiller.'))}
    assert reached(losses['loss_reconstruction'], model) == reconstructing
    matching = {n for n in names if not n.startswith(tuple(beside))}
    assert reached(losses['loss_distill'], model) == matching


@pytest.mark.parametrize('name', METHODS)
def test_losses_are_fp32_under_autocast(name: str) -> None:
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = distilled(name)(batch(name), mode='loss')
    assert 'loss_distill' in losses
    assert {value.dtype for value in losses.values()} == {torch.float32}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    'loss',
    [
        lambda views: info_nce(views[0], views[1].detach(), 0.2),
        lambda views: DINOLoss(64)(list(views), list(views[:2].detach())),
        lambda views: masked_l1(
            torch.zeros(3, 64, 8, 8), views.unflatten(2, (8, 8)), torch.ones(1)
        ),
    ],
    ids=['contrast', 'self-distillation', 'masked l1'],
)
def test_large_activations_stay_finite(loss: Any, dtype: torch.dtype) -> None:
    views = (torch.randn(3, 64, 64) * 1e4).to(dtype).requires_grad_()  # sums exceed fp16
    found = loss(views)
    found.backward()
    assert found.dtype == torch.float32
    assert found.isfinite()
    assert views.grad.isfinite().all()


@pytest.mark.parametrize('name', METHODS)
def test_agreement_of_a_network_with_itself_is_one(name: str) -> None:
    model = distilled(name).eval()
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
    model, views = distilled(name).eval(), batch(name)
    apart = [model.distill(view, model.encode(view))['loss_distill'] for view in views[:2]]
    found = model(views, mode='loss')['loss_distill']
    torch.testing.assert_close(found, (apart[0] + apart[1]) / 2)


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        *[
            (name, dict(backbone=dict(cls_token=False)), f'{name} needs .* with cls_token=True')
            for name in ('MAE', 'MoCoV3', 'DINO')
        ],
        ('MAE', dict(mask_ratio=0.99), 'keeps 0 of 16'),
        ('MAE', dict(reconstruct_after=1), 'reconstruct_after=1 leaves the blocks behind it'),
        ('HieraMAE', dict(mask_ratio=0.9), 'mask_ratio=0.9 keeps 0 of 6 patches'),
        ('HieraMAE', dict(mask_ratio=0.0), 'mask_ratio=0.0 hides none of 6 mask units'),
        ('HieraMAE', dict(backbone=dict(img_size=(64, 80))), 'is not a whole number of 32 px'),
        ('HieraMAE', dict(reconstruct_after=9), 'reconstruct_after=9 is no layer; .* has 1..8'),
        ('HieraMAE', dict(reconstruct_after=5), 'without a loss'),
        ('SimMIM', dict(mask_unit=12), 'mask_unit=12 px is not a multiple of patch 8'),
        ('SimMIM', dict(mask_unit=24), '4x4 patches are no whole number of units of side 3'),
        ('SimMIM', dict(mask_ratio=0.0), 'mask_ratio=0.0 must lie in'),
        ('SimMIM', dict(mask_ratio=1.2), 'mask_ratio=1.2 must lie in'),
        ('SwinSimMIM', dict(backbone=dict(mask_token=False)), 'mask_token=True'),
        ('SwinSimMIM', dict(decoder={}), 'final_norm=False'),
        ('SwinSimMIM', dict(backbone=BARE, decoder={}, reconstruct_after=2), 'without a loss'),
        ('SwinSimMIM', dict(backbone=dict(img_size=56)), '14x14 patches are no whole number of'),
        ('SwinSimMIM', dict(backbone=dict(img_size=48, patch_size=8)), 'no whole number of 32 px'),
        ('MoCoV3', dict(temperature=0), 'temperature=0 must be positive'),
        ('DINO', dict(num_global_views=0), 'num_global_views=0'),
        ('DINO', dict(student_temperature=0.0), 'positive temperatures'),
    ],
)
def test_what_does_not_fit_is_refused_when_built(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize(('name', 'other'), [('HieraMAE', vit()), ('SwinSimMIM', hiera())])
def test_other_backbones_are_refused(name: str, other: dict) -> None:
    with pytest.raises(ValueError, match=rf'{name} needs a \w+, got'):
        MODELS.build(dict(type=f'lightvit_dense.{name}', backbone=other))


@pytest.mark.parametrize(
    ('name', 'sizes', 'message'),
    [
        *[(name, [(40, 40)], 'the model is built for') for name in HIDDEN],
        ('MoCoV3', [(32, 32)], 'two views of one size'),
        ('MoCoV3', [(32, 32), (16, 16)], 'two views of one size'),
        ('DINO', [(32, 32)], 'at least two views'),
        ('DINO', [(32, 32), (16, 16)], 'the first 2 of one size'),
    ],
)
def test_wrong_images_are_refused(name: str, sizes: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name).loss(batch(name, sizes))


@pytest.mark.parametrize('name', HIDDEN)
def test_wrong_noise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match='noise is'):
        build(name).loss(batch(name), noise=torch.rand(1, 9))


@pytest.mark.parametrize('name', ['MAE', 'DINO'])
def test_the_forward_pass_is_one_graph(name: str) -> None:
    """Teacher included, whatever is masked."""
    torch._dynamo.reset()
    graphs = torch._dynamo.testing.CompileCounter()
    plain = distilled(name)
    model = copy.deepcopy(plain)
    assert parts_to_compile(model) == {'model': model}
    model.compile(backend=graphs, fullgraph=True)
    for step in range(3):
        results = []
        for each in (plain, model):
            torch.manual_seed(step)
            results.append(each(batch(name), mode='loss'))
        torch.testing.assert_close(*results)
    assert graphs.frame_count == 1
