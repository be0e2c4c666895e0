"""DINO and MoCo-v3 against straight-line references: values, gradients, what must not learn."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvit_dense.models import DINO, MoCoV3
from lightvit_dense.models.pretraining.contrast import info_nce
from lightvit_dense.models.pretraining.projection import DINOHead, batch_norm_mlp
from lightvit_dense.models.pretraining.self_distillation import DINOLoss
from lightvit_dense.models.pretraining.views import feature_spread
from tests.helpers.models import assert_same_gradients, vit

HEAD = dict(out_channels=20, hidden=24, bottleneck=12)


def small_dino(drop_path_rate: float = 0.0, **options: object) -> DINO:
    return DINO(vit(drop_path_rate=drop_path_rate), **(dict(head=HEAD) | options))


def six_views(batch: int = 3) -> list[Tensor]:
    sizes = [32] * 2 + [16] * 3 + [24]
    return [torch.randn(batch, 3, size, size) for size in sizes]


def reference_dino(
    student: list[Tensor], teacher: list[Tensor], center: Tensor, tau: float, tau_teacher: float
) -> Tensor:
    """Compute the loss image by image and pair by pair."""
    total, count = torch.zeros((), dtype=student[0].dtype), 0
    for i, view in enumerate(teacher):
        for j, other in enumerate(student):
            if i == j:
                continue
            for image in range(len(view)):
                target = ((view[image] - center[0]) / tau_teacher).exp()
                target = target / target.sum()
                prob = (other[image] / tau).exp()
                prob = prob / prob.sum()
                total = total - (target * prob.log()).sum()
                count += 1
    return total / count


@pytest.mark.parametrize('batch', [1, 4])
@pytest.mark.parametrize(('views', 'seen'), [(2, 2), (2, 1), (6, 2), (5, 3)])
@pytest.mark.parametrize(('tau', 'tau_teacher'), [(0.1, 0.04), (0.5, 0.07)])
def test_dinos_loss_and_gradients_equal_the_reference(batch, views, seen, tau, tau_teacher) -> None:
    loss_fn = DINOLoss(11, tau, tau_teacher).double()
    loss_fn.center.normal_(std=0.1)
    center = loss_fn.center.clone()

    def logits() -> Tensor:
        return torch.randn(batch, 11, dtype=torch.float64, requires_grad=True)

    student, teacher = [logits() for _ in range(views)], [logits() for _ in range(seen)]
    loss = loss_fn(student, teacher)
    reference = reference_dino(student, [t.detach() for t in teacher], center, tau, tau_teacher)
    torch.testing.assert_close(loss, reference, atol=1e-12, rtol=1e-10)
    loss.backward()
    assert all(view.grad is None for view in teacher)
    for view in student:
        wanted = torch.autograd.grad(reference, view, retain_graph=True, allow_unused=True)[0]
        if wanted is None:  # the teacher's only view meets all views but this one
            assert view.grad is None
        else:
            torch.testing.assert_close(view.grad, wanted, atol=1e-12, rtol=1e-8)


def test_the_head_step_by_step_with_torchs_weight_norm() -> None:
    head = DINOHead(8, **HEAD, norm_last_layer=False)
    last = head.last_layer
    theirs = nn.utils.parametrizations.weight_norm(nn.Linear(12, 20, bias=False))
    nn.init.uniform_(last.weight_g, 0.5, 2)
    scale, direction = theirs.parametrizations.weight.parameters()
    scale.data.copy_(last.weight_g)
    direction.data.copy_(last.weight_v)
    x = torch.randn(5, 8)
    linears = [m for m in head.mlp if isinstance(m, nn.Linear)]
    y = x
    for number, linear in enumerate(linears):
        y = y @ linear.weight.T + linear.bias
        y = F.gelu(y) if number < 2 else y
    found, expected = head(x), theirs(y / y.norm(dim=-1, keepdim=True))
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad(found.square().sum(), [last.weight_g, last.weight_v])
    wanted = torch.autograd.grad(expected.square().sum(), [scale, direction])
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert [tuple(m.weight.shape) for m in linears] == [(24, 8), (24, 24), (12, 24)]
    assert not DINOHead(8, **HEAD).last_layer.weight_g.requires_grad
    with pytest.raises(ValueError, match='layers=0'):
        DINOHead(8, layers=0)
    with pytest.raises(ValueError, match='1 views of the student'):
        DINOLoss(3)([torch.zeros(1, 3)], [torch.zeros(1, 3)])


def test_dinos_whole_loss_view_by_view() -> None:
    model = small_dino()
    nn.init.normal_(model.momentum_backbone.norm.weight)  # no longer what it follows
    model.criterion.center.normal_(std=0.1)
    center = model.criterion.center.clone()
    views = six_views()
    loss = model(views, mode='loss')['loss_dino']
    student = [model.head(model.backbone(x)[0][:, 0]) for x in views]
    teacher = [model.momentum_head(model.momentum_backbone(x)[0][:, 0]) for x in views[:2]]
    expected = reference_dino(student, teacher, center, 0.1, 0.04)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    moved = 0.9 * center + 0.1 * torch.cat(teacher).mean(0, keepdim=True)
    torch.testing.assert_close(model.criterion.center, moved)
    model.eval()(views, mode='loss')  # it moves in training only
    torch.testing.assert_close(model.criterion.center, moved)
    assert_same_gradients(loss, expected, model, atol=1e-5, rtol=1e-3)


def test_the_backbone_runs_once_a_size() -> None:
    model, sizes = small_dino(), []
    model.backbone.patch_embed.register_forward_hook(lambda m, i, o: sizes.append(i[0].shape[-1]))
    model.loss(six_views())
    assert sizes == [32, 16, 24]


def test_the_teacher_drops_no_path_and_starts_equal() -> None:
    model = small_dino(drop_path_rate=0.5)
    assert model.backbone.blocks[1].drop_path.drop_prob == 0.5
    assert isinstance(model.momentum_backbone.blocks[1].drop_path, nn.Identity)
    assert model.momentum_backbone.training
    for copy, module in model.ema_pairs():
        for name, value in module.state_dict().items():
            assert torch.equal(copy.state_dict()[name], value)


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
def test_contrast_and_its_gradients_equal_the_reference(batch, width, temperature) -> None:
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


def test_mocos_whole_loss_view_by_view() -> None:
    model = small_moco().double()  # batch norm of four samples magnifies what fp32 rounds
    nn.init.normal_(model.momentum_backbone.norm.weight)  # no longer what it follows
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
    nn.init.normal_(model.backbone.cls_token)  # as loading a checkpoint would
    assert not torch.equal(model.momentum_backbone.cls_token, model.backbone.cls_token)
    model.init_weights()
    assert torch.equal(model.momentum_backbone.cls_token, model.backbone.cls_token)
    assert 'momentum_projector.0.weight' in model.state_dict()


def test_spread_tells_collapse() -> None:
    assert feature_spread(torch.randn(500, 64)).item() == pytest.approx(1, abs=0.02)
    assert feature_spread(torch.ones(500, 64)).item() == pytest.approx(0, abs=1e-5)
