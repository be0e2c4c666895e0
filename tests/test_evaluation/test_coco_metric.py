import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets import DatasetError, annotations
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import CocoMetric, coco_metric
from tests.helpers.coco_truth import CLASSES, LABEL, evaluate, ground_truth, make_metric, perturb

PERTURBATIONS = {
    'perfect': {},
    'shifted': dict(shift=0.25),
    'scaled a lot': dict(scale=0.8),
    'dropped, shifted': dict(drop=0.3, shift=0.15),
    'all dropped': dict(drop=1.0),
    'fourfold': dict(double=3, scale=0.2),
    'wrong classes': dict(wrong=0.5),
    'ties': dict(ties=True, shift=0.2, double=2),
    'ties and noise': dict(ties=True, noise=8),
    'more than a hundred': dict(noise=130, shift=0.1),
    'noise alone': dict(drop=1.0, noise=5),
    'images without detections': dict(drop_images=0.5, shift=0.1),
    'boxes beyond the image': dict(outside=0.5),
    'empty boxes and masks': dict(empty=0.4, shift=0.1),
    'all scores equal': dict(ties=None, shift=0.3, double=2),
    'everything': dict(shift=0.2, scale=0.3, drop=0.2, double=1, wrong=0.2, ties=True, noise=5),
}
WORLDS = {'plain': {}, 'crowds': dict(crowd=True), 'areas': dict(crowd=True, foreign_areas=True)}


@pytest.mark.parametrize('world', WORLDS)
@pytest.mark.parametrize('name', PERTURBATIONS)
def test_backends_agree(tmp_path, name, world):
    truth = ground_truth(seed=len(name), **WORLDS[world])
    samples = perturb(truth, seed=3, **PERTURBATIONS[name])
    faster = evaluate(tmp_path, truth, samples, classwise=True)
    slow = evaluate(tmp_path, truth, samples, classwise=True, backend='pycocotools')
    assert faster.keys() == slow.keys()
    assert len(faster) == 2 * (12 + len(CLASSES))
    for key, value in slow.items():
        assert faster[key] == pytest.approx(value, abs=1e-12), key


