"""The image classifier, its linear probe, and what prepares images."""

import copy

import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement
from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

from lightvit_dense.models import ImagePreprocessor
from tests.helpers.models import MEAN, STD, classifier, labelled, silent


def build(backbone=None, preprocessor=None, **head):
    prepare = dict(type='lightvit_dense.ClassificationPreprocessor', mean=MEAN, std=STD)
    prepare |= dict(num_classes=5) | (preprocessor or {})
    backbone = dict(final_norm=False) | (backbone or {})
    return classifier(backbone, head=head, data_preprocessor=prepare)


def make_batch(labels=(0, 3, 4, 1), side=32):
    torch.manual_seed(1)
    images = torch.randint(0, 256, (len(labels), 3, side, side), dtype=torch.uint8)
    return dict(inputs=images, data_samples=labelled(labels))


def normalised(images):
    mean, std = (torch.tensor(v).float().reshape(3, 1, 1) for v in (MEAN, STD))
    return (images.float() - mean) / std


def test_scores_are_those_of_the_parts():
    model = build().eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = model.backbone(images)[0]
    vector = tokens[:, 1:].sum(1) / 16
    norm, fc = model.head.fc_norm, model.head.fc
    normed = torch.nn.functional.layer_norm(vector, (16,), norm.weight, norm.bias, 1e-6)
    torch.testing.assert_close(model(images), normed @ fc.weight.T + fc.bias)
    cls = build(dict(final_norm=True), pool='cls', norm=False).eval()
    token = cls.backbone(images)[0][:, 0]
    torch.testing.assert_close(cls(images), cls.head.fc(token))
    featmap = build(dict(cls_token=False, out_type='featmap')).eval()
    vector = featmap.backbone(images)[0].mean((2, 3))
    torch.testing.assert_close(featmap(images), featmap.head.fc(featmap.head.fc_norm(vector)))


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
@pytest.mark.parametrize('shape', [(4, 5), (7, 3)])
def test_the_loss_is_timms_with_its_gradient(smoothing, shape):
    batch, classes = shape
    head = build(label_smoothing=smoothing).head
    labels = torch.randint(classes, (batch,))
    for targets, oracle in (
        (labels, LabelSmoothingCrossEntropy(smoothing)),
        (mixup_target(labels, classes, 0.3), SoftTargetCrossEntropy()),
    ):
        ours = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        theirs = ours.detach().clone().requires_grad_()
        smoothed = targets
        if targets.is_floating_point():  # timm smooths when it mixes
            smoothed = mixup_target(labels, classes, 0.3, smoothing)
        loss, expected = head.loss(ours, targets), oracle(theirs, smoothed)
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)
        loss.backward()
        expected.backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)


