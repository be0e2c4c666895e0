"""SEED against a straight-line reference: loss, gradients, queue, teacher; and timm's networks."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from lightvit_dense.checkpoints import CheckpointError, load_backbone, save_backbone
from lightvit_dense.models import SEED, EmbeddingTeacher, ImageClassifier, TimmBackbone
from tests.helpers.models import init_from

CNN = 'lightvit_dense.TimmBackbone'
STUDENT = dict(type=CNN, name='test_efficientnet')
RESNET = dict(type=CNN, name='test_resnet')
TEACHER = dict(
    type='lightvit_dense.EmbeddingTeacher', backbone=RESNET, head='mocov2', out_channels=6
)


def small_seed(**options: Any) -> SEED:
    torch.manual_seed(0)
    return SEED(STUDENT, TEACHER, **(dict(queue_size=10, hidden=12) | options))


def images(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def reference(z: Tensor, teacher: Tensor, queue: Tensor, tau_s: float, tau_t: float) -> Tensor:
    """Compute SEED's loss image by image."""
    total = torch.zeros((), dtype=z.dtype)
    for z_s, z_t in zip(z, teacher, strict=True):
        s, t = z_s / z_s.norm(), z_t / z_t.norm()
        others = [t, *queue]  # the teacher's own feature of the image comes first
        p_s = torch.stack([(s @ other / tau_s).exp() for other in others])
        p_t = torch.stack([(t @ other / tau_t).exp() for other in others])
        total = total - (p_t / p_t.sum() * (p_s / p_s.sum()).log()).sum()
    return total / len(z)


@pytest.mark.parametrize('tau_t', [0.01, 0.2])
def test_loss_gradients_and_queue_equal_the_reference(tau_t) -> None:
    model = small_seed(teacher_temperature=tau_t).double().train()
    teacher = model.guide.teacher
    queue, position = model.queue.clone(), 0
    for step in range(4):  # ten places, four images a step: the queue wraps
        batch = images(seed=step).double()
        model.zero_grad()
        # batch statistics move in training: the reference runs on a copy
        twin = copy.deepcopy(model)
        loss = model(batch, mode='loss')['loss_similarity']
        loss.backward()
        z_s = twin.projector(twin.backbone(batch)[-1].mean((2, 3)))
        with torch.no_grad():
            z_t = teacher.head(teacher.backbone(batch)[-1].mean((2, 3)))
        expected = reference(z_s, z_t, queue, 0.2, tau_t)
        torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-10)
        expected.backward()
        for (name, one), other in zip(model.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=1e-8, msg=name)
        for row in z_t:
            queue[position % 10] = row / row.norm()
            position += 1
        torch.testing.assert_close(model.queue, queue)
        assert int(model.position) == position % 10
    model.eval()(batch, mode='loss')
    torch.testing.assert_close(model.queue, queue)


def test_teacher_is_frozen_in_evaluation_and_never_saved() -> None:
    model = small_seed().train()
    before = {n: v.clone() for n, v in model.guide.teacher.state_dict().items()}
    model(images(), mode='loss')['loss_similarity'].backward()
    assert not model.guide.teacher.training
    assert not model.guide.teacher.backbone.bn1.training
    for name, value in model.guide.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.guide.teacher.parameters())
    assert all(p.grad is not None for p in model.parameters())
    kinds = {name.partition('.')[0] for name in model.state_dict()}
    assert kinds == {'backbone', 'projector', 'queue', 'position'}


def research_file(path: Path, method: str, teacher: EmbeddingTeacher) -> Path:
    """Save a teacher as MoCo-v2's or SwAV's code does, with what else is in their files."""
    start, head = 'module.encoder_q.', 'fc.'
    if method == 'swav':
        start, head = 'module.', 'projection_head.'
    state = {f'{start}{n}': t for n, t in teacher.backbone.state_dict().items()}
    state |= {f'{start}{head}{n}': t for n, t in teacher.head.state_dict().items()}
    if method == 'swav':
        torch.save(state | {'module.prototypes.weight': torch.randn(30, 6)}, path)
    else:
        state |= {n.replace('_q', '_k'): torch.zeros_like(t) for n, t in state.items()}
        state |= {'module.queue': torch.randn(6, 8), 'module.queue_ptr': torch.zeros(1).long()}
        torch.save({'epoch': 800, 'arch': 'resnet50', 'state_dict': state}, path)
    return path


@pytest.mark.parametrize('method', ['mocov2', 'swav'])
def test_teachers_are_read_from_the_authors_files(tmp_path, method) -> None:
    source = EmbeddingTeacher(RESNET, method, out_channels=6).eval()
    path = research_file(tmp_path / 'teacher.pth.tar', method, source)
    torch.manual_seed(2)
    loaded = EmbeddingTeacher(RESNET, method, out_channels=6, checkpoint=str(path)).eval()
    loaded.init_weights()
    batch = images()
    assert torch.equal(loaded(batch), source(batch))
    kinds = [type(layer) for layer in loaded.head]
    norm = [nn.BatchNorm1d] if method == 'swav' else []
    assert kinds == [nn.Linear, *norm, nn.ReLU, nn.Linear]


