import numpy as np
import pytest
import torch
from mmengine.registry import METRICS
from PIL import Image
from sklearn.metrics import jaccard_score
from torchmetrics.classification import MulticlassJaccardIndex

import lightvit_dense  # noqa: F401
from lightvit_dense.datasets.errors import DatasetError
from lightvit_dense.errors import UserError
from lightvit_dense.evaluation import IoUMetric, iou_metric
from tests.helpers.processes import in_two_ranks

CLASSES = ('wall', 'sky', 'tree', 'road', 'ship', 'none of it')


def make(classes=CLASSES, **kwargs):
    metric = METRICS.build(dict(type='lightvit_dense.IoUMetric', **kwargs))
    metric.dataset_meta = dict(classes=classes)
    return metric


def image(predicted, truth, **meta):
    """A sample as the evaluator hands it on."""
    wrapped = {
        key: dict(data=torch.as_tensor(ids)[None])
        for key, ids in (('pred_sem_seg', predicted), ('gt_sem_seg', truth))
        if ids is not None
    }
    return dict(img_path='images/a.jpg', **wrapped) | meta


def scenes(count=7, seed=0, right=0.6, classes=5):
    """Images of different sizes; of ``CLASSES`` the last does not occur."""
    rng = np.random.RandomState(seed)
    found = []
    for place in range(count):
        size = rng.randint(5, 40, 2)
        truth = rng.randint(0, classes, size)
        guess = rng.randint(0, classes, size)
        predicted = np.where(rng.rand(*size) < right, truth, guess)
        truth[rng.rand(*size) < 0.1] = 255
        found.append(image(predicted, truth, img_path=f'images/{place}.jpg'))
    return found


def evaluate(samples, batch=2, **kwargs):
    metric = make(**kwargs)
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start : start + batch])
    return metric.evaluate(len(samples)), metric


def pooled(samples):
    """All labelled pixels, side by side."""
    pairs = [
        (s['gt_sem_seg']['data'].numpy().ravel(), s['pred_sem_seg']['data'].numpy().ravel())
        for s in samples
    ]
    truth, predicted = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return truth[truth != 255], predicted[truth != 255]


def straight_line(samples):
    """The figures by their definitions, one class after the other."""
    truth, predicted = pooled(samples)
    iou, accuracy = [], []
    for number in range(len(CLASSES)):
        both = np.sum((truth == number) & (predicted == number))
        either = np.sum((truth == number) | (predicted == number))
        iou.append(both / either if either else np.nan)
        accuracy.append(both / np.sum(truth == number) if np.any(truth == number) else np.nan)
    figures = [np.nanmean(iou), np.nanmean(accuracy), np.mean(truth == predicted)]
    pixels = [np.sum(truth == number) for number in range(len(CLASSES))]
    return 100 * np.array(figures), 100 * np.array(iou), 100 * np.array(accuracy), pixels


@pytest.mark.parametrize('right', [0.0, 0.6, 1.0])
def test_figures_are_those_of_the_definition_and_of_scikit_learn(right):
    samples = scenes(right=right)
    figures, metric = evaluate(samples)
    expected, *columns = straight_line(samples)
    assert list(figures) == ['mIoU', 'mAcc', 'aAcc']
    assert list(figures.values()) == pytest.approx(expected, abs=1e-10)
    assert [row['class'] for row in metric.class_table] == list(CLASSES)
    for name, column in zip(('IoU', 'Acc', 'pixels'), columns, strict=True):
        np.testing.assert_allclose([row[name] for row in metric.class_table], column, atol=1e-10)
    present = range(len(CLASSES) - 1)
    jaccard = 100 * jaccard_score(*pooled(samples), labels=present, average=None)
    assert [row['IoU'] for row in metric.class_table[:-1]] == pytest.approx(list(jaccard))


@pytest.mark.parametrize(('classes', 'used'), [(2, 2), (19, 19), (150, 150), (150, 20)], ids=str)
def test_pooled_jaccard_of_torchmetrics(classes, used):
    """Its macro Jaccard index pools the pixels of all images; it is computed in float32."""
    samples = scenes(count=6, seed=classes, classes=used, right=0.7)
    figures, metric = evaluate(samples, classes=range(classes), classwise=False)
    options = dict(num_classes=classes, ignore_index=255)
    for average in ('macro', 'none'):
        theirs = MulticlassJaccardIndex(average=average, **options)
        for sample in samples:
            theirs.update(sample['pred_sem_seg']['data'], sample['gt_sem_seg']['data'])
        expected = 100 * theirs.compute().numpy()
        if average == 'macro':
            assert figures['mIoU'] == pytest.approx(expected.item(), abs=2e-5)
    found = np.array([row['IoU'] for row in metric.class_table])
    np.testing.assert_allclose(np.nan_to_num(found), expected, atol=2e-5)
    assert np.isnan(found).sum() == classes - used


def test_exact_beyond_what_float32_counts():
    """At 2^24 pixels of a class, sums in float32 stop growing: mmseg's IoU stays at 100."""
    many = torch.zeros(4096, 4096, dtype=torch.uint8)
    one = torch.zeros(1, 1, dtype=torch.uint8)
    samples = [image(many, many), *[image(one + 1, one)] * 1000, image(one + 2, one + 2)]
    figures, metric = evaluate(samples)
    assert metric.confusion[0].tolist() == [4096**2, 1000, *[0] * 4]
    exact = 100 * 4096**2 / (4096**2 + 1000)
    assert metric.class_table[0]['IoU'] == pytest.approx(exact, abs=1e-12)
    exact = 100 * (4096**2 + 1) / (4096**2 + 1001)
    assert figures['aAcc'] == pytest.approx(exact, abs=1e-12)


