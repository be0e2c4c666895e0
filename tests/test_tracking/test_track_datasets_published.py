"""GOT-10k, TrackingNet and COCO; what a run looks for before it starts."""

import json
import shutil

import numpy as np
import pytest
from mmengine.config import Config

from lightvit_dense.apis.preflight import find_missing
from lightvit_dense.datasets.errors import DatasetError
from tracking.datasets import CocoSequences, GOT10k, TrackingNet
from tracking.datasets.published import got10k_positions
from tracking.registry import DATASETS

from .small_sequences import (
    picture,
    some_boxes,
    write_coco,
    write_got10k,
    write_lasot_sequence,
    write_trackingnet,
)


def test_published_splits_of_got10k():
    train, full = got10k_positions('train'), got10k_positions('train_full')
    vot_train, vot_val = got10k_positions('vottrain'), got10k_positions('votval')
    assert [len(p) for p in (full, train, vot_train, vot_val)] == [9335, 7934, 7086, 1249]
    assert full == tuple(range(9335))
    assert set(vot_train) < set(train)
    assert not set(vot_val) & set(train)
    assert {1349, 5878, 562, 2202, 8904, 7842} <= set(vot_val)
    assert not {5651, 765, 34, 5741} & (set(vot_val) | set(train))


def test_got10k_reads_labels_and_splits(tmp_path):
    boxes = write_got10k(tmp_path)
    full = GOT10k(tmp_path, 'train_full')
    assert full.names == [f'GOT-10k_Train_{n:06d}' for n in (1, 2, 5, 6, 12)]
    # Positions 0, 1, 4, 5, 11: two are set aside for validation, one is forbidden by VOT.
    for split, numbers in (('votval', (2, 12)), ('vottrain', (1, 6)), ('train', (1, 5, 6))):
        assert GOT10k(tmp_path, split).names == [f'GOT-10k_Train_{n:06d}' for n in numbers]
    sequence = full[0]
    np.testing.assert_array_equal(sequence.boxes, boxes)
    assert sequence.visible.tolist() == [True, False, False, True]
    reasons = {name: np.flatnonzero(flags).tolist() for name, flags in sequence.gone.items()}
    assert reasons == {'absence': [1], 'no_cover': [2]}
    assert sequence.class_name == 'brown bear'
    np.testing.assert_array_equal(sequence.frames.read(3), picture(3))
    tests = GOT10k(tmp_path, 'test')
    assert tests[0].boxes.shape == (1, 4)
    assert tests[0].visible.tolist() == [True]
    assert len(tests[0].frames) == 7
    assert tests.lengths.tolist() == [7]
    folder = tmp_path / 'train' / 'GOT-10k_Train_000001'
    (folder / 'cover.label').write_text('8\n9\n8\n8\n')
    with pytest.raises(DatasetError, match=r'cover.label: cover is told in eighths'):
        GOT10k(tmp_path, 'vottrain')
    (folder / 'absence.label').unlink()
    with pytest.raises(DatasetError, match=r'absence.label does not exist'):
        GOT10k(tmp_path, 'vottrain')
    shutil.rmtree(folder)
    assert len(GOT10k(tmp_path, 'train_full')) == 4
    shutil.rmtree(tmp_path / 'train')
    with pytest.raises(DatasetError, match=r'train/list.txt does not exist'):
        GOT10k(tmp_path, 'train')


def test_trackingnet_counts_frames_from_zero(tmp_path):
    boxes = write_trackingnet(tmp_path)
    data = DATASETS.build(dict(type='tracking.TrackingNet', data_root=str(tmp_path)))
    assert data.names == ['aa', 'bb', 'cc']
    np.testing.assert_array_equal(data[1].boxes, boxes['bb'])
    assert data[2].frames.name(0) == str(tmp_path / 'TRAIN_10/frames/cc/0.jpg')
    np.testing.assert_array_equal(data[1].frames.read(11), picture(11))
    assert TrackingNet(tmp_path, sets=[10]).names == ['cc']
    with pytest.raises(DatasetError, match=r'has no folder TRAIN_3\. Unpack'):
        TrackingNet(tmp_path, sets=[0, 3])
    with pytest.raises(DatasetError, match=r"'train' has the sets 0 to 11"):
        TrackingNet(tmp_path, sets=[12])
    tests = TrackingNet(tmp_path, 'test')
    assert tests[0].boxes.shape == (1, 4)
    assert tests.lengths.tolist() == [5]


def test_coco_objects_are_sequences_of_one_frame(tmp_path):
    write_coco(tmp_path)
    assert CocoSequences(tmp_path).names == ['one_1', 'one_2', 'two_5']  # all but the crowd
    data = CocoSequences(tmp_path, min_size=50)
    assert not data.is_video
    assert data.names == ['one_1', 'two_5']
    assert data.lengths.tolist() == data.visible_counts.tolist() == [1, 1]
    assert data[1].boxes.tolist() == [[0.5, 1.25, 60.75, 50.5]]
    assert data[1].class_name == 'cat'
    assert data[1].frames.name(0) == str(tmp_path / 'train2017/two.jpg')
    with pytest.raises(DatasetError, match=r'no object of more than 900 x 900'):
        CocoSequences(tmp_path, min_size=900)
    path = tmp_path / 'annotations/instances_train2017.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['image_id'] = 77
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r'instances_train2017.json: an annotation is malf'):
        CocoSequences(tmp_path)
    path.write_text('[]')
    with pytest.raises(DatasetError, match=r'no file of instances in COCO format'):
        CocoSequences(tmp_path)


def test_missing_sets_are_named_by_their_keys(tmp_path):
    write_lasot_sequence(tmp_path / 'lasot', 'cat-2', some_boxes(2))
    sets = [
        dict(type='tracking.LaSOT', data_root=str(tmp_path / 'lasot')),
        dict(type='tracking.GOT10k', data_root=str(tmp_path / 'got'), split='vottrain'),
        dict(type='tracking.TrackingNet', data_root=str(tmp_path / 'net'), sets=[0, 3]),
        dict(type='tracking.TrackingNet', data_root=str(tmp_path / 'net2'), source='lmdb'),
        dict(type='tracking.CocoSequences', data_root=str(tmp_path / 'coco')),
    ]
    tests = dict(type='tracking.LaSOT', data_root=str(tmp_path / 'other'), split='test')
    cfg = Config(
        dict(
            model=dict(),
            train_dataloader=dict(dataset=dict(type='tracking.PairDataset', sets=sets)),
            test_dataloader=dict(dataset=dict(type='tracking.SequenceDataset', sequences=tests)),
        )
    )
    missing = find_missing(cfg, 'train')
    key = 'train_dataloader.dataset.sets'
    files = ('got/train/list.txt', 'net/TRAIN_0', 'net/TRAIN_3', 'net2')
    files += ('coco/annotations/instances_train2017.json', 'coco/train2017')
    wanted = zip(files, (1, 2, 2, 3, 4, 4), strict=True)
    found = [(asset.path, asset.key) for asset in missing]
    assert found == [(str(tmp_path / f), f'{key}.{place}.data_root') for f, place in wanted]
    assert "GOT-10k's archives" in missing[0].origin
    (asset,) = find_missing(cfg, 'test')
    assert asset.path == str(tmp_path / 'other')
    assert asset.key == 'test_dataloader.dataset.sequences.data_root'
    assert "LaSOT's classes" in asset.origin