def test_a_teachers_file_of_another_kind_is_refused(tmp_path) -> None:
    source = EmbeddingTeacher(RESNET, 'mocov2', out_channels=6)
    path = research_file(tmp_path / 'teacher.pth.tar', 'mocov2', source)
    for options, message in (
        (dict(head='swav'), r'lacks projection_head\.0\.weight'),
        (dict(head='mocov2', hidden=5), 'size mismatch'),
    ):
        teacher = EmbeddingTeacher(RESNET, **options, out_channels=6, checkpoint=str(path))
        with pytest.raises(CheckpointError, match=message):
            teacher.init_weights()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match='must be positive, got 0'):
        small_seed(student_temperature=0)
    with pytest.raises(ValueError, match=r"head is one of .*'simclr'"):
        EmbeddingTeacher(RESNET, 'simclr')
    with pytest.raises(ValueError, match="head='swav' would stay random"):
        EmbeddingTeacher(RESNET | dict(init_cfg=init_from('resnet.pth')), 'swav')
    for name in ('test_vit', 'mobilenetv3_small_050', 'no_such_network'):
        message = 'timm knows no model' if name.startswith('no_') else 'takes convolutional'
        with pytest.raises(ValueError, match=message):
            TimmBackbone(name)
    with pytest.raises(ValueError, match='12 images a step do not fit into queue_size=10'):
        small_seed().train()(images(12), mode='loss')


def test_a_network_of_timm_keeps_its_names_and_values() -> None:
    oracle = timm.create_model('efficientnet_b0', num_classes=0).eval()
    backbone = TimmBackbone('efficientnet_b0').eval()
    assert list(backbone.state_dict()) == list(oracle.state_dict())
    backbone.load_state_dict(oracle.state_dict())
    batch = images(2)
    assert torch.equal(backbone(batch)[-1], oracle.forward_features(batch))
    copied, pickled = copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))
    with torch.no_grad():
        backbone.conv_stem.weight.zero_()
    for other in (copied, pickled):
        assert torch.equal(other(batch)[-1], oracle.forward_features(batch))
    assert not torch.equal(backbone(batch)[-1], oracle.forward_features(batch))


def test_layers_start_as_seeds_code_leaves_them() -> None:
    """Torch's default: uniform up to the inverse root of the inputs, biases too."""
    backbone = TimmBackbone('efficientnet_b0', torch_init=True)
    for name, inputs in (('conv_head', 320), ('blocks.6.0.conv_dw', 9), ('conv_stem', 27)):
        weight, bound = backbone.get_submodule(name).weight.flatten(), inputs**-0.5
        assert 0.95 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert backbone.get_submodule('blocks.6.0.se.conv_reduce').bias.abs().min() > 0
    assert torch.equal(backbone.bn2.weight, torch.ones(1280))


def test_layers_may_be_replaced_and_moved() -> None:
    backbone = TimmBackbone('test_efficientnet')
    nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    assert type(backbone._network[0].bn1) is nn.SyncBatchNorm
    assert backbone.double().eval()(images(1).double())[-1].dtype == torch.float64
    assert not backbone._network[0].training


def test_an_exported_student_loads_into_the_classifier_and_into_timm(tmp_path) -> None:
    model = small_seed().train()
    model(images(8), mode='loss')  # moves the batch statistics
    path = tmp_path / 'backbone.safetensors'
    save_backbone(model.backbone, path, {})
    student = STUDENT | dict(init_cfg=init_from(path))
    classifier = ImageClassifier(student, dict(num_classes=5, norm=False)).eval()
    classifier.init_weights()
    model.eval()
    batch = images(2)
    features = model.backbone(batch)[-1]
    assert torch.equal(classifier.extract_feat(batch), features)
    torch.testing.assert_close(classifier(batch), classifier.head.fc(features.mean((2, 3))))
    outside = timm.create_model('test_efficientnet', num_classes=0, checkpoint_path=str(path))
    torch.testing.assert_close(outside.eval()(batch), features.mean((2, 3)))


@pytest.mark.parametrize('start', ['', 'backbone.', 'module.backbone.'])
def test_files_of_runs_and_of_timm_load_and_others_are_refused(start) -> None:
    source = timm.create_model('test_resnet')
    state = {f'{start}{n}': t for n, t in source.state_dict().items()} | {'queue': torch.ones(3)}
    target = TimmBackbone('test_resnet')
    report = load_backbone(target, state, strict=True, verbose=False)
    assert report.source == 'the same network'
    assert set(report.dropped) == {f'{start}fc.weight', f'{start}fc.bias', 'queue'}
    for name, value in target.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name
    with pytest.raises(CheckpointError, match=r'none of its .* tensors fits|is a ResNet'):
        load_backbone(TimmBackbone('test_efficientnet'), state)
