import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.evaluator import DumpResults
from mmengine.registry import METRICS
from pycocotools import mask as mask_utils

import lightvit_dense  # noqa: F401
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import read_predictions
from tests.helpers.coco_truth import evaluate, ground_truth, perturb


def detection(number=3):
    generator = torch.Generator().manual_seed(number)
    masks = torch.rand(number, 12, 20, generator=generator) > 0.5
    return dict(
        img_id=number,
        img_path=f'x/{number}.jpg',
        ori_shape=torch.Size((12, 20)),
        scale_factor=(np.float64(0.5), 0.5),
        pred_instances=dict(
            bboxes=torch.rand(number, 4, generator=generator),
            scores=torch.rand(number, generator=generator),
            labels=torch.arange(number),
            masks=masks,
        ),
        gt_instances=dict(bboxes=torch.zeros(1, 4)),
    )


def dump(path, samples, kind='lightvit_dense.DumpPredictions'):
    metric = METRICS.build(dict(type=kind, out_file=str(path)))
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


@pytest.mark.parametrize(('top', 'kind'), [(255, torch.uint8), (256, torch.int16)])
def test_label_maps_come_back_small(tmp_path, top, kind):
    ids = torch.randint(0, 150, (1, 300, 400))
    ids[0, 0, 0] = top
    sample = dict(
        img_path='a.jpg',
        pred_sem_seg=dict(data=ids),
        seg_logits=dict(data=torch.rand(150, 30, 40)),
        gt_sem_seg=dict(data=ids),
    )
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
        ([{'a': Malice()}], r'asks to run code \((posix|nt)\.system\)'),
        ({'state_dict': {}}, 'holds no list of predictions'),
        ([], 'no image at all'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=message):
        read_predictions(path)


def test_broken_files_are_named(tmp_path):
    path = dump(tmp_path / 'a.pkl', [detection()])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r'a\.pkl: truncated or damaged'):
        read_predictions(path)
    with pytest.raises(UserError, match=r'b\.pkl: does not exist'):
        read_predictions(tmp_path / 'b.pkl')
    with pytest.raises(ValueError, match='pickle file'):
        METRICS.build(dict(type='lightvit_dense.DumpPredictions', out_file='a.json'))


def test_the_metric_takes_what_was_dumped(tmp_path):
    """Detections of a dump give the figures of the model's own output."""
    truth = ground_truth(seed=2)
    samples = perturb(truth, 5, shift=0.2)
    figures = evaluate(tmp_path, truth, samples)
    assert evaluate(tmp_path, truth, read_predictions(dump(tmp_path / 'a.pkl', samples))) == figures
    assert 0 < figures['coco/segm_mAP'] < 1
