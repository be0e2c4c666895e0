"""The inferencers: the numbers of testing, and what they save."""

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
from lightvit_dense.apis.classes import class_palette
from lightvit_dense.apis.inference.results import Detections, category_ids, coco_entries
from lightvit_dense.errors import UserError
from tests.helpers.small_dense import (
    SIZES,
    build,
    classifier_config,
    detector_config,
    picture,
    segmentor_config,
    write_ade,
    write_coco,
    write_film,
)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('coco') / 'data'
    write_coco(root)
    return root


@pytest.fixture(scope='module')
def detection(detector) -> apis.DetectionInferencer:
    cfg, model = detector
    return apis.DetectionInferencer(cfg, model=model, score_thr=0.0)


def test_files_and_arrays_give_what_testing_gives(detection, data: Path) -> None:
    cfg = detector_config(data)
    (batch,) = Runner.build_dataloader(cfg.test_dataloader)
    with torch.no_grad():  # as the test loop does; attention takes another way with gradients
        samples = detection.model.test_step(batch)
    expected = {Path(sample.img_path).stem: sample.pred_instances for sample in samples}
    paths = sorted((data / 'images').iterdir())
    found = detection(data / 'images', batch_size=3)
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
        assert result.names == tuple(detection.names[label] for label in result.labels)
    # Alone, from an array: numbers only, as sums are done in another order.
    pixels = np.asarray(Image.open(paths[2]))
    (alone,) = detection(pixels)
    assert alone.path is None
    np.testing.assert_allclose(alone.boxes, found[2].boxes, atol=1e-3)
    np.testing.assert_allclose(alone.scores, found[2].scores, atol=1e-5)
    # The order of the channels counts.
    (swapped,) = detection(np.ascontiguousarray(pixels[:, :, ::-1]))
    assert np.abs(swapped.scores - alone.scores).max() > 1e-3


def test_scores_and_numbers_are_limited(detection) -> None:
    pixels = picture(64, 64)
    (all_of_them,) = detection([pixels])
    assert (np.diff(all_of_them.scores) <= 0).all()
    limit = float(all_of_them.scores[4])
    cfg, model = detection.cfg, detection.model
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


def test_what_is_saved_is_read_by_coco(detection, data: Path, tmp_path: Path) -> None:
    found = detection(data / 'images', batch_size=2, out_dir=tmp_path / 'new' / 'out')
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
    assert [entry['name'] for entry in classes] == list(detection.names)
    for result in found:
        painted = np.asarray(Image.open(out / 'pictures' / f'{result.name}.jpg'))
        assert painted.shape == (result.height, result.width, 3)
    assert not list(out.rglob('*.part'))


def test_a_video_comes_out_as_a_video(detection, tmp_path: Path) -> None:
    path = tmp_path / 'film.avi'
    write_film(path, 5, fps=12.5)
    out = tmp_path / 'out'
    found = detection(path, batch_size=2, out_dir=out)
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


def test_results_come_while_inputs_are_read(detection) -> None:
    given = []

    def pictures():
        for seed in range(100):
            given.append(seed)
            yield picture(64, 64, seed)

    stream = detection.stream(pictures(), batch_size=4)
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


def test_wrong_models_and_names_are_refused(detection) -> None:
    cfg, model = detection.cfg, detection.model
    with pytest.raises(UserError, match='a model for detection, not for segmentation'):
        apis.SegmentationInferencer(cfg, model=model)
    with pytest.raises(UserError, match='has 6 classes, but names names 2'):
        apis.DetectionInferencer(cfg, model=model, names=('a', 'b'))
    named = apis.DetectionInferencer(cfg, model=model, names=list('uvwxyz'))
    assert named.names == tuple('uvwxyz')
    with pytest.raises(ValueError, match='batch_size must be positive'):
        detection([picture(8, 8)], batch_size=0)
    with pytest.raises(ValueError, match='nothing is saved without out_dir'):
        detection([picture(8, 8)], pictures=False)


def test_a_narrow_picture_is_one_among_others(detection, tmp_path: Path) -> None:
    pictures = [picture(400, 1), picture(40, 30), picture(1, 70000)]
    found = detection(pictures, batch_size=3, out_dir=tmp_path)
    assert [(one.height, one.width) for one in found] == [(400, 1), (40, 30), (1, 70000)]
    assert len(list((tmp_path / 'pictures').iterdir())) == 3


