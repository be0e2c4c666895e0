"""The segmentation and classification inferencers."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.runner import Runner
from PIL import Image

from lightvit_dense import apis
from lightvit_dense.apis.classes import class_palette
from lightvit_dense.errors import UserError
from tests.helpers.small_dense import (
    SIZES,
    build,
    classifier_config,
    detector_config,
    picture,
    segmentor_config,
    write_ade,
)


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp('ade') / 'data'
    write_ade(root)
    return root


@pytest.fixture(scope='module')
def inferencer(data: Path) -> apis.SegmentationInferencer:
    cfg = segmentor_config(data)
    return apis.SegmentationInferencer(cfg, model=build(cfg))


def test_files_of_any_size_give_what_testing_gives(inferencer, data: Path) -> None:
    loader = Runner.build_dataloader(segmentor_config(data).test_dataloader)
    expected = {}
    for batch in loader:
        (sample,) = inferencer.model.test_step(batch)
        expected[Path(sample.img_path).stem] = sample.pred_sem_seg.data[0].numpy()
    assert len(expected) == len(SIZES)
    found = inferencer(data / 'images' / 'validation', batch_size=3)
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


def test_mmsegs_preprocessor_gets_pictures_of_one_size(inferencer, data: Path) -> None:
    cfg = segmentor_config(data)
    cfg.model.data_preprocessor.update(type='mmseg.SegDataPreProcessor', size=None)
    cfg.model.data_preprocessor.pop('size_divisor', None)
    mmsegs = apis.SegmentationInferencer(cfg, model=build(cfg))
    pictures = [picture(64, 64, seed) for seed in range(2)] + [picture(48, 64), picture(64, 64, 9)]
    ours = inferencer(pictures, batch_size=4)
    for result, other in zip(mmsegs(pictures, batch_size=4), ours, strict=True):
        np.testing.assert_array_equal(result.label_map, other.label_map)


def test_label_maps_are_saved(inferencer, data: Path, tmp_path: Path) -> None:
    folder = data / 'images' / 'validation'
    found = inferencer(folder, out_dir=tmp_path / 'grey', pictures=False)
    inferencer(folder, out_dir=tmp_path / 'colour', pictures=True, palette=True)
    images = json.loads((tmp_path / 'grey' / 'images.json').read_text())
    for result, entry in zip(found, images, strict=True):
        grey = Image.open(tmp_path / 'grey' / 'labels' / f'{result.name}.png')
        colour = Image.open(tmp_path / 'colour' / 'labels' / f'{result.name}.png')
        assert (grey.mode, colour.mode) == ('L', 'P')
        np.testing.assert_array_equal(np.asarray(grey), result.label_map)
        np.testing.assert_array_equal(np.asarray(colour), result.label_map)
        palette = np.asarray(inferencer.palette)
        np.testing.assert_array_equal(np.asarray(colour.convert('RGB')), palette[result.label_map])
        assert {c['name']: c['pixels'] for c in entry['classes']} == result.areas()
        assert (tmp_path / 'colour' / 'pictures' / f'{result.name}.jpg').is_file()
    assert not (tmp_path / 'grey' / 'pictures').exists()
    classes = json.loads((tmp_path / 'grey' / 'classes.json').read_text())
    assert classes[0] == dict(id=0, name='wall')
    assert len(classes) == 150
    # ADE20K's own colours.
    assert inferencer.palette[:2] == [(120, 120, 120), (180, 120, 120)]


def test_a_classifier_names_the_class(tmp_path: Path) -> None:
    cfg = classifier_config()
    inferencer = apis.ClassificationInferencer(cfg, model=build(cfg))
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


def test_a_pipeline_that_loads_in_another_way_is_refused(inferencer) -> None:
    cfg = segmentor_config()
    cfg.test_dataloader.dataset.pipeline[0].type = 'lightvit_dense.LoadRandomResizedCrop'
    with pytest.raises(UserError, match='begins with LoadRandomResizedCrop; inference needs one'):
        apis.SegmentationInferencer(cfg, model=inferencer.model)
    cfg.test_dataloader = None
    with pytest.raises(UserError, match=r'no test_dataloader.dataset.pipeline'):
        apis.SegmentationInferencer(cfg, model=inferencer.model, names=inferencer.names)


def test_names_and_colours_come_from_the_checkpoint_first(inferencer) -> None:
    cfg, model = inferencer.cfg, inferencer.model
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
