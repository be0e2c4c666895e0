"""Non-maximum suppression through mmcv, against the definition and onnxruntime."""

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, soft_nms

from .onnx_operator import compute


def random_boxes(count, seed=0, extent=60.0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * extent
    sides = 5 + torch.rand(count, 2, generator=generator) * 30
    scores = torch.randperm(count, generator=generator) / count
    return torch.cat([corners, corners + sides], dim=1), scores


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def reference(boxes, scores, threshold):
    """Take boxes by falling score, each unless it overlaps one already taken."""
    boxes = boxes.double().tolist()
    kept = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


def onnx_nms(boxes, scores, threshold):
    feed = {
        'boxes': boxes[None, :, [1, 0, 3, 2]].numpy(),
        'scores': scores[None, None].numpy(),
        'most': np.array([len(boxes)]),
        'threshold': np.array([threshold], dtype=np.float32),
    }
    return compute('NonMaxSuppression', 11, feed)[:, 2].tolist()


@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.7])
def test_equals_the_definition_and_onnxruntime(device, threshold):
    boxes, scores = random_boxes(120)
    dets, kept = nms(boxes.to(device), scores.to(device), iou_threshold=threshold)
    assert 5 < len(kept) < 120
    assert kept.tolist() == reference(boxes, scores, threshold)
    assert kept.tolist() == onnx_nms(boxes, scores, threshold)
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[kept.cpu()])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_precisions(device, dtype):
    boxes, scores = random_boxes(60)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    dets, kept = nms(boxes.to(device), scores.to(device), iou_threshold=0.5)
    assert kept.tolist() == reference(boxes, scores, 0.5)
    assert dets.dtype == dtype


def test_half_precision_areas_do_not_overflow(device):
    boxes = torch.tensor([[0, 0, 1000, 1000], [0, 0, 1000, 990], [1200, 0, 2000, 900.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    _, kept = nms(boxes.half().to(device), scores.half().to(device), iou_threshold=0.5)
    assert kept.tolist() == [0, 2]


def test_score_threshold_and_limit():
    boxes, scores = random_boxes(80)
    everything = reference(boxes, scores, 0.5)
    _, kept = nms(boxes, scores, 0.5, score_threshold=0.6)
    assert kept.tolist() == [index for index in everything if scores[index] > 0.6]
    _, kept = nms(boxes, scores, 0.5, max_num=4)
    assert kept.tolist() == everything[:4]


def test_numpy_arrays():
    boxes, scores = random_boxes(30)
    dets, kept = nms(boxes.numpy(), scores.numpy(), 0.5)
    assert isinstance(kept, np.ndarray)
    assert kept.tolist() == reference(boxes, scores, 0.5)
    assert dets.shape == (len(kept), 5)


def test_no_boxes(device):
    dets, kept = nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


@pytest.mark.parametrize('split_thr', [10000, 10])
def test_batched(device, split_thr):
    boxes, scores = random_boxes(90)
    labels = torch.arange(90) % 3
    config = dict(type='nms', iou_threshold=0.4, split_thr=split_thr)
    dets, kept = batched_nms(boxes.to(device), scores.to(device), labels.to(device), config)

    expected = []
    for label in range(3):
        members = (labels == label).nonzero()[:, 0]
        inside = reference(boxes[members], scores[members], 0.4)
        expected += members[inside].tolist()
    expected.sort(key=lambda index: -scores[index].item())
    assert kept.tolist() == expected
    assert len(expected) > len(reference(boxes, scores, 0.4))
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[expected])


def test_batched_over_all_classes_together():
    boxes, scores = random_boxes(50)
    config = dict(type='nms', iou_threshold=0.4)
    _, kept = batched_nms(boxes, scores, torch.arange(50), config, class_agnostic=True)
    assert kept.tolist() == reference(boxes, scores, 0.4)


def test_offset_is_refused():
    boxes, scores = random_boxes(5)
    with pytest.raises(ValueError, match=r'(?s)"nms" with offset=1.*offset=0.*pip install'):
        nms(boxes, scores, 0.5, offset=1)


def test_another_operator_raises_naming_itself():
    boxes, scores = random_boxes(5)
    with pytest.raises(NotImplementedError, match=r'(?s)"softnms".*--no-build-isolation'):
        soft_nms(boxes, scores)


def test_names(substitute):
    assert substitute.modulated_deform_conv_forward.__name__ == 'modulated_deform_conv_forward'
    assert not hasattr(substitute, '__wrapped__')
