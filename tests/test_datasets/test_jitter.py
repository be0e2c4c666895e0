"""The COCO recipe's pixels, boxes and polygons are those of detectron2, written out here."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from mmdet.structures.mask import PolygonMasks
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from lightvit_dense.apis.configs import load_config
from lightvit_dense.datasets import DatasetError
from lightvit_dense.datasets.detection.jitter import Polygons
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
    """Resize and crop as detectron2; return image, boxes left by label, margin and offset."""
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


@pytest.mark.parametrize(('backend', 'apart'), [('pillow', 0), ('torch', 1)])  # grey levels
@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_large_scale_jittering(name: str, backend: str, apart: int, train_pipeline: list) -> None:
    assert train_pipeline[1]['backend'] == 'torch'
    steps = [dict(s, **{'backend': backend} if 'backend' in s else {}) for s in train_pipeline]
    image, pipeline = PHOTOGRAPHS[name], Compose(steps)
    shares, lost = [], 0
    for seed in range(12):
        np.random.seed(seed)
        crop, boxes, margin, offset = reference(image)
        np.random.seed(seed)
        found = pipeline(loaded(image))
        assert np.abs(found['inputs'].permute(1, 2, 0).numpy() - crop.astype(int)).max() <= apart
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


def encoded(kind: str = 'JPEG', mode: str = 'RGB', turn: int = 1, **options: object) -> bytes:
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = turn
    picture = Image.fromarray(np.rot90(PHOTOGRAPHS['cat'], turn == 6)).convert(mode)
    picture.save(out, kind, exif=exif, **options)
    return out.getvalue()


KINDS = {
    **{'plain': encoded(), 'grey': encoded(mode='L'), 'ink': encoded(mode='CMYK')},
    **{'turned': encoded(turn=6), 'png': encoded('PNG'), 'fine': encoded(subsampling=0)},
}


def run(data: bytes, seed: int, load: dict, backend: str) -> dict | None:
    steps = load_config('configs/coco/maskrcnn_dmae_tiny.py').train_dataloader.dataset.pipeline
    changes = dict(scale=(320, 320), crop_size=(320, 320), backend=backend)
    steps = [dict(s, **{k: v for k, v in changes.items() if k in s}) for s in steps]
    given = loaded(PHOTOGRAPHS['cat']) | dict(img_path='a.jpg', img_id=3)
    given['storage'] = SimpleNamespace(read=lambda path: data)
    np.random.seed(seed)
    return Compose([load, *steps[1:]])(given)


@pytest.mark.parametrize(('backend', 'apart'), [('pillow', 0), ('torch', 1)])  # grey levels
@pytest.mark.parametrize('kind', KINDS)
def test_an_opened_image_is_that_which_is_loaded(kind: str, backend: str, apart: int) -> None:
    seen = set()
    for seed in range(10):
        expected = run(KINDS[kind], seed, dict(type='lightvit_dense.LoadImage'), 'pillow')
        found = run(KINDS[kind], seed, dict(type='lightvit_dense.OpenImage'), backend)
        assert found['inputs'].is_contiguous()
        assert (found['inputs'].int() - expected['inputs'].int()).abs().max() <= apart
        one, other = found['data_samples'], expected['data_samples']
        assert one.metainfo == other.metainfo
        assert one.gt_instances.bboxes.tensor.equal(other.gt_instances.bboxes.tensor)
        for polygons in zip(one.gt_instances.masks, other.gt_instances.masks, strict=True):
            assert all(map(np.array_equal, *polygons))
        seen.add((one.flip, one.scale_factor[0] > 1))
    assert len(seen) == 4  # mirrored or not, enlarged and cut or made smaller


@pytest.mark.parametrize(
    ('data', 'why'),
    [(KINDS['plain'][:-400], 'truncated'), (KINDS['plain'][:9000] + b'\xff\xd9', 'damaged')],
)
def test_bad_opened_images_are_counted(data: bytes, why: str) -> None:
    load = dict(type='lightvit_dense.OpenImage', max_bad=1)
    assert run(data, 0, load, 'torch') is None
    with pytest.raises(DatasetError, match=f'(?s)a.jpg: {why}.*lightvit_dense.OpenImage'):
        run(data, 0, dict(load, max_bad=0), 'torch')


def test_polygons_are_cropped_to_the_masks_of_mmdet() -> None:
    draw, box = np.random.default_rng(0), np.array([60, 50, 400, 240])
    for number in range(40):
        objects = []
        for size in draw.integers(3, 30, 6):
            angles = np.sort(draw.uniform(0, 2 * np.pi, (size, 1)), axis=0)
            circle = np.hstack([np.cos(angles), np.sin(angles)])
            corners = draw.uniform(40, 260, 2) + draw.uniform(5, 60) * circle
            if number % 2:  # repeated corners, and polygons that cross themselves
                corners = draw.permutation(np.round(corners))
            objects.append([corners.ravel()])
        ours, theirs = (kind(objects, 300, 300).crop(box) for kind in (Polygons, PolygonMasks))
        np.testing.assert_array_equal(ours.to_ndarray(), theirs.to_ndarray())
        assert ours.get_bboxes('hbox').tensor.equal(theirs.get_bboxes('hbox').tensor)


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
