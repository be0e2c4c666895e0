"""Distillation of scores against DeiT's definitions."""

import copy
import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from lightvit_dense.checkpoints import CheckpointError
from lightvit_dense.models import get_layer_id
from lightvit_dense.models.classification.logit_distiller import distillation_loss
from lightvit_dense.registry import MODELS
from tests.helpers.models import MEAN, STD, classifier, init_from, labelled, vit

TEACHER = dict(type='lightvit_dense.TimmClassifier', name='resnet18', num_classes=5)


def build(teacher=None, backbone=None, head=None, **options: object):
    teacher = teacher if teacher and 'type' in teacher else TEACHER | (teacher or {})
    return classifier(
        dict(final_norm=False) | (backbone or {}),
        head=head or {},
        data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', mean=MEAN, std=STD),
        distiller=dict(type='lightvit_dense.LogitDistiller', teacher=teacher) | options,
    )


def explicit(student, teacher, kind, tau):
    """The two losses, number by number."""
    total, tau = 0.0, 1.0 if kind == 'hard' else tau
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        p = [math.exp(x / tau) for x in theirs]
        q = [math.exp(x / tau) for x in ours]
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        if kind == 'hard':
            total -= math.log(q[p.index(max(p))])
        else:
            total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    if kind == 'hard':
        return total / len(student)
    return total * tau**2 / student.numel()


@pytest.mark.parametrize(('kind', 'tau'), [('hard', 1.0), ('soft', 1.0), ('soft', 3.0)])
def test_losses_number_by_number(kind: str, tau: float) -> None:
    student = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(4, 7, dtype=torch.float64)
    loss = distillation_loss(student, teacher, kind, tau)
    assert loss.item() == pytest.approx(explicit(student, teacher, kind, tau), rel=1e-10)
    loss.backward()
    if kind == 'hard':
        target = F.one_hot(teacher.argmax(-1), 7)
        expected = (student.softmax(-1) - target) / 4
    else:  # the gradient of the divergence is the difference of the distributions
        expected = ((student / tau).softmax(-1) - (teacher / tau).softmax(-1)) * tau / 28
    torch.testing.assert_close(student.grad, expected.detach())


@pytest.mark.parametrize('kind', ['hard', 'soft'])
def test_the_class_token_learns_from_the_teacher(kind: str) -> None:
    model = build(kind=kind, alpha=0.3, tau=2.0).train()
    images = torch.randn(4, 3, 32, 32)
    losses = model(images, labelled(range(4)), mode='loss')
    tokens, teacher = model.backbone(images)[-1], model.distiller.teacher
    own = model.head(tokens)
    normed = F.layer_norm(tokens[:, 0], (16,), eps=1e-6)
    second = model.distiller.head_dist(normed)
    theirs = teacher.model(images)  # resnet18 wants the student's normalisation
    plain = F.cross_entropy(own, torch.tensor([0, 1, 2, 3]))
    assert losses['loss_class'].item() == pytest.approx(0.7 * plain.item(), rel=1e-5)
    wanted = 0.3 * explicit(second.double(), theirs.double(), kind, 2.0)
    assert losses['loss_distill'].item() == pytest.approx(wanted, rel=1e-4)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    # At test it is the mean of both heads.
    model.eval()
    torch.testing.assert_close(model(images), (own + second) / 2)
    found = model(images, labelled(range(4)), mode='predict')
    torch.testing.assert_close(found[1].pred_score, ((own + second) / 2)[1].softmax(-1))


def test_without_a_token_the_scores_themselves_learn() -> None:
    model = build(token=None, backbone=dict(cls_token=False), kind='soft')
    images = torch.randn(4, 3, 32, 32)
    own = model.head(model.backbone(images)[-1])
    losses = model(images, labelled(range(4)), mode='loss')
    wanted = distillation_loss(own, model.distiller.teacher_logits(images), 'soft')
    torch.testing.assert_close(losses['loss_distill'], 0.5 * wanted)
    assert not list(model.distiller.parameters())
    torch.testing.assert_close(model(images), own)