@pytest.mark.parametrize('place', ['transforms', 'model'])
def test_pictures_that_fail_are_named_and_the_rest_goes_on(detection, monkeypatch, place) -> None:
    holder, name = (
        (detection._prepare, '_transforms') if place == 'transforms' else (detection, '_step')
    )
    given = getattr(holder, name)

    def fail(batch: dict) -> object:
        sizes = (
            [batch['img'].shape[:2]] if 'img' in batch else [x.shape[1:] for x in batch['inputs']]
        )
        if (20, 64) in sizes:
            raise RuntimeError('no memory')
        return given(batch)

    monkeypatch.setattr(holder, name, fail)
    pictures, failures = [picture(60, 60), picture(20, 64), picture(64, 60)], []
    found = list(detection.stream(pictures, batch_size=3, on_error=failures.append))
    assert [one.height for one in found] == [60, 64]
    assert [failure.name for failure in failures] == ['array_000001']
    assert 'RuntimeError: no memory' in failures[0].reason
    with pytest.raises((UserError, RuntimeError), match='no memory'):
        detection(pictures, batch_size=3)


@pytest.fixture(scope='module')
def ade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('ade') / 'data'
    write_ade(root)
    return root


@pytest.fixture(scope='module')
def segmentation(segmentor) -> apis.SegmentationInferencer:
    cfg, model = segmentor
    return apis.SegmentationInferencer(cfg, model=model)


def test_files_of_any_size_give_what_testing_gives(segmentation, ade: Path) -> None:
    loader = Runner.build_dataloader(segmentor_config(ade).test_dataloader)
    expected = {}
    for batch in loader:
        (sample,) = segmentation.model.test_step(batch)
        expected[Path(sample.img_path).stem] = sample.pred_sem_seg.data[0].numpy()
    assert len(expected) == len(SIZES)
    found = segmentation(ade / 'images' / 'validation', batch_size=3)
    for result, size in zip(found, SIZES, strict=True):
        assert result.label_map.shape == size
        assert result.label_map.dtype == np.uint8
        assert len(np.unique(result.label_map)) > 1
        np.testing.assert_array_equal(result.label_map, expected[result.name])
        areas = result.areas()
        assert sum(areas.values()) == size[0] * size[1]
        name, pixels = next(iter(areas.items()))
        assert pixels == max(areas.values())
        assert pixels == (result.label_map == result.names.index(name)).sum()


def test_mmsegs_preprocessor_gets_pictures_of_one_size(segmentation, ade: Path) -> None:
    cfg = segmentor_config(ade)
    cfg.model.data_preprocessor.update(type='mmseg.SegDataPreProcessor', size=None)
    cfg.model.data_preprocessor.pop('size_divisor', None)
    mmsegs = apis.SegmentationInferencer(cfg, model=build(cfg))
    pictures = [picture(64, 64, seed) for seed in range(2)] + [picture(48, 64), picture(64, 64, 9)]
    ours = segmentation(pictures, batch_size=4)
    for result, other in zip(mmsegs(pictures, batch_size=4), ours, strict=True):
        np.testing.assert_array_equal(result.label_map, other.label_map)


def test_label_maps_are_saved(segmentation, ade: Path, tmp_path: Path) -> None:
    folder = ade / 'images' / 'validation'
    found = segmentation(folder, out_dir=tmp_path / 'grey', pictures=False)
    segmentation(folder, out_dir=tmp_path / 'colour', pictures=True, palette=True)
    images = json.loads((tmp_path / 'grey' / 'images.json').read_text())
    for result, entry in zip(found, images, strict=True):
        grey = Image.open(tmp_path / 'grey' / 'labels' / f'{result.name}.png')
        colour = Image.open(tmp_path / 'colour' / 'labels' / f'{result.name}.png')
        assert (grey.mode, colour.mode) == ('L', 'P')
        np.testing.assert_array_equal(np.asarray(grey), result.label_map)
        np.testing.assert_array_equal(np.asarray(colour), result.label_map)
        palette = np.asarray(segmentation.palette)
        np.testing.assert_array_equal(np.asarray(colour.convert('RGB')), palette[result.label_map])
        assert {c['name']: c['pixels'] for c in entry['classes']} == result.areas()
        assert (tmp_path / 'colour' / 'pictures' / f'{result.name}.jpg').is_file()
    assert not (tmp_path / 'grey' / 'pictures').exists()
    classes = json.loads((tmp_path / 'grey' / 'classes.json').read_text())
    assert classes[0] == dict(id=0, name='wall')
    assert len(classes) == 150
    # ADE20K's own colours.
    assert segmentation.palette[:2] == [(120, 120, 120), (180, 120, 120)]


