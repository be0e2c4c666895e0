"""Accuracy by the data set's labels, by ImageNet's reassessed ones, and both in one pass."""

import pytest
import torch
from mmengine.registry import EVALUATOR, METRICS

import lightvit_dense  # noqa: F401
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import classification


def run(cfg, items, meta=None):
    metric = METRICS.build(cfg)
    metric.dataset_meta = meta
    for start in range(0, len(items), 3):
        metric.process(None, items[start : start + 3])
    return metric.evaluate(len(items))


def topk(scores, labels, topk=(1, 5)):
    items = [dict(pred_score=s, gt_label=n) for s, n in zip(scores, labels, strict=True)]
    return run(dict(type='lightvit_dense.Accuracy', topk=topk), items)


@pytest.mark.parametrize('size', [(7, 6), (50, 20)])
def test_agrees_with_sorting(size):
    torch.manual_seed(0)
    scores, labels = torch.randn(size), torch.randint(size[1], size[:1])
    order = scores.argsort(1, descending=True)
    found = topk(scores, labels, (1, 2, 5))
    for k in (1, 2, 5):
        right = (order[:, :k] == labels[:, None]).any(1).double().mean().item()
        assert found[f'accuracy/top{k}'] == pytest.approx(100 * right)


def test_a_model_that_tells_nothing_apart_is_at_chance_and_k_has_limits():
    scores, labels = torch.ones(8, 4), torch.arange(8) % 4
    assert topk(scores, labels, (1, 4)) == {'accuracy/top1': 25.0, 'accuracy/top4': 100.0}
    for k, message in ((0, 'topk must be positive'), (5, 'asks for more than the 3 classes')):
        with pytest.raises(ValueError, match=message):
            topk(torch.ones(1, 3), [0], (k,))


def test_one_class_for_all_images_is_a_warning(monkeypatch):
    shown = []
    monkeypatch.setattr(classification, 'warn_constant', shown.append)
    scores = torch.eye(4)
    topk(scores, torch.arange(4), (1,))
    topk(scores[[2, 2]], [2, 2], (1,))
    assert not shown
    topk(scores[[2, 2, 2]], [0, 1, 2], (1,))
    assert shown == ['All 3 images are predicted as class 2']


@pytest.fixture
def real(tmp_path):
    path = tmp_path / 'real.json'
    path.write_text('[[3], [], [0, 4], [2, 1, 3], [4]]')
    return str(path)


def samples(predictions, names=None, classes=5):
    numbers = range(1, 1 + len(predictions))
    names = names or [f'val/n01440764/ILSVRC2012_val_{n:08d}.JPEG' for n in numbers]
    scores = torch.eye(classes)[predictions]
    return [dict(pred_score=s, img_path=n) for s, n in zip(scores, names, strict=True)]


def evaluate(path, items, meta=None):
    return run(dict(type='lightvit_dense.RealAccuracy', ann_file=path), items, meta)


def test_any_of_the_labels_is_right_and_images_without_are_left_out(real):
    # By hand: image 1 right, 2 does not count, 3 right, 4 right, 5 wrong.
    found = evaluate(real, samples([3, 3, 4, 1, 0]))
    assert found == {'real/top1': 75.0, 'real/images': 4.0}
    # Images are known by their names, in any order and place.
    names = ['a/ILSVRC2012_val_00000005.JPEG', 'ILSVRC2012_val_00000002.jpeg', 'x/y_00000003.png']
    found = evaluate(real, samples([4, 0, 3], names))
    assert found == {'real/top1': 50.0, 'real/images': 2.0}


@pytest.mark.parametrize(
    ('items', 'meta', 'message'),
    [
        (samples([0], ['val/cat.JPEG']), None, r'cat\.JPEG: is not called ILSVRC2012_val_<number>'),
        (samples([0], ['a/b_00000006.JPEG']), None, 'with a number up to 5'),
        (samples([0], ['a/b_00000000.JPEG']), None, 'with a number up to 5'),
        (samples([0], classes=4), None, 'has labels up to 4, the model has 4 classes'),
        (samples([0]), dict(classes=('b', 'a', 'c', 'd', 'e')), 'classes in another order'),
        ([dict(pred_score=torch.zeros(5))], None, "needs 'img_path' of every image"),
        (samples([0], ['ILSVRC2012_val_00000002.JPEG']), None, 'none of the 1 images has a label'),
        (
            [dict(samples([3])[0], pred_score=torch.full((5,), torch.nan))],
            None,
            r'00001\.JPEG: the predicted scores are NaN or infinite',
        ),
    ],
)
def test_what_does_not_fit_is_refused(real, items, meta, message):
    with pytest.raises(UserError, match=message):
        evaluate(real, items, meta=meta)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (None, r'real\.json: the labels of ImageNet-ReaL do not exist'),
        ('[[1], [2', 'is no JSON, or truncated'),
        ('{"a": 1}', 'is no list of lists'),
        ('[[1], 2]', 'is no list of lists'),
        ('[[1.5]]', 'is no list of lists'),
        ('[[-1]]', 'is no list of lists'),
    ],
)
def test_damaged_files(tmp_path, text, message):
    path = tmp_path / 'real.json'
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        evaluate(str(path), samples([0]))


def test_joint_evaluator_names_what_is_further(real):
    accuracy = dict(type='lightvit_dense.Accuracy', topk=(1,))
    extras = dict(
        real=dict(type='lightvit_dense.RealAccuracy', ann_file=real),
        again=[accuracy],
        nested=dict(metrics=[dict(accuracy, prefix='nested')]),
    )
    cfg = dict(type='lightvit_dense.JointEvaluator', metrics=accuracy, extras=extras)
    evaluator = EVALUATOR.build(cfg)
    evaluator.dataset_meta = dict(classes=tuple('abcde'))
    assert [m.dataset_meta['classes'][4] for m in evaluator.metrics] == ['e'] * 4
    items = [item | dict(gt_label=n) for item, n in zip(samples([3, 3]), (3, 0), strict=True)]
    evaluator.process(items, None)
    assert evaluator.evaluate(2) == {
        'accuracy/top1': 50.0,
        'real/top1': 100.0,
        'real/images': 1.0,
        'again/accuracy/top1': 50.0,
        'nested/top1': 50.0,
    }
    again = dict(accuracy, prefix='again')
    evaluator = EVALUATOR.build(cfg | dict(metrics=again, extras=dict(again=again)))
    evaluator.process(items, None)
    with pytest.raises(ValueError, match='same metric name again/top1'):
        evaluator.evaluate(2)
