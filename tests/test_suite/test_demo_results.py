import json
import re

import cv2
import numpy as np
import pytest

from lightvit_dense.suite import demo_report, demo_summary
from lightvit_dense.suite.stages import Stage, StageRecord, write_record

TITLES = {
    'world': 'Toy world',
    'teacher': 'Teacher',
    'student': 'Student',
    'scratch': 'From scratch',
    'dmae': 'From D-MAE',
    'upernet_scratch': 'Segmentor from scratch',
    'upernet_dmae': 'Segmentor from D-MAE',
    'tracker_scratch': 'Tracker from scratch',
    'tracker_dmae': 'Tracker from D-MAE',
    'test_scratch': 'Test 1',
    'test_dmae': 'Test 2',
    'test_upernet_scratch': 'Test 3',
    'test_upernet_dmae': 'Test 4',
    'test_tracker_scratch': 'Test 5',
    'test_tracker_dmae': 'Test 6',
}
AP = {'test_scratch': (0.143, 0.301, 0.12, 0.28), 'test_dmae': (0.214, 0.402, 0.19, 0.37)}
IOU = {'test_upernet_scratch': (41.2, 55.0, 82.0), 'test_upernet_dmae': (38.5, 52.0, 80.0)}
AUC = {'test_tracker_scratch': (31.0, 40.0, 45.0), 'test_tracker_dmae': (36.5, 47.5, 45.0)}
ENVIRONMENT = {'cpu': 'Some CPU', 'gpu': None, 'cores': 2, 'versions': {'torch': '2.11.0'}}


@pytest.fixture
def coco(tmp_path):
    """Two 40x40 images in COCO layout; the first has a 10x10 object."""
    root = tmp_path / 'coco'
    for folder in ('annotations', 'val2017', 'unlabeled2017'):
        (root / folder).mkdir(parents=True)
    for name in ('val2017/1.png', 'val2017/2.png', 'unlabeled2017/3.png'):
        cv2.imwrite(str(root / name), np.zeros((40, 40, 3), np.uint8))
    images = [{'id': i, 'file_name': f'{i}.png', 'height': 40, 'width': 40} for i in (1, 2)]
    truth = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [15, 20, 10, 10], 'area': 100}
    data = {
        'images': images,
        'categories': [{'id': 1, 'name': 'cup'}],
        'annotations': [
            {**truth, 'segmentation': [[15, 20, 25, 20, 25, 30, 15, 30]], 'iscrowd': 0}
        ],
    }
    for split in ('train', 'val'):
        (root / f'annotations/instances_{split}2017.json').write_text(json.dumps(data))
    return root


def detector_config(coco, **dataset):
    ann = 'annotations/instances_train2017.json'
    return {'train_dataloader': {'dataset': {'data_root': str(coco), 'ann_file': ann, **dataset}}}


@pytest.fixture
def stages(tmp_path):
    """All stages as they look when they are done, with logs and metrics."""
    made = []
    for i, (name, title) in enumerate(TITLES.items()):
        stage = Stage(name, title, tmp_path / name, 'k', ['python', name, '--a b'])
        record = StageRecord('k', True, 60.0 * (i + 1), 100.0 * i, list(stage.command), 1)
        write_record(stage, record)
        made.append(stage)
        run = stage.work_dir / '20260101_000000'
        (run / 'vis_data').mkdir(parents=True)
        scalars = [
            {'loss': 2.0, 'loss_reconstruction': 1.5, 'agreement/layer_2': 0.5, 'step': 1},
            {'mIoU': 12.5, 'IoU': 40.0, 'step': 1},
            {'loss': 1.0, 'loss_reconstruction': 1.2, 'agreement/layer_10': 0.6, 'step': 2},
        ]
        lines = ''.join(json.dumps(record) + '\n' for record in scalars)
        (run / 'vis_data' / 'scalars.json').write_text(lines)
        if name in AP:
            keys = ('bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_50')
            metrics = {f'coco/{key}': v for key, v in zip(keys, AP[name], strict=True)}
            metrics |= {'coco/bbox_mAP_l': -1.0, 'coco/bbox_mAP_copypaste': '0.1', 'time': 0.1}
            (run / '20260101_000000.json').write_text(json.dumps(metrics))
        if name in IOU:
            metrics = dict(zip(('mIoU', 'mAcc', 'aAcc'), IOU[name], strict=True), time=0.1)
            (run / '20260101_000000.json').write_text(json.dumps(metrics))
        if name in AUC:
            keys = ('success', 'precision', 'norm_precision')
            metrics = dict(zip(keys, AUC[name], strict=True), time=0.1)
            (run / '20260101_000000.json').write_text(json.dumps(metrics))
    return made


@pytest.fixture
def lasot(tmp_path):
    """The lists of three training videos and a test video."""
    root = tmp_path / 'lasot'
    root.mkdir()
    (root / 'training_set.txt').write_text('cup-1\ncup-2\ncup-3\n')
    (root / 'testing_set.txt').write_text('cup-4\n')
    return root


@pytest.fixture
def ade(tmp_path):
    """Three 20x20 images in ADE20K's layout, all of class 2 but for an unlabelled row."""
    root = tmp_path / 'ade20k'
    for kind in ('images', 'annotations'):
        for split in ('training', 'validation'):
            (root / kind / split).mkdir(parents=True)
    labels = np.full((20, 20), 2, np.uint8)
    labels[0] = 0
    for name in 'abc':
        cv2.imwrite(str(root / f'images/validation/{name}.jpg'), np.zeros((20, 20, 3), np.uint8))
        cv2.imwrite(str(root / f'annotations/validation/{name}.png'), labels)
    return root


