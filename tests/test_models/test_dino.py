"""DINO against a straight-line reference: values, gradients, centre, views of two sizes."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lightvit_dense.models import DINO
from lightvit_dense.models.pretraining.projection import DINOHead
from lightvit_dense.models.pretraining.self_distillation import DINOLoss
from tests.helpers.models import assert_same_gradients, vit

HEAD = dict(out_channels=20, hidden=24, bottleneck=12)
UNEQUAL = [(2, 3, 32, 32), (2, 3, 16, 16)]


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
def test_loss_and_gradients_equal_the_reference(batch, views, seen, tau, tau_teacher) -> None:
    torch.manual_seed(views)
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


def test_centre_moves_in_training_only() -> None:
    loss_fn = DINOLoss(7).eval()
    loss_fn(*[[torch.randn(4, 7), torch.randn(4, 7)]] * 2)
    assert not loss_fn.center.any()
    assert 'criterion.center' in small_dino().state_dict()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_large_activations_stay_finite(dtype) -> None:
    student = [(torch.randn(3, 9) * 1e4).to(dtype).requires_grad_() for _ in range(3)]
    loss_fn = DINOLoss(9)
    loss = loss_fn(student, [(torch.randn(3, 9) * 1e4).to(dtype) for _ in range(2)])
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert loss_fn.center.isfinite().all()
    assert all(view.grad.isfinite().all() for view in student)


def test_the_head_step_by_step_with_torchs_weight_norm() -> None:
    torch.manual_seed(0)
    head = DINOHead(8, **HEAD, norm_last_layer=False)
    last = head.last_layer
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(12, 20, bias=False))
    torch.nn.init.uniform_(last.weight_g, 0.5, 2)
    scale, direction = theirs.parametrizations.weight.parameters()
    scale.data.copy_(last.weight_g)
    direction.data.copy_(last.weight_v)
    x = torch.randn(5, 8)
    linears = [m for m in head.mlp if isinstance(m, torch.nn.Linear)]
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


def test_the_whole_loss_view_by_view() -> None:
    torch.manual_seed(0)
    model = small_dino()
    torch.nn.init.normal_(model.momentum_backbone.norm.weight)  # no longer what it follows
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
    assert_same_gradients(loss, expected, model, atol=1e-5, rtol=1e-3)


def test_the_backbone_runs_once_a_size() -> None:
    model, sizes = small_dino(), []
    model.backbone.patch_embed.register_forward_hook(lambda m, i, o: sizes.append(i[0].shape[-1]))
    model.loss(six_views())
    assert sizes == [32, 16, 24]


def test_the_teacher_drops_no_path_and_starts_equal() -> None:
    model = small_dino(drop_path_rate=0.5)
    assert model.backbone.blocks[1].drop_path.drop_prob == 0.5
    assert isinstance(model.momentum_backbone.blocks[1].drop_path, torch.nn.Identity)
    assert model.momentum_backbone.training
    for copy, module in model.ema_pairs():
        for name, value in module.state_dict().items():
            assert torch.equal(copy.state_dict()[name], value)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: small_dino().loss([torch.zeros(2, 3, 32, 32)]), 'at least two views'),
        (lambda: small_dino().loss([*map(torch.zeros, UNEQUAL)]), 'the first 2 of one size'),
        (lambda: small_dino(num_global_views=0), 'num_global_views=0'),
        (lambda: small_dino(student_temperature=0.0), 'positive temperatures'),
        (lambda: DINOLoss(3)([torch.zeros(1, 3)], [torch.zeros(1, 3)]), '1 views of the student'),
    ],
)
def test_what_is_wrong_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
