"""RoIAlign through mmcv's autograd function, against the definition, onnxruntime and gradcheck."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign, roi_align

from .onnx_operator import compute

SCALE = 0.5
SIZE = (3, 2)
# index, x1, y1, x2, y2: inside, fractional, over each border, far outside, a point.
ROIS = torch.tensor(
    [
        [0, 2.0, 2.0, 14.0, 10.0],
        [1, 0.3, 1.7, 9.1, 12.9],
        [1, -5.0, -4.0, 6.0, 7.0],
        [0, 10.0, 8.0, 30.0, 25.0],
        [0, 90.0, 90.0, 99.0, 95.0],
        [1, 5.0, 5.0, 5.0, 5.0],
    ]
)
CASES = [(aligned, ratio) for aligned in (True, False) for ratio in (0, 1, 2)]


@pytest.fixture
def features():
    return torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))


def interpolate(plane, y, x):
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[top, left] * (1 - dx) + plane[top, right] * dx
    lower = plane[bottom, left] * (1 - dx) + plane[bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def reference(features, rois, size, scale, ratio, aligned):
    """Mean of a regular grid of bilinear samples in every bin."""
    features, rois = features.double().numpy(), rois.double().numpy()
    result = np.zeros((len(rois), features.shape[1], *size))
    for r, (index, *box) in enumerate(rois):
        x1, y1, x2, y2 = (value * scale - (0.5 if aligned else 0.0) for value in box)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        bin_height, bin_width = height / size[0], width / size[1]
        rows = ratio or math.ceil(bin_height)
        columns = ratio or math.ceil(bin_width)
        for channel, plane in enumerate(features[int(index)]):
            for i, j in np.ndindex(*size):
                samples = [
                    interpolate(
                        plane,
                        y1 + (i + (a + 0.5) / rows) * bin_height,
                        x1 + (j + (b + 0.5) / columns) * bin_width,
                    )
                    for a in range(rows)
                    for b in range(columns)
                ]
                result[r, channel, i, j] = sum(samples) / max(len(samples), 1)
    return torch.from_numpy(result)


def onnx_roi_align(features, rois, size, scale, ratio, aligned):
    boxes, images = rois[:, 1:].contiguous(), rois[:, 0].long()
    found = compute(
        'RoiAlign',
        16,
        {'x': features.numpy(), 'rois': boxes.numpy(), 'batch': images.numpy()},
        output_height=size[0],
        output_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        coordinate_transformation_mode='half_pixel' if aligned else 'output_half_pixel',
    )
    return torch.from_numpy(found)


@pytest.mark.parametrize(('aligned', 'ratio'), CASES)
def test_equals_the_definition(features, device, aligned, ratio):
    found = roi_align(
        features.to(device), ROIS.to(device), SIZE, SCALE, ratio, 'avg', aligned
    ).cpu()
    expected = reference(features, ROIS, SIZE, SCALE, ratio, aligned)
    assert expected.abs().amax(dim=(1, 2, 3))[:4].min() > 0.1
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('aligned', 'ratio'), CASES)
def test_equals_onnxruntime(features, aligned, ratio):
    found = roi_align(features, ROIS, SIZE, SCALE, ratio, 'avg', aligned)
    expected = onnx_roi_align(features, ROIS, SIZE, SCALE, ratio, aligned)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('aligned', 'ratio'), CASES)
def test_gradient(features, device, aligned, ratio):
    features = features[:, :1].double().to(device).requires_grad_()
    rois = ROIS.double().to(device)

    def pool(x):
        return roi_align(x, rois, SIZE, SCALE, ratio, 'avg', aligned)

    # On a GPU the sums are atomic: equal up to their order.
    assert torch.autograd.gradcheck(pool, features, nondet_tol=0.0 if device == 'cpu' else 1e-9)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('rois_dtype', [None, torch.float32])
def test_half_precision(features, device, dtype, rois_dtype):
    rois = ROIS.to(device, rois_dtype or dtype)
    half = features.to(device, dtype).requires_grad_()
    found = roi_align(half, rois, SIZE, SCALE, 2, 'avg', True)
    found.square().sum().backward()

    single = features.to(device, dtype).float().requires_grad_()
    expected = roi_align(single, rois.float(), SIZE, SCALE, 2, 'avg', True)
    expected.square().sum().backward()

    assert found.dtype == half.grad.dtype == dtype
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)
    scale = single.grad.abs().max().item()
    torch.testing.assert_close(
        half.grad.float(), single.grad, rtol=tolerance, atol=4 * tolerance * scale
    )


def test_gradient_is_the_same_bit_for_bit():
    generator = torch.Generator().manual_seed(1)
    corners = torch.rand(200, 2, generator=generator) * 40
    sides = torch.rand(200, 2, generator=generator) * 40
    rois = torch.cat([torch.zeros(200, 1), corners, corners + sides], dim=1)
    weights = torch.randn(200, 8, 7, 7, generator=generator)
    features = torch.randn(1, 8, 40, 40, generator=generator)
    gradients = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 2, 4):
            torch.set_num_threads(count)
            x = features.clone().requires_grad_()
            (roi_align(x, rois, 7, SCALE, 0, 'avg', True) * weights).sum().backward()
            gradients.append(x.grad)
    finally:
        torch.set_num_threads(threads)
    assert gradients[0].abs().max() > 0
    assert all(torch.equal(gradients[0], other) for other in gradients[1:])


def test_no_regions(features, device):
    x = features.to(device).requires_grad_()
    found = roi_align(x, torch.zeros(0, 5, device=device), SIZE, SCALE, 2, 'avg', True)
    assert found.shape == (0, 3, *SIZE)
    found.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_strided_inputs_and_gradients(features):
    strided = features.transpose(2, 3).contiguous().transpose(2, 3)
    assert not strided.is_contiguous()
    results = []
    for x in (features.clone(), strided):
        x.requires_grad_()
        found = roi_align(x, ROIS, SIZE, SCALE, 2, 'avg', True)
        found.backward(torch.arange(6.0).view(1, 1, *SIZE).expand_as(found))
        results.append((found.detach(), x.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_layer(features):
    layer = RoIAlign(SIZE, SCALE, sampling_ratio=2, aligned=False)
    expected = reference(features, ROIS, SIZE, SCALE, 2, False)
    torch.testing.assert_close(layer(features, ROIS).double(), expected, rtol=1e-5, atol=1e-5)


def test_maximum_pooling_is_refused(features):
    with pytest.raises(NotImplementedError, match=r"(?s)roi_align_forward.*pool_mode='avg'.*pip"):
        roi_align(features, ROIS, SIZE, SCALE, 2, 'max', True)
