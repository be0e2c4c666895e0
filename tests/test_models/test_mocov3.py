"""MoCo-v3 against a straight-line reference: values, gradients, and what must not learn."""

import pytest
import torch
from torch import Tensor, nn

from lightvit_dense.models import MoCoV3
from lightvit_dense.models.pretraining.contrast import info_nce
from lightvit_dense.models.pretraining.projection import batch_norm_mlp
from lightvit_dense.models.pretraining.views import feature_spread
from tests.helpers.models import assert_same_gradients, vit


def small_moco(**options: object) -> MoCoV3:
    return MoCoV3(vit(), hidden=24, out_channels=16, **options)


def reference_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Compute the loss query by query."""
    total = torch.zeros((), dtype=queries.dtype)
    for i in range(len(queries)):
        similarities = []
        for j in range(len(keys)):
            cosine = (queries[i] * keys[j]).sum() / queries[i].norm() / keys[j].norm()
            similarities.append((cosine / temperature).exp())
        total = total - (similarities[i] / sum(similarities)).log()
    return 2 * temperature * total / len(queries)


@pytest.mark.parametrize('batch', [1, 2, 7])
@pytest.mark.parametrize('width', [3, 16])
@pytest.mark.parametrize('temperature', [0.07, 0.2, 1.0])
def test_loss_and_gradients_equal_the_reference(batch, width, temperature) -> None:
    torch.manual_seed(batch)
    queries = torch.randn(batch, width, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(batch, width, dtype=torch.float64, requires_grad=True)
    loss = info_nce(queries, keys, temperature)
    reference = reference_nce(queries, keys.detach(), temperature)
    torch.testing.assert_close(loss, reference, atol=1e-12, rtol=1e-10)
    loss.backward()
    assert keys.grad is None
    torch.testing.assert_close(
        queries.grad, torch.autograd.grad(reference, queries)[0], atol=1e-12, rtol=1e-8
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_large_activations_stay_finite(dtype) -> None:
    queries = (torch.randn(6, 16) * 1e4).to(dtype).requires_grad_()
    keys = (torch.randn(6, 16) * 1e4).to(dtype)
    loss = info_nce(queries, keys, 0.2)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert queries.grad.isfinite().all()


def test_the_whole_loss_view_by_view() -> None:
    torch.manual_seed(0)
    model = small_moco().double()  # batch norm of four samples magnifies what fp32 rounds
    torch.nn.init.normal_(model.momentum_backbone.norm.weight)  # no longer what it follows
    views = [torch.randn(4, 3, 32, 32).double() for _ in range(2)]
    losses = model(views, mode='loss')
    queries, keys = [], []
    for view in views:
        queries.append(model.predictor(model.projector(model.backbone(view)[0][:, 0])))
        keys.append(model.momentum_projector(model.momentum_backbone(view)[0][:, 0]))
    expected = reference_nce(queries[0], keys[1], 0.2) + reference_nce(queries[1], keys[0], 0.2)
    torch.testing.assert_close(losses['loss_contrast'], expected)
    assert_same_gradients(losses['loss_contrast'], expected, model)


def test_heads_have_the_published_layers() -> None:
    head = batch_norm_mlp(3, 192, 4096, 256)
    kinds = [type(module) for module in head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 2 + [nn.Linear, nn.BatchNorm1d]
    linears = [(tuple(m.weight.shape), m.bias) for m in head if isinstance(m, nn.Linear)]
    assert linears == [((4096, 192), None), ((4096, 4096), None), ((256, 4096), None)]
    assert [m.affine for m in head if isinstance(m, nn.BatchNorm1d)] == [True, True, False]


def test_a_random_patch_embedding_on_request() -> None:
    model = small_moco(stop_grad_patch_embed=True)
    loss = model.loss([torch.randn(4, 3, 32, 32), torch.randn(4, 3, 32, 32)])['loss_contrast']
    loss.backward()
    assert model.backbone.patch_embed.proj.weight.grad is None
    assert model.backbone.cls_token.grad is not None


def test_copies_follow_by_the_formula() -> None:
    torch.manual_seed(0)
    model = small_moco()
    state = {n: v.clone() for n, v in model.state_dict().items()}
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter))
    model.update_ema_targets(0.9)
    copies = {n: p for n, p in model.named_parameters() if n.startswith('momentum_')}
    for name, value in copies.items():
        leader = model.get_parameter(name.removeprefix('momentum_'))
        torch.testing.assert_close(value, 0.9 * state[name] + 0.1 * leader)
        assert torch.equal(value, state[name]) == name.endswith('pos_embed')
    assert len(copies) == len([*model.backbone.parameters(), *model.projector.parameters()])
    before = model.momentum_backbone.cls_token.clone()
    model.update_ema_targets(1.0)
    assert torch.equal(model.momentum_backbone.cls_token, before)


def test_copies_start_from_the_initialised_weights() -> None:
    model = small_moco()
    torch.nn.init.normal_(model.backbone.cls_token)  # as loading a checkpoint would
    assert not torch.equal(model.momentum_backbone.cls_token, model.backbone.cls_token)
    model.init_weights()
    assert torch.equal(model.momentum_backbone.cls_token, model.backbone.cls_token)
    assert 'momentum_projector.0.weight' in model.state_dict()


def test_spread_tells_collapse() -> None:
    torch.manual_seed(0)
    assert feature_spread(torch.randn(500, 64)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(500, 64)).item() == pytest.approx(0, abs=1e-5)


def test_wrong_views_and_options_are_refused() -> None:
    for sides in ([32], [32, 16]):
        with pytest.raises(ValueError, match='two views of one size'):
            small_moco().loss([torch.zeros(2, 3, side, side) for side in sides])
    with pytest.raises(ValueError, match='temperature=0 must be positive'):
        small_moco(temperature=0)