def test_the_teacher_stays_outside_and_unchanged() -> None:
    model = build().train()
    teacher = model.distiller.teacher
    names = [name for name in model.state_dict() if name.startswith('distiller')]
    kinds = ('dist_norm.weight', 'dist_norm.bias', 'head_dist.weight', 'head_dist.bias')
    assert names == [f'distiller.{kind}' for kind in kinds]
    assert [get_layer_id(name, 2) for name in names] == [3] * 4
    assert not any(module.training for module in teacher.modules())
    before = copy.deepcopy(teacher.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sum(model(torch.randn(4, 3, 32, 32), labelled(range(4)), mode='loss').values()).backward()
    optimizer.step()
    for name, value in teacher.state_dict().items():  # BatchNorm's statistics among them
        assert torch.equal(value, before[name])
    assert not any(p.requires_grad for p in teacher.parameters())
    model.double()
    assert next(teacher.parameters()).dtype == torch.float64


def test_the_teacher_sees_the_same_pictures_its_own_way() -> None:
    # timm's MobileViT wants pixels between 0 and 1.
    model = build(dict(name='mobilevit_xxs', img_size=64))
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (MEAN, STD))
    seen = []
    model.distiller.teacher.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    model.distiller.teacher_logits((pixels - mean) / std)
    expected = F.interpolate(pixels / 255, (64, 64), mode='bicubic', antialias=True)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-4)
    # Where timm fixes the size of a network's images, it is kept.
    fixed = build(dict(name='deit_tiny_patch16_224'))
    assert fixed.distiller.teacher_logits(torch.randn(1, 3, 32, 32)).shape == (1, 5)


def test_a_classifier_of_ours_teaches(tmp_path: Path) -> None:
    half = dict(mean=[127.5] * 3, std=[127.5] * 3)
    ours = dict(
        type='lightvit_dense.ImageClassifier',
        backbone=vit(16, 2, 2),
        head=dict(num_classes=5),
        data_preprocessor=dict(type='lightvit_dense.ImagePreprocessor', **half),
    )
    model = build(ours)
    inputs = torch.randn(2, 3, 32, 32)
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (MEAN, STD))
    wanted = model.distiller.teacher((inputs * std + mean) / 127.5 - 1)
    torch.testing.assert_close(model.distiller.teacher_logits(inputs), wanted, rtol=1e-4, atol=1e-4)
    # Its weights come through the door of all checkpoints.
    torch.manual_seed(9)
    trained = MODELS.build(ours)
    torch.save({'state_dict': trained.state_dict(), 'meta': {}}, tmp_path / 'ours.pth')
    model = build(dict(ours, init_cfg=init_from(tmp_path / 'ours.pth', 'PretrainedClassifier')))
    model.init_weights()
    for key, value in model.distiller.teacher.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key])


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    network = timm.create_model('resnet18', num_classes=5)
    save_file(network.state_dict(), tmp_path / 'teacher.safetensors')
    torch.save({'model': network.state_dict()}, tmp_path / 'teacher.pth')
    for name in ('teacher.safetensors', 'teacher.pth'):
        model = build(dict(checkpoint=str(tmp_path / name)))
        model.init_weights()
        for key, value in model.distiller.teacher.model.state_dict().items():
            assert torch.equal(value, network.state_dict()[key])
    other = build(dict(name='resnet26', checkpoint=str(tmp_path / 'teacher.pth')))
    with pytest.raises(CheckpointError, match='does not fit resnet26 with 5 classes'):
        other.init_weights()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(kind='warm'), "kind is 'hard' or 'soft'"),
        (dict(token='dist'), "token is 'cls' or None"),
        (dict(alpha=1.5), r'alpha must lie in \[0, 1\]'),
        (dict(tau=0.0), 'tau above 0'),
        (dict(head=dict(num_classes=6)), 'the teacher has 5 classes, the head 6'),
        (dict(backbone=dict(cls_token=False)), r'cls_token=True.*set token=None'),
        (dict(head=dict(pool='cls')), 'read the same token'),
        (dict(teacher=dict(name='resnet19')), 'timm knows no model'),
        (dict(teacher=dict(checkpoint='a.pth', pretrained=True)), 'not both'),
        (dict(teacher_input=dict(mean=None)), 'give both mean and std'),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)