def test_a_classifier_names_the_class(classifier, tmp_path: Path) -> None:
    cfg, model = classifier
    inferencer = apis.ClassificationInferencer(cfg, model=model)
    pictures = [picture(40, 50, seed) for seed in range(3)]
    found = inferencer(pictures, batch_size=2, out_dir=tmp_path)
    for result in found:
        assert result.scores.sum() == pytest.approx(1, abs=1e-5)
        assert result.top(1) == [(result.names[result.label], pytest.approx(result.scores.max()))]
    assert found[0].names == ('cat', 'dog', 'newt')
    images = json.loads((tmp_path / 'images.json').read_text())
    assert [c['name'] for c in images[1]['classes']] == [name for name, _ in found[1].top()]
    with pytest.raises(UserError, match=r'for detection and segmentation: .* ends in PackImage'):
        apis.ClassificationInferencer(cfg, model=inferencer.model, tta=True)


@pytest.mark.parametrize('exif', [True, False])
def test_a_classifier_sees_files_as_its_evaluation_loads_them(tmp_path: Path, exif: bool) -> None:
    cfg = classifier_config()
    cfg.test_dataloader.dataset.pipeline[0].exif = exif
    image, entry = Image.fromarray(picture(40, 70)), Image.Exif()
    entry[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / 'a.png', exif=entry)
    inferencer = apis.ClassificationInferencer(cfg, model=build(cfg))
    upright = image.transpose(Image.Transpose.ROTATE_270)
    (found,) = inferencer(tmp_path / 'a.png')
    (wanted,) = inferencer(np.asarray(upright if exif else image))
    (other,) = inferencer(np.asarray(image if exif else upright))
    np.testing.assert_array_equal(found.scores, wanted.scores)
    assert np.abs(found.scores - other.scores).max() > 1e-3


def test_the_inferencer_follows_the_model() -> None:
    kinds = {
        apis.DetectionInferencer: detector_config(),
        apis.SegmentationInferencer: segmentor_config(),
        apis.ClassificationInferencer: classifier_config(),
    }
    for kind, cfg in kinds.items():
        assert type(apis.make_inferencer(cfg, device='cpu')) is kind
    with pytest.raises(UserError, match=r'score_thr: for detection only; .* for segmentation'):
        apis.make_inferencer(segmentor_config(), device='cpu', score_thr=0.5)


def test_a_pipeline_that_loads_in_another_way_is_refused(segmentation) -> None:
    cfg = segmentor_config()
    cfg.test_dataloader.dataset.pipeline[0].type = 'lightvit_dense.LoadRandomResizedCrop'
    with pytest.raises(UserError, match='begins with LoadRandomResizedCrop; inference needs one'):
        apis.SegmentationInferencer(cfg, model=segmentation.model)
    cfg.test_dataloader = None
    with pytest.raises(UserError, match=r'no test_dataloader.dataset.pipeline'):
        apis.SegmentationInferencer(cfg, model=segmentation.model, names=segmentation.names)


def test_names_and_colours_come_from_the_checkpoint_first(segmentation) -> None:
    cfg, model = segmentation.cfg, segmentation.model
    names, colors = [f'c{index}' for index in range(150)], [(index, 0, 0) for index in range(150)]
    model.dataset_meta = dict(classes=names, palette=colors)
    try:
        found = apis.SegmentationInferencer(cfg, model=model)
        model.dataset_meta = dict(classes=names[:3])
        with pytest.raises(UserError, match=r'150 classes, but the checkpoint names 3 \(c0, c1'):
            apis.SegmentationInferencer(cfg, model=model)
    finally:
        model.dataset_meta = None
    assert found.names == tuple(names)
    assert found.palette == colors
    # Nobody knows colours: they are made, and differ.
    cfg = classifier_config()
    assert len(set(class_palette(None, cfg, 60))) == 60
