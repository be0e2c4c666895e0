"""What a run needs is looked for before it starts, in nested sets too."""

from mmengine.config import Config

import tracking.datasets  # noqa: F401
from lightvit_dense.apis.preflight import find_missing

from .small_sequences import some_boxes, write_lasot_sequence


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
            test_dataloader=dict(
                dataset=dict(type='tracking.SequenceDataset', sequences=tests),
            ),
        )
    )
    missing = find_missing(cfg, 'train')
    key = 'train_dataloader.dataset.sets'
    assert [(asset.path, asset.key) for asset in missing] == [
        (str(tmp_path / 'got/train/list.txt'), f'{key}.1.data_root'),
        (str(tmp_path / 'net/TRAIN_0'), f'{key}.2.data_root'),
        (str(tmp_path / 'net/TRAIN_3'), f'{key}.2.data_root'),
        (str(tmp_path / 'net2'), f'{key}.3.data_root'),
        (str(tmp_path / 'coco/annotations/instances_train2017.json'), f'{key}.4.data_root'),
        (str(tmp_path / 'coco/train2017'), f'{key}.4.data_root'),
    ]
    assert "GOT-10k's archives" in missing[0].origin
    (asset,) = find_missing(cfg, 'test')
    assert asset.path == str(tmp_path / 'other')
    assert asset.key == 'test_dataloader.dataset.sequences.data_root'
    assert "LaSOT's classes" in asset.origin