def test_the_loss_is_computed_in_full_precision():
    head = build().head
    logits = torch.tensor([[300.0, -300.0, 0.0, 0.0, 0.0]]).half()
    with torch.autocast('cpu', torch.bfloat16):
        loss = head.loss(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert loss.item() == 600


@pytest.mark.parametrize(
    ('backbone', 'head'),
    [
        ({}, {}),
        (dict(final_norm=True), dict(pool='cls', norm=False)),
        (dict(final_norm=True), dict(pool='cls', norm=False, batch_norm=True)),
    ],
)
def test_every_parameter_learns(backbone, head):
    model = build(backbone, dict(mixup=0.8, cutmix=1.0, erasing=0.25), **head).train()
    batch = model.data_preprocessor(make_batch(), True)
    model(**batch, mode='loss')['loss_class'].backward()
    assert silent(model) == []


@pytest.mark.parametrize(('mixup', 'cutmix'), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_mixing_is_timms(mixup, cutmix):
    for seed in range(4):
        model = build({}, dict(mixup=mixup, cutmix=cutmix))
        batch = make_batch()
        mix = Mixup(mixup, cutmix, label_smoothing=0.0, num_classes=5)
        np.random.seed(seed)
        images, targets = mix(normalised(batch['inputs']), torch.tensor([0, 3, 4, 1]))
        np.random.seed(seed)
        out = model.data_preprocessor(batch, True)
        torch.testing.assert_close(out['inputs'], images)
        torch.testing.assert_close(out['targets'], targets)
        loss = model(**out, mode='loss')['loss_class']
        logits = model(out['inputs'])
        torch.testing.assert_close(loss, SoftTargetCrossEntropy()(logits, targets))


def test_erasing_leaves_noise_in_rectangles_and_only_in_training():
    model = build({}, dict(erasing=1.0))
    batch = make_batch()
    plain = normalised(batch['inputs'])
    torch.testing.assert_close(model.data_preprocessor(batch, False)['inputs'], plain)
    out = model.data_preprocessor(batch, True)
    assert 'targets' not in out
    changed = (out['inputs'] != plain).all(1)
    share = changed.flatten(1).float().mean(1)
    assert ((share > 0.015) & (share < 0.36)).all()
    for mask in changed:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns


def test_predictions():
    model = build().eval()
    batch = model.data_preprocessor(make_batch(), False)
    with torch.no_grad():
        samples = model(**batch, mode='predict')
        scores = model(batch['inputs']).softmax(-1)
    assert [sample.gt_label for sample in samples] == [0, 3, 4, 1]
    for sample, score in zip(samples, scores, strict=True):
        torch.testing.assert_close(sample.pred_score, score)
        assert sample.pred_label == score.argmax()
    assert len(model(batch['inputs'], mode='predict')) == 4


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: build(pool='max'), 'pool must be one of'),
        (lambda: build(num_classes=1), 'num_classes must be at least 2'),
        (lambda: build(label_smoothing=1.0), r'must lie in \[0, 1\)'),
        (lambda: build(dict(cls_token=False), pool='cls'), 'cls_token=True'),
        (lambda: build({}, dict(num_classes=6)), r'num_classes=6 and head\.num_classes=5'),
        (lambda: build({}, dict(mixup=-1.0)), 'must not be negative'),
        (lambda: build({}, dict(erasing=1.5)), r'erasing must lie in \[0, 1\]'),
        (lambda: build()(torch.zeros(2, 3, 32, 32), mode='train'), "mode is 'loss'"),
        (lambda: build()(torch.zeros(2, 3, 32, 32), mode='loss'), 'needs samples with gt_label'),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize('preprocessor', [{}, dict(mixup=0.8)])
def test_labels_that_do_not_fit(preprocessor):
    model = build({}, preprocessor)
    for labels in ((0, 5), (-1, 0)):
        with pytest.raises(ValueError, match=r'the head has 5 classes \(0\.\.4\)'):
            model(**model.data_preprocessor(make_batch(labels), True), mode='loss')


def test_an_odd_batch_cannot_be_mixed():
    model = build({}, dict(cutmix=1.0))
    with pytest.raises(ValueError, match='got 3: set an even batch_size and drop_last=True'):
        model.data_preprocessor(make_batch((0, 1, 2)), True)


def build_probe(**head: object) -> torch.nn.Module:
    head = dict(pool='cls', norm=False, batch_norm=True, init_std=0.01) | head
    return classifier(dict(drop_path_rate=0.5), head=head, freeze_backbone=True)


@pytest.mark.parametrize('pool', ['cls', 'mean'])
def test_features_are_standardised_before_the_linear_layer(pool: str) -> None:
    model = build_probe(pool=pool).train()
    images = torch.randn(6, 3, 32, 32)
    tokens = model.backbone.encode(images).tokens
    x = tokens[:, 0] if pool == 'cls' else tokens[:, 1:].sum(1) / 16
    standard = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
    expected = standard @ model.head.fc.weight.T + model.head.fc.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    # Running statistics after one batch: 0.9 of the initial ones and 0.1 of the batch's.
    torch.testing.assert_close(model.head.bn.running_mean, 0.1 * x.mean(0))
    torch.testing.assert_close(model.head.bn.running_var, 0.9 + 0.1 * x.var(0))
    assert list(model.head.state_dict()) == [
        'bn.running_mean', 'bn.running_var', 'bn.num_batches_tracked', 'fc.weight', 'fc.bias',
    ]  # fmt: skip


def test_only_the_linear_layer_learns() -> None:
    model = build_probe()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ['head.fc.weight', 'head.fc.bias']
    model.train()
    assert model.head.bn.training
    assert not any(module.training for module in model.backbone.modules())
    before = copy.deepcopy(model.backbone.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    images = torch.randn(6, 3, 32, 32)
    # No drop-path, and no graph through the backbone to pay for.
    assert torch.equal(model.extract_feat(images), model.extract_feat(images))
    assert not model.extract_feat(images).requires_grad
    samples = labelled(i % 5 for i in range(6))
    first = model(images, samples, mode='loss')['loss_class']
    first.backward()
    optimizer.step()
    assert model(images, samples, mode='loss')['loss_class'] < first
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_at_the_start_are_the_published_ones() -> None:
    weight = build_probe(num_classes=4000).head.fc.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert weight.abs().max() < 2.0


RGB = dict(mean=MEAN, std=STD)


def images(batch=4, size=(10, 14)):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize('bgr', [False, True])
@pytest.mark.parametrize('form', ['planes', 'channels last', 'list'])
def test_same_as_mmengine_bit_for_bit(form, bgr):
    batch = images()
    mirror = torch.tensor([True, False, False, True])
    mirrored = torch.stack([x.flip(-1) if m else x for x, m in zip(batch, mirror, strict=True)])
    reference = ImgDataPreprocessor(**RGB, bgr_to_rgb=bgr)({'inputs': mirrored})['inputs']
    given = {
        'planes': batch.clone(),
        'channels last': batch.contiguous(memory_format=torch.channels_last),
        'list': list(batch),
    }[form]
    out = ImagePreprocessor(**RGB, bgr_to_rgb=bgr)({'inputs': given, 'flip': mirror})
    assert out['inputs'].equal(reference)
    assert out['inputs'].dtype == torch.float32
    assert out['inputs'].is_contiguous()
    assert set(out) == {'inputs', 'data_samples'}


def test_a_batch_can_be_used_again():
    """Hooks preprocess the batch that the model has trained on."""
    floats = images().float()
    batch = {'inputs': floats.clone(), 'flip': [True] * 4}
    preprocess = ImagePreprocessor(**RGB)
    first = preprocess(batch, True)['inputs']
    assert batch['inputs'].equal(floats)
    assert preprocess(batch, False)['inputs'].equal(first)


def test_samples_are_handed_on():
    samples = [BaseDataElement(metainfo=dict(img_path=str(k))) for k in range(4)]
    preprocess = ImagePreprocessor(**RGB)
    out = preprocess({'inputs': images(), 'data_samples': samples, 'index': torch.arange(4)})
    assert out['data_samples'] is samples
    assert out['index'].tolist() == [0, 1, 2, 3]
    for sample in samples:
        sample.mask = torch.ones(2)
    out = preprocess({'inputs': images(), 'data_samples': samples})
    assert [sample.img_path for sample in out['data_samples']] == ['0', '1', '2', '3']
    assert preprocess({'inputs': images()})['data_samples'] is None


def test_tensors_of_samples_follow_the_device():
    samples = [BaseDataElement(mask=torch.ones(2))]
    preprocess = ImagePreprocessor(**RGB).to('meta')
    out = preprocess({'inputs': images(1), 'data_samples': samples, 'flip': torch.ones(1) > 0})
    assert out['inputs'].device.type == 'meta'
    assert out['data_samples'][0].mask.device.type == 'meta'


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match='three numbers'):
        ImagePreprocessor(mean=[1.0], std=[1.0])
    with pytest.raises(ValueError, match='positive'):
        ImagePreprocessor(mean=[1.0, 2, 3], std=[1.0, 0, 1])
    preprocess = ImagePreprocessor(**RGB)
    with pytest.raises(ValueError, match=r'differ in size.*\(3, 4, 4\), \(3, 4, 5\)'):
        preprocess({'inputs': [torch.zeros(3, 4, 4), torch.zeros(3, 4, 5)]})
    with pytest.raises(ValueError, match=r'\[B, 3, H, W\], got \(2, 1, 4, 4\)'):
        preprocess({'inputs': torch.zeros(2, 1, 4, 4)})
