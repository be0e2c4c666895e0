"""Predictions that are kept in a file, and the report of an evaluation."""

import hashlib
import json
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS
from pycocotools import mask as mask_utils

import lightvit_dense  # noqa: F401
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import read_predictions
from lightvit_dense.evaluation.report import describe_config, evaluation_report
from lightvit_dense.utils.io import write_json


def detection(number=3):
    generator = torch.Generator().manual_seed(number)
    masks = torch.rand(number, 12, 20, generator=generator) > 0.5
    boxes, labels = torch.rand(number, 4, generator=generator), torch.arange(number)
    return dict(
        img_id=number,
        img_path=f'x/{number}.jpg',
        ori_shape=torch.Size((12, 20)),
        scale_factor=(np.float64(0.5), 0.5),
        pred_instances=dict(bboxes=boxes, scores=boxes[:, 0], labels=labels, masks=masks),
        gt_instances=dict(bboxes=torch.zeros(1, 4)),
    )


def dump(path, samples):
    metric = METRICS.build(dict(type='lightvit_dense.DumpPredictions', out_file=str(path)))
    metric.process({}, samples)
    assert metric.evaluate(len(samples)) == {}
    return path


def test_detections_come_back(tmp_path):
    samples = [detection(3), detection(0)]
    first, second = read_predictions(dump(tmp_path / 'a.pkl', samples))
    assert 'gt_instances' not in first
    assert (first['img_id'], first['img_path'], first['ori_shape']) == (3, 'x/3.jpg', (12, 20))
    for key in ('bboxes', 'scores', 'labels'):
        assert first['pred_instances'][key].equal(samples[0]['pred_instances'][key])
    masks = mask_utils.decode(first['pred_instances']['masks']).transpose(2, 0, 1)
    assert (masks.astype(bool) == samples[0]['pred_instances']['masks'].numpy()).all()
    assert second['pred_instances']['masks'] == []
    with pytest.raises(ValueError, match='pickle file'):
        dump('a.json', samples)


@pytest.mark.parametrize(('top', 'kind'), [(255, torch.uint8), (256, torch.int16)])
def test_label_maps_come_back_small(tmp_path, top, kind):
    ids = torch.randint(0, 150, (1, 300, 400))
    ids[0, 0, 0] = top
    sample = dict(img_path='a.jpg', pred_sem_seg=dict(data=ids), gt_sem_seg=dict(data=ids))
    sample['seg_logits'] = dict(data=torch.rand(150, 30, 40))
    path = dump(tmp_path / 'a.pkl', [sample])
    assert os.path.getsize(path) < ids.numel() * kind.itemsize + 5000
    (found,) = read_predictions(path)
    assert set(found) == {'img_path', 'pred_sem_seg'}
    assert found['pred_sem_seg']['data'].dtype == kind
    assert found['pred_sem_seg']['data'].long().equal(ids)


def test_a_view_is_not_written_with_all_it_is_part_of(tmp_path):
    scores = torch.rand(1000, 100)
    path = dump(tmp_path / 'a.pkl', [dict(img_path='a', pred_score=row) for row in scores[:2]])
    assert os.path.getsize(path) < 10_000
    assert read_predictions(path)[1]['pred_score'].equal(scores[1])


def test_what_mmengine_dumps_is_read_too(tmp_path):
    metric = DumpResults(str(tmp_path / 'a.pkl'))
    metric.process({}, [detection()])
    metric.evaluate(1)
    (found,) = read_predictions(tmp_path / 'a.pkl')
    assert found['ori_shape'] == (12, 20)
    assert found['pred_instances']['masks'].equal(detection()['pred_instances']['masks'])


class Malice:
    def __reduce__(self):
        return os.system, ('echo harm',)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (pickle.dumps([{'a': Malice()}]), r'asks to run code \((posix|nt)\.system\)'),
        (pickle.dumps({'state_dict': {}}), 'holds no list of predictions'),
        (pickle.dumps([]), 'no image at all'),
        (pickle.dumps(['a' * 300])[:-200], r'a\.pkl: truncated or damaged'),
        (None, r'a\.pkl: does not exist'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / 'a.pkl'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_predictions(path)


def test_what_is_no_number_is_null(tmp_path):
    table = [{'class': 'a', 'IoU': np.float32(50)}, {'class': 'b', 'IoU': float('nan')}]
    metrics = {'mIoU': torch.tensor(50.0), 'bad': float('inf')}
    weights = tmp_path / 'x.pth'
    weights.write_bytes(b'weights')
    files = dict(checkpoint=weights, predictions='gone.pkl')
    found = evaluation_report(Config(), metrics, {'IoUMetric': table}, **files)
    write_json(tmp_path / 'new' / 'report.json', found)
    content = json.loads((tmp_path / 'new' / 'report.json').read_text())
    assert content['metrics'] == {'mIoU': 50.0, 'bad': None}
    assert [row['IoU'] for row in content['class_tables']['IoUMetric']] == [50.0, None]
    assert content['checkpoint_sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert (content['predictions'], content['predictions_sha256']) == ('gone.pkl', None)
    assert content['time'].endswith('+00:00')
    with pytest.raises((TypeError, ValueError)):
        write_json(tmp_path / 'x.json', {'x': object()})
    assert not (tmp_path / 'x.json').exists()


def test_the_hash_follows_the_values_alone():
    values = dict(model=dict(type='x', depth=2), lr=1e-3)
    one = describe_config(Config(values))
    two = describe_config(Config(dict(reversed(values.items()), work_dir='w')))
    assert one['config_sha256'] == two['config_sha256']
    other = describe_config(Config(dict(values, lr=2e-3)))
    assert one['config_sha256'] != other['config_sha256']
