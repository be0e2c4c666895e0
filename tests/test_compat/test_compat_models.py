"""The downstream models that stand on the cures, built from the libraries' own parts."""

import mmdet.models  # noqa: F401
import mmseg.models  # noqa: F401
import pytest
import torch
from mmdet.registry import MODELS as DETECTION
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope, init_default_scope
from mmseg.registry import MODELS as SEGMENTATION

BACKBONE = {
    'depth': 18,
    'base_channels': 8,
    'num_stages': 4,
    'out_indices': (0, 1, 2, 3),
    'norm_cfg': {'type': 'BN'},
}


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    """Leave mmengine's default scope as it was."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / 'detector.py'
    path.write_text("_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'\n")
    model = Config.fromfile(path).model
    model.backbone = {'type': 'ResNet', 'style': 'pytorch', **BACKBONE}
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    model.rpn_head.update(in_channels=16, feat_channels=16)
    roi = model.roi_head
    roi.bbox_roi_extractor.out_channels = roi.mask_roi_extractor.out_channels = 16
    roi.bbox_head.update(in_channels=16, num_classes=3, fc_out_channels=32)
    roi.mask_head.update(in_channels=16, num_classes=3, conv_out_channels=16)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return DETECTION.build(model)


def batch(detector, training):
    shapes = [(3, 64, 64), (3, 96, 64)]
    data = demo_mm_inputs(2, shapes, num_items=[3, 2], num_classes=3, with_mask=True)
    return detector.data_preprocessor(data, training)


def test_mask_rcnn_trains(detector):
    detector.train()
    losses = detector(**batch(detector, True), mode='loss')
    expected = {'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox', 'loss_mask'}
    assert expected <= set(losses)
    total, values = detector.parse_losses(losses)
    assert torch.isfinite(total)
    assert values['loss_mask'] > 0
    total.backward()
    gradients = {name: p.grad for name, p in detector.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None] == []
    assert all(grad.isfinite().all() for grad in gradients.values())


def test_the_mask_loss_reaches_the_first_layer(detector):
    # The two are joined by nothing but RoIAlign.
    detector.train()
    losses = detector(**batch(detector, True), mode='loss')
    losses['loss_mask'].sum().backward()
    assert detector.backbone.conv1.weight.grad.abs().sum() > 0


def test_mask_rcnn_predicts(detector):
    detector.eval()
    with torch.no_grad():
        found = detector(**batch(detector, False), mode='predict')
    assert len(found) == 2
    for sample in found:
        instances = sample.pred_instances
        assert 0 < len(instances) <= 100
        assert instances.masks.shape == (len(instances), *sample.ori_shape[:2])
        assert (instances.scores.diff() <= 0).all()
        # No two of a class overlap by more than the suppression allows.
        for label in instances.labels.unique():
            boxes = instances.bboxes[instances.labels == label]
            overlaps = pairwise_iou(boxes).fill_diagonal_(0)
            assert overlaps.max() <= 0.5 + 1e-4


def pairwise_iou(boxes):
    low = torch.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clamp(min=0).prod(dim=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)
    return common / (areas[:, None] + areas[None] - common).clamp(min=1e-9)


def test_upernet_runs_and_trains():
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = SEGMENTATION.build(
        ConfigDict(
            type='EncoderDecoder',
            backbone={'type': 'ResNetV1c', **BACKBONE},
            decode_head={
                'type': 'UPerHead',
                'in_channels': [8, 16, 32, 64],
                'in_index': [0, 1, 2, 3],
                'channels': 16,
                'num_classes': 4,
                'norm_cfg': {'type': 'BN'},
                'align_corners': False,
                'loss_decode': {'type': 'CrossEntropyLoss', 'avg_non_ignore': True},
            },
            train_cfg={},
            test_cfg={'mode': 'whole'},
        )
    )
    logits = model(torch.rand(2, 3, 64, 96))
    assert logits.shape == (2, 4, 16, 24)
    logits.square().mean().backward()
    assert model.backbone.layer1[0].conv1.weight.grad.abs().sum() > 0
