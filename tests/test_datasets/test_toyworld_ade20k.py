"""The toy world in ADE20K's layout."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from lightvit_dense.datasets.segmentation.object_info import read_object_info
from lightvit_dense.datasets.toyworld import CLASSES, KINDS, WorldSpec, build_world
from lightvit_dense.datasets.toyworld.layout_ade20k import ADE_IDS
from tests.helpers.toy_world import build, digest

SPEC = WorldSpec(seed=2, image_size=80, train=6, val=4, unlabeled=1, portraits=3, classes=CLASSES)
SPLITS = {'train': 'training', 'val': 'validation'}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    return build_world(root, SPEC, ['coco', 'ade20k'], workers=1, progress=False)


def label_maps(root, split):
    folder = root / 'ade20k/annotations' / SPLITS[split]
    images = [Image.open(path) for path in sorted(folder.iterdir())]
    assert {(image.mode, image.size, image.format) for image in images} == {('L', (80, 80), 'PNG')}
    return [np.array(image) for image in images]


@pytest.mark.parametrize('split', SPLITS)
def test_it_shows_the_scenes_of_coco(built, split):
    data = json.loads((built.root / f'coco/annotations/instances_{split}2017.json').read_text())
    ids = {c['id']: ADE_IDS[c['name']] for c in data['categories']}
    for image, labels in zip(data['images'], label_maps(built.root, split), strict=True):
        number = image['id']
        coco = built.root / f'coco/{split}2017/{image["file_name"]}'
        ade = built.root / f'ade20k/images/{SPLITS[split]}/ADE_{split}_{number:08d}.jpg'
        assert ade.read_bytes() == coco.read_bytes()
        expected = np.ones(labels.shape, np.uint8)
        objects = np.zeros(labels.shape, np.uint8)
        for note in data['annotations']:
            if note['image_id'] == number:
                mask = rle.decode(note['segmentation']) > 0
                expected[mask], objects[mask] = ids[note['category_id']], 1
        rim = (cv2.dilate(objects, np.ones((3, 3), np.uint8)) > 0) & (objects == 0)
        expected[rim] = 0
        np.testing.assert_array_equal(labels, expected)
        assert rim.any()


def test_numbers_are_those_of_ade20k(built):
    from mmseg.datasets import ADE20KDataset

    names = [name.strip() for name in ADE20KDataset.METAINFO['classes']]
    assert set(ADE_IDS) == {*CLASSES, *KINDS}
    for classes in (CLASSES, KINDS):
        assert len({1, *(ADE_IDS[name] for name in classes)}) == 1 + len(classes)
    same = {name for name in CLASSES if names[ADE_IDS[name] - 1] == name}
    assert same == {'person', 'bottle', 'book', 'flower'} == set(CLASSES) & set(names)
    table = read_object_info(str(built.root / 'ade20k/objectInfo150.txt'))
    assert table == [(name,) for name in names]


def test_lists_and_counts(built):
    root = built.root / 'ade20k'
    rows = [line.split('\t') for line in (root / 'objectInfo150.txt').read_text().splitlines()]
    assert rows[0] == ['Idx', 'Ratio', 'Train', 'Val', 'Name']
    maps = {split: label_maps(built.root, split) for split in SPLITS}
    pixels = np.bincount(np.concatenate([m.ravel() for s in SPLITS for m in maps[s]]))
    for number in (1, ADE_IDS['soap'], ADE_IDS['book'], 2):
        counts = [sum(bool((m == number).any()) for m in maps[split]) for split in SPLITS]
        share = pixels[number] / pixels.sum() if number < len(pixels) else 0
        assert [int(value) for value in rows[number][2:4]] == counts
        assert float(rows[number][1]) == pytest.approx(share, abs=5e-5)
    scenes = (root / 'sceneCategories.txt').read_text().split()
    names = [
        f'ADE_{split}_{i:08d}' for split, n in (('train', 6), ('val', 4)) for i in range(1, n + 1)
    ]
    assert scenes[::2] == names
    assert set(scenes[1::2]) == {'toy_world'}
    assert built.stats['ade20k']['train']['images'] == 6
    assert built.stats['ade20k']['val']['classes']['wall'] == 4
    info = json.loads((root / 'validation_info.json').read_text())
    used = {name for sources in info['image_sources'].values() for name in sources}
    assert used == {source['name'] for source in info['sources']}


def test_it_comes_beside_what_is_there(tmp_path):
    root = build(tmp_path / 'world', 'coco', spec=SPEC).root
    before = {key: (content, (root / key).stat().st_ino) for key, content in digest(root).items()}
    report = build(root, 'ade20k', spec=SPEC)
    after = digest(root)
    assert report.reason == 'the one there lacks a layout'
    # The very files.
    assert {key: (after[key], (root / key).stat().st_ino) for key in before} == before
    assert set(report.stats) == {'coco', 'ade20k'}
    assert not build(root, 'ade20k', 'coco', spec=SPEC).built
    (root / 'ade20k/annotations/training/ADE_train_00000003.png').unlink()
    assert 'holds 5 files instead of 6' in build(root, 'ade20k', spec=SPEC).reason
    assert digest(root) == after