def test_absent_classes_have_no_part():
    truth = torch.tensor([[0, 0, 1, 255]])
    figures, metric = evaluate([image(torch.tensor([[0, 2, 1, 3]]), truth)])
    iou = [row['IoU'] for row in metric.class_table]
    # Class 2 is predicted where there is none: zero. Class 3 is predicted on ignored ground alone.
    assert iou[:3] == pytest.approx([50, 100, 0])
    assert np.isnan(iou[3:]).all()
    assert figures == pytest.approx(dict(mIoU=50, mAcc=75, aAcc=100 * 2 / 3))


def test_memory_does_not_grow_and_a_second_evaluation_starts_anew():
    metric, samples, figures = make(), scenes(), []
    for _ in range(2):
        for sample in samples:
            metric.process({}, [sample])
            assert metric.results == []
        figures.append(metric.evaluate(len(samples)))
    assert figures[0] == figures[1]


def test_prefix_and_table(monkeypatch):
    shown = []
    monkeypatch.setattr(iou_metric, 'print_log', lambda text, *_, **__: shown.append(text))
    monkeypatch.setattr(iou_metric, 'warn_constant', shown.append)
    figures, _ = evaluate(scenes(), prefix='ade')
    assert list(figures) == ['ade/mIoU', 'ade/mAcc', 'ade/aAcc']
    assert [line.split()[0] for line in shown[0].splitlines()[1:7]] == ['class', *CLASSES[:-1]]
    assert shown[1:] == ['1 classes are in no label map: none of it']
    samples = scenes(classes=6)
    for sample in samples:
        sample['pred_sem_seg']['data'][:] = 1
    evaluate(samples, classwise=False)
    assert shown[2:] == ["All pixels are predicted as 'sky'"]


def _evaluate_share(rank, samples):
    """Evaluate every second sample, the first one again where their number is odd."""
    metric = make(classwise=False)
    padded = samples + samples[: len(samples) % 2]
    metric.process({}, padded[rank::2])
    return metric.evaluate(len(samples)), metric.confusion


@pytest.mark.parametrize('count', [1, 4, 7])
def test_two_processes_count_every_image_once(tmp_path, count):
    samples = scenes(count)
    figures, metric = evaluate(samples)
    for found, counts in in_two_ranks(_evaluate_share, tmp_path, samples):
        assert found == figures
        assert counts.equal(metric.confusion)


@pytest.mark.parametrize('reduced', [True, False])
def test_predictions_are_written(tmp_path, reduced):
    metric = make(output_dir=str(tmp_path / 'out'), format_only=True)
    ids = torch.tensor([[0, 5], [2, 1]])
    for name in ('x/a.b.jpg', 'x/c.png'):
        metric.process({}, [image(ids, None, img_path=name, reduce_zero_label=reduced)])
    assert metric.evaluate(2) == {}
    for name in ('a.b.png', 'c.png'):
        picture = Image.open(tmp_path / 'out' / name)
        assert (picture.mode, np.array(picture).tolist()) == ('L', (ids + reduced).tolist())
    twice = [image(ids, None, img_path=f'{folder}/a.b.jpg') for folder in 'xy']
    with pytest.raises(DatasetError, match=r'y/a\.b\.jpg and x/a\.b\.jpg'):
        make(output_dir=str(tmp_path), format_only=True).process({}, twice)
    # More than 256 ids need wider pictures.
    metric = make(classes=range(300), output_dir=str(tmp_path), format_only=True)
    metric.process({}, [image(torch.tensor([[0, 255, 299]]), None, reduce_zero_label=True)])
    assert np.array(Image.open(tmp_path / 'a.png')).tolist() == [[1, 256, 300]]


ONE = torch.zeros(2, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ('sample', 'message'),
    [
        (image(ONE, ONE + 6), r'images/a\.jpg: its label map has the ids \[6\].*6 classes'),
        (image(ONE, ONE - 1), r'ids \[-1\].*reduce_zero_label'),
        (image(ONE + 6, ONE), r'predicts class 6.*num_classes'),
        (image(ONE, torch.zeros(3, 2, dtype=torch.int64)), r'\(3, 2\).*\(2, 2\).*after resizing'),
        (image(ONE, None), 'has no label map'),
        (image(ONE, ONE, seg_logits=dict(data=ONE / 0)), r'a\.jpg: .* scores are NaN or infinite'),
        (image(ONE * torch.nan, ONE), r'a\.jpg: the predicted labels are NaN or infinite'),
    ],
)
def test_bad_input_is_named(sample, message):
    with pytest.raises(UserError, match=message):
        make().process({}, [sample])


def test_one_of_several_classes_is_no_mean():
    with pytest.raises(DatasetError, match=r"are of the class 'tree', one of 6: no mean"):
        evaluate([image(ONE + 2, ONE + 2)] * 3)
    assert evaluate([image(ONE, ONE)], classes=('all',))[0]['mIoU'] == 100


def test_nothing_labelled_is_an_error_and_format_only_needs_a_folder():
    for samples in ([], [image(ONE, ONE + 255)]):
        with pytest.raises(DatasetError, match='not a single labelled pixel'):
            evaluate(samples)
    with pytest.raises(ValueError, match='output_dir'):
        IoUMetric(format_only=True)