@pytest.fixture
def summary(stages, coco, ade, lasot):
    data = demo_summary.count_data(coco, ade, lasot, detector_config(coco))
    return demo_summary.summarize(stages, data, ENVIRONMENT, {'teacher': 'abc123'})


def test_summary_has_the_numbers(summary):
    assert summary['scratch']['bbox_mAP'] == 0.143
    assert summary['dmae']['segm_mAP_50'] == 0.37
    assert summary['difference']['bbox_mAP'] == 0.071
    assert 'bbox_mAP_l' not in summary['difference']
    assert summary['outcome'] == 'helped'
    assert summary['minutes']['student'] == 3.0
    assert summary['upernet_scratch'] == {'mIoU': 41.2, 'mAcc': 55.0, 'aAcc': 82.0}
    assert summary['segmentation']['difference'] == {'mIoU': -2.7, 'mAcc': -3.0, 'aAcc': -2.0}
    assert summary['segmentation']['outcome'] == 'hurt'
    assert summary['tracking']['difference'] == {
        'success': 5.5,
        'precision': 7.5,
        'norm_precision': 0.0,
    }
    assert summary['tracking']['outcome'] == 'helped'
    assert summary['minutes']['total'] == sum(range(1, 16))
    assert summary['peak_memory_mb']['dmae'] == 400.0
    assert summary['peak_gpu_memory_mb'] == {}
    assert summary['data'] == {
        'labelled_images': 2,
        'unlabelled_images': 1,
        'val_images': 2,
        'val_objects': 1,
        'classes': 1,
        'label_maps': 0,
        'val_label_maps': 3,
        'videos': 3,
        'test_videos': 1,
    }
    assert json.loads(json.dumps(summary)) == summary


def test_labelled_images_are_those_the_config_uses(coco):
    def count(**dataset):
        return demo_summary.count_images(detector_config(coco, **dataset)['train_dataloader'])

    assert (count(), count(indices=1), count(indices=[0]), count(indices=9)) == (2, 1, 1, 2)


def test_missing_metrics_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no metrics in .*has tools/test.py run'):
        demo_summary.read_metrics(tmp_path)


def test_table_has_one_row_a_stage_and_stresses_the_better(summary):
    rows = demo_summary.table_rows(summary, TITLES)
    assert [row[0] for row in rows] == [*list(TITLES.values())[:9], 'total']
    assert rows[3] == ['From scratch', 0.143, 0.301, 0.12, 0.28, *[None] * 4, '14.0', '300']
    assert rows[4][9] == '16.0'  # training and test
    iou = [*[None] * 4, pytest.approx(0.412), *[None] * 3]
    assert rows[5] == ['Segmentor from scratch', *iou, '18.0', '500']
    assert rows[8] == ['Tracker from D-MAE', *[None] * 5, 0.365, 0.475, 0.45, '24.0', '800']
    # Both trackers are level in the last column.
    assert demo_summary.best_cells(rows) == {1: 4, 2: 4, 3: 4, 4: 4, 5: 5, 6: 8, 7: 8}
    level = [
        ['a', 0.1, 0.2, 0.3, 0.4, 0.5, None, None, None],
        ['b', 0.1, 0.3, 0.2, 0.4, 0.4, None, None, None],
    ]
    assert demo_summary.best_cells(level) == {2: 1, 3: 0, 5: 0}


def test_report_is_self_contained_and_tells_the_numbers(summary, stages):
    plots = demo_report.training_plots({stage.name: stage for stage in stages})
    assert len(plots['pretraining']) == 3
    agreement = plots['pretraining'][2]
    assert agreement.index('layer_2') < agreement.index('layer_10')
    black = np.zeros((4, 4, 3), np.uint8)
    assert len(plots['segmentation']) == len(plots['tracking']) == 2
    plots['success'] = ['<svg>one pass</svg>']
    text = demo_report.build_report(
        summary, TITLES, plots, black, black, black, {'Teacher': black}
    ).html()
    assert 'http' not in text
    assert all(s.startswith(('data:', '#')) for s in re.findall(r'(?:src|href)="([^"]*)"', text))
    for expected in (
        'Pre-training helped: +0.071 box AP (0.214 against 0.143 from scratch)',
        'Segmentation: pre-training did not help, it did harm: -0.027 mean IoU '
        '(0.385 against 0.412 from scratch)',
        'Tracking: pre-training helped: +0.055 AUC (0.365 against 0.310 from scratch) and +0.075 '
        'precision',
        'learn from 3 videos and are judged by one pass over 1 others',
        'one pass</svg>',
        '<td class="best">0.214</td>',
        '<td>0.301</td>',
        '2 labelled and 1 unlabelled images',
        'one seed on 2 validation images',
        'python teacher &#x27;--a b&#x27;',
        'abc123',
        'Some CPU',
        '2.11.0',
    ):
        assert expected in text, expected
    assert 'Smoke run' not in text


def test_a_smoke_run_says_so(summary):
    kinds = ('detection', 'segmentation', 'pretraining', 'tracking', 'success')
    plots = {kind: [] for kind in kinds}
    black = np.zeros((4, 4, 3), np.uint8)
    page = demo_report.build_report(
        {**summary, 'smoke': True}, TITLES, plots, black, black, black, {}
    )
    assert 'Smoke run' in page.html()
