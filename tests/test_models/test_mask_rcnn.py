"""Mask R-CNN: padding changes nothing, any size goes, every parameter learns, odd truths."""

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from mmdet.structures.mask import PolygonMasks

from lightvit_dense.engine.hooks.compile import parts_to_compile
from lightvit_dense.errors import UserError, user_errors
from lightvit_dense.models.detectors.mask_rcnn import masks_on_pad_shape
from lightvit_dense.models.pad_shape import check_pad_shape, own_sizes
from tests.helpers.models import silent

KINDS = ['vit', 'hiera', 'li2021']


def detect(model, batch):
    with torch.no_grad():
        return [sample.pred_instances for sample in model.eval().test_step(batch)]


def assert_same_detections(found, expected) -> None:
    assert len(found) == len(expected) > 3
    torch.testing.assert_close(found.bboxes, expected.bboxes, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert torch.equal(found.labels, expected.labels)
    assert (found.masks == expected.masks).float().mean() > 0.9999


def losses(model, batch) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)  # samplers draw
    return model.train()(**model.data_preprocessor(batch, True), mode='loss')


@pytest.mark.parametrize('kind', KINDS)
def test_padding_changes_no_detection(build_detector, detection_batch, kind: str) -> None:
    model = build_detector(kind)
    alone = detect(model, detection_batch([(50, 64)]))[0]
    model.data_preprocessor.pad_size_divisor = 96
    assert_same_detections(detect(model, detection_batch([(50, 64)]))[0], alone)
    model.data_preprocessor.pad_value = 3.0
    among = detect(model, detection_batch([(50, 64), (64, 100), (61, 40)]))
    assert_same_detections(among[0], alone)
    # The padding belonged to the network: without a pad_shape the batch decides.
    model.pad_shape, model.size_divisor = (0, 0), 96
    assert not torch.equal(detect(model, detection_batch([(50, 64)]))[0].scores, alone.scores)


@pytest.mark.parametrize('kind', KINDS)
def test_padding_changes_no_loss_and_every_parameter_learns(
    build_detector, detection_batch, kind: str
) -> None:
    model = build_detector(kind)
    # The second box: at a corner, targets of a mask read beyond the image.
    sizes, boxes = [(64, 64), (61, 64)], [(4, 6, 64, 50), (57, 57, 64, 64)]
    expected = losses(model, detection_batch(sizes, boxes))
    model.data_preprocessor.pad_size_divisor = 128
    found = losses(model, detection_batch(sizes, boxes))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    model.parse_losses(found)[0].backward()
    assert silent(model) == []


@pytest.mark.parametrize('size', [(1, 1), (2, 64), (64, 3), (7, 400)])
def test_any_size_is_detected_on(build_detector, detection_batch, size: tuple) -> None:
    found = detect(build_detector('vit'), detection_batch([size], []))[0]
    assert found.masks.shape[1:] == size
    assert (found.bboxes[:, 2:] <= torch.tensor(size[::-1])).all()


@pytest.mark.parametrize(
    'boxes',
    [[], [(5, 5, 6, 6)], [(20, 20, 20.4, 20.4)], [(50, 40, 90, 80)], [(100, 100, 120, 130)]],
    ids=['none', 'one pixel', 'less than a pixel', 'half outside', 'outside'],
)
def test_odd_truths_give_finite_losses(build_detector, detection_batch, boxes: list) -> None:
    model = build_detector('vit')
    batch = detection_batch([(50, 64), (40, 64)], boxes)
    total, values = model.parse_losses(losses(model, batch))
    total.backward()
    assert {name for name, value in values.items() if not value.isfinite()} == set()
    # A parameter without a gradient, even of zeros, would stop a training in several processes.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.backbone.patch_embed.proj.weight.grad.any()


def test_backbone_and_neck_are_compiled_alone(build_detector, detection_batch) -> None:
    torch._dynamo.reset()
    model, graphs = build_detector('vit'), torch._dynamo.testing.CompileCounter()
    batch, parts = detection_batch([(64, 64)]), parts_to_compile(model)
    expected = losses(model, batch)
    for part in parts.values():
        part.compile(backend=graphs, fullgraph=True)
    torch.testing.assert_close(losses(model, batch), expected)
    assert (list(parts), graphs.frame_count) == (['model.backbone', 'model.neck'], 2)


def test_polygons_lie_on_the_pad_shape() -> None:
    masks = PolygonMasks([[np.array([1.0, 1, 5, 1, 5, 4])]], 10, 20)
    found = masks_on_pad_shape(masks, (10, 20), (32, 64))
    assert (found.height, found.width) == (32, 64)
    assert found.to_ndarray()[0, :10, :20].sum() == masks.to_ndarray().sum() > 0


def test_options_are_checked(build_detector) -> None:
    assert build_detector('vit', {'pad_shape': (64, 128)}).pad_shape == (64, 128)
    found = [check_pad_shape(x, 32) for x in (None, 64, [32, 96])]
    assert found == [(0, 0), (64, 64), (32, 96)]
    for wrong in ((64, 48), (64,), -32, 'big', 64.0):
        with pytest.raises(ValueError, match=r'pad_shape=.* multiples of 32'):
            check_pad_shape(wrong, 32)
    with pytest.raises(ValueError, match=r'pad_shape=100: .*multiples of 32'):
        build_detector('vit', {'pad_shape': 100})
    with (
        pytest.raises(UserError, match=r"MaskRCNN has no argument 'pad_shap'.* mean 'pad_shape'"),
        user_errors(),
    ):
        build_detector('vit', {'pad_shap': 64})


def test_sizes_that_cannot_be_are_refused() -> None:
    inputs = torch.zeros(1, 3, 32, 32)
    assert own_sizes(inputs, [{}]) == [(32, 32)]
    assert own_sizes(inputs, [dict(img_shape=(3, 4, 3))]) == [(3, 4)]
    for shape in ((33, 32), (32, 0)):
        with pytest.raises(ValueError, match=r'a\.jpg: its img_shape is .* came as 32x32 px'):
            own_sizes(inputs, [dict(img_shape=shape, img_path='a.jpg')])