def reference_stats(tmp_path, truth, samples, kind):
    """COCO's own twelve figures, by pycocotools alone."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = tmp_path / 'reference.json'
    path.write_text(json.dumps(truth))
    api, listed = COCO(str(path)), []
    for sample in samples:
        predicted = sample['pred_instances']
        for box, label, score, mask in zip(
            *(predicted[k] for k in ('bboxes', 'labels', 'scores', 'masks')), strict=True
        ):
            x, y, right, bottom = box.tolist()
            entry = dict(image_id=sample['img_id'], score=score.item())
            entry['category_id'] = {v: k for k, v in LABEL.items()}[label.item()]
            pixels = np.asfortranarray(mask.numpy().astype(np.uint8))
            shape = dict(bbox=[x, y, right - x, bottom - y], segmentation=mask_utils.encode(pixels))
            shape.pop('segmentation' if kind == 'bbox' else 'bbox')
            listed.append(entry | shape)
    run = COCOeval(api, api.loadRes(listed), kind)
    for step in (run.evaluate, run.accumulate, run.summarize):
        step()
    return run.stats


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('name', ['shifted', 'ties', 'images without detections', 'everything'])
def test_figures_are_pycocotools_own(tmp_path, name, kind):
    truth = ground_truth(seed=9, crowd=True)
    samples = perturb(truth, seed=4, **PERTURBATIONS[name])
    figures = evaluate(tmp_path, truth, samples, metric=kind)
    expected = reference_stats(tmp_path, truth, samples, kind)
    assert 0 < expected[0] < 1
    assert list(figures.values()) == pytest.approx(list(expected), abs=1e-9)


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
def test_perfect_empty_and_without_a_class(tmp_path, backend):
    truth = ground_truth(seed=2)
    perfect = evaluate(tmp_path, truth, perturb(truth, 0), backend=backend)
    empty = evaluate(tmp_path, truth, perturb(truth, 0, drop=1.0), backend=backend)
    assert perfect.keys() == empty.keys()
    for name in ('bbox_mAP', 'bbox_mAP_50', 'bbox_AR@100', 'segm_mAP', 'segm_mAP_50'):
        assert (perfect[f'coco/{name}'], empty[f'coco/{name}']) == (pytest.approx(1.0), 0.0)
    # Classwise goes by name.
    samples = perturb(truth, 0)
    for sample in samples:  # no dog is found
        predicted = sample['pred_instances']
        keep = predicted['labels'] != CLASSES.index('dog')
        sample['pred_instances'] = {key: value[keep] for key, value in predicted.items()}
    figures = evaluate(tmp_path, truth, samples, classwise=True, backend=backend)
    found = [figures[f'coco/bbox_AP_{name}'] for name in CLASSES]
    assert found == pytest.approx([1.0, 0.0, 1.0])
    assert figures['coco/bbox_mAP'] == pytest.approx(2 / 3)


def test_table_of_the_classes(tmp_path):
    truth = ground_truth(seed=2, crowd=True)
    samples = perturb(truth, 5, shift=0.2)[:4]  # some of the images
    metric = make_metric(tmp_path, truth)
    metric.process({}, samples)
    figures = metric.evaluate(len(samples))
    assert len(figures) == 24  # the names of the figures stay what they are
    table = metric.class_table
    assert [row['class'] for row in table] == list(CLASSES)
    counted = [a for a in truth['annotations'] if a['image_id'] <= 4 and not a['iscrowd']]
    assert [row['instances'] for row in table] == [
        sum(LABEL[a['category_id']] == label for a in counted) for label in range(len(CLASSES))
    ]
    for kind in ('bbox', 'segm'):
        found = np.array([row[f'{kind}_mAP'] for row in table])
        assert figures[f'coco/{kind}_mAP'] == pytest.approx(found[found > -1].mean())
        assert set(table[0]) >= {f'{kind}_mAP_50', f'{kind}_mAP_l'}


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
def test_a_second_evaluation_gives_the_same(tmp_path, backend):
    truth = ground_truth(seed=2, crowd=True)
    samples = perturb(truth, 5, shift=0.2)
    metric, figures = make_metric(tmp_path, truth, backend=backend), []
    for _ in range(2):
        metric.process({}, samples)
        figures.append(metric.evaluate(len(samples)))
    assert figures[0] == figures[1]
    assert 0 < figures[0]['coco/segm_mAP'] < 1


def test_an_image_shown_twice_counts_once_and_one_not_shown_not_at_all(tmp_path):
    truth = ground_truth(seed=2)
    samples = perturb(truth, 5, shift=0.2)
    once = evaluate(tmp_path, truth, samples)
    assert evaluate(tmp_path, truth, [*samples, *samples[:3]]) == once
    figures = evaluate(tmp_path, truth, perturb(truth, 0)[:3])
    assert figures['coco/bbox_mAP'] == pytest.approx(1.0)


def test_detections_are_written(tmp_path):
    truth = ground_truth(seed=2)
    prefix = tmp_path / 'out' / 'results'
    samples = perturb(truth, 0)
    assert evaluate(tmp_path, truth, samples, outfile_prefix=str(prefix), format_only=True) == {}
    boxes, masks = (json.loads(Path(f'{prefix}.{k}.json').read_text()) for k in ('bbox', 'segm'))
    assert len(boxes) == len(masks) == len(truth['annotations'])
    assert boxes[0]['category_id'] == truth['annotations'][0]['category_id']
    assert np.allclose(boxes[0]['bbox'], truth['annotations'][0]['bbox'], atol=1e-3)
    assert masks[0]['segmentation'] == truth['annotations'][0]['segmentation']


@pytest.mark.parametrize('backend', ['faster', 'pycocotools'])
def test_ids_may_begin_at_zero(tmp_path, backend, monkeypatch):
    lines = []
    monkeypatch.setattr(annotations, 'print_log', lambda text, **_: lines.append(text))
    truth = ground_truth(seed=9, crowd=True)
    samples = perturb(truth, 4, **PERTURBATIONS['everything'])
    figures = evaluate(tmp_path, truth, samples, backend=backend)
    for entry in [*truth['images'], *truth['annotations'], *truth['categories']]:
        entry['id'] -= 3 if 'name' in entry else 1
    for entry in truth['annotations']:
        entry['image_id'] -= 1
        entry['category_id'] -= 3
    for sample in samples:
        sample['img_id'] -= 1
    assert 0 < figures['coco/segm_mAP'] < 1
    assert evaluate(tmp_path, truth, samples, backend=backend) == figures
    (line,) = lines
    assert 'truth.json: annotation ids start at 0' in line


def test_no_objects_are_no_evaluation_and_absent_classes_are_named_once(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(coco_metric, 'print_log', lambda text, **_: lines.append(text))
    truth = ground_truth(seed=2)
    samples = perturb(truth, 0)
    birds = [note for note in truth['annotations'] if LABEL[note['category_id']] == 2]
    metric = make_metric(tmp_path, {**truth, 'annotations': birds})
    for _ in range(2):
        metric.process({}, samples)
        metric.evaluate(len(samples))
    (line,) = [line for line in lines if 'never occur' in line]
    assert '2 of 3 classes never occur: cat, dog.' in line
    metric.dataset_meta = dict(classes=CLASSES[:2])
    metric.process({}, samples[:2])
    with pytest.raises(DatasetError, match='the 2 images evaluated have no object of any of the 2'):
        metric.evaluate(2)
    for notes in ([], [note | dict(iscrowd=1) for note in birds]):
        with pytest.raises(DatasetError, match=r'truth\.json: has no object to evaluate on'):
            make_metric(tmp_path, {**truth, 'annotations': notes})


def test_foreign_images_and_missing_masks_are_refused(tmp_path):
    truth = ground_truth()
    samples = perturb(truth, 0)
    with pytest.raises(DatasetError, match='lacks the image 99'):
        evaluate(tmp_path, truth, [*samples, {**samples[0], 'img_id': 99}])
    del samples[0]['pred_instances']['masks']
    with pytest.raises(ValueError, match='predicts none'):
        evaluate(tmp_path, truth, samples)


@pytest.mark.parametrize(('key', 'named'), [('bboxes', 'a/1.jpg'), ('scores', 'image 1')])
def test_numbers_that_are_none_are_refused(tmp_path, key, named):
    truth = ground_truth()
    sample = perturb(truth, 0)[0]
    sample['pred_instances'][key][0] = torch.nan
    if '/' in named:
        sample['img_path'] = named
    with pytest.raises(UserError, match=f'{named}: the predicted {key} are NaN or infinite'):
        make_metric(tmp_path, truth).process({}, [sample])


def test_the_same_in_all_images_is_a_warning(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(coco_metric, 'warn_constant', shown.append)
    truth = ground_truth()
    samples = perturb(truth, 0)
    evaluate(tmp_path, truth, samples)
    assert not shown
    evaluate(tmp_path, truth, perturb(truth, 0, drop=1.0))
    same = [dict(sample, pred_instances=samples[0]['pred_instances']) for sample in samples]
    evaluate(tmp_path, truth, same)
    count, images = len(samples[0]['pred_instances']['labels']), len(samples)
    for text, boxes in zip(shown, ('No boxes', f'The same {count} boxes'), strict=True):
        assert text == f'{boxes} are detected in all {images} images'


@pytest.mark.parametrize(
    'kwargs',
    [dict(metric='keypoints'), dict(backend='c++'), dict(max_dets=(100,)), dict(format_only=True)],
)
def test_wrong_options_are_refused(kwargs):
    with pytest.raises(ValueError):
        CocoMetric('nowhere.json', **kwargs)
