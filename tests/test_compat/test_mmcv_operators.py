"""Our operators through mmcv, against the definition, onnxruntime and gradcheck."""

import importlib

import onnxruntime
import pytest
import torch
from mmcv.ops import RoIAlign, nms, roi_align, soft_nms
from onnx import helper

from lightvit_dense.compat import torchvision_ext

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


NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')


@pytest.fixture(autouse=True)
def substitute(monkeypatch):
    """Exercise the substitute, also where mmcv has compiled operators of its own."""
    for name in ('mmcv.ops.nms', 'mmcv.ops.roi_align'):
        monkeypatch.setattr(importlib.import_module(name), 'ext_module', torchvision_ext)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=NO_GPU)])
def device(request):
    return request.param


def random_boxes(count):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 60
    sides = 5 + torch.rand(count, 2, generator=generator) * 30
    scores = torch.randperm(count, generator=generator) / count
    return torch.cat([corners, corners + sides], dim=1), scores


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common)


def suppress(boxes, scores, threshold):
    """Take boxes by falling score, each unless it overlaps one already taken."""
    boxes = boxes.double().tolist()
    kept = []
    for index in scores.argsort(descending=True, stable=True).tolist():
        if all(iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.7])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nms_equals_the_definition(device, threshold, dtype):
    boxes, scores = (x.to(dtype) for x in random_boxes(120))
    dets, kept = nms(boxes.to(device), scores.to(device), iou_threshold=threshold)
    assert 5 < len(kept) < 120
    assert kept.tolist() == suppress(boxes, scores, threshold)
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], dim=1)[kept.cpu()])


def test_half_precision_areas_do_not_overflow(device):
    boxes = torch.tensor([[0, 0, 1000, 1000], [0, 0, 1000, 990], [1200, 0, 2000, 900.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    _, kept = nms(boxes.half().to(device), scores.half().to(device), iou_threshold=0.5)
    assert kept.tolist() == [0, 2]


def test_no_boxes(device):
    dets, kept = nms(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert (dets.shape, kept.shape, kept.dtype) == ((0, 5), (0,), torch.int64)


def align_by_onnx(features, rois, size, scale, ratio, aligned):
    """Compute RoIAlign by onnxruntime."""
    feed = {'x': features, 'rois': rois[:, 1:].contiguous(), 'batch': rois[:, 0].long()}
    feed = {name: value.numpy() for name, value in feed.items()}
    node = helper.make_node(
        'RoiAlign',
        list(feed),
        ['result'],
        output_height=size[0],
        output_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        coordinate_transformation_mode='half_pixel' if aligned else 'output_half_pixel',
    )
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in feed.items()}
    inputs = [helper.make_tensor_value_info(n, kinds[n], feed[n].shape) for n in feed]
    outputs = [helper.make_empty_tensor_value_info('result')]
    graph = helper.make_graph([node], 'align', inputs, outputs)
    opsets = [helper.make_opsetid('', 16)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    return torch.from_numpy(session.run(None, feed)[0])


@pytest.fixture
def features():
    return torch.randn(2, 3, 7, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(('aligned', 'ratio'), CASES)
def test_roi_align_equals_onnxruntime(features, device, aligned, ratio):
    x, rois = features.to(device), ROIS.to(device)
    found = roi_align(x, rois, SIZE, SCALE, ratio, 'avg', aligned).cpu()
    expected = align_by_onnx(features, ROIS, SIZE, SCALE, ratio, aligned)
    assert expected.abs().amax(dim=(1, 2, 3))[:4].min() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    layer = RoIAlign(SIZE, SCALE, sampling_ratio=ratio, aligned=aligned)
    assert torch.equal(layer(x, rois).cpu(), found)


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
    atol = 4 * tolerance * single.grad.abs().max().item()
    torch.testing.assert_close(half.grad.float(), single.grad, rtol=tolerance, atol=atol)


def test_no_regions(features, device):
    x = features.to(device).requires_grad_()
    found = roi_align(x, torch.zeros(0, 5, device=device), SIZE, SCALE, 2, 'avg', True)
    assert found.shape == (0, 3, *SIZE)
    found.sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


BOXES = random_boxes(5)


@pytest.mark.parametrize(
    ('call', 'error', 'message'),
    [
        (lambda x: nms(*BOXES, 0.5, offset=1), ValueError, '"nms" with offset=1.*offset=0.*pip'),
        (lambda x: soft_nms(*BOXES), NotImplementedError, '"softnms".*--no-build-isolation'),
        (
            lambda x: roi_align(x, ROIS, SIZE, SCALE, 2, 'max', True),
            NotImplementedError,
            "roi_align_forward.*pool_mode='avg'.*pip",
        ),
    ],
)
def test_what_has_no_substitute_names_itself(features, call, error, message):
    with pytest.raises(error, match=f'(?s){message}'):
        call(features)
