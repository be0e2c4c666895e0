"""Anchors are matched with boxes as by detectron2's matcher, written out here."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from lightvit_dense.apis.configs import load_config, prepare_scope
from lightvit_dense.models.detectors.sampling import MaxIoUAssigner
from lightvit_dense.registry import TASK_UTILS

SIDE = 640


@pytest.fixture(scope='module')
def model() -> Config:
    cfg = load_config('configs/coco/maskrcnn_dmae_tiny.py')
    prepare_scope(cfg)
    return cfg.model


@pytest.fixture(scope='module')
def anchors(model) -> torch.Tensor:
    generator = TASK_UTILS.build(model.rpn_head.anchor_generator)
    maps = [(SIDE // stride,) * 2 for stride in (4, 8, 16, 32, 64)]
    return torch.cat(generator.grid_priors(maps, device='cpu'))


def reference_anchors() -> torch.Tensor:
    """Areas of 32^2 to 512^2, three shapes, their centres at multiples of the stride."""
    found = []
    for size, stride in zip((32, 64, 128, 256, 512), (4, 8, 16, 32, 64), strict=True):
        for y in range(0, SIDE, stride):
            for x in range(0, SIDE, stride):
                for ratio in (0.5, 1.0, 2.0):
                    width = math.sqrt(size**2 / ratio)
                    height = ratio * width
                    found.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return torch.tensor(found)


def reference_match(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Return 1 + the box of every positive anchor, 0 for background, -1 for neither."""
    left_top = torch.maximum(boxes[:, None, :2], anchors[:, :2])
    sides = (torch.minimum(boxes[:, None, 2:], anchors[:, 2:]) - left_top).clamp(min=0)
    common = sides[..., 0] * sides[..., 1]
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    theirs = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    iou = common / (own[:, None] + theirs - common)
    value, box = iou.max(0)
    label = torch.where(value < 0.3, 0, torch.where(value < 0.7, -1, 1))
    label[(iou == iou.amax(1, keepdim=True)).any(0)] = 1
    return torch.where(label == 1, box + 1, label)


def match(model: Config, boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    assigner = TASK_UTILS.build(model.train_cfg.rpn.assigner)
    assert type(assigner) is MaxIoUAssigner
    labels = torch.arange(len(boxes)) + 10
    result = assigner.assign(
        InstanceData(priors=anchors), InstanceData(bboxes=boxes, labels=labels)
    )
    positive = result.gt_inds > 0
    assert torch.equal(result.labels[positive], labels[result.gt_inds[positive] - 1])
    return result.gt_inds


def test_anchors(anchors: torch.Tensor) -> None:
    torch.testing.assert_close(anchors, reference_anchors(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(('side', 'positive'), [(8, 36), (12, 24), (16, 14)])
def test_tiny_boxes_have_anchors(model, anchors, side: int, positive: int) -> None:
    box = torch.tensor([[101.0, 203.0, 101.0 + side, 203.0 + side]])
    found = match(model, box, anchors)
    assert torch.equal(found, reference_match(box, anchors))
    assert int((found == 1).sum()) == positive


@pytest.mark.parametrize('seed', range(3))
def test_crowds_of_tiny_boxes(model, anchors, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(100, 160, (12, 2), generator=generator)
    side = torch.randint(3, 60, (12, 2), generator=generator)
    boxes = torch.cat([corner, corner + side], 1).float()
    expected = reference_match(boxes, anchors)
    assert torch.equal(match(model, boxes, anchors), expected)
    # mmdet gives an anchor to the last box that has no better one.
    theirs = dict(model.train_cfg.rpn.assigner, type='mmdet.MaxIoUAssigner')
    found = TASK_UTILS.build(theirs).assign(
        InstanceData(priors=anchors), InstanceData(bboxes=boxes, labels=torch.zeros(12).long())
    )
    assert torch.equal(found.gt_inds > 0, expected > 0)
    assert not torch.equal(found.gt_inds, expected)


def test_no_box(model, anchors) -> None:
    assert not match(model, torch.zeros(0, 4), anchors).any()
