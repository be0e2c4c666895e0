"""The detection inferencer: the numbers of testing, and what it saves."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import decode

from lightvit_dense import apis
from lightvit_dense.apis.inference.results import Detections, category_ids, coco_entries
from lightvit_dense.errors import UserError
from tests.helpers.small_dense import (
    SIZES,
    build,
    detector_config,
    picture,
    write_coco,
    write_film,
)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('coco') / 'data'
    write_coco(root)
    return root


@pytest.fixture(scope='module')
def inferencer(data: Path) -> apis.DetectionInferencer:
    cfg = detector_config(data)
    return apis.DetectionInferencer(cfg, model=build(cfg), score_thr=0.0)


def test_files_and_arrays_give_what_testing_gives(inferencer, data: Path) -> None:
    cfg = detector_config(data)
    (batch,) = Runner.build_dataloader(cfg.test_dataloader)
    with torch.no_grad():  # as the test loop does; attention takes another way with gradients
        samples = inferencer.model.test_step(batch)
    expected = {Path(sample.img_path).stem: sample.pred_instances for sample in samples}
    paths = sorted((data / 'images').iterdir())
    found = inferencer(data / 'images', batch_size=3)
    assert [result.name for result in found] == [path.stem for path in paths]
    for result, size in zip(found, SIZES, strict=True):
        truth = expected[result.name]
        assert len(result) == len(truth) == 8
        assert (result.height, result.width) == size
        np.testing.assert_array_equal(result.boxes, truth.bboxes.numpy())
        np.testing.assert_array_equal(result.scores, truth.scores.numpy())
        np.testing.assert_array_equal(result.labels, truth.labels.numpy())
        np.testing.assert_array_equal(result.masks, truth.masks.numpy())
        assert result.masks.shape == (8, *size)
        assert result.masks.any()
        assert result.names == tuple(inferencer.names[label] for label in result.labels)
    # Alone, from an array: numbers only, as sums are done in another order.
    pixels = np.asarray(Image.open(paths[2]))
    (alone,) = inferencer(pixels)
    assert alone.path is None
    np.testing.assert_allclose(alone.boxes, found[2].boxes, atol=1e-3)
    np.testing.assert_allclose(alone.scores, found[2].scores, atol=1e-5)
    # The order of the channels counts.
    (swapped,) = inferencer(np.ascontiguousarray(pixels[:, :, ::-1]))
    assert np.abs(swapped.scores - alone.scores).max() > 1e-3


def test_scores_and_numbers_are_limited(inferencer) -> None:
    pixels = picture(64, 64)
    (all_of_them,) = inferencer([pixels])
    assert (np.diff(all_of_them.scores) <= 0).all()
    limit = float(all_of_them.scores[4])
    cfg, model = inferencer.cfg, inferencer.model
    (few,) = apis.DetectionInferencer(cfg, model=model, score_thr=limit)([pixels])
    np.testing.assert_array_equal(few.boxes, all_of_them.boxes[:5])
    (one,) = apis.DetectionInferencer(cfg, model=model, score_thr=0, max_per_image=1)([pixels])
    assert one.names == all_of_them.names[:1]
    (none,) = apis.DetectionInferencer(cfg, model=model, score_thr=1.0)([pixels])
    assert len(none) == 0
    assert none.masks.shape == (0, 64, 64)
    for option in (dict(score_thr=1.5), dict(max_per_image=0)):
        with pytest.raises(UserError, match=next(iter(option))):
            apis.DetectionInferencer(cfg, model=model, **option)


def test_what_is_saved_is_read_by_coco(inferencer, data: Path, tmp_path: Path) -> None:
    found = inferencer(data / 'images', batch_size=2, out_dir=tmp_path / 'new' / 'out')
    out = tmp_path / 'new' / 'out'
    coco = COCO(data / 'val.json').loadRes(str(out / 'detections.json'))
    for result in found:
        entries = coco.loadAnns(coco.getAnnIds(imgIds=[int(result.name)]))
        assert [entry['score'] for entry in entries] == pytest.approx(result.scores.tolist())
        assert [entry['category_id'] - 1 for entry in entries] == result.labels.tolist()
        boxes = np.array([entry['bbox'] for entry in entries])
        np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], result.boxes[:, 2:], rtol=1e-5)
        masks = np.stack([decode(entry['segmentation']) for entry in entries])
        np.testing.assert_array_equal(masks.astype(bool), result.masks)
    images = json.loads((out / 'images.json').read_text())
    assert [(entry['height'], entry['width']) for entry in images] == list(SIZES)
    assert [entry['id'] for entry in images] == [1001, 1002, 1003]
    classes = json.loads((out / 'classes.json').read_text())
    assert [entry['name'] for entry in classes] == list(inferencer.names)
    for result in found:
        painted = np.asarray(Image.open(out / 'pictures' / f'{result.name}.jpg'))
        assert painted.shape == (result.height, result.width, 3)
    assert not list(out.rglob('*.part'))


def test_a_video_comes_out_as_a_video(inferencer, tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    write_film(path, 5, fps=12.5)
    out = tmp_path / 'out'
    found = inferencer(path, batch_size=2, out_dir=out)
    assert [result.frame for result in found] == [0, 1, 2, 3, 4]
    assert found[3].name == 'film/000003'
    images = json.loads((out / 'images.json').read_text())
    assert images[4]['seconds'] == pytest.approx(4 / 12.5)
    assert images[4]['id'] == 'film/000004'
    painted = cv2.VideoCapture(str(out / 'videos' / 'film.mp4'))
    assert painted.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    count = 0
    while (read := painted.read())[0]:
        assert read[1].shape == (48, 64, 3)
        count += 1
    assert count == 5
    assert not (out / 'pictures').exists()


def test_results_come_while_inputs_are_read(inferencer) -> None:
    given = []

    def pictures():
        for seed in range(100):
            given.append(seed)
            yield picture(64, 64, seed)

    stream = inferencer.stream(pictures(), batch_size=4)
    assert next(stream).name == 'array_000000'
    assert len(given) == 4
    assert [next(stream).name for _ in range(4)][-1] == 'array_000004'
    assert len(given) == 8


def test_coco_has_numbers_with_gaps() -> None:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
    eighty = [name for name in names if name not in ('__background__', 'N/A')]
    ids = category_ids(eighty)
    assert len(ids) == 80
    # Known from the annotation files: person 1, stop sign 13, backpack 27, toothbrush 90.
    known = {'person': 1, 'stop sign': 13, 'backpack': 27, 'toothbrush': 90}
    assert {name: ids[eighty.index(name)] for name in known} == known
    assert category_ids(['a', 'person']) == [1, 2]
    result = Detections(
        'x', 4, 4, boxes=np.array([[1, 2, 3, 4]], np.float32), scores=np.ones(1, np.float32),
        labels=np.array([79]), names=('toothbrush',),
    )  # fmt: skip
    assert coco_entries(result, 5, ids) == [
        dict(image_id=5, category_id=90, bbox=[1.0, 2.0, 2.0, 2.0], score=1.0)
    ]


def test_wrong_models_and_names_are_refused(inferencer) -> None:
    cfg, model = inferencer.cfg, inferencer.model
    with pytest.raises(UserError, match='a model for detection, not for segmentation'):
        apis.SegmentationInferencer(cfg, model=model)
    with pytest.raises(UserError, match='has 6 classes, but names names 2'):
        apis.DetectionInferencer(cfg, model=model, names=('a', 'b'))
    named = apis.DetectionInferencer(cfg, model=model, names=list('uvwxyz'))
    assert named.names == tuple('uvwxyz')
    with pytest.raises(ValueError, match='batch_size must be positive'):
        inferencer([picture(8, 8)], batch_size=0)
    with pytest.raises(ValueError, match='nothing is saved without out_dir'):
        inferencer([picture(8, 8)], pictures=False)


def test_pictures_that_cannot_be_resized_are_named_and_the_rest_goes_on(inferencer) -> None:
    pictures, failures = [picture(400, 1), picture(40, 30)], []
    found = list(inferencer.stream(pictures, on_error=failures.append))
    assert [(one.height, one.width) for one in found] == [(40, 30)]
    assert [failure.name for failure in failures] == ['array_000000']
    assert '1x400 pixels are too narrow' in failures[0].reason
    with pytest.raises(UserError, match='1x400 pixels are too narrow'):
        inferencer(pictures)
