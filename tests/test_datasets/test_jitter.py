"""The COCO recipe's pixels, boxes and polygons are those of detectron2, written out here."""

import numpy as np
import pytest
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_dense.apis.configs import load_config
from lightvit_dense.registry import TRANSFORMS
from tests.helpers.photos import photo

SIDE = 640
PHOTOGRAPHS = {'cat': photo('cat'), 'astronaut': photo('astronaut'), 'wide': photo('coffee')[:200]}
CORNERS = [(10, 20, 31, 42), (100, 50, 400, 190), (5, 5, 9, 8), (200, 100, 208, 195)]


@pytest.fixture(autouse=True)
def _mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [float(left), top, right, top, right, bottom, left, bottom]


def loaded(image: np.ndarray) -> dict:
    """Return what the data set and the loader of images give, a crowd among the objects."""
    height, width = image.shape[:2]
    objects = [
        dict(bbox=list(box), bbox_label=k, ignore_flag=0, mask=[rectangle(*box)])
        for k, box in enumerate(CORNERS)
    ]
    crowd = dict(
        bbox=[0, 0, 50, 50], bbox_label=9, ignore_flag=1, mask=dict(counts='', size=[1, 1])
    )
    shapes = dict(img_shape=(height, width), ori_shape=(height, width), height=height, width=width)
    return dict(shapes, img=image, instances=[*objects, crowd])


def reference(image: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray], tuple, tuple]:
    """Resize and crop as ``ResizeScale`` and ``FixedSizeCrop`` of detectron2.

    Returns:
        The image, the boxes left by label, the margin and the offset of the crop.
    """
    sides = np.array(image.shape[:2])
    factor = np.random.uniform(0.1, 2.0)
    size = np.round(sides * min(SIDE * factor / sides)).astype(int)
    picture = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    margin = np.maximum(size - SIDE, 0)
    top, left = offset = np.round(margin * np.random.uniform(0.0, 1.0)).astype(int)
    crop = np.asarray(picture)[top : top + SIDE, left : left + SIDE]
    scale = np.tile((size / sides)[::-1], 2)
    boxes = {}
    for label, corners in enumerate(CORNERS):
        box = np.array(corners) * scale - (left, top, left, top)
        box = box.clip(0, np.tile(crop.shape[1::-1], 2))
        if (box[2:] - box[:2] > 1e-5).all():
            boxes[label] = box
    return crop, boxes, tuple(margin), tuple(offset)


@pytest.fixture(scope='module')
def train_pipeline() -> list[dict]:
    """Return the recipe's pipeline without the loading and the flip."""
    steps = load_config('configs/coco/maskrcnn_dmae_tiny.py').train_dataloader.dataset.pipeline
    assert steps[2] == dict(type='mmdet.RandomFlip', prob=0.5)
    return [steps[1], *steps[3:-1], dict(steps[-1], meta_keys=('img_shape',))]


@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_large_scale_jittering(name: str, train_pipeline: list[dict]) -> None:
    image, pipeline = PHOTOGRAPHS[name], Compose(train_pipeline)
    shares, lost = [], 0
    for seed in range(12):
        np.random.seed(seed)
        crop, boxes, margin, offset = reference(image)
        np.random.seed(seed)
        found = pipeline(loaded(image))
        assert np.array_equal(found['inputs'].permute(1, 2, 0).numpy(), crop)
        truth = found['data_samples'].gt_instances
        assert truth.labels.tolist() == list(boxes)
        if boxes:
            assert np.allclose(truth.bboxes.tensor, list(boxes.values()), rtol=0, atol=1e-3)
        for (polygon,), box in zip(truth.masks.masks, boxes.values(), strict=True):
            corners = np.array(rectangle(*box)).reshape(-1, 2)
            assert {tuple(c) for c in polygon.reshape(-1, 2).round(3)} == {
                tuple(c) for c in corners.round(3)
            }
        lost += len(CORNERS) - len(boxes)
        if min(margin) > 50:
            shares.append(offset[0] / margin[0] - offset[1] / margin[1])
    assert lost > 0
    assert np.allclose(shares, 0, rtol=0, atol=0.02)  # one number for both axes


def test_the_quick_backend_aliases_where_it_shrinks() -> None:
    image = PHOTOGRAPHS['cat']
    for factor, low, high in ((0.3, 1, 9), (1.7, 0, 0.5)):  # of 255 grey levels
        jitter = dict(type='lightvit_dense.ResizeScale', ratio_range=(factor, factor))
        jitter['scale'] = image.shape[1::-1]
        ours, quick = (
            TRANSFORMS.build(dict(jitter, backend=backend))(dict(img=image))['img'].astype(int)
            for backend in ('pillow', 'cv2')
        )
        assert low < np.abs(quick - ours).mean() < high


@pytest.mark.parametrize('shape', [(375, 500), (640, 480), (200, 1000), (100, 101)])
def test_test_images_fit_by_pillows_filter(shape: tuple[int, int]) -> None:
    """detectron2 makes the shorter side 640, then the longer one if it is beyond it."""
    image = np.random.RandomState(0).randint(0, 256, (*shape, 3), np.uint8)
    steps = load_config('configs/coco/maskrcnn_dmae_tiny.py').val_dataloader.dataset.pipeline
    found = TRANSFORMS.build(steps[1])(dict(img=image))
    height, width = (side * SIDE / min(shape) for side in shape)
    factor = min(1, SIDE / max(height, width))
    size = (int(width * factor + 0.5), int(height * factor + 0.5))
    expected = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    assert np.array_equal(found['img'], np.asarray(expected))
